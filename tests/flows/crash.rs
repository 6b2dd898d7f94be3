//! A worker is killed during each kind of work: another one continues from what is stored.

use std::time::Duration;

use futures_util::future::join_all;
use harness::{Options, Shop, World, eventually, fast_schedule};
use serde_json::Value;
use simulator::{Api, ControlError, Fault, HeldCallFilter, PayOptions};
use worker::CheckSchedule;

const EVENTS: [&str; 3] = ["order.created", "order.payable", "order.paid"];

/// Kills the only worker, with everything that it was processing.
fn kill_worker(world: &mut World) {
    world.workers.remove(0).kill();
}

/// Makes the leases of a killed worker expire now instead of after half a minute, and their orders
/// due.
async fn expire_leases(world: &World) {
    let end = "update orders set call_lease_until = now() - interval '1 second',
            next_check_at = now()
        where call_lease_until is not null";
    sqlx::query(end).execute(&world.environment.pool).await.unwrap();
}

/// Starts another worker and expires the leases of the killed one.
async fn replace_worker(world: &mut World) {
    expire_leases(world).await;
    world.add_worker().await;
}

async fn count(world: &World, what: &'static str) -> i64 {
    sqlx::query_scalar(what).fetch_one(&world.environment.pool).await.unwrap()
}

async fn wait_for_lock(world: &World) {
    eventually("a worker that waits for a lock", async || {
        let waiting = "select count(*) from pg_stat_activity
            where datname = current_database() and wait_event_type = 'Lock'";
        (count(world, waiting).await > 0).then_some(())
    })
    .await;
}

async fn post_orders(world: &World, shop: &Shop, count: usize) -> Vec<String> {
    let numbers: Vec<String> = (0..count).map(|_| Shop::number()).collect();
    let orders: Vec<Value> = numbers.iter().map(|number| shop.order(number, 9900)).collect();
    let answers = join_all(orders.iter().map(|order| world.create(order, None))).await;
    assert!(answers.iter().all(|(status, _)| *status == 202));
    numbers
}

async fn create_payable_orders(world: &World, shop: &Shop, count: usize) -> Vec<String> {
    let numbers = post_orders(world, shop, count).await;
    for number in &numbers {
        world.wait_for_event(number, "order.payable").await;
    }
    numbers
}

/// Waits until the order is payable, pays it and expects one payment.
async fn pay_and_expect_paid(world: &World, shop: &Shop, number: &str) {
    world.wait_for_state(shop, number, "payable").await;
    let gateway = world.simulator.order(&shop.mch_id, number).unwrap();
    let (_, view) = world.get(shop, number).await;
    assert_eq!(view["prepay_id"], gateway.prepay_ids.last().unwrap().as_str());
    world.pay(shop, number, &PayOptions::default());
    expect_paid_once(world, number).await;
}

async fn expect_paid_once(world: &World, number: &str) {
    world.expect_events(number, &EVENTS).await;
    let history = world.transition_labels(number).await;
    assert_eq!(history[..2], ["created by shop".to_owned(), "payable by reply".to_owned()]);
    assert_eq!(history.len(), 3, "{history:?}");
    assert_eq!(world.exception_kinds(number).await, Vec::<String>::new());
}

/// WeChat refuses a repeat with other parameters with `INVALID_REQUEST`.
fn expect_no_differing_request(world: &World) {
    let outcomes = &world.simulator.request_counts().apis[&Api::Unifiedorder];
    assert_eq!(outcomes.get("INVALID_REQUEST"), None, "{outcomes:?}");
}

#[tokio::test]
async fn worker_killed_during_first_call() {
    for fault in [Fault::Hold, Fault::HoldAfterCommit] {
        let mut world = World::start().await;
        let shop = world.hmac_shop();
        let numbers: Vec<String> = (0..5).map(|_| Shop::number()).collect();
        for number in &numbers {
            world.inject_fault(Api::Unifiedorder, number, fault.clone(), 1);
            world.create(&shop.order(number, 9900), None).await;
        }
        world.wait_for_held_calls(numbers.len()).await;
        kill_worker(&mut world);
        replace_worker(&mut world).await;
        for number in &numbers {
            world.wait_for_state(&shop, number, "payable").await;
        }
        // The killed worker's calls reach the gateway late.
        world.simulator.release(&HeldCallFilter::default());
        for number in &numbers {
            world.wait_for_state(&shop, number, "payable").await;
            world.pay(&shop, number, &PayOptions::default());
            expect_paid_once(&world, number).await;
        }
        expect_no_differing_request(&world);
        world.finish().await;
    }
}

