//! Workers come and go: too early, two at a time, and in the middle of their work.

mod started_early;

use futures_util::future::join_all;
use harness::{Options, Shop, World, eventually};
use serde_json::{Value, json};
use simulator::{Api, Fault, FaultPlan, PayOptions, PlannedFault, Release};

const PAYABLE: [&str; 2] = ["created by shop", "payable by reply"];
const PAID: [&str; 3] = ["created by shop", "payable by reply", "paid by notify"];

async fn two_workers() -> World {
    World::start_with(Options { workers: Some(2), ..Options::default() }).await
}

/// Posts that many orders without waiting for an answer, and returns their numbers.
async fn posted(world: &World, shop: &Shop, count: usize) -> Vec<String> {
    let numbers: Vec<String> = (0..count).map(|_| Shop::number()).collect();
    let orders: Vec<Value> = numbers.iter().map(|n| shop.order(n, 9900)).collect();
    let answers = join_all(orders.iter().map(|order| world.create(order, None))).await;
    assert!(answers.iter().all(|(status, _)| *status == 202));
    numbers
}

/// How many orders are in this state.
async fn how_many(world: &World, state: &str) -> i64 {
    let count = "select count(*) from orders where state = $1";
    let count = sqlx::query_scalar(count).bind(state);
    count.fetch_one(&world.environment.pool).await.unwrap()
}

async fn at_least(world: &World, count: i64, state: &str) {
    eventually(&format!("{count} orders to be {state}"), async || {
        (how_many(world, state).await >= count).then_some(())
    })
    .await;
}

/// Waits until that many messages wait for a worker: what goes back is counted a moment later.
async fn waits(world: &World, count: u32) {
    eventually(&format!("{count} messages to wait"), async || {
        (world.queued_messages().await == count).then_some(())
    })
    .await;
}

/// Every call about these orders was answered with a `prepay_id`, and there was one for each.
fn called_once_each(world: &World, shop: &Shop, numbers: &[String]) {
    for number in numbers {
        let calls = world.simulator.calls(&shop.mch_id, number);
        assert_eq!(calls.unifiedorder, 1, "{number}");
    }
    let outcomes = &world.simulator.request_counts().apis[&Api::Unifiedorder];
    let names: Vec<_> = outcomes.keys().collect();
    assert_eq!(names, ["SUCCESS"]);
}

fn unifiedorder_faults(world: &World, fault: Fault, times: u32) {
    let plan =
        FaultPlan { unifiedorder: vec![PlannedFault::new(fault, times)], ..FaultPlan::default() };
    world.simulator.set_faults(plan).unwrap();
}

async fn held(world: &World, count: usize) {
    eventually(&format!("{count} calls to be held"), async || {
        (world.simulator.held_calls().len() == count).then_some(())
    })
    .await;
}

#[tokio::test]
async fn either_of_two_workers_may_stop_midway() {
    let mut world = two_workers().await;
    let shop = world.hmac_shop();
    let numbers = posted(&world, &shop, 60).await;
    at_least(&world, 10, "payable").await;
    world.workers.remove(0).stop().await;
    for number in &numbers {
        world.wait_for_state(&shop, number, "payable").await;
        assert_eq!(world.transitions(number).await, PAYABLE);
    }
    called_once_each(&world, &shop, &numbers);

    world.add_worker().await;
    let twice = PayOptions { notify: Some(2), concurrently: true, ..PayOptions::default() };
    for number in &numbers {
        world.pay(&shop, number, &twice);
    }
    at_least(&world, 10, "paid").await;
    world.workers.remove(0).stop().await;
    for number in &numbers {
        world.wait_for_state(&shop, number, "paid").await;
        assert_eq!(world.transitions(number).await, PAID);
    }
    world.finish().await;
}

#[tokio::test]
async fn stopping_worker_finishes_its_calls() {
    let mut world = World::start().await;
    let shop = world.shop();
    unifiedorder_faults(&world, Fault::Hold, 30);
    let numbers = posted(&world, &shop, 30).await;
    held(&world, 30).await;

    let worker = world.workers.remove(0);
    let address = worker.address;
    let gateway = async {
        eventually("the worker to say that it stops", async || {
            let url = format!("http://{address}/readyz");
            let answer = world.http.get(url).send().await.ok()?;
            answer.text().await.ok()?.contains("stopping").then_some(())
        })
        .await;
        assert_eq!(how_many(&world, "payable").await, 0);
        world.simulator.release(&Release::default())
    };
    let ((), released) = tokio::join!(worker.stop(), gateway);
    assert_eq!(released, 30);

    // It has ended: what it knows stands in the database, and nothing went back to the queue.
    assert_eq!(how_many(&world, "payable").await, 30);
    assert_eq!(world.queued_messages().await, 0);
    called_once_each(&world, &shop, &numbers);

    world.add_worker().await;
    for number in &numbers {
        let view = world.create_payable(&shop.order(number, 9900)).await;
        assert!(view["pay"]["paySign"].is_string());
        world.pay(&shop, number, &PayOptions::default());
    }
    for number in &numbers {
        world.wait_for_state(&shop, number, "paid").await;
        assert_eq!(world.transitions(number).await, PAID);
    }
    called_once_each(&world, &shop, &numbers);
    world.finish().await;
}

