//! Facts become state: a batch of messages in one transaction, one verdict for each.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use orders::event;
use orders::{ApplyContext, Exception, ExceptionKind, ExceptionView, Fact, OrderKey, OrderView};
use orders::{Pay, Source, Step};
use time::OffsetDateTime;
use uuid::Uuid;
use wechatpay_v2::MchId;

use super::write::{self, Cause, OpenedException, WrittenTransition};
use super::{Outgoing, Store, StoreError, Stored, row};
use crate::schedule::{self, CheckSchedule, Jitter};
use crate::{clock, failpoint};

/// One entry of a batch.
#[derive(Clone, Debug)]
pub enum SettlementInput {
    /// A fact about an order, with the notification that brought it, if one did.
    Fact(Box<ObservedFact>, Option<Evidence>),
    /// A notification without a fact.
    Evidence(Evidence),
    /// An exception that was found without a fact.
    Exception(ExceptionNotice),
}

/// Something that does not fit, found otherwise than by applying a fact.
#[derive(Clone, Debug)]
pub struct ExceptionNotice {
    pub key: OrderKey,
    pub exception: Exception,
    /// When it was found, in UTC.
    pub at: OffsetDateTime,
}

/// A fact about an order, with what the machine and the events need beside it.
#[derive(Clone, Debug)]
pub struct ObservedFact {
    pub key: OrderKey,
    pub fact: Fact,
    pub source: Source,
    /// When it is applied, in UTC.
    pub at: OffsetDateTime,
    /// The second signature, for the event of an order that becomes payable.
    pub pay: Option<Pay>,
    /// The call lease that ends with this fact.
    pub lease_holder: Option<Uuid>,
    /// The trace of the message or the call that brought the fact.
    pub traceparent: Option<String>,
}

impl ObservedFact {
    /// A fact of now, without a second signature, a lease or a trace.
    #[must_use]
    pub fn new(key: OrderKey, fact: Fact, source: Source) -> Self {
        let at = clock::now();
        Self { key, fact, source, at, pay: None, lease_holder: None, traceparent: None }
    }
}

impl SettlementInput {
    /// A fact that no notification brought.
    #[must_use]
    pub fn fact(fact: ObservedFact) -> Self {
        Self::Fact(Box::new(fact), None)
    }

    #[must_use]
    pub fn observed_fact(&self) -> Option<&ObservedFact> {
        match self {
            Self::Fact(fact, _) => Some(fact),
            Self::Evidence(_) | Self::Exception(_) => None,
        }
    }

    #[must_use]
    pub fn evidence(&self) -> Option<&Evidence> {
        match self {
            Self::Fact(_, evidence) => evidence.as_ref(),
            Self::Evidence(evidence) => Some(evidence),
            Self::Exception(_) => None,
        }
    }

    fn key(&self) -> Option<&OrderKey> {
        match self {
            Self::Fact(fact, _) => Some(&fact.key),
            Self::Evidence(_) => None,
            Self::Exception(notice) => Some(&notice.key),
        }
    }
}

/// A notification as it came.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// SHA-256 of the raw body.
    pub digest: [u8; 32],
    /// `payment` or `refund`.
    pub kind: &'static str,
    /// The merchant.
    pub mch_id: MchId,
    /// The order it speaks of, as far as that is known.
    pub out_trade_no: Option<String>,
    /// The payment it speaks of, as far as that is known.
    pub transaction_id: Option<String>,
    /// The raw body.
    pub raw: Bytes,
    /// When the ingress received it, in UTC.
    pub received_at: OffsetDateTime,
    /// The status of a notification that brings no fact.
    pub status: NotificationStatus,
    /// The reason of the status, in words without values.
    pub detail: Option<String>,
}

/// What became of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotificationStatus {
    /// It moved the order.
    Applied,
    /// The order was there already.
    Already,
    /// It opened an exception, or found it open, and moved nothing.
    Exception,
    /// The order's state cannot accept it.
    Refused,
    /// It does not verify.
    BadSignature,
    /// It is authentic and speaks of no success.
    NotSuccess,
    /// It is authentic, and a field is missing or malformed.
    Unreadable,
    /// It is kept for a later version to act on.
    Deferred,
}

