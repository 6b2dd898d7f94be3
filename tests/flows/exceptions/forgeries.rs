//! Forged notifications: a limited sample, one exception, and a budget of queries.

use futures_util::future::join_all;
use harness::{Shop, World, eventually};
use simulator::PayOptions;
use time::OffsetDateTime;

use super::{
    create_payable_order, forged, queries, rows, unpaid_notification, wait_for_queries,
    wait_until_checked,
};

/// How many unverified notifications are stored per merchant and hour.
const SAMPLE: i64 = 50;

/// How many queries suspect notifications may cause per merchant and minute.
const BUDGET: i64 = 30;

#[tokio::test]
async fn forgery_flood_is_bounded_sample_and_one_exception() {
    let mut world = World::start().await;
    let shop = world.md5_shop();
    let number = create_payable_order(&world, &shop).await;
    let ledger = world.ledger_rows().await;
    let started_at = OffsetDateTime::now_utc();
    let bodies: Vec<_> =
        (0..300).map(|_| world.unsent_notification(&shop, &number, forged())).collect();
    // The ingress closes a connection beyond the 256 that one source may have open.
    for bodies in bodies.chunks(100) {
        join_all(bodies.iter().map(|body| world.notify_ok(&shop.mch_id, body))).await;
    }
    eventually("every counted notification", async || {
        let all: i64 = rows(&world, &shop, "-").await.iter().map(|row| row.2).sum();
        (all == 300).then_some(())
    })
    .await;
    world.process_queues().await;
    wait_until_checked(&world).await;

    // One opens per hour, and the test may run across the full hour.
    let hours = periods(started_at, 3600);
    let opened = rows(&world, &shop, "-").await;
    assert!((1..=hours).contains(&i64::try_from(opened.len()).unwrap()), "{opened:?}");
    assert!(opened.iter().all(|row| row.0 == "bad_signature" && row.3), "{opened:?}");
    let events = world.exception_events("-", opened.len()).await;
    assert!(events.iter().all(|event| event["mch_id"] == shop.mch_id.as_str()));
    let stored = world.count_notifications("bad_signature").await;
    assert!((SAMPLE..=SAMPLE * hours).contains(&stored), "{stored}");
    assert_eq!(rows(&world, &world.hmac_shop(), "-").await, []);

    // The forgeries name an existing order. WeChat is queried for it, within the budget.
    let asked = i64::try_from(queries(&world, &shop, &number)).unwrap();
    assert!((1..=BUDGET * periods(started_at, 60)).contains(&asked), "{asked}");
    assert_eq!(world.ledger_rows().await, ledger);
    assert_eq!(world.exception_kinds(&number).await, [""; 0]);
    world.finish().await;
}

/// How many periods of this length the test has run in so far.
fn periods(started_at: OffsetDateTime, seconds: i64) -> i64 {
    let number = |at: OffsetDateTime| at.unix_timestamp().div_euclid(seconds);
    number(OffsetDateTime::now_utc()) - number(started_at) + 1
}

#[tokio::test]
async fn forgeries_of_one_merchant_share_query_budget() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let other = world.hmac_shop();
    let numbers: Vec<_> = (0..40).map(|_| Shop::number()).collect();
    let orders: Vec<_> = numbers.iter().map(|number| shop.order(number, 9900)).collect();
    join_all(orders.iter().map(|order| world.create_payable(order))).await;
    let elsewhere = create_payable_order(&world, &other).await;
    let started_at = OffsetDateTime::now_utc();
    let bodies: Vec<_> =
        numbers.iter().map(|number| world.unsent_notification(&shop, number, forged())).collect();
    join_all(bodies.iter().map(|body| world.notify_ok(&shop.mch_id, body))).await;
    eventually("every counted notification", async || {
        let all: i64 = rows(&world, &shop, "-").await.iter().map(|row| row.2).sum();
        (all == 40).then_some(())
    })
    .await;
    // Another merchant has its own budget. Its forgery is the last one in the queue.
    let body = world.unsent_notification(&other, &elsewhere, forged());
    world.notify_ok(&other.mch_id, &body).await;
    wait_for_queries(&world, &other, &elsewhere, 1).await;
    let asked = || {
        let asked: u64 = numbers.iter().map(|number| queries(&world, &shop, number)).sum();
        i64::try_from(asked).unwrap()
    };
    // They were in other batches, whose orders may be queried later.
    eventually("the whole budget", async || (asked() >= BUDGET).then_some(())).await;
    wait_until_checked(&world).await;
    let minutes = periods(started_at, 60);
    let asked = asked();
    assert!(asked <= BUDGET * minutes, "{asked} in {minutes} minutes");
    world.finish().await;
}

#[tokio::test]
async fn forgeries_about_unknown_orders_use_no_query_budget() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = create_payable_order(&world, &shop).await;
    let invented = (0..3 * BUDGET).map(|_| {
        let options = PayOptions { out_trade_no: Some(Shop::number()), ..forged() };
        world.unsent_notification(&shop, &number, options)
    });
    let invented: Vec<_> = invented.collect();
    join_all(invented.iter().map(|body| world.notify_ok(&shop.mch_id, body))).await;
    eventually("every counted notification", async || {
        let all: i64 = rows(&world, &shop, "-").await.iter().map(|row| row.2).sum();
        (all == 3 * BUDGET).then_some(())
    })
    .await;
    let body = world.unsent_notification(&shop, &number, forged());
    world.notify_ok(&shop.mch_id, &body).await;
    wait_for_queries(&world, &shop, &number, 1).await;
    wait_until_checked(&world).await;
    world.finish().await;
}

#[tokio::test]
async fn notification_to_unconfigured_merchant_stores_nothing() {
    let mut world = World::start().await;
    let shop = world.md5_shop();
    let number = create_payable_order(&world, &shop).await;
    let ledger = world.ledger_rows().await;
    for options in [unpaid_notification(), forged()] {
        let body = world.unsent_notification(&shop, &number, options);
        world.notify_ok("1999999999", &body).await;
        world.notify_ok(&world.hmac_shop().mch_id, &body).await;
    }
    world.process_queues().await;
    wait_until_checked(&world).await;
    let rows = "select (select count(*) from notifications) + (select count(*) from exceptions)";
    let rows: i64 = sqlx::query_scalar(rows).fetch_one(&world.environment.pool).await.unwrap();
    assert_eq!(rows, 0);
    assert_eq!(queries(&world, &shop, &number), 0);
    assert_eq!(world.ledger_rows().await, ledger);
    world.finish().await;
}
