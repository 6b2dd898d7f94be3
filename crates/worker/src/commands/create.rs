//! `order.create`: stores the order, calls unifiedorder, and stores the outcome, an unknown one
//! included.
//!
//! The command is acked after the outcome is committed. When the process dies before, the command
//! is delivered again, finds what is stored, and continues from there.

use std::time::Duration;

use broker::{Delivery, Outcome};
use orders::{COMMAND_BYTES_MAX, Failure, FieldProblem, Order, OrderKey, OrderRequest, OrderView};
use orders::{Problem, Reply, State, StateName};
use time::OffsetDateTime;
use uuid::Uuid;
use wechatpay_v2::Fields;

use super::context::{self, CommandContext};
use super::identity::lease_holder;
use crate::gateway::Deferred;
use crate::merchants::Merchant;
use crate::order_service::LeasedOrder;
use crate::schedule::REMAINING_LIFETIME_MIN;
use crate::store::{Acceptance, Accepted, StoreError, StoredOrder};
use crate::{clock, failpoint, pay, traceparent};

/// Of an order whose shop gives no `time_expire`.
const LIFETIME_DEFAULT: time::Duration = time::Duration::hours(2);
/// A `prepay_id` is valid for two hours. It is renewed before a payer can meet its end.
const PREPAY_AGE_MAX: time::Duration = time::Duration::minutes(100);
/// Between looks at a lease of an earlier delivery. A call lasts up to 8 s, so the command may come
/// back more than once.
const LEASE_SNOOZE: Duration = Duration::from_secs(5);

/// One delivery of the command.
struct Create<'a> {
    context: &'a CommandContext,
    delivery: &'a Delivery,
    merchant: &'a Merchant,
    holder: Uuid,
    at: OffsetDateTime,
}

pub(super) async fn handle(context: &CommandContext, delivery: &Delivery) -> Outcome {
    failpoint::reached("create.taken");
    if delivery.body.len() > COMMAND_BYTES_MAX {
        context.reply(delivery, &Reply::problem(Problem::too_large(COMMAND_BYTES_MAX)));
        return Outcome::Park { reason: format!("larger than {COMMAND_BYTES_MAX} bytes") };
    }
    let request = match OrderRequest::parse(&delivery.body) {
        Ok(request) => request,
        Err(invalid) => return context.reject_invalid(delivery, invalid).await,
    };
    let key = request.key();
    context::record_key(&key);
    let merchant = match context.merchant(delivery, &key.mch_id) {
        Ok(merchant) => merchant,
        Err(problem) => return context.reject_order(delivery, &key, *problem).await,
    };
    if !merchant.appids.contains(&request.appid) {
        let invalid = FieldProblem::new("appid", "one of this merchant's apps");
        return context.reject_order(delivery, &key, Problem::invalid(vec![invalid])).await;
    }
    let create = Create {
        context,
        delivery,
        merchant: &merchant,
        holder: lease_holder(delivery),
        at: clock::now(),
    };
    create.run(request, &key).await.unwrap_or_else(|error| context::store_failed(&error))
}

impl Create<'_> {
    async fn run(&self, request: OrderRequest, key: &OrderKey) -> Result<Outcome, StoreError> {
        let store = &self.context.service.store;
        let time_expire = request.time_expire.unwrap_or(self.at + LIFETIME_DEFAULT);
        if time_expire - self.at < REMAINING_LIFETIME_MIN {
            // A repeated command may name an order that is near its end; a new order may not.
            return match store.find(key).await? {
                Some(existing) => self.repeat(existing, &request).await,
                None => Ok(self.reject_lifetime(key).await),
            };
        }
        let sign_type = self.merchant.sign_type;
        let (order, transition) = Order::accept(request.clone(), time_expire, sign_type, self.at);
        let new = Acceptance {
            parameters: order.parameters(&self.merchant.notify_url()),
            order,
            transition,
            lease_holder: self.holder,
            event_id: Uuid::now_v7(),
            traceparent: traceparent::of(self.delivery),
        };
        match store.accept(&new).await? {
            Accepted::New => {
                failpoint::reached("create.stored");
                self.call(&new.order, &new.parameters).await
            }
            Accepted::Existing(existing) => self.repeat(*existing, &request).await,
        }
    }

    async fn reject_lifetime(&self, key: &OrderKey) -> Outcome {
        let rule = "at least 6 minutes ahead: WeChat Pay refuses less than 5";
        let problem = Problem::invalid(vec![FieldProblem::new("time_expire", rule)]);
        self.context.reject_order(self.delivery, key, problem).await
    }

    /// The number exists: the same order gets its present state, another order is a conflict.
    async fn repeat(
        &self,
        existing: StoredOrder,
        request: &OrderRequest,
    ) -> Result<Outcome, StoreError> {
        let StoredOrder { order, call_lease_holder, .. } = existing;
        let differing = order.conflicts_with(request);
        if !differing.is_empty() {
            let problem = Problem::conflict(&differing, order.state.name());
            return Ok(self.context.reject_order(self.delivery, &order.key(), problem).await);
        }
        let store = &self.context.service.store;
        if self.needs_call(&order)
            && let Some(parameters) = store.take_lease(&order, self.holder).await?
        {
            return self.call(&order, &parameters).await;
        }
        if matches!(order.state, State::Created) && call_lease_holder == Some(self.holder) {
            // An earlier delivery of this command may still be calling WeChat. If its process died,
            // only this delivery finishes the order.
            return Ok(Outcome::Snooze(LEASE_SNOOZE));
        }
        if let Some(view) = store.view(&order.key()).await? {
            self.reply_order(&order, view);
        }
        Ok(Outcome::Done)
    }

    /// An order without an outcome is sent again, an old `prepay_id` is renewed; both only while
    /// WeChat still accepts the order's expiry.
    fn needs_call(&self, order: &Order) -> bool {
        if order.time_expire - self.at < REMAINING_LIFETIME_MIN {
            return false;
        }
        match &order.state {
            State::Created => true,
            State::Payable { issued_at, .. } => self.at - *issued_at > PREPAY_AGE_MAX,
            _ => false,
        }
    }

    /// Calls WeChat under the lease, stores the outcome, and replies. An order that is deferred
    /// belongs to the reconciler from here on, and the command is done.
    async fn call(&self, order: &Order, parameters: &Fields) -> Result<Outcome, StoreError> {
        let leased = LeasedOrder {
            merchant: self.merchant,
            order,
            holder: self.holder,
            traceparent: traceparent::of(self.delivery),
        };
        let service = &self.context.service;
        let mch_id = &self.merchant.mch_id;
        let view = match self.context.create_permits.try_acquire(mch_id) {
            Some(_permit) => service.call_unifiedorder(&leased, parameters).await?,
            None => service.defer_create(&leased, &Deferred::no_permit(mch_id)).await?,
        };
        if let Some(view) = view {
            self.reply_order(order, view);
        }
        failpoint::reached("create.settled");
        Ok(Outcome::Done)
    }

    fn reply_order(&self, order: &Order, mut view: OrderView) {
        // Signed again for every reply: the settlement signed for the event, and the signature
        // carries the time at which it was made.
        if let Some(prepay_id) = &view.prepay_id {
            view.pay = pay::sign(order, prepay_id, self.merchant, clock::now());
        }
        let reply = match &view.failure {
            Some(Failure { err_code, err_code_des }) => {
                Reply::problem(Problem::refused(err_code, err_code_des))
            }
            None if view.state == StateName::Created => Reply::order(202, view),
            None => Reply::order(200, view),
        };
        self.context.reply(self.delivery, &reply);
    }
}
