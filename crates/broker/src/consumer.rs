//! Consuming a queue in batches, with a bound on everything in hand.

use std::{num::NonZeroUsize, sync::Arc};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinHandle,
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(crate) mod copy;
mod desk;
mod disposition;
mod intake;
mod unsettled;

use desk::Desk;
use intake::Intake;
use unsettled::Unsettled;

use crate::{
    BrokerError, Connection, Handler, Publisher, Queue, complaint::Complaint, connection::Session,
    delays::Delays, queue_name, sender::Us,
};

/// What a consumer holds at most.
#[derive(Clone, Copy, Debug)]
pub struct ConsumerLimits {
    /// Deliveries sent to us and not yet disposed of; at least 1. Good values are two to five
    /// times what is being handled.
    pub prefetch: u16,
    /// Deliveries handed to the handler at once.
    pub batch_max: usize,
    /// Batches in the handler's hands at the same time.
    pub batches_in_flight: usize,
    /// After this many attempts a delivery is parked.
    pub attempts_max: u32,
}

/// Starts consumers.
pub struct Consumer;

/// A running consumer. Dropping the handle leaves it running: `stop` ends it.
pub struct ConsumerHandle {
    task: JoinHandle<()>,
}

impl Consumer {
    /// Consumes `queue` on a channel of its own until `stop`, through every loss of connection.
    ///
    /// `copies` publishes what is to come back later or to be parked; its link should be another
    /// one. It must not be drained before [`ConsumerHandle::drained`] has returned.
    pub fn start<H: Handler>(
        connection: Connection,
        copies: Publisher,
        queue: Queue,
        limits: ConsumerLimits,
        handler: Arc<H>,
        stop: CancellationToken,
    ) -> ConsumerHandle {
        let namespace = connection.namespace().clone();
        let desk = Desk { handler, copies, namespace, queue, limits, stop: stop.clone() };
        let run = Run {
            queue_name: queue_name(connection.namespace(), queue),
            connection,
            limits,
            desk: Arc::new(desk),
            batches: Arc::new(Semaphore::new(limits.batches_in_flight.max(1))),
            intakes: TaskTracker::new(),
            stop,
        };
        ConsumerHandle { task: tokio::spawn(run.run()) }
    }
}

impl ConsumerHandle {
    /// After `stop`: returns when no more deliveries are taken, every handler in flight has
    /// finished and its deliveries are disposed of, the untouched ones are given back, and the
    /// channel is closed. There is no bound on a handler's time here.
    pub async fn drained(self) {
        if let Err(error) = self.task.await {
            tracing::error!(%error, "a consumer ended in disorder");
        }
    }
}

struct Run<H> {
    connection: Connection,
    queue_name: String,
    limits: ConsumerLimits,
    desk: Arc<Desk<H>>,
    batches: Arc<Semaphore>,
    /// Former subscriptions whose deliveries are still being handled.
    intakes: TaskTracker,
    stop: CancellationToken,
}

/// What comes next.
enum Next {
    Batch(OwnedSemaphorePermit, Vec<Unsettled>),
    Stop,
    /// The subscription is at its end, for whatever reason: never taken for a shutdown.
    Over,
}

impl<H: Handler> Run<H> {
    async fn run(self) {
        let (mut delays, mut complaint) = (Delays::new(), Complaint::default());
        while let Some(session) =
            self.stop.run_until_cancelled(self.connection.usable_session()).await
        {
            let open = Intake::open(
                &session,
                &self.queue_name,
                self.limits.prefetch,
                Us::on(&self.connection),
            );
            match self.stop.run_until_cancelled(open).await {
                None => break,
                Some(Ok(intake)) => {
                    complaint.settled();
                    let since = Instant::now();
                    self.consume(&session, intake).await;
                    delays.reset_after(since.elapsed());
                }
                Some(Err(problem)) => self.complain(&problem, &mut complaint),
            }
            self.stop.run_until_cancelled(sleep(delays.next())).await;
        }
        self.intakes.close();
        self.intakes.wait().await;
    }

    async fn consume(&self, session: &Session, mut intake: Intake) {
        loop {
            match self.next(session, &mut intake).await {
                Next::Batch(permit, batch) => {
                    let desk = Arc::clone(&self.desk);
                    intake.spawn(async move {
                        desk.process(batch).await;
                        drop(permit);
                    });
                }
                Next::Stop => {
                    intake.give_back_rest().await;
                    return intake.finish().await;
                }
                Next::Over => {
                    self.explain(session, &intake);
                    // Nobody waits here for the handlers at work: a new subscription is due.
                    self.intakes.spawn(intake.finish());
                    return;
                }
            }
        }
    }

    async fn next(&self, session: &Session, intake: &mut Intake) -> Next {
        let batch_max = NonZeroUsize::new(self.limits.batch_max).unwrap_or(NonZeroUsize::MIN);
        let batch = async {
            // The permit first: what is taken without one could not be bounded.
            let permit = Arc::clone(&self.batches).acquire_owned().await.ok()?;
            Some(Next::Batch(permit, intake.next_batch(batch_max).await?))
        };
        tokio::select! {
            biased;
            () = self.stop.cancelled() => Next::Stop,
            () = self.connection.lost(session) => Next::Over,
            batch = batch => batch.unwrap_or(Next::Over),
        }
    }

    fn explain(&self, session: &Session, intake: &Intake) {
        // The link itself tells when it was the connection.
        if self.connection.is_current(session) {
            let queue = &self.queue_name;
            match intake.error() {
                Some(error) => tracing::warn!(queue, %error, "lost the subscription"),
                None => tracing::warn!(queue, "the broker cancelled the subscription"),
            }
        }
    }

    fn complain(&self, problem: &BrokerError, complaint: &mut Complaint) {
        if let Some(news) = complaint.news(problem) {
            tracing::error!(queue = self.queue_name, "cannot consume, and keep trying: {news}");
        }
        if problem.is_not_found() {
            self.connection.doubt_topology();
        }
    }
}
