//! Group commit: what the calls of many orders brought is settled in one transaction.
//!
//! A batch is all or nothing in the database, but not for its entries: a batch that fails because of
//! one row (a row that another transaction has locked, a value that Postgres refuses) is settled in
//! halves, down to the one entry that fails alone.

use std::sync::Arc;

use broker::BatchPermits;
use tokio::sync::{mpsc, oneshot};
use tracing::{Instrument, info_span};

use crate::gateway::CallRecords;
use crate::store::{CallRecord, DeferredFirstCall, Settled, SettlementInput, Store, StoreError};

/// Outcomes in one transaction: throughput no longer grows beyond, and a lock is held shorter.
const BATCH_MAX: usize = 256;
/// Two full ones, and one that is stuck.
const BATCHES_IN_FLIGHT: usize = 3;
/// Outcomes that wait for a batch. It is more than the calls in progress, each of which has one.
const QUEUE_MAX: usize = 4096;
/// How often a single outcome that meets another writer is decided again before it fails.
const CONFLICTS_MAX: usize = 3;

/// Settles outcomes together with others of the same moment. Cheap to clone; the task behind it
/// ends when the last clone is gone and everything is written.
#[derive(Clone, Debug)]
pub(super) struct SettlementWriter {
    jobs: mpsc::Sender<Job>,
}

struct Job {
    work: Work,
    result: oneshot::Sender<Result<Option<Settled>, StoreError>>,
}

enum Work {
    Settle(SettlementInput),
    DeferFirstCall(DeferredFirstCall),
    /// Waits until the calls recorded so far are stored.
    StoreCalls,
}

impl Work {
    fn input(&self) -> Option<&SettlementInput> {
        match self {
            Self::Settle(input) => Some(input),
            Self::DeferFirstCall(_) | Self::StoreCalls => None,
        }
    }
}

impl SettlementWriter {
    pub(super) fn start(store: Store, records: CallRecords) -> Self {
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(run(queue, Arc::new(Writer { store, records })));
        Self { jobs }
    }

    pub(super) async fn settle(&self, input: SettlementInput) -> Result<Settled, StoreError> {
        let settled = self.submit(Work::Settle(input)).await?;
        settled.ok_or_else(|| StoreError::Fault("an input without a result".to_owned()))
    }

    pub(super) async fn defer_first_call(
        &self,
        deferred: DeferredFirstCall,
    ) -> Result<(), StoreError> {
        self.submit(Work::DeferFirstCall(deferred)).await.map(drop)
    }

    /// Returns when the calls recorded so far are stored, or could not be.
    pub(super) async fn store_calls(&self) {
        let _ = self.submit(Work::StoreCalls).await;
    }

    async fn submit(&self, work: Work) -> Result<Option<Settled>, StoreError> {
        let ended = || StoreError::Fault("the settlement writer has ended".to_owned());
        let (result, receiver) = oneshot::channel();
        self.jobs.send(Job { work, result }).await.map_err(|_| ended())?;
        receiver.await.map_err(|_| ended())?
    }
}

async fn run(mut queue: mpsc::Receiver<Job>, writer: Arc<Writer>) {
    let permits = BatchPermits::new(BATCHES_IN_FLIGHT, BATCH_MAX);
    let mut batch = Vec::new();
    while let Some(permit) = permits.acquire().await
        && queue.recv_many(&mut batch, BATCH_MAX).await > 0
    {
        let writer = Arc::clone(&writer);
        let batch = std::mem::take(&mut batch);
        // A task of its own: no future of the store may be dropped half-way.
        tokio::spawn(async move {
            permit.hold_during(batch.len(), writer.write(batch)).await;
        });
    }
}

struct Writer {
    store: Store,
    records: CallRecords,
}

impl Writer {
    async fn write(&self, batch: Vec<Job>) {
        let batch = self.defer_first_calls(batch).await;
        let calls = self.records.take();
        let calls_alone = batch.iter().all(|job| job.work.input().is_none());
        let mut calls = (!calls.is_empty()).then_some(calls);
        if calls_alone && let Some(calls) = calls.take() {
            self.store.record_calls(calls).await;
        }
        // Halves that wait to be settled, the first at the end.
        let mut parts = vec![batch];
        while let Some(mut part) = parts.pop() {
            let inputs: Vec<SettlementInput> =
                part.iter().filter_map(|job| job.work.input().cloned()).collect();
            let settle = self.settle(&inputs, calls.as_deref().unwrap_or_default());
            let settled = settle.instrument(info_span!("settle", count = inputs.len())).await;
            match settled {
                Ok(settled) => {
                    calls = None;
                    answer(part, settled);
                }
                Err(error) if inputs.len() > 1 && error.is_about_rows() => {
                    tracing::debug!(%error, count = inputs.len(), "a batch is settled in halves");
                    // Evidence must not fail what it stands beside.
                    if let Some(calls) = calls.take() {
                        self.store.record_calls(calls).await;
                    }
                    let second = part.split_off(part.len() / 2);
                    parts.push(second);
                    parts.push(part);
                }
                Err(error) => {
                    for job in part {
                        let _ = job.result.send(Err(error.clone()));
                    }
                }
            }
        }
        // The outcomes that could not be settled are tried again, and the evidence with them.
        self.records.put_back(calls.unwrap_or_default());
    }

    /// Defers the first calls of a batch in one statement, and returns the rest of the batch.
    async fn defer_first_calls(&self, batch: Vec<Job>) -> Vec<Job> {
        let (deferred, rest): (Vec<Job>, Vec<Job>) =
            batch.into_iter().partition(|job| matches!(job.work, Work::DeferFirstCall(_)));
        let calls: Vec<DeferredFirstCall> = deferred
            .iter()
            .filter_map(|job| match &job.work {
                Work::DeferFirstCall(deferred) => Some(deferred.clone()),
                Work::Settle(_) | Work::StoreCalls => None,
            })
            .collect();
        if calls.is_empty() {
            return rest;
        }
        let done = self.store.defer_first_calls(&calls).await;
        for job in deferred {
            let _ = job.result.send(done.clone().map(|()| None));
        }
        rest
    }

    /// One transaction, decided again when another writer was faster.
    async fn settle(
        &self,
        inputs: &[SettlementInput],
        calls: &[CallRecord],
    ) -> Result<Vec<Settled>, StoreError> {
        if inputs.is_empty() {
            return Ok(Vec::new());
        }
        let mut conflicts = 0;
        loop {
            match self.store.settle_with_calls(inputs, calls).await {
                Err(StoreError::Conflict(_)) if conflicts < CONFLICTS_MAX => conflicts += 1,
                settled => return settled,
            }
        }
    }
}

fn answer(part: Vec<Job>, settled: Vec<Settled>) {
    let mut settled = settled.into_iter();
    for job in part {
        let result = match job.work {
            Work::Settle(_) => Ok(settled.next()),
            Work::DeferFirstCall(_) | Work::StoreCalls => Ok(None),
        };
        // Who asked may be gone; what is settled stays settled.
        let _ = job.result.send(result);
    }
}
