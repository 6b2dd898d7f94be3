use std::sync::Arc;

use broker::Delivery;
use orders::Order;
use tracing::{Instrument, Span};
use uuid::Uuid;
use wechatpay_v2::Fields;

use super::reply::reply_order;
use crate::commands::context::CommandContext;
use crate::failpoint;
use crate::gateway::Admission;
use crate::merchants::Merchant;
use crate::order_service::LeasedOrder;
use crate::store::StoreError;

/// A call of unifiedorder under the order's lease.
pub(super) struct Call {
    pub(super) merchant: Arc<Merchant>,
    pub(super) order: Order,
    pub(super) parameters: Fields,
    pub(super) holder: Uuid,
    pub(super) is_first_call: bool,
    pub(super) traceparent: Option<String>,
}

impl Call {
    /// Calls in a task of its own, and replies to the command afterwards.
    pub(super) fn start(self, context: &CommandContext, delivery: &Delivery, admission: Admission) {
        let context = context.clone();
        let delivery = delivery.clone();
        let calls = context.calls.clone();
        let call = async move {
            if let Err(error) = self.run(&context, &delivery, admission).await {
                tracing::warn!(
                    %error,
                    "the outcome of a call could not be stored; it is queried when its lease has ended"
                );
            }
        };
        calls.spawn(call.instrument(Span::current()));
    }

    async fn run(
        self,
        context: &CommandContext,
        delivery: &Delivery,
        admission: Admission,
    ) -> Result<(), StoreError> {
        let leased = LeasedOrder {
            merchant: &self.merchant,
            order: &self.order,
            holder: self.holder,
            is_first_call: self.is_first_call,
            traceparent: self.traceparent,
        };
        let service = &context.service;
        let view = service.call_unifiedorder(&leased, &self.parameters, Some(admission)).await?;
        if let Some(view) = view {
            reply_order(context, delivery, &self.merchant, &self.order, view);
        }
        failpoint::reached("create.settled");
        Ok(())
    }
}
