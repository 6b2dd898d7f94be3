//! One order under test: brings it into a state and checks everything that is visible of it.

use std::time::Duration;

use harness::problem::kind_of;
use harness::{Options, Shop, StoredNotification, World, eventually};
use serde_json::{Value, json};
use simulator::{Api, Fault, HeldCallFilter, OrderCalls, PayOptions};
use worker::{CheckSchedule, PayableChecks};

/// How often a case is repeated because the worker gave up its call before the late answer.
const ATTEMPTS: usize = 5;

/// The transitions of an order that was brought into this state.
pub(super) const UNKNOWN: [&str; 1] = ["created by shop"];
pub(super) const PAYABLE: [&str; 2] = ["created by shop", "payable by reply"];
pub(super) const CLOSING: [&str; 3] = ["created by shop", "payable by reply", "closing by shop"];
pub(super) const CLOSED: [&str; 4] =
    ["created by shop", "payable by reply", "closing by shop", "closed by query"];
pub(super) const FAILED: [&str; 2] = ["created by shop", "failed by reply"];
pub(super) const PAID: [&str; 3] = ["created by shop", "payable by reply", "paid by notify"];

/// One order in a world of its own. The reconciler checks it only on request.
pub(super) struct TableCase {
    pub(super) world: World,
    pub(super) shop: Shop,
    pub(super) number: String,
    rejections: i64,
}

/// The status and body of an answer.
pub(super) type Answer = (u16, Value);

impl TableCase {
    pub(super) async fn new() -> Self {
        let never = Duration::from_secs(3600);
        let schedule = CheckSchedule {
            payable_checks: PayableChecks::Every(never),
            on_demand_pause: never,
            unknown_retry_first: never,
            closed_check_delay: never,
            ..CheckSchedule::default()
        };
        let options = Options { schedule: Some(schedule), ..Options::default() };
        let world = World::start_with(options).await;
        let shop = world.md5_shop();
        Self { world, shop, number: Shop::number(), rejections: 0 }
    }

    /// Injects a fault into the next call for the order.
    pub(super) fn inject_fault(&self, api: Api, fault: Fault) {
        self.world.inject_fault(api, &self.number, fault, 1);
    }

