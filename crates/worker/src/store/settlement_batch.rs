//! Decides a batch in memory, and writes what follows from it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use orders::{
    ApplyContext, Exception, ExceptionKind, ExceptionView, Fact, OrderKey, OrderView, Pay, Source,
    Step, Transition, event,
};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::StoreError;
use super::exceptions::{self, ExistingException, NewException};
use super::notifications::{self, NotificationStatus};
use super::orders::{OrderChange, StoredOrder, booked, lock, update};
use super::outbox::{self, OutboxRow, Outgoing};
use super::settlement_input::{ExceptionNotice, ObservedFact, SettlementInput};
use super::transitions::{self, NewTransition};
use crate::clock;
use crate::schedule::{self, CheckSchedule, Jitter};

/// The result of one input.
#[derive(Clone, Debug)]
pub(crate) struct Settled {
    pub(crate) status: NotificationStatus,
    /// The order afterwards. `None` when the order is unknown.
    pub(crate) view: Option<OrderView>,
}

/// In-memory state of one settlement transaction.
pub(super) struct SettlementBatch {
    /// The locked orders as they were.
    before: BTreeMap<OrderKey, StoredOrder>,
    /// The same orders as the inputs so far leave them.
    after: BTreeMap<OrderKey, StoredOrder>,
    /// The order on which each transaction is booked.
    booked: HashMap<String, OrderKey>,
    exceptions: HashMap<OrderKey, Vec<ExistingException>>,
    released: BTreeMap<OrderKey, Uuid>,
    new_transitions: Vec<NewTransition>,
    new_exceptions: Vec<NewException>,
    /// Orders whose exception `unsettled` ends, because they moved.
    no_longer_unsettled: BTreeSet<OrderKey>,
    /// Orders whose exception a query confirmed: they wait for an operator.
    polling_stopped: BTreeSet<OrderKey>,
    schedule: CheckSchedule,
}

/// Where an exception comes from.
struct ExceptionOrigin {
    at: OffsetDateTime,
    /// A query, or a call without an outcome, tells the state of now and opens a resolved exception
    /// again. A notification can be an old one, and leaves it resolved.
    reopens_resolved: bool,
    traceparent: Option<String>,
}

impl ExceptionOrigin {
    fn of(observed: &ObservedFact) -> Self {
        Self {
            at: observed.at,
            reopens_resolved: observed.source == Source::Query,
            traceparent: observed.traceparent.clone(),
        }
    }
}

impl SettlementBatch {
    /// Locks the orders of the inputs and reads everything that their decisions need.
    pub(super) async fn open(
        connection: &mut PgConnection,
        inputs: &[SettlementInput],
        schedule: CheckSchedule,
    ) -> Result<Self, StoreError> {
        let keys: BTreeSet<OrderKey> =
            inputs.iter().filter_map(SettlementInput::key).cloned().collect();
        let keys: Vec<OrderKey> = keys.into_iter().collect();
        let facts = inputs.iter().filter_map(SettlementInput::observed_fact);
        let transactions: Vec<String> =
            facts.filter_map(|observed| transaction_id(&observed.fact)).collect();
        let locked = lock(connection, &keys).await?;
        let before: BTreeMap<OrderKey, StoredOrder> =
            locked.into_iter().map(|stored| (stored.order.key(), stored)).collect();
        Ok(Self {
            after: before.clone(),
            before,
            booked: booked(connection, &transactions).await?,
            exceptions: exceptions::existing(connection, &keys).await?,
            released: BTreeMap::new(),
            new_transitions: Vec::new(),
            new_exceptions: Vec::new(),
            no_longer_unsettled: BTreeSet::new(),
            polling_stopped: BTreeSet::new(),
            schedule,
        })
    }

    pub(super) fn transitions(&self) -> impl Iterator<Item = &Transition> {
        self.new_transitions.iter().map(|new| &new.transition)
    }

