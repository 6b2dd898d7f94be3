//! Workers that start early, stop in the middle of their work, and share it.

mod started_early;

use futures_util::future::join_all;
use harness::{Options, Shop, World, eventually};
use serde_json::{Value, json};
use simulator::{Api, Fault, FaultPlan, HeldCallFilter, PayOptions, PlannedFault};

const PAYABLE: [&str; 2] = ["created by shop", "payable by reply"];
const PAID: [&str; 3] = ["created by shop", "payable by reply", "paid by notify"];

async fn two_workers() -> World {
    World::start_with(Options { workers: Some(2), ..Options::default() }).await
}

/// Posts this many orders without waiting for their outcome, and returns their numbers.
async fn post_orders(world: &World, shop: &Shop, count: usize) -> Vec<String> {
    let numbers: Vec<String> = (0..count).map(|_| Shop::number()).collect();
    let orders: Vec<Value> = numbers.iter().map(|n| shop.order(n, 9900)).collect();
    let answers = join_all(orders.iter().map(|order| world.create(order, None))).await;
    assert!(answers.iter().all(|(status, _)| *status == 202));
    numbers
}

async fn count_orders(world: &World, state: &str) -> i64 {
    let count = "select count(*) from orders where state = $1";
    let count = sqlx::query_scalar(count).bind(state);
    count.fetch_one(&world.environment.pool).await.unwrap()
}

/// What the running workers report, one entry for each: the calls a second for a merchant.
async fn reported_rates(world: &World, shop: &Shop) -> Vec<i32> {
    let rates = "select (rates ->> $1)::int from workers";
    let rates = sqlx::query_scalar(rates).bind(&shop.mch_id);
    rates.fetch_all(&world.environment.pool).await.unwrap()
}

async fn wait_for_orders(world: &World, count: i64, state: &str) {
    eventually(&format!("{count} orders in state {state}"), async || {
        (count_orders(world, state).await >= count).then_some(())
    })
    .await;
}

/// Waits until this many messages are queued. The broker counts requeued messages a moment later.
async fn wait_for_queued(world: &World, count: u32) {
    eventually(&format!("{count} queued messages"), async || {
        (world.queued_messages().await == count).then_some(())
    })
    .await;
}

