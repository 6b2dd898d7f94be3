//! Facts become state: a batch of messages in one transaction, one verdict for each.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytes::Bytes;
use orders::event;
use orders::{Circumstances, Exception, ExceptionKind, ExceptionView, Fact, OrderKey, OrderView};
use orders::{Pay, Source, Step};
use time::OffsetDateTime;
use uuid::Uuid;
use wechatpay_v2::MchId;

use super::write::{self, Cause, OpenedException, WrittenTransition};
use super::{Outgoing, Store, StoreError, Stored, row};

/// One message of a batch: what it taught, and the evidence that it came.
#[derive(Clone, Debug)]
pub struct Item {
    /// What was learned, unless the message teaches nothing.
    pub learned: Option<Learned>,
    /// The notification itself, unless the fact came another way.
    pub evidence: Option<Evidence>,
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
        let mut desk = Desk::open(&mut tx, items).await?;
        let settled: Vec<Settled> = items.iter().map(|item| desk.settle(item)).collect();
        let moves: Vec<_> = desk.transitions.iter().map(WrittenTransition::names).collect();
        let outgoing = desk.write(&mut tx, items, &settled).await?;
        tx.commit().await?;
        write::count_moves(&moves);
        self.nudge.written(outgoing);
        Ok(settled)
    }
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
}

/// An exception that stands, open or resolved.
pub(super) struct Known {
    pub(super) kind: ExceptionKind,
    pub(super) transaction_id: String,
    pub(super) opened_at: OffsetDateTime,
    pub(super) open: bool,
}

impl Desk {
    async fn open(tx: &mut sqlx::PgConnection, items: &[Item]) -> Result<Self, StoreError> {
        let learned = || items.iter().filter_map(|item| item.learned.as_ref());
        let keys: BTreeSet<OrderKey> = learned().map(|learned| learned.key.clone()).collect();
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
        })
    }

    fn settle(&mut self, item: &Item) -> Settled {
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
            self.open_exception(learned, &unknown);
            return Settled { verdict: Verdict::Exception, view: None };
        };
        if let Some(holder) = learned.lease_holder {
            self.released.insert(key.clone(), holder);
        }
        let around = Circumstances {
            at: learned.at,
            source: learned.source,
            booked_on: booked_elsewhere(&self.booked, &learned.fact, key),
        };
        let applied = match stored.order.apply(&learned.fact, &around) {
            Ok(applied) => applied,
            Err(refusal) => {
                self.open_exception(learned, &refusal.exception());
                return Settled { verdict: Verdict::Refused, view: self.view(key, None) };
            }
        };
        stored.order = applied.order;
        let mut verdict = Verdict::Already;
        if let Some(exception) = &applied.exception {
            self.note_exception(key, exception, learned.at);
            verdict = Verdict::Exception;
        }
        if let Step::Moved(transition) = applied.step {
            if let Fact::Paid { payment, .. } = &learned.fact {
                self.booked.insert(payment.transaction_id.to_string(), key.clone());
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
            self.write_exception(learned, exception);
        }
        Settled { verdict, view: self.view(key, None) }
    }

    fn open_exception(&mut self, learned: &Learned, exception: &Exception) {
        self.note_exception(&learned.key, exception, learned.at);
        self.write_exception(learned, exception);
    }

    /// Remembers the exception, so that the views of this batch show it.
    fn note_exception(&mut self, key: &OrderKey, exception: &Exception, at: OffsetDateTime) {
        let transaction_id = transaction_text(exception);
        let known = self.exceptions.entry(key.clone()).or_default();
        let stands = known
            .iter()
            .any(|known| known.kind == exception.kind && known.transaction_id == transaction_id);
        if !stands {
            let kind = exception.kind;
            known.push(Known { kind, transaction_id, opened_at: at, open: true });
        }
    }

    /// Prepares the row and the event. A row that stands already is left as it is when written.
    fn write_exception(&mut self, learned: &Learned, exception: &Exception) {
        let key = &learned.key;
        let view = self.view(key, None);
        let event = event::of_exception(Uuid::now_v7(), exception, key, view.as_ref(), learned.at);
        self.opened.push(OpenedException {
            key: key.clone(),
            kind: exception.kind,
            transaction_id: transaction_text(exception),
            differs: exception.differs.clone(),
            opened_at: learned.at,
            outgoing: Outgoing { event, traceparent: learned.traceparent.clone() },
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
        let changed = self.now.iter().filter_map(|(key, now)| {
            let before = self.before.get(key)?;
            let release = self.released.get(key).copied();
            (now.order != before.order || release.is_some()).then_some((
                &before.order,
                &now.order,
                release,
            ))
        });
        write::orders(tx, &changed.collect::<Vec<_>>()).await?;
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