/// The lease expires without help of the test.
#[tokio::test]
async fn lease_of_dead_worker_ends_after_30_s() {
    let mut world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    world.inject_fault(Api::Unifiedorder, &number, Fault::HoldAfterCommit, 1);
    world.create(&shop.order(&number, 9900), None).await;
    world.wait_for_held_calls(1).await;
    kill_worker(&mut world);
    world.add_worker().await;
    assert_eq!(
        world.calls(&shop, &number).unifiedorder,
        1,
        "the killed worker's lease is still valid"
    );
    pay_and_expect_paid(&world, &shop, &number).await;
    expect_no_differing_request(&world);
    world.finish().await;
}

#[tokio::test]
async fn worker_killed_before_storing_answer() {
    let mut world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    world.inject_fault(Api::Unifiedorder, &number, Fault::HoldAfterCommit, 1);
    world.create(&shop.order(&number, 9900), None).await;
    world.wait_for_held_calls(1).await;
    let mut lock = world.environment.pool.begin().await.unwrap();
    sqlx::query("select from orders for update").execute(&mut *lock).await.unwrap();
    world.simulator.release(&HeldCallFilter::default());
    wait_for_lock(&world).await;
    kill_worker(&mut world);
    lock.rollback().await.unwrap();
    assert_eq!(world.transition_labels(&number).await, ["created by shop"]);
    replace_worker(&mut world).await;
    pay_and_expect_paid(&world, &shop, &number).await;
    expect_no_differing_request(&world);
    world.finish().await;
}

#[tokio::test]
async fn worker_killed_before_storing_notifications() {
    let mut world = World::start().await;
    let shop = world.md5_shop();
    let numbers = create_payable_orders(&world, &shop, 30).await;
    let mut lock = world.environment.pool.begin().await.unwrap();
    sqlx::query("select from orders for update").execute(&mut *lock).await.unwrap();
    for number in &numbers {
        world.pay(&shop, number, &PayOptions::default());
    }
    wait_for_lock(&world).await;
    kill_worker(&mut world);
    lock.rollback().await.unwrap();
    assert_eq!(count(&world, "select count(*) from notifications").await, 0);
    replace_worker(&mut world).await;
    for number in &numbers {
        expect_paid_once(&world, number).await;
    }
    world.finish().await;
}

/// The broker redelivers a command or notification whose effect is committed.
#[tokio::test]
async fn worker_killed_between_commit_and_ack() {
    let mut world = World::start().await;
    let shop = world.hmac_shop();
    for _ in 0..3 {
        let numbers = post_orders(&world, &shop, 40).await;
        eventually("the first commits", async || {
            let payable = "select count(*) from orders where state = 'payable'";
            (count(&world, payable).await >= 3).then_some(())
        })
        .await;
        kill_worker(&mut world);
        replace_worker(&mut world).await;
        for number in &numbers {
            world.wait_for_state(&shop, number, "payable").await;
            world.pay(&shop, number, &PayOptions { notify: Some(2), ..PayOptions::default() });
        }
        eventually("the first payments", async || {
            let first = "select count(*) from orders where state = 'paid'
                and out_trade_no = any($1)";
            let first = sqlx::query_scalar(first).bind(&numbers);
            let first: i64 = first.fetch_one(&world.environment.pool).await.unwrap();
            (first >= 3).then_some(())
        })
        .await;
        kill_worker(&mut world);
        replace_worker(&mut world).await;
        for number in &numbers {
            expect_paid_once(&world, number).await;
        }
    }
    expect_no_differing_request(&world);
    world.finish().await;
}

