//! `order.create`: written down first, then unifiedorder, then its outcome, *unknown* included.
//!
//! The command is acked once that outcome is committed. Wherever the process dies before, the
//! command comes back, finds what stands, and goes on from there.

use std::time::Duration;

use broker::{Delivery, Outcome};
use orders::{Fact, Failure, FieldProblem, InvalidOrder, ORDER_BYTES_MAX, Order, OrderKey};
use orders::{OrderRequest, OrderView, Problem, Reply, Source, State};
use time::OffsetDateTime;
use uuid::Uuid;
use wechatpay_v2::unifiedorder::Prepay;
use wechatpay_v2::{Advice, Fields, Verdict};

use super::{Commands, lease_holder, pay, trouble};
use crate::clock;
use crate::store::{Acceptance, Accepted, Item, Learned, StoreError, Stored};
use crate::{Merchant, trace};

/// Design 6: an order lives two hours unless its shop says otherwise.
const LIFE_DEFAULT: time::Duration = time::Duration::hours(2);
/// WeChat refuses less than five minutes, measured when the call arrives (reference 4.3).
const LIFE_MIN: time::Duration = time::Duration::minutes(6);
/// A `prepay_id` is valid two hours; it is renewed before a payer can meet its end.
const PREPAY_FRESH: time::Duration = time::Duration::minutes(100);
/// A call of ours may still be under way: longer than the call, shorter than patience.
const LEASE_HELD: Duration = Duration::from_secs(5);
/// A settlement that meets another writer is decided anew this often before it is put back.
const CONFLICTS_MAX: usize = 3;

/// One delivery of the command, with everything it needs at hand.
struct Create<'a> {
    commands: &'a Commands,
    delivery: &'a Delivery,
    merchant: &'a Merchant,
    holder: Uuid,
    at: OffsetDateTime,
}

pub(super) async fn handle(commands: &Commands, delivery: &Delivery) -> Outcome {
    if delivery.body.len() > ORDER_BYTES_MAX {
        let problem = Problem::too_large(ORDER_BYTES_MAX);
        commands.reply(delivery, &Reply::problem(problem));
        return Outcome::Park { reason: format!("larger than {ORDER_BYTES_MAX} bytes") };
    }
    let request = match OrderRequest::parse(&delivery.body) {
        Ok(request) => request,
        Err(invalid) => return refuse(commands, delivery, invalid).await,
    };
    let key = request.key();
    let merchant = match ours(commands, delivery, &request) {
        Ok(merchant) => merchant,
        Err(errors) => {
            let number = key.out_trade_no.as_str();
            let problem = Problem::invalid(errors);
            return commands.decline(delivery, &key.mch_id, number, problem).await;
        }
    };
    let create =
        Create { commands, delivery, merchant, holder: lease_holder(delivery), at: clock::now() };
    create.run(request, &key).await.unwrap_or_else(|error| trouble(&error))
}

/// An order that breaks its rules is told to its merchant; what names no merchant is for a human.
async fn refuse(commands: &Commands, delivery: &Delivery, invalid: InvalidOrder) -> Outcome {
    if let InvalidOrder::Fields { mch_id: Some(mch_id), out_trade_no, .. } = &invalid {
        let (mch_id, number) = (mch_id.clone(), out_trade_no.clone().unwrap_or_default());
        return commands.decline(delivery, &mch_id, &number, invalid.into_problem()).await;
    }
    let problem = invalid.into_problem();
    let reason = match problem.errors.first() {
        None => problem.detail.clone().unwrap_or_default(),
        Some(_) => "it names no merchant".to_owned(),
    };
    commands.reply(delivery, &Reply::problem(problem));
    Outcome::Park { reason: format!("no order can be read from it: {reason}") }
}

fn ours<'a>(
    commands: &'a Commands,
    delivery: &Delivery,
    request: &OrderRequest,
) -> Result<&'a Merchant, Vec<FieldProblem>> {
    let wrong = |field: &str, rule: &str| vec![FieldProblem::new(field, rule)];
    if delivery.reply_to.as_ref().is_some_and(|queue| commands.namespace.owns(queue)) {
        return Err(wrong("reply_to", "a queue outside this service's own names"));
    }
    let merchant = commands.merchants.get(&request.mch_id);
    let merchant = merchant.ok_or_else(|| wrong("mch_id", "a merchant that is served here"))?;
    if !merchant.appids.contains(&request.appid) {
        return Err(wrong("appid", "one of this merchant's apps"));
    }
    Ok(merchant)
}

