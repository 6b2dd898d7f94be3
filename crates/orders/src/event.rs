//! Events: made once, stored with their cause, and sent as the same bytes every time.

use std::fmt;

use serde::Serialize;
use time::OffsetDateTime;
use uuid::Uuid;
use wechatpay_v2::MchId;

use crate::{
    Difference, Exception, ExceptionKind, OrderKey, OrderView, Problem, StateName, Transition,
};

const VERSION: u8 = 1;

/// The namespace of a rejection's UUIDv5. Its name is the merchant and the command's message id, so
/// a command that is delivered twice has one event. The merchant belongs to it because two shops may
/// both number their messages 1, 2, 3.
const REJECTION_NAMESPACE: Uuid = Uuid::from_u128(0x6f8e_2b1c_94d7_4b0f_a3b5_5d0c_77e1_9a42);

/// An event, ready to be stored and sent, with its JSON. `Debug` omits the body, which names the
/// payer and can hold a `paySign`.
#[derive(Clone, PartialEq, Eq)]
pub struct Event {
    /// The same at every publication; the AMQP `message_id`.
    pub id: Uuid,
    /// `order.paid`, `exception.opened` …; the AMQP `type`.
    pub kind: &'static str,
    /// The last part of the routing key.
    pub mch_id: MchId,
    pub body: String,
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("mch_id", &self.mch_id)
            .finish_non_exhaustive()
    }
}

pub const EXCEPTION_OPENED: &str = "exception.opened";
pub const ORDER_REJECTED: &str = "order.rejected";

/// The type of the event that a transition into `state` causes.
#[must_use]
pub fn type_of(state: StateName) -> &'static str {
    match state {
        StateName::Created => "order.created",
        StateName::Payable => "order.payable",
        StateName::Paid => "order.paid",
        StateName::Closing => "order.closing",
        StateName::Closed => "order.closed",
        StateName::Failed => "order.failed",
    }
}

/// The event of a transition. `view` is the order as of the transition's `seq`.
#[must_use]
pub fn of_transition(id: Uuid, transition: &Transition, view: &OrderView) -> Event {
    let kind = type_of(transition.to);
    let key = view.request.key();
    let body = Envelope {
        seq: Some(transition.seq),
        state: Some(transition.to),
        previous_state: transition.from,
        order: Some(view),
        ..Envelope::new(id, kind, transition.at, &key.mch_id, key.out_trade_no.as_str())
    };
    Event { id, kind, body: body.to_json(), mch_id: key.mch_id }
}

/// The event of an opened exception. `view` is `None` if the order is unknown.
#[must_use]
pub fn of_exception(
    id: Uuid,
    exception: &Exception,
    key: &OrderKey,
    view: Option<&OrderView>,
    opened_at: OffsetDateTime,
) -> Event {
    let body = Envelope {
        seq: view.map(|view| view.seq),
        state: view.map(|view| view.state),
        order: view,
        exception: Some(ExceptionBody {
            kind: exception.kind,
            transaction_id: exception.transaction_id.as_ref().map(|id| id.as_str()),
            differs: &exception.differs,
            opened_at,
        }),
        ..Envelope::new(id, EXCEPTION_OPENED, opened_at, &key.mch_id, key.out_trade_no.as_str())
    };
    Event { id, kind: EXCEPTION_OPENED, body: body.to_json(), mch_id: key.mch_id.clone() }
}

/// The event of notifications whose signature does not verify, once per merchant and hour. Their
/// order number cannot be trusted, so `out_trade_no` is `-`.
#[must_use]
pub fn of_bad_signatures(id: Uuid, mch_id: &MchId, opened_at: OffsetDateTime) -> Event {
    let exception = ExceptionBody {
        kind: ExceptionKind::BadSignature,
        transaction_id: None,
        differs: &[],
        opened_at,
    };
    let body = Envelope {
        exception: Some(exception),
        ..Envelope::new(id, EXCEPTION_OPENED, opened_at, mch_id, "-")
    };
    Event { id, kind: EXCEPTION_OPENED, body: body.to_json(), mch_id: mch_id.clone() }
}

/// The event of a rejected command. `message_id` is the command's. `out_trade_no` is as the shop gave
/// it, because it may be the wrong field.
#[must_use]
pub fn of_rejection(
    message_id: &str,
    mch_id: &MchId,
    out_trade_no: &str,
    problem: &Problem,
    at: OffsetDateTime,
) -> Event {
    let id = Uuid::new_v5(&REJECTION_NAMESPACE, format!("{mch_id}/{message_id}").as_bytes());
    let body = Envelope {
        problem: Some(problem),
        ..Envelope::new(id, ORDER_REJECTED, at, mch_id, out_trade_no)
    };
    Event { id, kind: ORDER_REJECTED, body: body.to_json(), mch_id: mch_id.clone() }
}

#[derive(Serialize)]
struct Envelope<'a> {
    id: Uuid,
    #[serde(rename = "type")]
    kind: &'static str,
    version: u8,
    #[serde(with = "time::serde::rfc3339")]
    occurred_at: OffsetDateTime,
    mch_id: &'a MchId,
    out_trade_no: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<StateName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_state: Option<StateName>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exception: Option<ExceptionBody<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a Problem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    order: Option<&'a OrderView>,
}

#[derive(Serialize)]
struct ExceptionBody<'a> {
    kind: ExceptionKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction_id: Option<&'a str>,
    differs: &'a [Difference],
    #[serde(with = "time::serde::rfc3339")]
    opened_at: OffsetDateTime,
}

impl<'a> Envelope<'a> {
    fn new(
        id: Uuid,
        kind: &'static str,
        occurred_at: OffsetDateTime,
        mch_id: &'a MchId,
        out_trade_no: &'a str,
    ) -> Self {
        Self {
            id,
            kind,
            version: VERSION,
            occurred_at,
            mch_id,
            out_trade_no,
            seq: None,
            state: None,
            previous_state: None,
            exception: None,
            problem: None,
            order: None,
        }
    }

    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts, numbers and times are always JSON")
    }
}