#[tokio::test]
async fn worker_killed_while_closing() {
    let mut world = World::start_with(Options {
        schedule: Some(CheckSchedule { close_age_min: Duration::ZERO, ..fast_schedule() }),
        ..Options::default()
    })
    .await;
    let shop = world.md5_shop();
    for (api, fault) in [
        (Api::Orderquery, Fault::Hold),
        (Api::Closeorder, Fault::Hold),
        (Api::Closeorder, Fault::HoldAfterCommit),
    ] {
        let numbers = create_payable_orders(&world, &shop, 5).await;
        for number in &numbers {
            world.inject_fault(api, number, fault.clone(), 1);
            let (status, _) = world.close(&shop.mch_id, number, None).await;
            assert_eq!(status.as_u16(), 202);
        }
        for number in &numbers {
            world.wait_for_state(&shop, number, "closing").await;
        }
        world.wait_for_held_calls(numbers.len()).await;
        kill_worker(&mut world);
        replace_worker(&mut world).await;
        for number in &numbers {
            let closed = ["order.created", "order.payable", "order.closing", "order.closed"];
            world.expect_events(number, &closed).await;
            assert_eq!(world.transition_labels(number).await.len(), 4);
            assert_eq!(world.exception_kinds(number).await, Vec::<String>::new());
        }
        world.simulator.release(&HeldCallFilter::default());
    }
    world.finish().await;
}

#[tokio::test]
async fn worker_killed_during_check_that_finds_payment() {
    let mut world = World::start().await;
    let shop = world.md5_shop();
    let numbers = create_payable_orders(&world, &shop, 5).await;
    for number in &numbers {
        world.pay(&shop, number, &PayOptions { state_only: true, ..PayOptions::default() });
        world.inject_fault(Api::Orderquery, number, Fault::HoldAfterCommit, 1);
        world.update_order_row(number, "next_check_at = now()").await;
    }
    world.wait_for_held_calls(numbers.len()).await;
    kill_worker(&mut world);
    replace_worker(&mut world).await;
    for number in &numbers {
        expect_paid_once(&world, number).await;
    }
    world.finish().await;
}

/// A commit that writes an event waits for this lock.
const DELAY_COMMITS: &str = "
    create function delay_commit() returns trigger language plpgsql as $$
    begin
        perform pg_advisory_xact_lock_shared(17);
        return null;
    end $$;
    create constraint trigger delay_commit after insert on outbox deferrable initially deferred
        for each row execute function delay_commit();";

/// The database completes the commit after the worker was killed. The next worker's relay publishes
/// the events.
#[tokio::test]
async fn worker_killed_during_its_commit() {
    let mut world = World::start().await;
    let shop = world.md5_shop();
    sqlx::raw_sql(DELAY_COMMITS).execute(&world.environment.pool).await.unwrap();
    let numbers = create_payable_orders(&world, &shop, 20).await;
    let paid = "select count(*) from orders where state = 'paid'";
    let unpublished = "select count(*) from outbox";

    let mut lock = world.environment.pool.begin().await.unwrap();
    sqlx::query("select pg_advisory_xact_lock(17)").execute(&mut *lock).await.unwrap();
    for number in &numbers {
        world.pay(&shop, number, &PayOptions::default());
    }
    wait_for_lock(&world).await;
    kill_worker(&mut world);
    assert_eq!(count(&world, paid).await, 0);
    lock.rollback().await.unwrap();
    eventually("the commit", async || (count(&world, paid).await > 0).then_some(())).await;
    assert!(count(&world, unpublished).await > 0);
    let published = numbers.iter().filter(|it| world.events.transition_types(it).len() > 2);
    assert_eq!(published.count(), 0);

    replace_worker(&mut world).await;
    for number in &numbers {
        expect_paid_once(&world, number).await;
    }
    assert_eq!(count(&world, "select count(*) from order_transitions").await, 60);
    world.finish().await;
}