    /// Sets the order's trade state at the gateway.
    pub(super) fn set_trade_state(&self, trade_state: &str) {
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

    /// Creates the order. WeChat knows it, but the answer to the call is lost.
    pub(super) async fn make_unknown(&self) {
        self.inject_fault(Api::Unifiedorder, Fault::DropAfterCommit);
        expect_answer(&self.create().await, 202, "created");
    }

    pub(super) async fn make_payable(&self) {
        expect_answer(&self.create().await, 200, "payable");
    }

    /// Requires `created` or `payable`.
    pub(super) async fn make_closing(&self) {
        expect_answer(&self.close().await, 200, "closing");
    }

    /// Requires a state that is not final. WeChat closes the order, and a check finds that.
    pub(super) async fn make_closed(&self) {
        self.set_trade_state("CLOSED");
        self.check().await;
        assert_eq!(self.state().await, "closed");
    }

    /// Requires `created`, or no order yet. WeChat refuses the call permanently.
    pub(super) async fn make_failed(&self) {
        self.inject_fault(Api::Unifiedorder, permanent_refusal());
        expect_refused(&self.create().await, "NOAUTH");
        assert_eq!(self.state().await, "failed");
    }

    /// Requires any state. The customer pays, and WeChat sends the notification.
    pub(super) async fn make_paid(&self) {
        let force = PayOptions { force: true, ..PayOptions::default() };
        self.notify_and_expect(
            &self.world.unsent_notification(&self.shop, &self.number, force),
            "applied",
        )
        .await;
        assert_eq!(self.state().await, "paid");
    }

    /// Sends a notification and expects it to be stored with this verdict.
    pub(super) async fn notify_and_expect(&self, body: &[u8], verdict: &str) {
        self.world.notify_ok(&self.shop.mch_id, body).await;
        eventually("the stored notification", async || self.world.stored_notification(body).await)
            .await;
        assert_eq!(
            self.world.stored_notification(body).await,
            Some(StoredNotification::new(verdict, 0))
        );
    }

    /// Makes the lease of the current call expire before its answer arrives.
    pub(super) async fn expire_lease(&self) {
        let is_leased = "call_lease_holder is not null";
        assert!(
            self.world.select_order::<bool>(&self.number, is_leased).await,
            "no call holds a lease"
        );
        self.update_order_row("call_lease_until = now() - interval '1 second'").await;
    }

    /// Makes the prepay older than an hour and a half.
    pub(super) async fn age_prepay(&self) {
        self.update_order_row("prepay_issued_at = now() - interval '101 minutes'").await;
    }

    /// Makes the order older than the five minutes that WeChat requires before closeorder.
    pub(super) async fn age_order(&self) {
        self.update_order_row("created_at = created_at - interval '6 minutes'").await;
    }

    /// Makes the reconciler check the order, and waits for the end of the check.
    pub(super) async fn check(&self) {
        self.world.check_order_now(&self.shop, &self.number).await;
    }

    pub(super) fn calls(&self) -> OrderCalls {
        self.world.calls(&self.shop, &self.number)
    }

    async fn update_order_row(&self, set: &str) {
        self.world.update_order_row(&self.number, set).await;
    }

    /// Waits until the simulator holds a call for the order.
    pub(super) async fn wait_for_held_call(&self, api: Api) {
        eventually("the held call", async || {
            let held = self.world.simulator.held_calls();
            let is_same = |number: &Option<String>| number.as_ref() == Some(&self.number);
            held.iter().any(|call| call.api == api && is_same(&call.out_trade_no)).then_some(())
        })
        .await;
    }

    pub(super) fn release(&self) {
        self.world.simulator.release(&HeldCallFilter::default());
    }

    /// Creates the order and holds the call; `meanwhile` something happens to the order. Returns the
    /// answer, and a snapshot of the order before WeChat's answer arrived. Starts again with another
    /// number when the worker gave up the call before.
    pub(super) async fn answer_create_late(
        &mut self,
        hold: Fault,
        prepare: impl AsyncFn(&Self),
        meanwhile: impl AsyncFn(&Self),
        detail: &str,
    ) -> (Answer, Value) {
        for _ in 0..ATTEMPTS {
            prepare(self).await;
            self.inject_fault(Api::Unifiedorder, hold.clone());
            let during = async {
                self.wait_for_held_call(Api::Unifiedorder).await;
                meanwhile(self).await;
                let snapshot = self.snapshot().await;
                self.release();
                snapshot
            };
            let (answer, snapshot) = futures_util::join!(self.create(), during);
            if self.answer_was_recorded("unifiedorder", detail).await {
                return (answer, snapshot);
            }
            self.number = Shop::number();
        }
        panic!("every call was given up before its answer");
    }

    /// Holds a query whose answer is `trade_state`; `meanwhile` something happens to the order.
    /// Returns a snapshot of the order before the answer arrived.
    pub(super) async fn answer_query_late(
        &mut self,
        prepare: impl AsyncFn(&Self),
        trade_state: &str,
        meanwhile: impl AsyncFn(&Self),
    ) -> Value {
        for _ in 0..ATTEMPTS {
            prepare(self).await;
            self.set_trade_state(trade_state);
            self.inject_fault(Api::Orderquery, Fault::HoldAfterCommit);
            self.update_order_row("next_check_at = now()").await;
            self.wait_for_held_call(Api::Orderquery).await;
            meanwhile(self).await;
            let snapshot = self.snapshot().await;
            self.release();
            // A worker that stops finishes its checks.
            self.world.stop_workers().await;
            self.world.add_worker().await;
            if self.answer_was_recorded("orderquery", trade_state).await {
                return snapshot;
            }
            self.number = Shop::number();
        }
        panic!("every call was given up before its answer");
    }

    /// Whether the recorded call has an outcome that begins with `detail`.
    async fn answer_was_recorded(&self, api: &str, detail: &str) -> bool {
        let query = "select exists (select from gateway_calls
            where out_trade_no = $1 and api = $2 and starts_with(detail, $3))";
        let recorded = sqlx::query_scalar(query).bind(&self.number).bind(api).bind(detail);
        recorded.fetch_one(&self.world.environment.pool).await.unwrap()
    }

