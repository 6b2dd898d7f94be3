//! Exceptions: each kind opens once, is visible in the view and the events, queries WeChat where that
//! helps, and waits for an operator.

mod forgeries;
mod mismatches;
mod unsettled;

use harness::program::Program;
use harness::{Options, Shop, StoredNotification, World, eventually, fast_schedule};
use serde_json::json;
use simulator::{PayOptions, Signing};
use sqlx::Row;

/// A row of `exceptions`: kind, transaction, count, and whether it is open.
type Row4 = (String, String, i64, bool);

/// The stored exceptions of a number, by kind and transaction.
async fn rows(world: &World, shop: &Shop, number: &str) -> Vec<Row4> {
    let rows = "select kind, transaction_id, found_count, resolved_at is null as open
        from exceptions where mch_id = $1 and out_trade_no = $2 order by 1, 2";
    let rows = sqlx::query(rows).bind(&shop.mch_id).bind(number);
    let rows = rows.fetch_all(&world.environment.pool).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect()
}

/// Expects one open exception, with one row, one event, and the view.
async fn expect_open_exception(
    world: &World,
    shop: &Shop,
    number: &str,
    kind: &str,
    transaction_id: &str,
) {
    let events = world.exception_events(number, 1).await;
    let exception = &events[0]["exception"];
    assert_eq!((&exception["kind"], &events[0]["mch_id"]), (&json!(kind), &json!(shop.mch_id)));
    assert_eq!(exception["transaction_id"].as_str().unwrap_or_default(), transaction_id);
    let row: Row4 = (kind.to_owned(), transaction_id.to_owned(), 1, true);
    assert_eq!(rows(world, shop, number).await, [row]);
    let (status, view) = world.get(shop, number).await;
    if kind == "unknown_order" {
        assert_eq!(status, 404, "{view}");
        return;
    }
    assert_eq!(view["exceptions"].as_array().map(Vec::len), Some(1), "{view}");
    assert_eq!(view["exceptions"][0]["kind"], kind);
    assert_eq!(view["exceptions"][0]["opened_at"], exception["opened_at"]);
}

/// The options of a signed notification without a payment.
fn unpaid_notification() -> PayOptions {
    PayOptions { notify_only: true, ..PayOptions::default() }
}

/// The options of a notification with a wrong signature.
fn forged() -> PayOptions {
    PayOptions { sign: Signing::Wrong, ..unpaid_notification() }
}

/// The transaction id in a message.
fn transaction_of(body: &[u8]) -> String {
    let text = std::str::from_utf8(body).unwrap();
    let rest = text.split("<transaction_id>").nth(1).unwrap();
    let value = rest.split("</transaction_id>").next().unwrap();
    value.replace("<![CDATA[", "").replace("]]>", "")
}

fn queries(world: &World, shop: &Shop, number: &str) -> u64 {
    world.simulator.calls(&shop.mch_id, number).orderquery
}

async fn wait_for_queries(world: &World, shop: &Shop, number: &str, times: u64) {
    eventually(&format!("queries for {number}"), async || {
        (queries(world, shop, number) >= times).then_some(())
    })
    .await;
}

/// Waits until no order is due and no check runs.
async fn wait_until_checked(world: &World) {
    let busy = "select count(*) from orders
        where next_check_at <= now() or call_lease_holder is not null";
    eventually("the end of every check", async || {
        let busy: i64 = sqlx::query_scalar(busy).fetch_one(&world.environment.pool).await.unwrap();
        (busy == 0).then_some(())
    })
    .await;
}

/// Whether the order has a next check.
async fn is_polled(world: &World, number: &str) -> bool {
    let polled = "select next_check_at is not null from orders where out_trade_no = $1";
    sqlx::query_scalar(polled).bind(number).fetch_one(&world.environment.pool).await.unwrap()
}

async fn create_payable_order(world: &World, shop: &Shop) -> String {
    let number = Shop::number();
    world.create_payable(&shop.order(&number, 9900)).await;
    number
}

