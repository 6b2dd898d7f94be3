//! What the handlers of commands, notifications and checks do to an order.

mod settlement;
mod settlement_writer;
mod unified_order;

use orders::Order;
use uuid::Uuid;

use crate::gateway::{CallRecords, Gateway};
use crate::merchants::{Merchant, Merchants};
use crate::notified_payments::NotifiedPayments;
use crate::schedule::CheckSchedule;
use crate::store::Store;
use settlement_writer::SettlementWriter;

/// The store and the gateway, used together. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct OrderService {
    pub(crate) store: Store,
    pub(crate) merchants: Merchants,
    pub(crate) gateway: Gateway,
    pub(crate) schedule: CheckSchedule,
    pub(crate) notified: NotifiedPayments,
    writer: SettlementWriter,
}

impl OrderService {
    /// Starts the task that settles outcomes; it ends with the last clone. `records` are those of
    /// the gateway's calls.
    pub(crate) fn start(
        store: Store,
        merchants: Merchants,
        gateway: Gateway,
        schedule: CheckSchedule,
        records: CallRecords,
    ) -> Self {
        let writer = SettlementWriter::start(store.clone(), records);
        let notified = NotifiedPayments::default();
        Self { store, merchants, gateway, schedule, notified, writer }
    }
}

/// An order whose call lease `holder` has: no other task calls WeChat about it meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct LeasedOrder<'a> {
    pub(crate) merchant: &'a Merchant,
    pub(crate) order: &'a Order,
    pub(crate) holder: Uuid,
    /// Whether unifiedorder was never called for it before.
    pub(crate) is_first_call: bool,
    /// Of the message that caused the call; the events of the outcome carry it on.
    pub(crate) traceparent: Option<String>,
}
