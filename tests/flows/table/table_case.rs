//! An order, the ways to bring it into a state, and what must be true of it then.

use std::time::Duration;

use harness::problem::kind_of;
use harness::{Options, Shop, StoredNotification, World, eventually};
use serde_json::{Value, json};
use simulator::{Api, Fault, OrderCalls, PayOptions, Release};
use worker::CheckSchedule;

/// How often a call is held anew whose caller did not wait for its answer.
const ATTEMPTS: usize = 5;

/// Where an order has been when it is in this state here.
pub(super) const UNKNOWN: [&str; 1] = ["created by shop"];
pub(super) const PAYABLE: [&str; 2] = ["created by shop", "payable by reply"];
pub(super) const CLOSING: [&str; 3] = ["created by shop", "payable by reply", "closing by shop"];
pub(super) const CLOSED: [&str; 4] =
    ["created by shop", "payable by reply", "closing by shop", "closed by query"];
pub(super) const FAILED: [&str; 2] = ["created by shop", "failed by reply"];
pub(super) const PAID: [&str; 3] = ["created by shop", "payable by reply", "paid by notify"];

/// One order in a world of its own, whose reconciler looks only when it is told to.
pub(super) struct TableCase {
    pub(super) world: World,
    pub(super) shop: Shop,
    pub(super) number: String,
    rejections: i64,
}

/// The answer to a create.
pub(super) type Answer = (u16, Value);

impl TableCase {
    pub(super) async fn new() -> Self {
        let never = Duration::from_secs(3600);
        let schedule = CheckSchedule {
            payable_check_interval: never,
            unknown_retry_first: never,
            closed_check_delay: never,
            ..CheckSchedule::default()
        };
        let options = Options { schedule: Some(schedule), ..Options::default() };
        let world = World::start_with(options).await;
        let shop = world.shop();
        Self { world, shop, number: Shop::number(), rejections: 0 }
    }

    /// The next call about it goes wrong like this.
    pub(super) fn inject_fault(&self, api: Api, fault: Fault) {
        self.world.inject_fault(api, &self.number, fault, 1);
    }

    /// What WeChat says of it from now on.
    pub(super) fn wechat_says(&self, trade_state: &str) {
        self.world.simulator.set_state(&self.shop.mch_id, &self.number, trade_state).unwrap();
    }

    pub(super) async fn create(&self) -> Answer {
        let order = self.shop.order(&self.number, 9900);
        let (status, body) = self.world.create(&order, Some(20)).await;
        (status.as_u16(), body)
    }

    pub(super) async fn close(&self) -> Answer {
        let (status, body) = self.world.close(&self.shop.mch_id, &self.number, Some(20)).await;
        (status.as_u16(), body)
    }

    /// Created, and WeChat has it: the answer that said so was lost.
    pub(super) async fn unknown(&self) {
        self.inject_fault(Api::Unifiedorder, Fault::DropAfterCommit);
        answered(&self.create().await, 202, "created");
    }

    pub(super) async fn payable(&self) {
        answered(&self.create().await, 200, "payable");
    }

    /// From `created` or `payable`.
    pub(super) async fn closing(&self) {
        answered(&self.close().await, 200, "closing");
    }

    /// From whatever is not at its end: WeChat has closed it, and we ask.
    pub(super) async fn closed(&self) {
        self.wechat_says("CLOSED");
        self.look().await;
        assert_eq!(self.state().await, "closed");
    }

    /// From `created`: WeChat refuses the call for good.
    pub(super) async fn failed(&self) {
        self.inject_fault(Api::Unifiedorder, refused_for_good());
        refused(&self.create().await, "NOAUTH");
        assert_eq!(self.state().await, "failed");
    }

    /// From any state: the customer pays, and WeChat tells us.
    pub(super) async fn paid(&self) {
        let force = PayOptions { force: true, ..PayOptions::default() };
        self.notified(&self.world.unsent_notification(&self.shop, &self.number, force), "applied")
            .await;
        assert_eq!(self.state().await, "paid");
    }

    /// Tells us of a payment, and waits until it is kept with this verdict.
    pub(super) async fn notified(&self, body: &[u8], verdict: &str) {
        self.world.notify_ok(&self.shop.mch_id, body).await;
        eventually("the notification to be kept", async || {
            self.world.stored_notification(body).await
        })
        .await;
        assert_eq!(
            self.world.stored_notification(body).await,
            Some(StoredNotification::new(verdict, 0))
        );
    }