    pub(super) fn settle(&mut self, input: &SettlementInput) -> Settled {
        match input {
            SettlementInput::Fact(observed, _) => self.apply(observed),
            SettlementInput::Evidence(evidence) => Settled { status: evidence.status, view: None },
            SettlementInput::Exception(ExceptionNotice { key, exception, at }) => {
                let origin = ExceptionOrigin { at: *at, reopens_resolved: true, traceparent: None };
                self.open_exception(key, exception, origin);
                Settled { status: NotificationStatus::Exception, view: self.view(key, None) }
            }
        }
    }

    fn apply(&mut self, observed: &ObservedFact) -> Settled {
        let key = &observed.key;
        let origin = ExceptionOrigin::of(observed);
        let Some(stored) = self.after.get_mut(key) else {
            self.open_exception(key, &unknown_order(&observed.fact), origin);
            return Settled { status: NotificationStatus::Exception, view: None };
        };
        if let Some(holder) = observed.lease_holder {
            self.released.insert(key.clone(), holder);
        }
        let context = ApplyContext {
            at: observed.at,
            source: observed.source,
            booked_on: booked_elsewhere(&self.booked, observed),
        };
        let applied = match stored.order.apply(&observed.fact, &context) {
            Ok(applied) => applied,
            Err(refusal) => {
                self.open_exception(key, &refusal.exception(), origin);
                return Settled { status: NotificationStatus::Refused, view: self.view(key, None) };
            }
        };
        stored.order = applied.order;
        // The order of the next three steps matters: each event contains a view of the order. The
        // event of the transition already shows the exception, and the event of the exception shows
        // the order after the transition.
        let mut status = NotificationStatus::Already;
        if let Some(exception) = &applied.exception {
            self.note_exception(key, exception, &origin);
            status = NotificationStatus::Exception;
        }
        if let Step::Moved(transition) = applied.step {
            self.add_transition(observed, transition);
            status = NotificationStatus::Applied;
        }
        if let Some(exception) = &applied.exception {
            self.add_exception(key, exception, origin);
        }
        if status == NotificationStatus::Exception && observed.source == Source::Query {
            self.polling_stopped.insert(key.clone());
        }
        Settled { status, view: self.view(key, None) }
    }

    fn add_transition(&mut self, observed: &ObservedFact, transition: Transition) {
        let key = &observed.key;
        if let Some(transaction_id) = transaction_id(&observed.fact) {
            self.booked.insert(transaction_id, key.clone());
        }
        for existing in self.exceptions.get_mut(key).into_iter().flatten() {
            if existing.kind == ExceptionKind::Unsettled && existing.open {
                existing.open = false;
                self.no_longer_unsettled.insert(key.clone());
            }
        }
        let view = self.view(key, observed.pay.clone()).expect("the order was just applied to");
        let event = event::of_transition(Uuid::now_v7(), &transition, &view);
        let traceparent = observed.traceparent.clone();
        let outgoing = Outgoing { event, traceparent };
        self.new_transitions.push(NewTransition { key: key.clone(), transition, outgoing });
    }

    fn open_exception(&mut self, key: &OrderKey, exception: &Exception, origin: ExceptionOrigin) {
        self.note_exception(key, exception, &origin);
        self.add_exception(key, exception, origin);
    }

    /// Remembers the exception, so that the views of this batch show it.
    fn note_exception(&mut self, key: &OrderKey, exception: &Exception, origin: &ExceptionOrigin) {
        let kind = exception.kind;
        let transaction_id = transaction_text(exception);
        let known = self.exceptions.entry(key.clone()).or_default();
        let same =
            known.iter_mut().find(|it| it.kind == kind && it.transaction_id == transaction_id);
        match same {
            Some(existing) => existing.open |= origin.reopens_resolved,
            None => {
                let opened_at = origin.at;
                known.push(ExistingException { kind, transaction_id, opened_at, open: true });
            }
        }
    }

