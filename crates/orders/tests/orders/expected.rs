//! What `apply` must answer.

use orders::testing::NOW;
use orders::{
    Applied, ApplyContext, Difference, Exception, ExceptionKind, Fact, Order, State, Step,
    Transition,
};
use wechatpay_v2::Payment;

/// The data of the state that a fact leads to.
pub(crate) fn reached(fact: &Fact) -> State {
    match fact.clone() {
        Fact::PrepayIssued(prepay) => State::Payable { prepay, issued_at: NOW },
        Fact::CreateRefused(failure) => State::Failed(failure),
        Fact::Paid { payment, .. } => State::Paid(payment),
        Fact::CloseRequested => State::Closing { since: NOW },
        Fact::Closed => State::Closed { at: NOW },
    }
}

pub(crate) fn moved(order: &Order, fact: &Fact, context: &ApplyContext) -> Applied {
    let state = reached(fact);
    let closes = matches!(fact, Fact::CloseRequested | Fact::Closed);
    let transition = Transition {
        seq: order.seq + 1,
        from: Some(order.state.name()),
        to: state.name(),
        fact: fact.kind(),
        fact_json: fact.to_json(),
        source: context.source,
        at: context.at,
    };
    Applied {
        order: Order {
            state,
            seq: order.seq + 1,
            updated_at: context.at,
            gateway_message: order.gateway_message.clone().filter(|_| closes),
            // Every field is named, so that a new one is considered here.
            request: order.request.clone(),
            time_expire: order.time_expire,
            sign_type: order.sign_type,
            created_at: order.created_at,
        },
        step: Step::Moved(transition),
        exception: None,
    }
}

pub(crate) fn stays(order: &Order, exception: Option<Exception>) -> Applied {
    Applied { order: order.clone(), step: Step::Already, exception }
}

/// A newer prepay also answers WeChat's text about an earlier attempt.
pub(crate) fn renewed(order: &Order, state: State) -> Order {
    Order { state, gateway_message: None, ..order.clone() }
}

pub(crate) fn difference(field: &str, ours: &str, theirs: &str) -> Difference {
    Difference { field: field.to_owned(), ours: ours.to_owned(), theirs: theirs.to_owned() }
}

pub(crate) fn exception(
    kind: ExceptionKind,
    payment: &Payment,
    differs: Vec<Difference>,
) -> Exception {
    Exception { kind, transaction_id: Some(payment.transaction_id.clone()), differs }
}

pub(crate) fn late(payment: &Payment, state: &str, ended: &str, paid_at: &str) -> Exception {
    let differs = vec![difference("state", state, "paid"), difference("time_end", ended, paid_at)];
    exception(ExceptionKind::LatePayment, payment, differs)
}
