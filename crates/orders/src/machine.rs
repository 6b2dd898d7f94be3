//! The state machine: one total, pure `match` on state and fact. Its table is in
//! `crates/orders/README.md`.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use wechatpay_v2::unifiedorder::Prepay;
use wechatpay_v2::{Payment, SignType};

use crate::Transition;
use crate::order::Differences;
use crate::{
    Difference, Exception, ExceptionKind, Fact, FactKind, Order, Source, State, StateName,
};

/// What a fact is applied with.
#[derive(Clone, Debug)]
pub struct ApplyContext {
    /// When the fact is applied, in UTC.
    pub at: OffsetDateTime,
    pub source: Source,
    /// For [`Fact::Paid`]: the `out_trade_no` of **another** order on which the same
    /// `transaction_id` is booked already.
    pub booked_on: Option<String>,
}

/// What a fact did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The order as it is now. It can hold newer data even if its state did not change: the prepay
    /// that was issued last.
    pub order: Order,
    pub step: Step,
    /// What does not fit.
    pub exception: Option<Exception>,
}

/// Applying the same fact twice is not an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Moved(Transition),
    /// The order was in that state already, or the fact cannot change its state.
    Already,
}

/// A fact that the state cannot accept. The order does not change, and an exception opens.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an order that is {state} cannot accept {}", fact.as_str())]
pub struct Refusal {
    pub state: StateName,
    pub fact: FactKind,
}

impl Refusal {
    /// The exception that opens: `contradiction`.
    #[must_use]
    pub fn exception(&self) -> Exception {
        Exception {
            kind: ExceptionKind::Contradiction,
            transaction_id: None,
            differs: vec![Difference::new("state", self.state, self.fact.as_str())],
        }
    }
}

impl Order {
    /// A close of a paid order yields `Already` without an exception: the caller answers with the
    /// order's state.
    ///
    /// # Errors
    /// When the state cannot accept the fact.
    pub fn apply(&self, fact: &Fact, context: &ApplyContext) -> Result<Applied, Refusal> {
        use State::{Closed, Closing, Created, Failed, Paid, Payable};

        let at = context.at;
        match (&self.state, fact) {
            (_, Fact::Paid { payment, sign_type }) => {
                Ok(self.apply_paid(fact, payment, *sign_type, context))
            }

            (Created, Fact::PrepayIssued(prepay)) => {
                let prepay = prepay.clone();
                Ok(self.moved(Payable { prepay, issued_at: at }, fact, context))
            }
            (Payable { prepay: last, issued_at }, Fact::PrepayIssued(prepay)) => {
                Ok(self.refreshed(last, *issued_at, prepay, at))
            }
            (Closing { .. } | Paid(_), Fact::PrepayIssued(_)) => Ok(self.already()),
            (Closed { .. } | Failed(_), Fact::PrepayIssued(_)) => Err(self.refusal(fact)),

            (Created, Fact::CreateRefused(failure)) => {
                Ok(self.moved(Failed(failure.clone()), fact, context))
            }
            (Payable { .. }, Fact::CreateRefused(_)) => Err(self.refusal(fact)),
            (Closing { .. } | Closed { .. } | Failed(_) | Paid(_), Fact::CreateRefused(_)) => {
                Ok(self.already())
            }

            (Created | Payable { .. }, Fact::CloseRequested) => {
                Ok(self.moved(Closing { since: at }, fact, context))
            }
            (Closing { .. } | Closed { .. } | Failed(_) | Paid(_), Fact::CloseRequested) => {
                Ok(self.already())
            }

            (Created | Payable { .. } | Closing { .. }, Fact::Closed) => {
                Ok(self.moved(Closed { at }, fact, context))
            }
            (Closed { .. } | Failed(_), Fact::Closed) => Ok(self.already()),
            (Paid(_), Fact::Closed) => Err(self.refusal(fact)),
        }
    }

