//! Money or identity that does not fit: each kind opens once, is seen, asks WeChat where that can
//! help, and waits for a person.

mod forgeries;
mod mismatches;
mod unsettled;

use harness::program::Program;
use harness::{Options, Shop, StoredNotification, World, eventually, fast_schedule};
use serde_json::json;
use simulator::{PayOptions, Signing};
use sqlx::Row;

/// One row: kind, transaction, how often it was counted, and whether it is open.
type Row4 = (String, String, i64, bool);

/// The exceptions of a number as they are stored, ordered by kind and transaction.
async fn rows(world: &World, shop: &Shop, number: &str) -> Vec<Row4> {
    let rows = "select kind, transaction_id, found_count, resolved_at is null as open
        from exceptions where mch_id = $1 and out_trade_no = $2 order by 1, 2";
    let rows = sqlx::query(rows).bind(&shop.mch_id).bind(number);
    let rows = rows.fetch_all(&world.environment.pool).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect()
}

/// Everything that design 5 asks of an exception that is open: one row, one event, and the view.
async fn stands(world: &World, shop: &Shop, number: &str, kind: &str, transaction_id: &str) {
    let events = world.exception_events(number, 1).await;
    let told = &events[0]["exception"];
    assert_eq!((&told["kind"], &events[0]["mch_id"]), (&json!(kind), &json!(shop.mch_id)));
    assert_eq!(told["transaction_id"].as_str().unwrap_or_default(), transaction_id);
    let row: Row4 = (kind.to_owned(), transaction_id.to_owned(), 1, true);
    assert_eq!(rows(world, shop, number).await, [row]);
    let (status, view) = world.get(shop, number).await;
    if kind == "unknown_order" {
        assert_eq!(status, 404, "{view}");
        return;
    }
    assert_eq!(view["exceptions"].as_array().map(Vec::len), Some(1), "{view}");
    assert_eq!(view["exceptions"][0]["kind"], kind);
    assert_eq!(view["exceptions"][0]["opened_at"], told["opened_at"]);
}

/// A signed message about a payment that nobody made.
fn untrue() -> PayOptions {
    PayOptions { notify_only: true, ..PayOptions::default() }
}

/// Nobody's: it does not verify.
fn forged() -> PayOptions {
    PayOptions { sign: Signing::Wrong, ..untrue() }
}

/// The transaction that a message speaks of.
fn transaction_of(body: &[u8]) -> String {
    let text = std::str::from_utf8(body).unwrap();
    let rest = text.split("<transaction_id>").nth(1).unwrap();
    let value = rest.split("</transaction_id>").next().unwrap();
    value.replace("<![CDATA[", "").replace("]]>", "")
}

fn queries(world: &World, shop: &Shop, number: &str) -> u64 {
    world.simulator.calls(&shop.mch_id, number).orderquery
}

async fn asked(world: &World, shop: &Shop, number: &str, times: u64) {
    eventually(&format!("WeChat to be asked about {number}"), async || {
        (queries(world, shop, number) >= times).then_some(())
    })
    .await;
}

/// Waits until no order is due and none is being looked at.
async fn looked_at(world: &World) {
    let busy = "select count(*) from orders
        where next_check_at <= now() or call_lease_holder is not null";
    eventually("every look to be over", async || {
        let busy: i64 = sqlx::query_scalar(busy).fetch_one(&world.environment.pool).await.unwrap();
        (busy == 0).then_some(())
    })
    .await;
}

/// Whether the order is looked at by itself again.
async fn is_polled(world: &World, number: &str) -> bool {
    let polled = "select next_check_at is not null from orders where out_trade_no = $1";
    sqlx::query_scalar(polled).bind(number).fetch_one(&world.environment.pool).await.unwrap()
}

async fn payable(world: &World, shop: &Shop) -> String {
    let number = Shop::number();
    world.create_payable(&shop.order(&number, 9900)).await;
    number
}

/// Resolves the one of this kind, and returns the output.
async fn resolve(world: &World, shop: &Shop, number: &str, kind: &str) -> String {
    let resolve = ["exceptions", "resolve", &shop.mch_id, number, kind, "--reason", "looked into"];
    Program::of(world).run_ok(world, &resolve).await
}

fn in_a_hurry() -> Options {
    Options { schedule: Some(fast_schedule()), ..Options::default() }
}

#[tokio::test]
async fn late_and_duplicate_payment_open_once_each() {
    let world = World::start_with(in_a_hurry()).await;
    let shop = world.shop();
    let number = payable(&world, &shop).await;
    let (status, view) = world.close(&shop.mch_id, &number, None).await;
    assert_eq!(status, 202, "{view}");
    world.wait_for_state(&shop, &number, "closed").await;
    let late = PayOptions { force: true, notify: Some(3), ..PayOptions::default() };
    let late = world.pay(&shop, &number, &late);
    world.wait_for_state(&shop, &number, "paid").await;
    stands(&world, &shop, &number, "late_payment", late.transaction_id.as_str()).await;

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
    for shop in [world.shop(), world.hmac_shop()] {
        let number = Shop::number();
        let body = world.unsent_notification(&shop, &number, untrue());
        for _ in 0..3 {
            world.notify_ok(&shop.mch_id, &body).await;
        }
        world
            .expect_stored_notifications(&number, &[StoredNotification::new("exception", 2)])
            .await;
        asked(&world, &shop, &number, 1).await;
        stands(&world, &shop, &number, "unknown_order", &transaction_of(&body)).await;
    }
    assert_eq!(world.ledger_rows().await, [""; 0]);
    world.finish().await;
}

#[tokio::test]
async fn paid_order_reported_closed_is_contradiction() {
    let world = World::start().await;
    let shop = world.shop();
    let program = Program::of(&world);
    let number = payable(&world, &shop).await;
    world.pay(&shop, &number, &PayOptions::default());
    world.wait_for_state(&shop, &number, "paid").await;
    world.simulator.set_state(&shop.mch_id, &number, "REVOKED").unwrap();
    let books = world.ledger_rows().await;
    for times in 1..=3 {
        program.run_ok(&world, &["order", "requery", &shop.mch_id, &number]).await;
        asked(&world, &shop, &number, times).await;
        looked_at(&world).await;
    }
    stands(&world, &shop, &number, "contradiction", "").await;
    let events = world.exception_events(&number, 1).await;
    assert_eq!(events[0]["exception"]["differs"][0]["ours"], "paid");
    assert_eq!(world.ledger_rows().await, books);
    world.finish().await;
}