impl Create<'_> {
    async fn run(&self, request: OrderRequest, key: &OrderKey) -> Result<Outcome, StoreError> {
        let time_expire = request.time_expire.unwrap_or(self.at + LIFE_DEFAULT);
        if time_expire - self.at < LIFE_MIN {
            // A repeat of an order that stands may be near its end; a new one may not.
            return match self.commands.store.find(key).await? {
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
            traceparent: self.traceparent(),
        };
        match self.commands.store.accept(&new).await? {
            Accepted::New => self.call(&new.order, &new.parameters).await,
            Accepted::Standing(standing) => self.again(*standing, &request).await,
        }
    }

    async fn too_short(&self, key: &OrderKey) -> Outcome {
        let rule = "at least 6 minutes ahead: WeChat Pay refuses less than 5";
        let problem = Problem::invalid(vec![FieldProblem::new("time_expire", rule)]);
        let number = key.out_trade_no.as_str();
        self.commands.decline(self.delivery, &key.mch_id, number, problem).await
    }

    /// The same number again: the same order gets the truth, another one is a conflict.
    async fn again(&self, standing: Stored, request: &OrderRequest) -> Result<Outcome, StoreError> {
        let Stored { order, call_lease_holder, .. } = standing;
        let differing = order.conflicts_with(request);
        if !differing.is_empty() {
            let key = order.key();
            let problem = Problem::conflict(&differing, order.state.name());
            let number = key.out_trade_no.as_str();
            return Ok(self.commands.decline(self.delivery, &key.mch_id, number, problem).await);
        }
        if self.wants_call(&order)
            && let Some(parameters) = self.commands.store.take_lease(&order, self.holder).await?
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
        let lives = order.time_expire - self.at >= LIFE_MIN;
        lives
            && match &order.state {
                State::Created => true,
                State::Payable { issued_at, .. } => self.at - *issued_at > PREPAY_FRESH,
                _ => false,
            }
    }

    /// Calls WeChat under the lease and writes the outcome down.
    async fn call(&self, order: &Order, parameters: &Fields) -> Result<Outcome, StoreError> {
        let by = self.merchant.credentials(order.sign_type);
        let key = order.key();
        let fact = match self.commands.gateway.unifiedorder(&by, parameters).await {
            Verdict::Yes(prepay) => Fact::PrepayIssued(prepay),
            Verdict::No(no) if matches!(no.advice, Advice::Mend | Advice::NumberIsDead) => {
                tracing::warn!(%key, err_code = no.err_code, "WeChat refused the order");
                let (err_code, err_code_des) = (no.err_code, no.err_code_des);
                Fact::CreateRefused(Failure { err_code, err_code_des })
            }
            Verdict::No(no) => {
                let message = format!("{}: {}", no.err_code, no.err_code_des);
                return self.unknown(order, &message).await;
            }
            Verdict::Unknown(unknown) => return self.unknown(order, &unknown.to_string()).await,
        };
        let view = self.learn(order, fact).await?;
        self.answer(order, view);
        Ok(Outcome::Done)
    }

    /// The outcome is a state, not a guess: the order stays where it is, and whoever waits is told
    /// so.
    async fn unknown(&self, order: &Order, message: &str) -> Result<Outcome, StoreError> {
        let key = order.key();
        tracing::warn!(%key, message, "the outcome of unifiedorder is unknown");
        self.commands.store.note_unknown(&key, self.holder, message).await?;
        self.tell(order).await
    }

    async fn learn(&self, order: &Order, fact: Fact) -> Result<OrderView, StoreError> {
        let at = clock::now();
        let pay = match &fact {
            Fact::PrepayIssued(Prepay { prepay_id, .. }) => {
                pay::sign(order, prepay_id, self.merchant, at)
            }
            _ => None,
        };
        let learned = Learned {
            key: order.key(),
            fact,
            source: Source::Reply,
            at,
            pay,
            lease_holder: Some(self.holder),
            traceparent: self.traceparent(),
        };
        let items = [Item { learned: Some(learned), evidence: None }];
        let mut conflicts = 0;
        let settled = loop {
            match self.commands.store.settle(&items).await {
                Err(StoreError::Conflict(_)) if conflicts < CONFLICTS_MAX => conflicts += 1,
                settled => break settled?,
            }
        };
        let view = settled.into_iter().next().and_then(|settled| settled.view);
        view.ok_or_else(|| StoreError::Fault("an accepted order is gone".to_owned()))
    }

    /// Answers with the order as it stands, read with its exceptions.
    async fn tell(&self, order: &Order) -> Result<Outcome, StoreError> {
        if let Some(view) = self.commands.store.view(&order.key()).await? {
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

    fn traceparent(&self) -> Option<String> {
        trace::of(self.delivery)
    }
}