/// The result of one input.
#[derive(Clone, Debug)]
pub struct Settled {
    pub status: NotificationStatus,
    /// The order afterwards. `None` when the order is unknown.
    pub view: Option<OrderView>,
}

impl NotificationStatus {
    /// The lower-case text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Already => "already",
            Self::Exception => "exception",
            Self::Refused => "refused",
            Self::BadSignature => "bad_signature",
            Self::NotSuccess => "not_success",
            Self::Unreadable => "unreadable",
            Self::Deferred => "deferred",
        }
    }
}

impl Store {
    /// Applies the facts of a batch in their order and writes everything they cause, all or
    /// nothing. The answers are in the order of the items.
    ///
    /// # Errors
    /// When the store cannot; nothing is written then. A [`StoreError::Conflict`] means that the
    /// same items have another meaning now: call again.
    pub async fn settle(&self, inputs: &[SettlementInput]) -> Result<Vec<Settled>, StoreError> {
        let mut tx = self.pool.begin().await?;
        let decided = self.decide(&mut tx, inputs).await?;
        failpoint::reached("settle.written");
        tx.commit().await?;
        failpoint::reached("settle.committed");
        Ok(self.announce(decided))
    }

    /// What [`Store::settle`] would answer: decided and written in the same way, and rolled back.
    ///
    /// # Errors
    /// Those of [`Store::settle`].
    pub async fn dry_run(&self, inputs: &[SettlementInput]) -> Result<Vec<Settled>, StoreError> {
        let mut tx = self.pool.begin().await?;
        let decided = self.decide(&mut tx, inputs).await?;
        tx.rollback().await?;
        Ok(decided.settled)
    }

    /// Decides and writes, in a transaction that the caller ends.
    pub(super) async fn decide(
        &self,
        tx: &mut sqlx::PgConnection,
        inputs: &[SettlementInput],
    ) -> Result<Decided, StoreError> {
        let mut batch = SettlementBatch::open(tx, inputs, self.schedule.clone()).await?;
        let settled: Vec<Settled> = inputs.iter().map(|input| batch.settle(input)).collect();
        let moves = batch.transitions.iter().map(WrittenTransition::names).collect();
        let outgoing = batch.write(tx, inputs, &settled).await?;
        Ok(Decided { settled, moves, outgoing })
    }

    /// Tells of what is committed.
    pub(super) fn announce(&self, decided: Decided) -> Vec<Settled> {
        write::count_moves(&decided.moves);
        self.outbox.notify(decided.outgoing);
        decided.settled
    }
}

/// What a transaction that is still open will have done.
pub(super) struct Decided {
    pub(super) settled: Vec<Settled>,
    moves: Vec<(&'static str, &'static str)>,
    pub(super) outgoing: Vec<Outgoing>,
}

/// Everything a batch needs to be decided without asking anybody, and what was decided.
struct SettlementBatch {
    /// The locked orders, as they were and as they are.
    before: BTreeMap<OrderKey, Stored>,
    now: BTreeMap<OrderKey, Stored>,
    /// On which order a transaction is booked.
    booked: HashMap<String, OrderKey>,
    exceptions: HashMap<OrderKey, Vec<ExistingException>>,
    released: BTreeMap<OrderKey, Uuid>,
    transitions: Vec<WrittenTransition>,
    opened: Vec<OpenedException>,
    /// Orders of which a query confirmed what does not fit: a person decides now.
    polling_stopped: BTreeSet<OrderKey>,
    schedule: CheckSchedule,
}

/// An exception that stands, open or resolved.
pub(super) struct ExistingException {
    pub(super) kind: ExceptionKind,
    pub(super) transaction_id: String,
    pub(super) opened_at: OffsetDateTime,
    pub(super) open: bool,
}