/// Resolves the exception of this kind and returns the output.
async fn resolve(world: &World, shop: &Shop, number: &str, kind: &str) -> String {
    let resolve =
        ["exceptions", "resolve", &shop.mch_id, number, kind, "--reason", "checked with WeChat"];
    Program::of(world).run_ok(world, &resolve).await
}

fn fast_options() -> Options {
    Options { schedule: Some(fast_schedule()), ..Options::default() }
}

#[tokio::test]
async fn late_and_duplicate_payment_open_once_each() {
    let world = World::start_with(fast_options()).await;
    let shop = world.md5_shop();
    let number = create_payable_order(&world, &shop).await;
    let (status, view) = world.close(&shop.mch_id, &number, None).await;
    assert_eq!(status, 202, "{view}");
    world.wait_for_state(&shop, &number, "closed").await;
    let late = PayOptions { force: true, notify: Some(3), ..PayOptions::default() };
    let late = world.pay(&shop, &number, &late);
    world.wait_for_state(&shop, &number, "paid").await;
    expect_open_exception(&world, &shop, &number, "late_payment", late.transaction_id.as_str())
        .await;

    let second = PayOptions {
        second_payment: true,
        notify: Some(4),
        concurrently: true,
        force: true,
        ..PayOptions::default()
    };
    let second = world.pay(&shop, &number, &second);
    let events = world.exception_events(&number, 2).await;
    let kinds: Vec<_> = events.iter().map(|event| &event["exception"]["kind"]).collect();
    assert_eq!(kinds, ["duplicate_payment", "late_payment"]);
    let row = |kind: &str, id: &str| -> Row4 { (kind.to_owned(), id.to_owned(), 1, true) };
    let expected = [
        row("duplicate_payment", second.transaction_id.as_str()),
        row("late_payment", late.transaction_id.as_str()),
    ];
    assert_eq!(rows(&world, &shop, &number).await, expected);
    let (_, view) = world.get(&shop, &number).await;
    assert_eq!(view["transaction_id"], late.transaction_id.as_str());
    assert_eq!(view["exceptions"].as_array().unwrap().len(), 2, "{view}");
    world.finish().await;
}

#[tokio::test]
async fn unknown_order_opens_once_and_queries_wechat() {
    let world = World::start().await;
    for shop in [world.md5_shop(), world.hmac_shop()] {
        let number = Shop::number();
        let body = world.unsent_notification(&shop, &number, unpaid_notification());
        for _ in 0..3 {
            world.notify_ok(&shop.mch_id, &body).await;
        }
        world
            .expect_stored_notifications(&number, &[StoredNotification::new("exception", 2)])
            .await;
        wait_for_queries(&world, &shop, &number, 1).await;
        expect_open_exception(&world, &shop, &number, "unknown_order", &transaction_of(&body))
            .await;
    }
    assert_eq!(world.ledger_rows().await, [""; 0]);
    world.finish().await;
}

#[tokio::test]
async fn paid_order_reported_closed_is_contradiction() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let program = Program::of(&world);
    let number = create_payable_order(&world, &shop).await;
    world.pay(&shop, &number, &PayOptions::default());
    world.wait_for_state(&shop, &number, "paid").await;
    world.simulator.set_state(&shop.mch_id, &number, "REVOKED").unwrap();
    let ledger = world.ledger_rows().await;
    for times in 1..=3 {
        program.run_ok(&world, &["order", "requery", &shop.mch_id, &number]).await;
        wait_for_queries(&world, &shop, &number, times).await;
        wait_until_checked(&world).await;
    }
    expect_open_exception(&world, &shop, &number, "contradiction", "").await;
    let events = world.exception_events(&number, 1).await;
    assert_eq!(events[0]["exception"]["differs"][0]["ours"], "paid");
    assert_eq!(world.ledger_rows().await, ledger);
    world.finish().await;
}