/// The same for an order without a call yet.
#[tokio::test]
async fn worker_killed_during_commit_of_acceptance() {
    let mut world = World::start().await;
    let shop = world.hmac_shop();
    sqlx::raw_sql(DELAY_COMMITS).execute(&world.environment.pool).await.unwrap();
    let mut lock = world.environment.pool.begin().await.unwrap();
    sqlx::query("select pg_advisory_xact_lock(17)").execute(&mut *lock).await.unwrap();
    let numbers = post_orders(&world, &shop, 5).await;
    wait_for_lock(&world).await;
    kill_worker(&mut world);
    lock.rollback().await.unwrap();
    eventually("the commit", async || {
        (count(&world, "select count(*) from orders").await > 0).then_some(())
    })
    .await;
    replace_worker(&mut world).await;
    for number in &numbers {
        pay_and_expect_paid(&world, &shop, number).await;
        assert_eq!(world.calls(&shop, number).unifiedorder, 1);
    }
    world.finish().await;
}

/// Every event of the killed worker is published at least once, under one id.
#[tokio::test]
async fn worker_killed_repeatedly_while_publishing() {
    let mut world = World::start().await;
    let shop = world.md5_shop();
    for _ in 0..4 {
        let numbers = create_payable_orders(&world, &shop, 20).await;
        for number in &numbers {
            world.pay(&shop, number, &PayOptions::default());
        }
        world.wait_for_state(&shop, &numbers[0], "paid").await;
        kill_worker(&mut world);
        replace_worker(&mut world).await;
        for number in &numbers {
            expect_paid_once(&world, number).await;
            assert_eq!(world.events.distinct(number).len(), 3, "one event id per transition");
        }
    }
    world.finish().await;
}

/// Pays as soon as the gateway knows the order. `false` when the gateway has closed it.
async fn pay_if_possible(world: &World, shop: &Shop, number: &str) -> bool {
    eventually("a successful or refused payment", async || {
        match world.simulator.pay(&shop.mch_id, number, &PayOptions::default()) {
            Ok(_) => Some(true),
            Err(ControlError::NotFound(_)) => None,
            Err(ControlError::Conflict(_)) => Some(false),
            Err(other) => panic!("{other}"),
        }
    })
    .await
}

#[tokio::test]
async fn two_workers_race_create_close_and_payment() {
    let options =
        Options { workers: Some(2), schedule: Some(fast_schedule()), ..Options::default() };
    let world = World::start_with(options).await;
    let shop = world.hmac_shop();
    let race = async |round: usize| {
        let number = Shop::number();
        let order = shop.order(&number, 9900);
        let close = async {
            // Every second close waits until the order exists.
            if round % 2 == 1 {
                eventually("the order", async || world.order_state(&shop, &number).await).await;
            }
            let (status, problem) = world.close(&shop.mch_id, &number, None).await;
            assert_eq!(status.as_u16(), 202, "{problem}");
        };
        let pay = async {
            // Every fourth payer waits until the close has begun.
            if round % 4 == 3 {
                eventually("a closing or closed order", async || {
                    let state = world.order_state(&shop, &number).await?;
                    (state == "closing" || state == "closed").then_some(())
                })
                .await;
            }
            pay_if_possible(&world, &shop, &number).await
        };
        let (_, (), paid) = tokio::join!(world.create(&order, None), close, pay);
        let end = if paid { "paid" } else { "closed" };
        world.wait_for_state(&shop, &number, end).await;
        let gateway = world.simulator.order(&shop.mch_id, &number).unwrap();
        assert_eq!(gateway.payments.len(), usize::from(paid));
        if !paid {
            assert_eq!(gateway.trade_state, "CLOSED");
        }
        let history = world.transition_labels(&number).await;
        assert_eq!(history[0], "created by shop");
        assert!(history.len() <= 5, "{history:?}");
        let found = world.exception_kinds(&number).await;
        assert!(found.is_empty() || (paid && found == ["late_payment"]), "{found:?} {history:?}");
        (number, end)
    };
    let ends = join_all((0..20).map(race)).await;
    for (number, end) in ends {
        let history = world.transition_labels(&number).await;
        let moves: Vec<String> = history
            .iter()
            .map(|it| format!("order.{}", it.split(' ').next().unwrap_or_default()))
            .collect();
        eventually(&format!("the events of {number}"), async || {
            (world.events.transition_types(&number) == moves).then_some(())
        })
        .await;
        assert!(moves.last().unwrap().ends_with(end), "{moves:?}");
    }
    expect_no_differing_request(&world);
    world.finish().await;
}
