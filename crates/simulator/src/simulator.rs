//! What a test may ask of the gateway: the control routes and the tests in the same process both
//! come through here.

use time::OffsetDateTime;
use wechatpay_v2::MchId;

use crate::Simulator;
use crate::faults::{FaultPlan, PlannedFault};
use crate::held::{HeldCall, Release};
use crate::message::can_be_text;
use crate::order::OrderKey;
use crate::pay::{self, Paid};
use crate::pay_options::PayOptions;
use crate::view::{Api, NotificationView, OrderCalls, OrderView, RequestCounts};

const FAULTS_MAX: usize = 10_000;

/// Why the simulator does not do what it is asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// No such merchant or order.
    #[error("{0}")]
    NotFound(&'static str),
    /// The order's state forbids it.
    #[error("{0}")]
    Conflict(&'static str),
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(&'static str),
    /// Too much is under way.
    #[error("too many notifications are waiting")]
    Busy,
}

impl Simulator {
    /// The customer pays now.
    ///
    /// # Errors
    /// When there is no such merchant or order, the order's state forbids it, or the options
    /// contradict each other.
    pub fn pay(
        &self,
        mch_id: &str,
        out_trade_no: &str,
        options: &PayOptions,
    ) -> Result<Paid, ControlError> {
        let key = key(mch_id, out_trade_no)?;
        let merchant = self.merchants().get(&key.mch_id);
        let merchant = merchant.ok_or(ControlError::NotFound("no such merchant"))?;
        let pending = self.pending_permit()?;
        let paid = {
            let mut state = self.state();
            let now = OffsetDateTime::now_utc();
            let (paid, delivery) = pay::pay(&mut state, merchant, &key, options, now)?;
            if let Some(delivery) = delivery {
                state.record(&key, delivery.record());
                self.begin(delivery, pending);
            }
            paid
        };
        let transaction_id = paid.transaction_id.as_str();
        let (notify_only, hold) = (options.notify_only, options.hold);
        tracing::info!(out_trade_no, transaction_id, notify_only, hold, "asked to pay");
        Ok(paid)
    }

    /// All orders, the oldest first.
    #[must_use]
    pub fn orders(&self) -> Vec<OrderView> {
        let state = self.state();
        let orders = state.orders();
        orders.map(|(key, order)| OrderView::of(&state, key, order)).collect()
    }

    /// The orders created last, the newest first.
    #[must_use]
    pub fn newest_orders(&self, limit: usize) -> Vec<OrderView> {
        let state = self.state();
        let orders = state.orders().rev().take(limit);
        orders.map(|(key, order)| OrderView::of(&state, key, order)).collect()
    }

    /// One order.
    #[must_use]
    pub fn order(&self, mch_id: &str, out_trade_no: &str) -> Option<OrderView> {
        let key = key(mch_id, out_trade_no).ok()?;
        let state = self.state();
        Some(OrderView::of(&state, &key, state.order(&key)?))
    }

    /// The notifications about an order, which need not exist.
    #[must_use]
    pub fn notifications(&self, mch_id: &str, out_trade_no: &str) -> Vec<NotificationView> {
        key(mch_id, out_trade_no)
            .map_or_else(|_| Vec::new(), |key| self.state().notifications(&key))
    }

    /// How often the gateway was called.
    #[must_use]
    pub fn request_counts(&self) -> RequestCounts {
        let state = self.state();
        RequestCounts { apis: state.outcomes.clone(), orders: state.calls().cloned().collect() }
    }

    /// How often the gateway was called about one order.
    #[must_use]
    pub fn calls(&self, mch_id: &str, out_trade_no: &str) -> OrderCalls {
        let found = key(mch_id, out_trade_no).ok();
        found.and_then(|key| self.state().calls_of(&key).cloned()).unwrap_or_default()
    }

    /// Replaces the plan of faults; a seeded one begins anew.
    ///
    /// # Errors
    /// When the plan is too long, holds a text that XML cannot carry, or exceeds a bound.
    pub fn set_faults(&self, plan: FaultPlan) -> Result<(), ControlError> {
        if plan.faults().count() > FAULTS_MAX {
            return Err(ControlError::Invalid("at most 10000 faults"));
        }
        if !plan.faults().all(|fault| fault.texts().into_iter().all(can_be_text)) {
            return Err(ControlError::Invalid("a text holds what XML cannot carry"));
        }
        plan.seeded.map_or(Ok(()), |seeded| seeded.check()).map_err(ControlError::Invalid)?;
        self.state().set_faults(plan);
        Ok(())
    }

    /// Adds a fault to the plan; what chance has in store goes on.
    ///
    /// # Errors
    /// When the plan is full, or a text holds what XML cannot carry.
    pub fn add_fault(&self, api: Api, fault: PlannedFault) -> Result<(), ControlError> {
        if !fault.fault.texts().into_iter().all(can_be_text) {
            return Err(ControlError::Invalid("a text holds what XML cannot carry"));
        }
        let mut state = self.state();
        if state.faults().faults().count() >= FAULTS_MAX {
            return Err(ControlError::Invalid("at most 10000 faults"));
        }
        state.add_fault(api, fault);
        Ok(())
    }

    /// What is left of the plan.
    #[must_use]
    pub fn faults(&self) -> FaultPlan {
        self.state().faults().clone()
    }

    /// Calls that wait to be released.
    #[must_use]
    pub fn held_calls(&self) -> Vec<HeldCall> {
        let mut state = self.state();
        state.held.retain(|held| !held.release.is_closed());
        state.held.iter().map(|held| held.call.clone()).collect()
    }

    /// Lets waiting calls go on, and says how many.
    pub fn release(&self, which: &Release) -> usize {
        let mut state = self.state();
        let released = state.held.extract_if(.., |held| which.fits(&held.call));
        released.filter_map(|held| held.release.send(()).ok()).count()
    }

    /// Sets what orderquery says of an order, in WeChat's words or any other.
    ///
    /// # Errors
    /// When there is no such order, or the state needs a payment that there is not.
    pub fn set_state(
        &self,
        mch_id: &str,
        out_trade_no: &str,
        trade_state: &str,
    ) -> Result<OrderView, ControlError> {
        if !(1..=32).contains(&trade_state.len()) || !can_be_text(trade_state) {
            return Err(ControlError::Invalid("trade_state has 1 to 32 bytes"));
        }
        let key = key(mch_id, out_trade_no)?;
        let mut state = self.state();
        let order = state.order_mut(&key).ok_or(ControlError::NotFound("no such order"))?;
        if matches!(trade_state, "SUCCESS" | "REFUND") && order.payments.is_empty() {
            return Err(ControlError::Conflict("the order is not paid yet"));
        }
        trade_state.clone_into(&mut order.trade_state);
        if order.is_closed() {
            order.closed_at.get_or_insert_with(OffsetDateTime::now_utc);
        }
        let order = state.order(&key).ok_or(ControlError::NotFound("no such order"))?;
        Ok(OrderView::of(&state, &key, order))
    }
}

/// An order's name. A number that the gateway could never have is no order.
fn key(mch_id: &str, out_trade_no: &str) -> Result<OrderKey, ControlError> {
    let mch_id = MchId::parse(mch_id).map_err(|_| ControlError::NotFound("no such merchant"))?;
    if out_trade_no.is_empty() || out_trade_no.len() > 32 || !can_be_text(out_trade_no) {
        return Err(ControlError::NotFound("no such order"));
    }
    Ok(OrderKey { mch_id, out_trade_no: out_trade_no.to_owned() })
}
