//! What a test can do with the gateway. The control API and the tests in the same process both call
//! these methods.

pub(crate) mod routes;

mod page;

use time::OffsetDateTime;
use wechatpay_v2::MchId;

use crate::api::Api;
use crate::error::ControlError;
use crate::faults::held::{HeldCall, HeldCallFilter};
use crate::faults::plan::{FaultPlan, PlannedFault};
use crate::message::can_be_text;
use crate::notifications::schedule;
use crate::order::OrderKey;
use crate::pay::{self, Paid};
use crate::pay_options::PayOptions;
use crate::simulator::Simulator;
use crate::view::{NotificationView, OrderCalls, OrderView, RequestCounts};

const FAULTS_MAX: usize = 10_000;

impl Simulator {
    /// The customer pays the order.
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
                state.add_notification(&key, delivery.view());
                schedule::start(self, delivery, pending);
            }
            paid
        };
        tracing::info!(
            out_trade_no,
            transaction_id = paid.transaction_id.as_str(),
            notify_only = options.notify_only,
            hold = options.hold,
            "payment requested",
        );
        Ok(paid)
    }

    /// All orders, the oldest first.
    #[must_use]
    pub fn orders(&self) -> Vec<OrderView> {
        let state = self.state();
        let orders = state.orders();
        orders.map(|(key, order)| state.view(key, order)).collect()
    }

    /// The orders created last, the newest first.
    #[must_use]
    pub fn newest_orders(&self, limit: usize) -> Vec<OrderView> {
        let state = self.state();
        let orders = state.orders().rev().take(limit);
        orders.map(|(key, order)| state.view(key, order)).collect()
    }

    #[must_use]
    pub fn order(&self, mch_id: &str, out_trade_no: &str) -> Option<OrderView> {
        let key = key(mch_id, out_trade_no).ok()?;
        let state = self.state();
        Some(state.view(&key, state.order(&key)?))
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

    /// Replaces the plan of faults. Seeded faults start again from their seed.
    ///
    /// # Errors
    /// When the plan is too long, has a text that XML does not allow, or a rate above 1000.
    pub fn set_faults(&self, plan: FaultPlan) -> Result<(), ControlError> {
        if plan.faults().count() > FAULTS_MAX {
            return Err(ControlError::Invalid("at most 10000 faults"));
        }
        if !plan.faults().all(|fault| fault.texts().into_iter().all(can_be_text)) {
            return Err(ControlError::Invalid("a text has a character that XML does not allow"));
        }
        plan.seeded.map_or(Ok(()), |seeded| seeded.check()).map_err(ControlError::Invalid)?;
        self.state().set_faults(plan);
        Ok(())
    }

    /// Adds a fault to the plan. Seeded faults continue where they are.
    ///
    /// # Errors
    /// When the plan is full, or a text has a character that XML does not allow.
    pub fn add_fault(&self, api: Api, fault: PlannedFault) -> Result<(), ControlError> {
        if !fault.fault.texts().into_iter().all(can_be_text) {
            return Err(ControlError::Invalid("a text has a character that XML does not allow"));
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

    /// The calls that wait to be released.
    #[must_use]
    pub fn held_calls(&self) -> Vec<HeldCall> {
        let mut state = self.state();
        state.waiting.retain(|waiting| !waiting.release.is_closed());
        state.waiting.iter().map(|waiting| waiting.call.clone()).collect()
    }

    /// Releases held calls and returns how many.
    pub fn release(&self, which: &HeldCallFilter) -> usize {
        let mut state = self.state();
        let released = state.waiting.extract_if(.., |waiting| which.matches(&waiting.call));
        released.filter_map(|waiting| waiting.release.send(()).ok()).count()
    }

    /// Sets the `trade_state` that orderquery answers, one of WeChat's or any other.
    ///
    /// # Errors
    /// When there is no such order, or the state needs a payment and there is none.
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
        Ok(state.view(&key, order))
    }
}

/// A number that the gateway never accepts is the number of no order.
fn key(mch_id: &str, out_trade_no: &str) -> Result<OrderKey, ControlError> {
    let mch_id = MchId::parse(mch_id).map_err(|_| ControlError::NotFound("no such merchant"))?;
    if out_trade_no.is_empty() || out_trade_no.len() > 32 || !can_be_text(out_trade_no) {
        return Err(ControlError::NotFound("no such order"));
    }
    Ok(OrderKey { mch_id, out_trade_no: out_trade_no.to_owned() })
}
