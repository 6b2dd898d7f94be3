//! The worker exits at each failpoint, and answers of the gateway are lost: another worker continues,
//! and the orders end as they would without the fault.

use futures_util::{StreamExt, stream};
use harness::amqp::Amqp;
use harness::program::Program;
use harness::{Options, Shop, World};
use reqwest::StatusCode;
use simulator::PayOptions;
use worker::failpoint::STEPS;

/// The failpoint that shortens waits from minutes to seconds.
const FAST_SCHEDULE: &str = "schedule=return";
/// Runs at the same time. Each one mostly waits for a lease to expire.
const CONCURRENT_RUNS: usize = 7;
/// The failpoints at which an answer can be lost.
const ANSWERS: [&str; 3] = ["unifiedorder.answered", "orderquery.answered", "closeorder.answered"];

/// A payment with a notification, one found by a query, and a close: together they reach every step.
struct Scenario {
    shop: Shop,
    notified: String,
    found: String,
    closed: String,
}

impl Scenario {
    async fn start(world: &World) -> Self {
        let shop = world.md5_shop();
        let [notified, found, closed] = [(); 3].map(|()| Shop::number());
        let scenario = Self { shop, notified, found, closed };
        for number in [&scenario.notified, &scenario.found, &scenario.closed] {
            let (status, view) = world.create(&scenario.shop.order(number, 9900), None).await;
            assert_eq!(status, StatusCode::ACCEPTED, "{view}");
        }
        scenario
    }

    /// Pays and closes as soon as WeChat knows the orders, even while no worker runs.
    async fn pay_and_close(&self, world: &World) {
        let mch_id = &self.shop.mch_id;
        for number in [&self.notified, &self.found, &self.closed] {
            harness::eventually("the order at WeChat", async || {
                let known = world.simulator.order(mch_id, number)?;
                (!known.prepay_ids.is_empty()).then_some(())
            })
            .await;
        }
        world.pay(&self.shop, &self.notified, &PayOptions::default());
        let without_notification = PayOptions { state_only: true, ..PayOptions::default() };
        world.pay(&self.shop, &self.found, &without_notification);
        let (status, view) = world.close(mch_id, &self.closed, None).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{view}");
    }

    async fn expect_settled(&self, world: &World) {
        world.wait_for_state(&self.shop, &self.notified, "paid").await;
        world.wait_for_state(&self.shop, &self.found, "paid").await;
        world.wait_for_state(&self.shop, &self.closed, "closed").await;
        for number in [&self.notified, &self.found, &self.closed] {
            assert_eq!(world.exception_kinds(number).await, [""; 0]);
        }
    }
}

/// A world whose only workers are processes.
async fn world() -> (World, Program) {
    let mut world = World::start_with(Options::default()).await;
    world.stop_workers().await;
    let program = Program::of(&world);
    (world, program)
}

async fn run_with_exit_at(step: &str) {
    let (world, program) = world().await;
    // Only with an event that is refused and tried again the relay reaches all its steps.
    let amqp = Amqp::connect(&world.environment).await;
    let queue = format!("shop.{}.full", world.environment.namespace);
    amqp.refusing_queue(&queue, "order.payable.*").await;
    let exiting = program.spawn_worker(&format!("{step}=1*return(die);{FAST_SCHEDULE}"));
    let scenario = Scenario::start(&world).await;
    // Some steps are reached only after the payment and the close.
    let (_, replacement) = tokio::join!(scenario.pay_and_close(&world), async {
        exiting.wait_for_exit_by_signal().await;
        amqp.delete(&queue).await;
        amqp.close().await;
        program.spawn_worker(FAST_SCHEDULE)
    });
    scenario.expect_settled(&world).await;
    // It may have had nothing to do, and a program that only begins to start cannot stop cleanly.
    replacement.wait_until_ready(&world).await;
    replacement.stop().await;
    world.finish().await;
}

async fn run_with_lost_answer(step: &str) {
    let (world, program) = world().await;
    let worker = program.spawn_worker(&format!("{step}=2*return(vanish);{FAST_SCHEDULE}"));
    let scenario = Scenario::start(&world).await;
    scenario.pay_and_close(&world).await;
    scenario.expect_settled(&world).await;
    let log = worker.stop().await;
    assert!(log.contains("the answer vanished"), "{step}: {log}");
    world.finish().await;
}

#[tokio::test]
async fn worker_may_die_at_every_failpoint() {
    stream::iter(STEPS).for_each_concurrent(CONCURRENT_RUNS, run_with_exit_at).await;
}

#[tokio::test]
async fn every_answer_of_wechat_may_be_lost() {
    stream::iter(ANSWERS).for_each_concurrent(CONCURRENT_RUNS, run_with_lost_answer).await;
}
