//! `order.create`: written down first, then unifiedorder, then its outcome, *unknown* included.
//!
//! The command is acked once that outcome is committed. Wherever the process dies before, the
//! command comes back, finds what stands, and goes on from there.

use std::time::Duration;

use broker::{Delivery, Outcome};
use orders::{Failure, FieldProblem, ORDER_BYTES_MAX, Order, OrderKey, OrderRequest, OrderView};
use orders::{Problem, Reply, State};
use time::OffsetDateTime;
use uuid::Uuid;
use wechatpay_v2::Fields;

use super::identity::lease_holder;
use super::{Commands, trouble};
use crate::gateway::Deferred;
use crate::order_service::LeasedOrder;
use crate::schedule::REMAINING_LIFETIME_MIN;
use crate::store::{Acceptance, Accepted, StoreError, StoredOrder};
use crate::{Merchant, clock, failpoint, pay, trace};

/// Design 6: an order lives two hours unless its shop says otherwise.
const LIFE_DEFAULT: time::Duration = time::Duration::hours(2);
/// A `prepay_id` is valid two hours; it is renewed before a payer can meet its end.
const PREPAY_FRESH: time::Duration = time::Duration::minutes(100);
/// A call of ours may still be under way: longer than the call, shorter than a lease.
const LEASE_HELD: Duration = Duration::from_secs(5);
/// One delivery of the command, with everything it needs at hand.
struct Create<'a> {
    commands: &'a Commands,
    delivery: &'a Delivery,
    merchant: &'a Merchant,
    holder: Uuid,
    at: OffsetDateTime,
}

pub(super) async fn handle(commands: &Commands, delivery: &Delivery) -> Outcome {
    failpoint::reached("create.taken");
    if delivery.body.len() > ORDER_BYTES_MAX {
        let problem = Problem::too_large(ORDER_BYTES_MAX);
        commands.reply(delivery, &Reply::problem(problem));
        return Outcome::Park { reason: format!("larger than {ORDER_BYTES_MAX} bytes") };
    }
    let request = match OrderRequest::parse(&delivery.body) {
        Ok(request) => request,
        Err(invalid) => return commands.refuse(delivery, invalid).await,
    };
    let key = request.key();
    let merchant = match commands.merchant(delivery, &key.mch_id) {
        Ok(merchant) if merchant.appids.contains(&request.appid) => merchant,
        Ok(_) => {
            let wrong = FieldProblem::new("appid", "one of this merchant's apps");
            return commands.decline_key(delivery, &key, Problem::invalid(vec![wrong])).await;
        }
        Err(problem) => return commands.decline_key(delivery, &key, *problem).await,
    };
    let (merchant, holder, at) = (&*merchant, lease_holder(delivery), clock::now());
    let create = Create { commands, delivery, merchant, holder, at };
    create.run(request, &key).await.unwrap_or_else(|error| trouble(&error))
}

impl Create<'_> {
    async fn run(&self, request: OrderRequest, key: &OrderKey) -> Result<Outcome, StoreError> {
        let time_expire = request.time_expire.unwrap_or(self.at + LIFE_DEFAULT);
        if time_expire - self.at < REMAINING_LIFETIME_MIN {
            // A repeat of an order that stands may be near its end; a new one may not.
            return match self.commands.service.store.find(key).await? {
                Some(standing) => self.again(standing, &request).await,
                None => Ok(self.too_short(key).await),
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
            traceparent: trace::of(self.delivery),
        };
        match self.commands.service.store.accept(&new).await? {
            Accepted::New => {
                failpoint::reached("create.stored");
                self.call(&new.order, &new.parameters).await
            }
            Accepted::Existing(standing) => self.again(*standing, &request).await,
        }
    }

    async fn too_short(&self, key: &OrderKey) -> Outcome {
        let rule = "at least 6 minutes ahead: WeChat Pay refuses less than 5";
        let problem = Problem::invalid(vec![FieldProblem::new("time_expire", rule)]);
        self.commands.decline_key(self.delivery, key, problem).await
    }

    /// The same number again: the same order gets the truth, another one is a conflict.
    async fn again(
        &self,
        standing: StoredOrder,
        request: &OrderRequest,
    ) -> Result<Outcome, StoreError> {
        let StoredOrder { order, call_lease_holder, .. } = standing;
        let differing = order.conflicts_with(request);
        if !differing.is_empty() {
            let problem = Problem::conflict(&differing, order.state.name());
            return Ok(self.commands.decline_key(self.delivery, &order.key(), problem).await);
        }
        if self.wants_call(&order)
            && let Some(parameters) =
                self.commands.service.store.take_lease(&order, self.holder).await?
        {
            return self.call(&order, &parameters).await;
        }
        if matches!(order.state, State::Created) && call_lease_holder == Some(self.holder) {
            // An earlier delivery of this very command may still be calling; whoever made it may
            // also be dead, and then nobody but this delivery finishes the order.
            return Ok(Outcome::Snooze(LEASE_HELD));
        }
        self.tell(&order).await
    }

    /// An order whose first outcome is unknown is replayed, an old `prepay_id` is renewed, both
    /// only while WeChat still takes the order's expiry.
    fn wants_call(&self, order: &Order) -> bool {
        let lives = order.time_expire - self.at >= REMAINING_LIFETIME_MIN;
        lives
            && match &order.state {
                State::Created => true,
                State::Payable { issued_at, .. } => self.at - *issued_at > PREPAY_FRESH,
                _ => false,
            }
    }

    /// Calls WeChat under the lease; whatever comes of it is written down, and told. An order that
    /// cannot be entered now is the reconciler's from here on, and the command is done.
    async fn call(&self, order: &Order, parameters: &Fields) -> Result<Outcome, StoreError> {
        let leased = LeasedOrder {
            merchant: self.merchant,
            order,
            holder: self.holder,
            traceparent: trace::of(self.delivery),
        };
        let (service, mch_id) = (&self.commands.service, &self.merchant.mch_id);
        let view = match self.commands.permits.try_acquire(mch_id, service.merchants.all().len()) {
            Some(_permit) => service.call_unifiedorder(&leased, parameters).await?,
            None => service.defer_create(&leased, &Deferred::no_permit(mch_id)).await?,
        };
        if let Some(view) = view {
            self.answer(order, view);
        }
        failpoint::reached("create.settled");
        Ok(Outcome::Done)
    }

    /// Answers with the order as it stands, read with its exceptions.
    async fn tell(&self, order: &Order) -> Result<Outcome, StoreError> {
        if let Some(view) = self.commands.service.store.view(&order.key()).await? {
            self.answer(order, view);
        }
        Ok(Outcome::Done)
    }

    fn answer(&self, order: &Order, mut view: OrderView) {
        if let Some(prepay_id) = &view.prepay_id {
            view.pay = pay::sign(order, prepay_id, self.merchant, clock::now());
        }
        let reply = match &view.failure {
            Some(Failure { err_code, err_code_des }) => {
                Reply::problem(Problem::refused(err_code, err_code_des))
            }
            None if view.state == orders::StateName::Created => Reply::order(202, view),
            None => Reply::order(200, view),
        };
        self.commands.reply(self.delivery, &reply);
    }
}