    /// The order's row and transitions, to compare before and after. Leases, the next check, and the
    /// count and text of failed calls are left out.
    pub(super) async fn snapshot(&self) -> Value {
        let query = "select jsonb_build_object(
                'order', to_jsonb(o) - array['next_check_at', 'checked_at', 'call_lease_holder',
                    'call_lease_until', 'unknown_count', 'same_failure_count', 'gateway_message'],
                'transitions', (select jsonb_agg(t order by seq) from order_transitions t
                    where t.out_trade_no = o.out_trade_no))
            from orders o where out_trade_no = $1";
        let snapshot = sqlx::query_scalar(query).bind(&self.number);
        snapshot.fetch_one(&self.world.environment.pool).await.unwrap()
    }

    pub(super) async fn state(&self) -> String {
        self.world.order_state(&self.shop, &self.number).await.unwrap()
    }

    /// Makes [`Self::expect_order`] expect so many rejected commands.
    pub(super) fn expect_rejections(&mut self, commands: i64) {
        self.rejections = commands;
    }

    /// Expects these transitions and exceptions, in the tables, in the events and in the view. Returns
    /// the events of the exceptions.
    pub(super) async fn expect_order(&self, moves: &[&str], exceptions: &[&str]) -> Vec<Value> {
        let world = &self.world;
        let number = &*self.number;
        let states: Vec<&str> = moves.iter().map(|it| it.split(' ').next().unwrap()).collect();
        let state = *states.last().unwrap();
        assert_eq!(world.transition_labels(number).await, moves);
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
        let query = "select count(*) from rejections where out_trade_no = $1";
        let count = sqlx::query_scalar::<_, i64>(query).bind(number);
        let rejections = count.fetch_one(&world.environment.pool).await.unwrap();
        assert_eq!(rejections, self.rejections, "rejected commands");

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

    /// Expects the exception `contradiction`: the fact contradicts the order's state.
    pub(super) async fn expect_contradiction(&self, moves: &[&str], fact: &str) {
        let opened = self.expect_order(moves, &["contradiction"]).await;
        let state = &opened[0]["state"];
        let differs = json!([{"field": "state", "ours": state, "theirs": fact}]);
        assert_eq!(opened[0]["exception"]["differs"], differs);
    }
}

pub(super) fn permanent_refusal() -> Fault {
    Fault::ErrCode {
        err_code: "NOAUTH".to_owned(), err_code_des: "商户无此接口权限".to_owned()
    }
}

/// Expects the order in this state as the answer.
pub(super) fn expect_answer((status, view): &Answer, expected: u16, state: &str) {
    assert_eq!((*status, &view["state"]), (expected, &json!(state)), "{view}");
    assert_eq!(view.get("pay").is_some(), state == "payable", "{view}");
}

/// Expects the problem of an order that WeChat refused.
pub(super) fn expect_refused((status, problem): &Answer, err_code: &str) {
    assert_eq!((*status, &problem["err_code"]), (422, &json!(err_code)), "{problem}");
    assert_eq!(kind_of(problem), "refused");
}

/// Expects these exceptions in the answer.
pub(super) fn expect_exceptions((_, view): &Answer, exceptions: &[&str]) {
    let shown = view["exceptions"].as_array().unwrap().iter();
    assert_eq!(shown.map(|it| &it["kind"]).collect::<Vec<_>>(), exceptions, "{view}");
}
