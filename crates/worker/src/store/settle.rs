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
use crate::reconcile::Patience;
use crate::reconcile::plan::{self, Jitter};
use crate::{clock, failpoint};

/// One message of a batch: what it taught, and the evidence that it came.
#[derive(Clone, Debug, Default)]
pub struct Item {
    /// What was learned, unless the message teaches nothing.
    pub learned: Option<Learned>,
    /// The notification itself, unless the fact came another way.
    pub evidence: Option<Evidence>,
    /// An exception that was found without a fact.
    pub notice: Option<Notice>,
}

/// Something that does not fit, found otherwise than by applying a fact.
#[derive(Clone, Debug)]
pub struct Notice {
    /// The order it is about.
    pub key: OrderKey,
    /// What does not fit.
    pub exception: Exception,
    /// When it was found, in UTC.
    pub at: OffsetDateTime,
}

/// A fact about an order, with what the machine and the events need from outside.
#[derive(Clone, Debug)]
pub struct Learned {
    /// The order.
    pub key: OrderKey,
    /// The fact.
    pub fact: Fact,
    /// Where it came from.
    pub source: Source,
    /// When it is applied, in UTC.
    pub at: OffsetDateTime,
    /// The second signing, for the event of an order that becomes payable.
    pub pay: Option<Pay>,
    /// The call lease that ends with this fact.
    pub lease_holder: Option<Uuid>,
    /// The trace that led here.
    pub traceparent: Option<String>,
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
    /// The verdict, when the message teaches nothing.
    pub verdict: Verdict,
    /// The reason of the verdict, in words without values.
    pub detail: Option<String>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
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

/// The answer to one item.
#[derive(Clone, Debug)]
pub struct Settled {
    /// What became of it.
    pub verdict: Verdict,
    /// The order after it, where we know the order.
    pub view: Option<OrderView>,
}

impl Verdict {
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
    pub async fn settle(&self, items: &[Item]) -> Result<Vec<Settled>, StoreError> {
        let mut tx = self.pool.begin().await?;
        let decided = self.decide(&mut tx, items).await?;
        failpoint::reached("settle.written");
        tx.commit().await?;
        failpoint::reached("settle.committed");
        Ok(self.announce(decided))
    }

    /// What [`Store::settle`] would answer: decided and written in the same way, and rolled back.
    ///
    /// # Errors
    /// Those of [`Store::settle`].
    pub async fn rehearse(&self, items: &[Item]) -> Result<Vec<Settled>, StoreError> {
        let mut tx = self.pool.begin().await?;
        let decided = self.decide(&mut tx, items).await?;
        tx.rollback().await?;
        Ok(decided.settled)
    }

    /// Decides and writes, in a transaction that the caller ends.
    pub(super) async fn decide(
        &self,
        tx: &mut sqlx::PgConnection,
        items: &[Item],
    ) -> Result<Decided, StoreError> {
        let mut desk = Desk::open(tx, items, self.patience.clone()).await?;
        let settled: Vec<Settled> = items.iter().map(|item| desk.settle(item)).collect();
        let moves = desk.transitions.iter().map(WrittenTransition::names).collect();
        let outgoing = desk.write(tx, items, &settled).await?;
        Ok(Decided { settled, moves, outgoing })
    }