/// Expects one unifiedorder call for each order, all with a `prepay_id`.
fn expect_one_call_each(world: &World, shop: &Shop, numbers: &[String]) {
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

#[tokio::test]
async fn either_of_two_workers_may_stop_midway() {
    let mut world = two_workers().await;
    let shop = world.hmac_shop();
    let numbers = post_orders(&world, &shop, 60).await;
    wait_for_orders(&world, 10, "payable").await;
    world.workers.remove(0).stop().await;
    for number in &numbers {
        world.wait_for_state(&shop, number, "payable").await;
        assert_eq!(world.transition_labels(number).await, PAYABLE);
    }
    expect_one_call_each(&world, &shop, &numbers);

    world.add_worker().await;
    let twice = PayOptions { notify: Some(2), concurrently: true, ..PayOptions::default() };
    for number in &numbers {
        world.pay(&shop, number, &twice);
    }
    wait_for_orders(&world, 10, "paid").await;
    world.workers.remove(0).stop().await;
    for number in &numbers {
        world.wait_for_state(&shop, number, "paid").await;
        assert_eq!(world.transition_labels(number).await, PAID);
    }
    world.finish().await;
}

#[tokio::test]
async fn stopping_worker_finishes_its_calls() {
    let mut world = World::start().await;
    let shop = world.md5_shop();
    unifiedorder_faults(&world, Fault::Hold, 30);
    let numbers = post_orders(&world, &shop, 30).await;
    world.wait_for_held_calls(30).await;

    let worker = world.workers.remove(0);
    let address = worker.address;
    let gateway = async {
        eventually("a stopping worker", async || {
            let url = format!("http://{address}/readyz");
            let answer = world.http.get(url).send().await.ok()?;
            answer.text().await.ok()?.contains("stopping").then_some(())
        })
        .await;
        assert_eq!(count_orders(&world, "payable").await, 0);
        world.simulator.release(&HeldCallFilter::default())
    };
    let ((), released) = tokio::join!(worker.stop(), gateway);
    assert_eq!(released, 30);

    // The worker has stored every outcome, and requeued nothing.
    assert_eq!(count_orders(&world, "payable").await, 30);
    assert_eq!(world.queued_messages().await, 0);
    expect_one_call_each(&world, &shop, &numbers);

    world.add_worker().await;
    for number in &numbers {
        let view = world.create_payable(&shop.order(number, 9900)).await;
        assert!(view["pay"]["paySign"].is_string());
        world.pay(&shop, number, &PayOptions::default());
    }
    for number in &numbers {
        world.wait_for_state(&shop, number, "paid").await;
        assert_eq!(world.transition_labels(number).await, PAID);
    }
    expect_one_call_each(&world, &shop, &numbers);
    world.finish().await;
}

/// A stopping worker requeues the orders that it has not started.
#[tokio::test]
async fn stopping_worker_leaves_unstarted_orders_to_next() {
    let mut world = World::start().await;
    let shop = world.md5_shop();
    world.stop_workers().await;
    let numbers = post_orders(&world, &shop, 400).await;

    world.add_worker().await;
    wait_for_orders(&world, 1, "payable").await;
    world.stop_workers().await;
    // A started order is payable, or its call is deferred until there is a permit.
    let started = count_orders(&world, "payable").await + count_orders(&world, "created").await;
    wait_for_queued(&world, 400 - u32::try_from(started).unwrap()).await;

    world.add_worker().await;
    wait_for_orders(&world, 400, "payable").await;
    expect_one_call_each(&world, &shop, &numbers);
    world.finish().await;
}

/// How many database connections wait for a lock.
async fn count_lock_waiters(world: &World) -> i64 {
    let count = "select count(*) from pg_stat_activity
        where datname = current_database() and wait_event_type = 'Lock'";
    sqlx::query_scalar(count).fetch_one(&world.environment.pool).await.unwrap()
}

/// The answer of a call is stored when the database works again, without another call.
#[tokio::test]
async fn answer_survives_slow_database() {
    let world = World::start().await;
    let shop = world.md5_shop();
    unifiedorder_faults(&world, Fault::HoldAfterCommit, 1);
    let numbers = post_orders(&world, &shop, 1).await;
    world.wait_for_held_calls(1).await;
    let mut lock = world.environment.pool.begin().await.unwrap();
    let locked = sqlx::query("select from orders for update").execute(&mut *lock).await;
    assert_eq!(locked.unwrap().rows_affected(), 1);

    world.simulator.release(&HeldCallFilter::default());
    eventually("a worker that waits for the row", async || {
        (count_lock_waiters(&world).await > 0).then_some(())
    })
    .await;
    eventually("the end of the attempt", async || {
        (count_lock_waiters(&world).await == 0).then_some(())
    })
    .await;
    lock.rollback().await.unwrap();

    world.wait_for_state(&shop, &numbers[0], "payable").await;
    assert_eq!(world.transition_labels(&numbers[0]).await, PAYABLE);
    expect_one_call_each(&world, &shop, &numbers);
    world.finish().await;
}

#[tokio::test]
async fn order_posted_again_during_call_is_called_once() {
    let world = two_workers().await;
    let shop = world.md5_shop();
    // Often enough that the repeat reaches the same worker and the other one.
    for _ in 0..6 {
        let number = Shop::number();
        let order = shop.order(&number, 9900);
        unifiedorder_faults(&world, Fault::Hold, 1);
        let second = async {
            world.wait_for_held_calls(1).await;
            let answer = world.create(&order, Some(20)).await;
            world.simulator.release(&HeldCallFilter::default());
            answer
        };
        let (first, second) = tokio::join!(world.create(&order, Some(20)), second);
        let (status, view) = second;
        assert_eq!((status.as_u16(), &view["state"]), (202, &json!("created")));
        let (status, view) = first;
        assert_eq!((status.as_u16(), &view["state"]), (200, &json!("payable")));
        assert_eq!(world.transition_labels(&number).await, PAYABLE);
        expect_one_call_each(&world, &shop, &[number]);
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
                // Another call for the order was in progress.
                (202, Some("created")) => {}
                other => panic!("{other:?}: {view}"),
            }
        }
        assert!(called >= 1, "the request that called has the outcome");
        assert_eq!(world.transition_labels(number).await, PAYABLE);
    }
    expect_one_call_each(&world, &shop, &numbers);
    world.finish().await;
}

#[tokio::test]
async fn workers_share_the_rate_of_a_merchant() {
    let mut world = two_workers().await;
    let shop = world.md5_shop();
    let wait_for_rates = async |world: &World, expected: &[i32]| {
        eventually(&format!("the rates {expected:?}"), async || {
            (reported_rates(world, &shop).await == expected).then_some(())
        })
        .await;
    };
    wait_for_rates(&world, &[150, 150]).await;
    world.workers.remove(0).stop().await;
    wait_for_rates(&world, &[300]).await;

    // One that was killed and has not reported for ten seconds.
    let silent = "insert into workers (id, seen_at, rates)
        values (gen_random_uuid(), now() - interval '11 seconds', '{}')";
    sqlx::query(silent).execute(&world.environment.pool).await.unwrap();
    world.add_worker().await;
    eventually("the rates of two beside a silent one", async || {
        let rates = "select count(*) from workers where rates ->> $1 = '150'";
        let rates = sqlx::query_scalar(rates).bind(&shop.mch_id);
        let sharing: i64 = rates.fetch_one(&world.environment.pool).await.unwrap();
        (sharing == 2).then_some(())
    })
    .await;
    world.finish().await;
}