/// How an exception was origin.
struct ExceptionOrigin {
    at: OffsetDateTime,
    /// It is so now, whatever a person resolved before: WeChat itself says it, or says nothing at
    /// all. A notification can be an old one, and leaves a resolution alone.
    reopens_resolved: bool,
    traceparent: Option<String>,
}

impl ExceptionOrigin {
    fn of(observed: &ObservedFact, traceparent: Option<String>) -> Self {
        Self { at: observed.at, reopens_resolved: observed.source == Source::Query, traceparent }
    }
}

impl SettlementBatch {
    async fn open(
        tx: &mut sqlx::PgConnection,
        inputs: &[SettlementInput],
        schedule: CheckSchedule,
    ) -> Result<Self, StoreError> {
        let keys: BTreeSet<OrderKey> =
            inputs.iter().filter_map(SettlementInput::key).cloned().collect();
        let keys: Vec<OrderKey> = keys.into_iter().collect();
        let transactions: Vec<String> = inputs
            .iter()
            .filter_map(SettlementInput::observed_fact)
            .filter_map(|observed| match &observed.fact {
                Fact::Paid { payment, .. } => Some(payment.transaction_id.to_string()),
                _ => None,
            })
            .collect();
        let before: BTreeMap<OrderKey, Stored> = if keys.is_empty() {
            BTreeMap::new()
        } else {
            let locked = row::lock(tx, &keys).await?;
            locked.into_iter().map(|stored| (stored.order.key(), stored)).collect()
        };
        Ok(Self {
            now: before.clone(),
            before,
            booked: write::booked(tx, &transactions).await?,
            exceptions: write::known_exceptions(tx, &keys).await?,
            released: BTreeMap::new(),
            transitions: Vec::new(),
            opened: Vec::new(),
            polling_stopped: BTreeSet::new(),
            schedule,
        })
    }

    fn settle(&mut self, input: &SettlementInput) -> Settled {
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
        let Some(stored) = self.now.get_mut(key) else {
            let unknown = unknown_order(&observed.fact);
            let origin = ExceptionOrigin::of(observed, observed.traceparent.clone());
            self.open_exception(key, &unknown, origin);
            return Settled { status: NotificationStatus::Exception, view: None };
        };
        if let Some(holder) = observed.lease_holder {
            self.released.insert(key.clone(), holder);
        }
        let context = ApplyContext {
            at: observed.at,
            source: observed.source,
            booked_on: booked_elsewhere(&self.booked, &observed.fact, key),
        };
        let applied = match stored.order.apply(&observed.fact, &context) {
            Ok(applied) => applied,
            Err(refusal) => {
                let trace = observed.traceparent.clone();
                let origin = ExceptionOrigin::of(observed, trace);
                self.open_exception(key, &refusal.exception(), origin);
                return Settled { status: NotificationStatus::Refused, view: self.view(key, None) };
            }
        };
        stored.order = applied.order;
        let mut status = NotificationStatus::Already;
        if let Some(exception) = &applied.exception {
            let origin = ExceptionOrigin::of(observed, None);
            self.note_exception(key, exception, &origin);
            status = NotificationStatus::Exception;
        }
        if let Step::Moved(transition) = applied.step {
            if let Fact::Paid { payment, .. } = &observed.fact {
                self.booked.insert(payment.transaction_id.to_string(), key.clone());
            }
            // The same transaction resolves it.
            for known in self.exceptions.get_mut(key).into_iter().flatten() {
                known.open &= known.kind != ExceptionKind::Unsettled;
            }
            let view = self.view(key, observed.pay.clone()).expect("the order was just applied to");
            let event = event::of_transition(Uuid::now_v7(), &transition, &view);
            let traceparent = observed.traceparent.clone();
            self.transitions.push(WrittenTransition {
                key: key.clone(),
                transition,
                outgoing: Outgoing { event, traceparent },
            });
            status = NotificationStatus::Applied;
        }
        if let Some(exception) = &applied.exception {
            let origin = ExceptionOrigin::of(observed, observed.traceparent.clone());
            self.write_exception(key, exception, origin);
            if status == NotificationStatus::Exception && observed.source == Source::Query {
                self.polling_stopped.insert(key.clone());
            }
        }
        Settled { status, view: self.view(key, None) }
    }