    /// Tells of what is committed.
    pub(super) fn announce(&self, decided: Decided) -> Vec<Settled> {
        write::count_moves(&decided.moves);
        self.nudge.written(decided.outgoing);
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
struct Desk {
    /// The locked orders, as they were and as they are.
    before: BTreeMap<OrderKey, Stored>,
    now: BTreeMap<OrderKey, Stored>,
    /// On which order a transaction is booked.
    booked: HashMap<String, OrderKey>,
    exceptions: HashMap<OrderKey, Vec<Known>>,
    released: BTreeMap<OrderKey, Uuid>,
    transitions: Vec<WrittenTransition>,
    opened: Vec<OpenedException>,
    /// Orders of which a query confirmed what does not fit: a person decides now.
    halted: BTreeSet<OrderKey>,
    patience: Patience,
}

/// An exception that stands, open or resolved.
pub(super) struct Known {
    pub(super) kind: ExceptionKind,
    pub(super) transaction_id: String,
    pub(super) opened_at: OffsetDateTime,
    pub(super) open: bool,
}

/// How an exception was found.
struct Found {
    at: OffsetDateTime,
    /// It is so now, whatever a person resolved before: WeChat itself says it, or says nothing at
    /// all. A notification can be an old one, and leaves a resolution alone.
    insists: bool,
    trace: Option<String>,
}

impl Found {
    fn by(learned: &Learned, trace: Option<String>) -> Self {
        Self { at: learned.at, insists: learned.source == Source::Query, trace }
    }
}

impl Desk {
    async fn open(
        tx: &mut sqlx::PgConnection,
        items: &[Item],
        patience: Patience,
    ) -> Result<Self, StoreError> {
        let learned = || items.iter().filter_map(|item| item.learned.as_ref());
        let noticed = items.iter().filter_map(|item| item.notice.as_ref());
        let noticed = noticed.map(|notice| notice.key.clone());
        let keys: BTreeSet<OrderKey> =
            learned().map(|learned| learned.key.clone()).chain(noticed).collect();
        let keys: Vec<OrderKey> = keys.into_iter().collect();
        let transactions: Vec<String> = learned()
            .filter_map(|learned| match &learned.fact {
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
            halted: BTreeSet::new(),
            patience,
        })
    }

    fn settle(&mut self, item: &Item) -> Settled {
        if let Some(Notice { key, exception, at }) = &item.notice {
            let found = Found { at: *at, insists: true, trace: None };
            self.open_exception(key, exception, found);
        }
        match (&item.learned, &item.evidence) {
            (Some(learned), _) => self.apply(learned),
            (None, Some(evidence)) => Settled { verdict: evidence.verdict, view: None },
            (None, None) => Settled { verdict: Verdict::Already, view: None },
        }
    }

    fn apply(&mut self, learned: &Learned) -> Settled {
        let key = &learned.key;
        let Some(stored) = self.now.get_mut(key) else {
            let unknown = unknown_order(&learned.fact);
            let found = Found::by(learned, learned.traceparent.clone());
            self.open_exception(key, &unknown, found);
            return Settled { verdict: Verdict::Exception, view: None };
        };
        if let Some(holder) = learned.lease_holder {
            self.released.insert(key.clone(), holder);
        }
        let context = ApplyContext {
            at: learned.at,
            source: learned.source,
            booked_on: booked_elsewhere(&self.booked, &learned.fact, key),
        };
        let applied = match stored.order.apply(&learned.fact, &context) {
            Ok(applied) => applied,
            Err(refusal) => {
                let trace = learned.traceparent.clone();
                let found = Found::by(learned, trace);
                self.open_exception(key, &refusal.exception(), found);
                return Settled { verdict: Verdict::Refused, view: self.view(key, None) };
            }
        };
        stored.order = applied.order;
        let mut verdict = Verdict::Already;
        if let Some(exception) = &applied.exception {
            let found = Found::by(learned, None);
            self.note_exception(key, exception, &found);
            verdict = Verdict::Exception;
        }
        if let Step::Moved(transition) = applied.step {
            if let Fact::Paid { payment, .. } = &learned.fact {
                self.booked.insert(payment.transaction_id.to_string(), key.clone());
            }
            // The same transaction resolves it.
            for known in self.exceptions.get_mut(key).into_iter().flatten() {
                known.open &= known.kind != ExceptionKind::Unsettled;
            }
            let view = self.view(key, learned.pay.clone()).expect("the order was just applied to");
            let event = event::of_transition(Uuid::now_v7(), &transition, &view);
            let traceparent = learned.traceparent.clone();
            self.transitions.push(WrittenTransition {
                key: key.clone(),
                transition,
                outgoing: Outgoing { event, traceparent },
            });
            verdict = Verdict::Applied;
        }
        if let Some(exception) = &applied.exception {
            let found = Found::by(learned, learned.traceparent.clone());
            self.write_exception(key, exception, found);
            if verdict == Verdict::Exception && learned.source == Source::Query {
                self.halted.insert(key.clone());
            }
        }
        Settled { verdict, view: self.view(key, None) }
    }

    fn open_exception(&mut self, key: &OrderKey, exception: &Exception, found: Found) {
        self.note_exception(key, exception, &found);
        self.write_exception(key, exception, found);
    }

    /// Remembers the exception, so that the views of this batch show it.
    fn note_exception(&mut self, key: &OrderKey, exception: &Exception, found: &Found) {
        let transaction_id = transaction_text(exception);
        let known = self.exceptions.entry(key.clone()).or_default();
        let kind = exception.kind;
        let same = |it: &&mut Known| it.kind == kind && it.transaction_id == transaction_id;
        match known.iter_mut().find(same) {
            Some(stands) => stands.open |= found.insists,
            None => {
                known.push(Known { kind, transaction_id, opened_at: found.at, open: true });
            }
        }
    }

    /// Prepares the row and the event. A row that stands already is left as it is when written.
    fn write_exception(&mut self, key: &OrderKey, exception: &Exception, found: Found) {
        let view = self.view(key, None);
        let event = event::of_exception(Uuid::now_v7(), exception, key, view.as_ref(), found.at);
        self.opened.push(OpenedException {
            key: key.clone(),
            kind: exception.kind,
            transaction_id: transaction_text(exception),
            differs: exception.differs.clone(),
            opened_at: found.at,
            insists: found.insists,
            outgoing: Outgoing { event, traceparent: found.trace },
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
        items: &[Item],
        settled: &[Settled],
    ) -> Result<Vec<Outgoing>, StoreError> {
        let now = clock::now();
        let changed = self.now.iter().filter_map(|(key, stored)| {
            let before = self.before.get(key)?;
            let release = self.released.get(key).copied();
            let look = match self.halted.contains(key) {
                true => None,
                false => plan::next_look(&stored.order, &self.patience, Jitter::draw(), now),
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
        let evidence = items.iter().zip(settled).filter_map(|(item, settled)| {
            item.evidence.as_ref().map(|evidence| (evidence, settled.verdict))
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
