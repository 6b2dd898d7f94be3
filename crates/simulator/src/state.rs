//! Everything that the gateway stores: one struct, behind one mutex that is never held across an
//! await. Each collection is bounded.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::AddAssign;

use wechatpay_v2::TransactionId;

use crate::api::Api;
use crate::faults::fault::Fault;
use crate::faults::held::WaitingCall;
use crate::faults::plan::{FaultPlan, PlannedFault};
use crate::faults::seeded::CallCounters;
use crate::ids::IdGenerator;
use crate::order::{Order, OrderKey};
use crate::pay_options::PayOptions;
use crate::payment::Payment;
use crate::view::{NotificationView, OrderCalls, OrderView};

const NOTIFICATIONS_PER_ORDER_MAX: usize = 64;

pub(crate) struct State {
    orders: HashMap<OrderKey, Order>,
    creation_order: VecDeque<OrderKey>,
    orders_max: usize,
    transactions: HashMap<TransactionId, OrderKey>,
    notifications: BTreeMap<OrderKey, VecDeque<NotificationView>>,
    pub(crate) ids: IdGenerator,
    faults: FaultPlan,
    call_counters: CallCounters,
    pub(crate) waiting: Vec<WaitingCall>,
    pub(crate) outcomes: BTreeMap<Api, BTreeMap<String, u64>>,
    calls: BTreeMap<OrderKey, OrderCalls>,
}

impl State {
    pub(crate) fn new(orders_max: usize) -> Self {
        Self {
            orders: HashMap::new(),
            creation_order: VecDeque::new(),
            orders_max: orders_max.max(1),
            transactions: HashMap::new(),
            notifications: BTreeMap::new(),
            ids: IdGenerator::default(),
            faults: FaultPlan::default(),
            call_counters: CallCounters::default(),
            waiting: Vec::new(),
            outcomes: BTreeMap::new(),
            calls: BTreeMap::new(),
        }
    }

    pub(crate) fn order(&self, key: &OrderKey) -> Option<&Order> {
        self.orders.get(key)
    }

    pub(crate) fn order_mut(&mut self, key: &OrderKey) -> Option<&mut Order> {
        self.orders.get_mut(key)
    }

    /// All orders, the oldest first.
    pub(crate) fn orders(&self) -> impl DoubleEndedIterator<Item = (&OrderKey, &Order)> {
        self.creation_order.iter().filter_map(|key| Some((key, self.orders.get(key)?)))
    }

    /// Adds an order; deletes the oldest when there are too many.
    pub(crate) fn insert(&mut self, key: OrderKey, order: Order) {
        if self.orders.len() >= self.orders_max
            && let Some(oldest) = self.creation_order.pop_front()
        {
            tracing::warn!(
                out_trade_no = oldest.out_trade_no,
                "deleted the oldest order: too many orders"
            );
            self.delete(&oldest);
        }
        self.creation_order.push_back(key.clone());
        self.orders.insert(key, order);
    }

    fn delete(&mut self, key: &OrderKey) {
        self.notifications.remove(key);
        self.calls.remove(key);
        self.call_counters.delete(key);
        for payment in self.orders.remove(key).into_iter().flat_map(|o| o.payments) {
            self.transactions.remove(&payment.transaction_id);
        }
    }

    pub(crate) fn add_payment(&mut self, key: &OrderKey, payment: Payment) {
        if let Some(order) = self.orders.get_mut(key) {
            "SUCCESS".clone_into(&mut order.trade_state);
            self.transactions.entry(payment.transaction_id.clone()).or_insert_with(|| key.clone());
            order.payments.push(payment);
        }
    }

    pub(crate) fn key_of(&self, transaction_id: &str) -> Option<&OrderKey> {
        self.transactions.get(&TransactionId::parse(transaction_id).ok()?)
    }

    pub(crate) fn view(&self, key: &OrderKey, order: &Order) -> OrderView {
        OrderView::of(key, order, self.notifications(key))
    }

    pub(crate) fn notifications(&self, key: &OrderKey) -> Vec<NotificationView> {
        self.notifications.get(key).into_iter().flatten().cloned().collect()
    }

    /// `orders_max` bounds the notifications about unknown orders too.
    pub(crate) fn add_notification(&mut self, key: &OrderKey, notification: NotificationView) {
        if !self.notifications.contains_key(key) && self.notifications.len() > self.orders_max {
            return;
        }
        let notifications = self.notifications.entry(key.clone()).or_default();
        if notifications.len() == NOTIFICATIONS_PER_ORDER_MAX {
            notifications.pop_front();
        }
        notifications.push_back(notification);
    }

    pub(crate) fn notification_mut(
        &mut self,
        key: &OrderKey,
        id: u64,
    ) -> Option<&mut NotificationView> {
        let mut notifications = self.notifications.get_mut(key)?.iter_mut();
        notifications.find(|notification| notification.id == id)
    }

    pub(crate) fn faults(&self) -> &FaultPlan {
        &self.faults
    }

    pub(crate) fn add_fault(&mut self, api: Api, fault: PlannedFault) {
        self.faults.of_call_mut(api).push(fault);
    }

    pub(crate) fn set_faults(&mut self, plan: FaultPlan) {
        self.faults = plan;
        self.call_counters = CallCounters::default();
    }

    /// The fault of the call that arrives now. A call with a planned fault counts for the seeded
    /// ones too, so that a plan does not change what comes after it.
    pub(crate) fn take_fault(&mut self, api: Api, key: Option<&OrderKey>) -> Option<Fault> {
        let planned = self.faults.take(api, key);
        let seeded = self.faults.seeded.as_ref();
        let random = seeded.and_then(|s| self.call_counters.fault(s, api, key, self.orders_max));
        planned.or(random)
    }

    /// How the next notification of an ordinary payment is delivered, if not as usual.
    pub(crate) fn take_notification_fault(&mut self, key: &OrderKey) -> Option<PayOptions> {
        let seeded = self.faults.seeded.as_ref()?;
        self.call_counters.notification_fault(seeded, key, self.orders_max)
    }

    /// Counts a call under its outcome, and under its order when it names one.
    pub(crate) fn count(&mut self, api: Api, key: Option<OrderKey>, outcome: &str) {
        let outcomes = self.outcomes.entry(api).or_default();
        outcomes.entry(outcome.to_owned()).or_default().add_assign(1);
        let Some(key) = key else { return };
        if self.calls.len() > self.orders_max && !self.calls.contains_key(&key) {
            return;
        }
        let calls = self.calls.entry(key.clone()).or_insert_with(|| OrderCalls {
            mch_id: key.mch_id.to_string(),
            out_trade_no: key.out_trade_no,
            ..OrderCalls::default()
        });
        match api {
            Api::Unifiedorder => calls.unifiedorder += 1,
            Api::Orderquery => calls.orderquery += 1,
            Api::Closeorder => calls.closeorder += 1,
        }
    }

    pub(crate) fn calls(&self) -> impl Iterator<Item = &OrderCalls> {
        self.calls.values()
    }

    pub(crate) fn calls_of(&self, key: &OrderKey) -> Option<&OrderCalls> {
        self.calls.get(key)
    }
}
