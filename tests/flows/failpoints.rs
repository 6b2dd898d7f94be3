//! The worker dies at every step that has a name, and answers vanish: another one goes on, and in
//! the end everything stands as if nothing had happened.

use futures_util::{StreamExt, stream};
use harness::program::Program;
use harness::{Options, Shop, World};
use reqwest::StatusCode;
use simulator::PayOptions;
use worker::failpoint::STEPS;

/// Waits of minutes last seconds.
const HURRY: &str = "schedule=return";
/// Each waits for the lease that its dead worker has left, and uses little else meanwhile.
const AT_ONCE: usize = 7;
/// Calls whose answer can get lost on the way.
const ANSWERS: [&str; 3] = ["unifiedorder.answered", "orderquery.answered", "closeorder.answered"];

/// A payment that is notified, one that is found, and a close: together they meet every step.
struct Day {
    shop: Shop,
    notified: String,
    found: String,
    closed: String,
}

impl Day {
    async fn begin(world: &World) -> Self {
        let shop = world.shop();
        let [notified, found, closed] = [(); 3].map(|()| Shop::number());
        let day = Self { shop, notified, found, closed };
        for number in [&day.notified, &day.found, &day.closed] {
            let (status, view) = world.create(&day.shop.order(number, 9900), None).await;
            assert_eq!(status, StatusCode::ACCEPTED, "{view}");
        }
        day
    }

    /// Pays and closes as soon as WeChat knows the orders, whoever of us is dead then.
    async fn go_on(&self, world: &World) {
        let mch_id = &self.shop.mch_id;
        for number in [&self.notified, &self.found, &self.closed] {
            harness::eventually("WeChat to know the order", async || {
                let known = world.simulator.order(mch_id, number)?;
                (!known.prepay_ids.is_empty()).then_some(())
            })
            .await;
        }
        world.pay(&self.shop, &self.notified, &PayOptions::default());
        let unpublished = PayOptions { state_only: true, ..PayOptions::default() };
        world.pay(&self.shop, &self.found, &unpublished);
        let (status, view) = world.close(mch_id, &self.closed, None).await;
        assert_eq!(status, StatusCode::ACCEPTED, "{view}");
    }

    async fn ends(&self, world: &World) {
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

async fn dies_at(step: &str) {
    let (world, program) = world().await;
    let victim = program.spawn_worker(&format!("{step}=1*return(die);{HURRY}"));
    let day = Day::begin(&world).await;
    // Some steps are met only after what follows, which others do not live to see.
    let (_, heir) = tokio::join!(day.go_on(&world), async {
        victim.wait_for_exit_by_signal().await;
        program.spawn_worker(HURRY)
    });
    day.ends(&world).await;
    heir.stop().await;
    world.finish().await;
}

async fn vanishes(step: &str) {
    let (world, program) = world().await;
    let worker = program.spawn_worker(&format!("{step}=2*return(vanish);{HURRY}"));
    let day = Day::begin(&world).await;
    day.go_on(&world).await;
    day.ends(&world).await;
    let log = worker.stop().await;
    assert!(log.contains("the answer vanished"), "{step}: {log}");
    world.finish().await;
}

#[tokio::test]
async fn worker_may_die_at_every_failpoint() {
    stream::iter(STEPS).for_each_concurrent(AT_ONCE, dies_at).await;
}

#[tokio::test]
async fn every_answer_of_wechat_may_be_lost() {
    stream::iter(ANSWERS).for_each_concurrent(AT_ONCE, vanishes).await;
}