    /// The lease of the call under way runs out before its answer comes.
    pub(super) async fn lease_ends(&self) {
        let held = "call_lease_holder is not null";
        assert!(self.world.select_order::<bool>(&self.number, held).await, "nobody calls");
        self.update_order_row("call_lease_until = now() - interval '1 second'").await;
    }

    /// Its prepay is older than an hour and a half.
    pub(super) async fn prepay_ages(&self) {
        self.update_order_row("prepay_issued_at = now() - interval '101 minutes'").await;
    }

    /// It is older than the five minutes that WeChat wants before a closeorder.
    pub(super) async fn ages(&self) {
        self.update_order_row("created_at = created_at - interval '6 minutes'").await;
    }

    /// Has the reconciler look at it, to the end of the look.
    pub(super) async fn look(&self) {
        self.world.check_order_now(&self.shop, &self.number).await;
    }

    pub(super) fn calls(&self) -> OrderCalls {
        self.world.calls(&self.shop, &self.number)
    }

    async fn update_order_row(&self, set: &str) {
        self.world.update_order_row(&self.number, set).await;
    }

    /// Waits until a call about it is held.
    pub(super) async fn is_held(&self, api: Api) {
        eventually("the call to be held", async || {
            let held = self.world.simulator.held_calls();
            let ours = |number: &Option<String>| number.as_ref() == Some(&self.number);
            held.iter().any(|call| call.api == api && ours(&call.out_trade_no)).then_some(())
        })
        .await;
    }

    pub(super) fn release(&self) {
        self.world.simulator.release(&Release::default());
    }

    /// Creates it and holds the call as `hold` says; `meanwhile` something happens to the order.
    /// Returns the answer, and what was known of the order when WeChat's answer came. A caller that
    /// gave up before it came has learned nothing: the same again with another number.
    pub(super) async fn answered_late(
        &mut self,
        hold: Fault,
        before: impl AsyncFn(&Self),
        meanwhile: impl AsyncFn(&Self),
        detail: &str,
    ) -> (Answer, Value) {
        for _ in 0..ATTEMPTS {
            before(self).await;
            self.inject_fault(Api::Unifiedorder, hold.clone());
            let during = async {
                self.is_held(Api::Unifiedorder).await;
                meanwhile(self).await;
                let known = self.known().await;
                self.release();
                known
            };
            let (answer, known) = futures_util::join!(self.create(), during);
            if self.heard("unifiedorder", detail).await {
                return (answer, known);
            }
            self.number = Shop::number();
        }
        panic!("no caller waits for an answer");
    }

    /// WeChat's answer to a query, `trade_state`, is on its way while something happens to the
    /// order. Returns what was known of the order before it came.
    pub(super) async fn told_late(
        &mut self,
        before: impl AsyncFn(&Self),
        trade_state: &str,
        meanwhile: impl AsyncFn(&Self),
    ) -> Value {
        for _ in 0..ATTEMPTS {
            before(self).await;
            self.wechat_says(trade_state);
            self.inject_fault(Api::Orderquery, Fault::HoldAfterCommit);
            self.update_order_row("next_check_at = now()").await;
            self.is_held(Api::Orderquery).await;
            meanwhile(self).await;
            let known = self.known().await;
            self.release();
            // A worker that stops ends the looks that it has begun.
            self.world.stop_workers().await;
            self.world.add_worker().await;
            if self.heard("orderquery", trade_state).await {
                return known;
            }
            self.number = Shop::number();
        }
        panic!("no caller waits for an answer");
    }