/// More orders than a worker takes at once: what it has not begun goes back untouched.
#[tokio::test]
async fn stopping_worker_leaves_unstarted_orders_to_next() {
    let mut world = World::start().await;
    let shop = world.shop();
    world.stop_workers().await;
    let numbers = posted(&world, &shop, 400).await;

    world.add_worker().await;
    at_least(&world, 1, "payable").await;
    world.stop_workers().await;
    // What had begun is payable, or was put off until there is a place and a turn for its call.
    let begun = how_many(&world, "payable").await + how_many(&world, "created").await;
    waits(&world, 400 - u32::try_from(begun).unwrap()).await;

    world.add_worker().await;
    at_least(&world, 400, "payable").await;
    called_once_each(&world, &shop, &numbers);
    world.finish().await;
}

/// How many of the database's connections wait for a lock.
async fn waiting_for_a_lock(world: &World) -> i64 {
    let count = "select count(*) from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'";
    sqlx::query_scalar(count).fetch_one(&world.environment.pool).await.unwrap()
}

/// The call was made and answered. Whoever calls again does it because the answer was thrown away,
/// and only after the lease of the first call has ended, while its shop waits.
#[tokio::test]
async fn answer_survives_slow_database() {
    let world = World::start().await;
    let shop = world.shop();
    unifiedorder_faults(&world, Fault::HoldAfterCommit, 1);
    let numbers = posted(&world, &shop, 1).await;
    held(&world, 1).await;
    let mut lock = world.environment.pool.begin().await.unwrap();
    let locked = sqlx::query("select from orders for update").execute(&mut *lock).await;
    assert_eq!(locked.unwrap().rows_affected(), 1);

    world.simulator.release(&Release::default());
    eventually("the worker to wait for the row", async || {
        (waiting_for_a_lock(&world).await > 0).then_some(())
    })
    .await;
    eventually("the worker to give up for now", async || {
        (waiting_for_a_lock(&world).await == 0).then_some(())
    })
    .await;
    lock.rollback().await.unwrap();

    world.wait_for_state(&shop, &numbers[0], "payable").await;
    assert_eq!(world.transitions(&numbers[0]).await, PAYABLE);
    called_once_each(&world, &shop, &numbers);
    world.finish().await;
}

#[tokio::test]
async fn order_posted_again_during_call_is_called_once() {
    let world = two_workers().await;
    let shop = world.shop();
    // Often enough that the second one meets the same worker as well as the other one.
    for _ in 0..6 {
        let number = Shop::number();
        let order = shop.order(&number, 9900);
        unifiedorder_faults(&world, Fault::Hold, 1);
        let second = async {
            held(&world, 1).await;
            let answer = world.create(&order, Some(20)).await;
            world.simulator.release(&Release::default());
            answer
        };
        let (first, second) = tokio::join!(world.create(&order, Some(20)), second);
        let (status, view) = second;
        assert_eq!((status.as_u16(), &view["state"]), (202, &json!("created")));
        let (status, view) = first;
        assert_eq!((status.as_u16(), &view["state"]), (200, &json!("payable")));
        assert_eq!(world.transitions(&number).await, PAYABLE);
        called_once_each(&world, &shop, &[number]);
    }
    world.finish().await;
}

#[tokio::test]
async fn order_posted_four_times_at_once_is_one_order() {
    let world = two_workers().await;
    let shop = world.hmac_shop();
    let numbers: Vec<String> = (0..10).map(|_| Shop::number()).collect();
    let orders = numbers.iter().flat_map(|number| {
        let order = shop.order(number, 9900);
        [(); 4].map(|()| order.clone())
    });
    let orders: Vec<Value> = orders.collect();
    let answers = join_all(orders.iter().map(|order| world.create(order, Some(20)))).await;

    for (number, answers) in numbers.iter().zip(answers.chunks(4)) {
        let mut called = 0;
        for (status, view) in answers {
            match (status.as_u16(), view["state"].as_str()) {
                (200, Some("payable")) => called += 1,
                // It met the call of another one under way.
                (202, Some("created")) => {}
                other => panic!("{other:?}: {view}"),
            }
        }
        assert!(called >= 1, "whoever called knows the outcome");
        assert_eq!(world.transitions(number).await, PAYABLE);
    }
    called_once_each(&world, &shop, &numbers);
    world.finish().await;
}