    fn open_exception(&mut self, key: &OrderKey, exception: &Exception, origin: ExceptionOrigin) {
        self.note_exception(key, exception, &origin);
        self.write_exception(key, exception, origin);
    }

    /// Remembers the exception, so that the views of this batch show it.
    fn note_exception(&mut self, key: &OrderKey, exception: &Exception, origin: &ExceptionOrigin) {
        let transaction_id = transaction_text(exception);
        let known = self.exceptions.entry(key.clone()).or_default();
        let kind = exception.kind;
        let same =
            |it: &&mut ExistingException| it.kind == kind && it.transaction_id == transaction_id;
        match known.iter_mut().find(same) {
            Some(stands) => stands.open |= origin.reopens_resolved,
            None => {
                known.push(ExistingException {
                    kind,
                    transaction_id,
                    opened_at: origin.at,
                    open: true,
                });
            }
        }
    }

    /// Prepares the row and the event. A row that stands already is left as it is when written.
    fn write_exception(&mut self, key: &OrderKey, exception: &Exception, origin: ExceptionOrigin) {
        let view = self.view(key, None);
        let event = event::of_exception(Uuid::now_v7(), exception, key, view.as_ref(), origin.at);
        self.opened.push(OpenedException {
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
        let stored = self.now.get(key)?;
        let open = self.exceptions.get(key).map_or(&[][..], Vec::as_slice);
        let open = open.iter().filter(|known| known.open);
        let open = open.map(|known| ExceptionView { kind: known.kind, opened_at: known.opened_at });
        Some(OrderView::of(&stored.order, open.collect(), pay))
    }

    async fn write(
        self,
        tx: &mut sqlx::PgConnection,
        inputs: &[SettlementInput],
        settled: &[Settled],
    ) -> Result<Vec<Outgoing>, StoreError> {
        let now = clock::now();
        let changed = self.now.iter().filter_map(|(key, stored)| {
            let before = self.before.get(key)?;
            let release = self.released.get(key).copied();
            let look = match self.polling_stopped.contains(key) {
                true => None,
                false => schedule::next_check(&stored.order, &self.schedule, Jitter::draw(), now),
            };
            (stored.order != before.order || release.is_some()).then_some((
                &before.order,
                &stored.order,
                release,
                look,
            ))
        });
        write::orders(tx, &changed.collect::<Vec<_>>()).await?;
        write::resolve_unsettled(tx, self.transitions.iter().map(|moved| &moved.key)).await?;
        write::transitions(tx, &self.transitions).await?;
        let opened = write::exceptions(tx, &self.opened).await?;
        let evidence = inputs.iter().zip(settled).filter_map(|(input, settled)| {
            input.evidence().map(|evidence| (evidence, settled.status))
        });
        write::notifications(tx, evidence).await?;

        let moved = self.transitions.into_iter();
        let moved = moved.map(|it| (it.key, Cause::Transition(it.transition.seq), it.outgoing));
        let new = self.opened.into_iter().filter(|it| opened.contains(&it.outgoing.event.id));
        let new = new.map(|it| (it.key, Cause::Exception, it.outgoing));
        let outbox: Vec<_> = moved.chain(new).collect();
        write::outbox(tx, &outbox).await?;
        Ok(outbox.into_iter().map(|(_, _, outgoing)| outgoing).collect())
    }
}

fn booked_elsewhere(
    booked: &HashMap<String, OrderKey>,
    fact: &Fact,
    key: &OrderKey,
) -> Option<String> {
    let Fact::Paid { payment, .. } = fact else {
        return None;
    };
    let other = booked.get(payment.transaction_id.as_str()).filter(|other| *other != key)?;
    Some(other.to_string())
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