    /// Prepares the row and the event. A row that exists already keeps its event.
    fn add_exception(&mut self, key: &OrderKey, exception: &Exception, origin: ExceptionOrigin) {
        let view = self.view(key, None);
        let event = event::of_exception(Uuid::now_v7(), exception, key, view.as_ref(), origin.at);
        self.new_exceptions.push(NewException {
            key: key.clone(),
            kind: exception.kind,
            transaction_id: transaction_text(exception),
            differs: exception.differs.clone(),
            opened_at: origin.at,
            reopens_resolved: origin.reopens_resolved,
            outgoing: Outgoing { event, traceparent: origin.traceparent },
        });
    }

    fn view(&self, key: &OrderKey, pay: Option<Pay>) -> Option<OrderView> {
        let stored = self.after.get(key)?;
        let open = self.exceptions.get(key).into_iter().flatten().filter(|it| it.open);
        let open = open.map(|it| ExceptionView { kind: it.kind, opened_at: it.opened_at });
        Some(OrderView::of(&stored.order, open.collect(), pay))
    }

    /// Writes everything, and returns the new events.
    pub(super) async fn write(
        self,
        connection: &mut PgConnection,
        inputs: &[SettlementInput],
        settled: &[Settled],
    ) -> Result<Vec<Outgoing>, StoreError> {
        update(connection, &self.changes()).await?;
        exceptions::resolve_unsettled(connection, self.no_longer_unsettled.iter()).await?;
        transitions::insert(connection, &self.new_transitions).await?;
        let opened = exceptions::open(connection, &self.new_exceptions).await?;
        let received = inputs.iter().zip(settled).filter_map(|(input, settled)| {
            input.evidence().map(|evidence| (evidence, settled.status))
        });
        notifications::upsert(connection, received).await?;

        let exceptions = self.new_exceptions.into_iter().map(NewException::into_outbox_row);
        let exceptions: Vec<OutboxRow> =
            exceptions.filter(|row| opened.contains(&row.outgoing.event.id)).collect();
        outbox::insert(connection, &exceptions).await?;
        let transitions = self.new_transitions.into_iter().map(|new| new.outgoing);
        Ok(transitions.chain(exceptions.into_iter().map(|row| row.outgoing)).collect())
    }

    fn changes(&self) -> Vec<OrderChange<'_>> {
        let now = clock::now();
        let mut changes = Vec::new();
        for (key, before) in &self.before {
            let Some(after) = self.after.get(key) else { continue };
            let release_lease = self.released.get(key).copied();
            let next_check_at = if self.polling_stopped.contains(key) {
                None
            } else {
                schedule::next_check(&after.order, &self.schedule, Jitter::draw(), now)
            };
            if after.order != before.order || release_lease.is_some() {
                changes.push(OrderChange {
                    before: &before.order,
                    after: &after.order,
                    release_lease,
                    next_check_at,
                });
            }
        }
        changes
    }
}

/// The other order on which the transaction of a payment is booked.
fn booked_elsewhere(booked: &HashMap<String, OrderKey>, observed: &ObservedFact) -> Option<String> {
    let other = booked.get(&transaction_id(&observed.fact)?)?;
    (*other != observed.key).then(|| other.to_string())
}

fn transaction_id(fact: &Fact) -> Option<String> {
    match fact {
        Fact::Paid { payment, .. } => Some(payment.transaction_id.to_string()),
        _ => None,
    }
}

fn unknown_order(fact: &Fact) -> Exception {
    let transaction_id = match fact {
        Fact::Paid { payment, .. } => Some(payment.transaction_id.clone()),
        _ => None,
    };
    Exception { kind: ExceptionKind::UnknownOrder, transaction_id, differs: Vec::new() }
}

fn transaction_text(exception: &Exception) -> String {
    exception.transaction_id.as_ref().map(ToString::to_string).unwrap_or_default()
}
