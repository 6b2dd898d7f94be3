//! What the handlers of commands, notifications and checks do to an order.

mod settlement;
mod unified_order;

use orders::Order;
use uuid::Uuid;

use crate::gateway::Gateway;
use crate::merchants::{Merchant, Merchants};
use crate::schedule::CheckSchedule;
use crate::store::Store;

/// The store and the gateway, used together. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct OrderService {
    pub(crate) store: Store,
    pub(crate) merchants: Merchants,
    pub(crate) gateway: Gateway,
    pub(crate) schedule: CheckSchedule,
}

/// An order whose call lease `holder` has: no other task calls WeChat about it meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct LeasedOrder<'a> {
    pub(crate) merchant: &'a Merchant,
    pub(crate) order: &'a Order,
    pub(crate) holder: Uuid,
    /// Of the message that caused the call; the events of the outcome carry it on.
    pub(crate) traceparent: Option<String>,
}