    /// Keeps the prepay that was issued last. A repeated one keeps the time of its first issue. An
    /// older one changes nothing: a writer that lost a race applies its fact again.
    fn refreshed(
        &self,
        last: &Prepay,
        issued_at: OffsetDateTime,
        prepay: &Prepay,
        at: OffsetDateTime,
    ) -> Applied {
        let mut applied = self.already();
        if at >= issued_at {
            let again = prepay.prepay_id == last.prepay_id;
            applied.order.state = State::Payable {
                prepay: prepay.clone(),
                issued_at: if again { issued_at } else { at },
            };
            applied.order.gateway_message = None;
        }
        applied
    }

    fn apply_paid(
        &self,
        fact: &Fact,
        payment: &Payment,
        sign_type: SignType,
        context: &ApplyContext,
    ) -> Applied {
        if let Some(exception) = self.mismatch(payment, sign_type, context) {
            return Applied { exception: Some(exception), ..self.already() };
        }
        let late = match &self.state {
            State::Created | State::Payable { .. } => None,
            State::Closing { since } => (payment.time_end.instant() > *since).then_some(*since),
            State::Closed { at } => Some(*at),
            State::Failed(_) => Some(self.updated_at),
            State::Paid(booked) if booked.transaction_id == payment.transaction_id => {
                return self.already();
            }
            State::Paid(booked) => {
                let second = Difference::new(
                    "transaction_id",
                    &booked.transaction_id,
                    &payment.transaction_id,
                );
                let kind = ExceptionKind::DuplicatePayment;
                return Applied {
                    exception: Some(payment_exception(payment, kind, vec![second])),
                    ..self.already()
                };
            }
        };
        let exception = late.map(|ended| {
            let paid_at = payment.time_end.instant();
            let differs = vec![
                Difference::new("state", self.state.name(), StateName::Paid),
                Difference::new("time_end", utc(ended), utc(paid_at)),
            ];
            payment_exception(payment, ExceptionKind::LatePayment, differs)
        });
        Applied { exception, ..self.moved(State::Paid(Box::new(payment.clone())), fact, context) }
    }

    fn mismatch(
        &self,
        payment: &Payment,
        sign_type: SignType,
        context: &ApplyContext,
    ) -> Option<Exception> {
        let Differences { mut identity, mut amount } = self.differences(payment, sign_type);
        if let Some(other) = &context.booked_on {
            identity.push(Difference::new(
                "transaction_id",
                format!("booked on {other}"),
                &payment.transaction_id,
            ));
        }
        let kind = match (identity.is_empty(), amount.is_empty()) {
            (true, true) => return None,
            (true, false) => ExceptionKind::AmountMismatch,
            (false, _) => ExceptionKind::IdentityMismatch,
        };
        identity.append(&mut amount);
        Some(payment_exception(payment, kind, identity))
    }

    fn moved(&self, state: State, fact: &Fact, context: &ApplyContext) -> Applied {
        let transition = Transition {
            seq: self.seq + 1,
            from: Some(self.state.name()),
            to: state.name(),
            fact: fact.kind(),
            fact_json: fact.to_json(),
            source: context.source,
            at: context.at,
        };
        // WeChat's last text also explains why an order was closed. Any other move answers the
        // attempt that the text is about.
        let gateway_message = match fact {
            Fact::CloseRequested | Fact::Closed => self.gateway_message.clone(),
            Fact::PrepayIssued(_) | Fact::CreateRefused(_) | Fact::Paid { .. } => None,
        };
        let order = Self {
            state,
            seq: transition.seq,
            updated_at: context.at,
            gateway_message,
            ..self.clone()
        };
        Applied { order, step: Step::Moved(transition), exception: None }
    }

    fn already(&self) -> Applied {
        Applied { order: self.clone(), step: Step::Already, exception: None }
    }

    fn refusal(&self, fact: &Fact) -> Refusal {
        Refusal { state: self.state.name(), fact: fact.kind() }
    }
}

fn payment_exception(
    payment: &Payment,
    kind: ExceptionKind,
    differs: Vec<Difference>,
) -> Exception {
    Exception { kind, transaction_id: Some(payment.transaction_id.clone()), differs }
}

/// Both sides of a difference in UTC, or equal times seem to be eight hours apart.
fn utc(instant: OffsetDateTime) -> String {
    instant.format(&Rfc3339).unwrap_or_else(|_| instant.to_string())
}