    /// Whether an answer of WeChat's arrived that begins like this.
    async fn heard(&self, api: &str, detail: &str) -> bool {
        let heard = "select exists (select from gateway_calls
            where out_trade_no = $1 and api = $2 and starts_with(detail, $3))";
        let heard = sqlx::query_scalar(heard).bind(&self.number).bind(api).bind(detail);
        heard.fetch_one(&self.world.environment.pool).await.unwrap()
    }

    /// Everything that is known of the order and its history, to compare before and after. Who
    /// calls, when it is looked at, how often in vain and WeChat's last text about that are no part
    /// of what it is.
    pub(super) async fn known(&self) -> Value {
        let known = "select jsonb_build_object(
                'order', to_jsonb(o) - array['next_check_at', 'call_lease_holder',
                    'call_lease_until', 'unknown_count', 'same_failure_count', 'gateway_message'],
                'transitions', (select jsonb_agg(t order by seq) from order_transitions t
                    where t.out_trade_no = o.out_trade_no))
            from orders o where out_trade_no = $1";
        let known = sqlx::query_scalar(known).bind(&self.number);
        known.fetch_one(&self.world.environment.pool).await.unwrap()
    }

    pub(super) async fn state(&self) -> String {
        self.world.order_state(&self.shop, &self.number).await.unwrap()
    }

    /// The next commands that were declined are expected.
    pub(super) fn expect_declined(&mut self, commands: i64) {
        self.rejections = commands;
    }

    /// All that can be seen of the order: it moved like this, these exceptions are open, and it
    /// was told so. Returns the events of the exceptions.
    pub(super) async fn stands(&self, moves: &[&str], exceptions: &[&str]) -> Vec<Value> {
        let world = &self.world;
        let number = &*self.number;
        let states: Vec<&str> = moves.iter().map(|it| it.split(' ').next().unwrap()).collect();
        let state = *states.last().unwrap();
        assert_eq!(world.transitions(number).await, moves);
        assert_eq!(self.state().await, state);
        assert_eq!(world.exception_kinds(number).await, exceptions);

        let types: Vec<String> = states.iter().map(|state| format!("order.{state}")).collect();
        world.expect_events(number, &types.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let opened = world.exception_events(number, exceptions.len()).await;
        let kinds: Vec<_> = opened.iter().map(|event| &event["exception"]["kind"]).collect();
        assert_eq!(kinds, exceptions);
        for event in &opened {
            let at = &event["state"];
            let seq = &event["seq"];
            assert_eq!((at, seq), (&json!(state), &json!(moves.len())), "{event}");
        }
        let declined = "select count(*) from rejections where out_trade_no = $1";
        let declined = sqlx::query_scalar::<_, i64>(declined).bind(number);
        let declined = declined.fetch_one(&world.environment.pool).await.unwrap();
        assert_eq!(declined, self.rejections, "declined commands");

        let (status, view) = world.get(&self.shop, number).await;
        assert_eq!(status.as_u16(), 200, "{view}");
        assert_eq!((&view["state"], &view["seq"]), (&json!(state), &json!(moves.len())), "{view}");
        let shown = view["exceptions"].as_array().unwrap().iter();
        let mut shown: Vec<_> = shown.map(|it| it["kind"].as_str().unwrap()).collect();
        shown.sort_unstable();
        assert_eq!(shown, exceptions);
        for (field, only_when) in
            [("prepay_id", "payable"), ("failure", "failed"), ("transaction_id", "paid")]
        {
            assert_eq!(view.get(field).is_some(), state == only_when, "{field}: {view}");
        }
        opened
    }

    /// The exception `contradiction` is open: in this state the order was told this.
    pub(super) async fn contradicts(&self, moves: &[&str], fact: &str) {
        let opened = self.stands(moves, &["contradiction"]).await;
        let state = &opened[0]["state"];
        let differs = json!([{"field": "state", "ours": state, "theirs": fact}]);
        assert_eq!(opened[0]["exception"]["differs"], differs);
    }
}

/// Refused for good.
pub(super) fn refused_for_good() -> Fault {
    Fault::ErrCode {
        err_code: "NOAUTH".to_owned(), err_code_des: "商户无此接口权限".to_owned()
    }
}

/// The answer is the order in this state.
pub(super) fn answered((status, view): &Answer, expected: u16, state: &str) {
    assert_eq!((*status, &view["state"]), (expected, &json!(state)), "{view}");
    assert_eq!(view.get("pay").is_some(), state == "payable", "{view}");
}

/// The answer says that WeChat refused.
pub(super) fn refused((status, problem): &Answer, err_code: &str) {
    assert_eq!((*status, &problem["err_code"]), (422, &json!(err_code)), "{problem}");
    assert_eq!(kind_of(problem), "refused");
}

/// The exceptions that the answer shows.
pub(super) fn shows((_, view): &Answer, exceptions: &[&str]) {
    let shown = view["exceptions"].as_array().unwrap().iter();
    assert_eq!(shown.map(|it| &it["kind"]).collect::<Vec<_>>(), exceptions, "{view}");
}
