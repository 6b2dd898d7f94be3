//! Money or identity that does not fit: each kind opens once, is seen, asks WeChat where that can
//! help, and waits for a person.

use futures_util::future::join_all;
use harness::program::Program;
use harness::{Options, Shop, StoredNotification, World, eventually, fast_schedule};
use serde_json::json;
use simulator::{Fault, FaultPlan, PayOptions, PlannedFault, Signing};
use sqlx::Row;
use time::OffsetDateTime;
use wechatpay_v2::Fen;

/// As many unverified ones are kept per merchant and hour.
const SAMPLE: i64 = 50;
/// Queries per merchant and minute that odd notifications may cause.
const BUDGET: i64 = 30;

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

#[tokio::test]
async fn repeated_mismatch_opens_once_and_queries_wechat() {
    let mut world = World::start().await;
    let amount = PayOptions { total_fee: Some(Fen::new(1).unwrap()), ..untrue() };
    let app = PayOptions { appid: Some("wx1111111111111111".to_owned()), ..untrue() };
    let mut told = Vec::new();
    for shop in [world.shop(), world.hmac_shop()] {
        for (options, kind) in [(&amount, "amount_mismatch"), (&app, "identity_mismatch")] {
            let number = payable(&world, &shop).await;
            let body = world.unsent_notification(&shop, &number, options.clone());
            for _ in 0..3 {
                world.notify_ok(&shop.mch_id, &body).await;
            }
            world
                .expect_stored_notifications(&number, &[StoredNotification::new("exception", 2)])
                .await;
            asked(&world, &shop, &number, 1).await;
            told.push((shop.clone(), number, kind, transaction_of(&body)));
        }
    }
    world.process_queues().await;
    looked_at(&world).await;
    for (shop, number, kind, id) in &told {
        stands(&world, shop, number, kind, id).await;
        assert_eq!(world.order_state(shop, number).await.as_deref(), Some("payable"));
        // The query says that nobody has paid, so it is looked at further.
        assert!(is_polled(&world, number).await);
    }
    world.finish().await;
}

/// Two mismatches about one order are two exceptions if they speak of two payments.
#[tokio::test]
async fn second_mismatched_payment_is_second_exception() {
    let world = World::start().await;
    let shop = world.shop();
    let number = payable(&world, &shop).await;
    let amount = PayOptions { total_fee: Some(Fen::new(1).unwrap()), ..untrue() };
    let one = world.unsent_notification(&shop, &number, amount.clone());
    let other = world.unsent_notification(&shop, &number, amount);
    for body in [&one, &other, &one, &other] {
        world.notify_ok(&shop.mch_id, body).await;
    }
    world.exception_events(&number, 2).await;
    let mut ids = [transaction_of(&one), transaction_of(&other)];
    ids.sort();
    let expected = ids.map(|id| ("amount_mismatch".to_owned(), id, 1, true));
    assert_eq!(rows(&world, &shop, &number).await, expected);
    let (_, view) = world.get(&shop, &number).await;
    assert_eq!(view["exceptions"].as_array().unwrap().len(), 2, "{view}");
    world.finish().await;
}

#[tokio::test]
async fn payment_behind_forged_notification_is_found_by_query() {
    let world = World::start().await;
    let wrong = PayOptions { total_fee: Some(Fen::new(1).unwrap()), ..untrue() };
    let mut hidden = Vec::new();
    for shop in [world.shop(), world.hmac_shop()] {
        for options in [forged(), wrong.clone()] {
            let number = payable(&world, &shop).await;
            let unpublished = PayOptions { state_only: true, ..PayOptions::default() };
            let paid = world.pay(&shop, &number, &unpublished);
            let id = Some(paid.transaction_id.clone());
            let options = PayOptions { transaction_id: id, ..options };
            let body = world.unsent_notification(&shop, &number, options);
            world.notify_ok(&shop.mch_id, &body).await;
            hidden.push((shop.clone(), number, paid.transaction_id));
        }
    }
    for (shop, number, id) in &hidden {
        world.wait_for_state(shop, number, "paid").await;
        let history = ["created by shop", "payable by reply", "paid by query"];
        assert_eq!(world.transitions(number).await, history);
        let (_, view) = world.get(shop, number).await;
        assert_eq!(view["transaction_id"], id.as_str());
    }
    world.finish().await;
}

/// Two orders of which WeChat books one payment: the first is paid, the second never fits.
async fn booked_twice(world: &World, shop: &Shop) -> (String, String) {
    let first = payable(world, shop).await;
    let second = payable(world, shop).await;
    let paid = world.pay(shop, &first, &PayOptions::default());
    world.wait_for_state(shop, &first, "paid").await;
    let again = PayOptions {
        transaction_id: Some(paid.transaction_id.clone()),
        state_only: true,
        ..PayOptions::default()
    };
    world.pay(shop, &second, &again);
    eventually("the polling to stop", async || (!is_polled(world, &second).await).then_some(()))
        .await;
    looked_at(world).await;
    (second, paid.transaction_id.to_string())
}

#[tokio::test]
async fn confirmed_mismatch_waits_for_operator() {
    let world = World::start_with(in_a_hurry()).await;
    let shop = world.shop();
    let (number, id) = booked_twice(&world, &shop).await;
    stands(&world, &shop, &number, "identity_mismatch", &id).await;
    assert_eq!(world.order_state(&shop, &number).await.as_deref(), Some("payable"));
    let before = queries(&world, &shop, &number);
    let output = resolve(&world, &shop, &number, "identity_mismatch").await;
    assert!(output.contains("is queried about the order again"), "{output}");
    asked(&world, &shop, &number, before + 1).await;
    looked_at(&world).await;
    // WeChat still says it: no second event, and no endless asking either.
    assert!(!is_polled(&world, &number).await);
    world.exception_events(&number, 1).await;
    world.finish().await;
}

/// Paid there, not paid here: as long as that is so, something is open (design 10, 1).
#[tokio::test]
async fn resolved_mismatch_confirmed_by_query_reopens() {
    let world = World::start_with(in_a_hurry()).await;
    let shop = world.shop();
    let (number, id) = booked_twice(&world, &shop).await;
    let before = queries(&world, &shop, &number);
    resolve(&world, &shop, &number, "identity_mismatch").await;
    asked(&world, &shop, &number, before + 1).await;
    looked_at(&world).await;
    stands(&world, &shop, &number, "identity_mismatch", &id).await;
    world.finish().await;
}

/// Resolves the one of this kind, and returns the output.
async fn resolve(world: &World, shop: &Shop, number: &str, kind: &str) -> String {
    let resolve = ["exceptions", "resolve", &shop.mch_id, number, kind, "--reason", "looked into"];
    Program::of(world).run_ok(world, &resolve).await
}

fn in_a_hurry() -> Options {
    Options { schedule: Some(fast_schedule()), ..Options::default() }
}

/// The next calls for a new order fail, all in one way.
fn fails(world: &World, times: u32) {
    let failing = PlannedFault::new(Fault::ReturnFail("系统繁忙".to_owned()), times);
    let plan = FaultPlan { unifiedorder: vec![failing], ..FaultPlan::default() };
    world.simulator.set_faults(plan).unwrap();
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

#[tokio::test]
async fn order_without_answer_is_unsettled_until_requery() {
    let world = World::start_with(in_a_hurry()).await;
    let shop = world.shop();
    fails(&world, 5);
    let number = Shop::number();
    let (status, view) = world.create(&shop.order(&number, 9900), Some(20)).await;
    assert_eq!((status.as_u16(), &view["state"]), (202, &json!("created")), "{view}");
    assert!(view["gateway_message"].as_str().unwrap().contains("系统繁忙"), "{view}");

    eventually("unsettled", async || {
        let open = world.exception_kinds(&number).await;
        (open == ["unsettled"]).then_some(())
    })
    .await;
    stands(&world, &shop, &number, "unsettled", "").await;
    assert_eq!(world.order_state(&shop, &number).await.as_deref(), Some("created"));
    assert_eq!(world.simulator.calls(&shop.mch_id, &number).unifiedorder, 5);

    resolve(&world, &shop, &number, "unsettled").await;
    world.wait_for_state(&shop, &number, "payable").await;
    world.pay(&shop, &number, &PayOptions::default());
    world.wait_for_state(&shop, &number, "paid").await;
    world.exception_events(&number, 1).await;
    world.finish().await;
}

/// An outcome that comes after all ends what was only missing.
#[tokio::test]
async fn unsettled_order_that_moves_is_resolved() {
    let world = World::start_with(in_a_hurry()).await;
    let shop = world.shop();
    fails(&world, 5);
    let number = Shop::number();
    world.create(&shop.order(&number, 9900), None).await;
    world.exception_events(&number, 1).await;
    // The shop asks for the same order again.
    let view = world.create_payable(&shop.order(&number, 9900)).await;
    assert_eq!(view["exceptions"], json!([]), "{view}");
    let row: Row4 = ("unsettled".to_owned(), String::new(), 1, false);
    assert_eq!(rows(&world, &shop, &number).await, [row]);
    world.finish().await;
}

/// Its looks are rare again, so it must be seen again.
#[tokio::test]
async fn order_unsettled_again_reopens_exception() {
    let world = World::start_with(in_a_hurry()).await;
    let shop = world.shop();
    fails(&world, 10);
    let number = Shop::number();
    world.create(&shop.order(&number, 9900), None).await;
    world.exception_events(&number, 1).await;
    resolve(&world, &shop, &number, "unsettled").await;
    eventually("the calls to be used up", async || {
        let calls = world.simulator.calls(&shop.mch_id, &number).unifiedorder;
        (calls == 10).then_some(())
    })
    .await;
    looked_at(&world).await;
    // Half an hour is its pause now.
    stands(&world, &shop, &number, "unsettled", "").await;
    world.finish().await;
}

#[tokio::test]
async fn forgery_flood_is_bounded_sample_and_one_exception() {
    let mut world = World::start().await;
    let shop = world.shop();
    let number = payable(&world, &shop).await;
    let books = world.ledger_rows().await;
    let begun = OffsetDateTime::now_utc();
    let bodies: Vec<_> =
        (0..300).map(|_| world.unsent_notification(&shop, &number, forged())).collect();
    join_all(bodies.iter().map(|body| world.notify_ok(&shop.mch_id, body))).await;
    eventually("all to be counted", async || {
        let all: i64 = rows(&world, &shop, "-").await.iter().map(|row| row.2).sum();
        (all == 300).then_some(())
    })
    .await;
    world.process_queues().await;
    looked_at(&world).await;

    // One an hour, and while this runs an hour can end.
    let hours = periods(begun, 3600);
    let opened = rows(&world, &shop, "-").await;
    assert!((1..=hours).contains(&i64::try_from(opened.len()).unwrap()), "{opened:?}");
    assert!(opened.iter().all(|row| row.0 == "bad_signature" && row.3), "{opened:?}");
    let told = world.exception_events("-", opened.len()).await;
    assert!(told.iter().all(|event| event["mch_id"] == shop.mch_id.as_str()));
    let kept = world.count_notifications("bad_signature").await;
    assert!((SAMPLE..=SAMPLE * hours).contains(&kept), "{kept}");
    assert_eq!(rows(&world, &world.hmac_shop(), "-").await, []);

    // It names a real order, which WeChat is asked about, but not three hundred times.
    let asked = i64::try_from(queries(&world, &shop, &number)).unwrap();
    assert!((1..=BUDGET * periods(begun, 60)).contains(&asked), "{asked}");
    assert_eq!(world.ledger_rows().await, books);
    assert_eq!(world.exception_kinds(&number).await, [""; 0]);
    world.finish().await;
}

/// How many periods of so many seconds this test has touched so far.
fn periods(begun: OffsetDateTime, seconds: i64) -> i64 {
    let number = |at: OffsetDateTime| at.unix_timestamp().div_euclid(seconds);
    number(OffsetDateTime::now_utc()) - number(begun) + 1
}

#[tokio::test]
async fn forgeries_of_one_merchant_share_query_budget() {
    let world = World::start().await;
    let shop = world.shop();
    let other = world.hmac_shop();
    let numbers: Vec<_> = (0..40).map(|_| Shop::number()).collect();
    let orders: Vec<_> = numbers.iter().map(|number| shop.order(number, 9900)).collect();
    join_all(orders.iter().map(|order| world.create_payable(order))).await;
    let elsewhere = payable(&world, &other).await;
    let begun = OffsetDateTime::now_utc();
    let bodies: Vec<_> =
        numbers.iter().map(|number| world.unsent_notification(&shop, number, forged())).collect();
    join_all(bodies.iter().map(|body| world.notify_ok(&shop.mch_id, body))).await;
    eventually("all to be counted", async || {
        let all: i64 = rows(&world, &shop, "-").await.iter().map(|row| row.2).sum();
        (all == 40).then_some(())
    })
    .await;
    // Another merchant's questions are not used up by it; in the queue it comes last.
    let body = world.unsent_notification(&other, &elsewhere, forged());
    world.notify_ok(&other.mch_id, &body).await;
    asked(&world, &other, &elsewhere, 1).await;
    looked_at(&world).await;
    let minutes = periods(begun, 60);
    let asked: u64 = numbers.iter().map(|number| queries(&world, &shop, number)).sum();
    let asked = i64::try_from(asked).unwrap();
    assert!(asked >= BUDGET, "{asked}");
    assert!(asked <= BUDGET * minutes, "{asked} in {minutes} minutes");
    world.finish().await;
}

#[tokio::test]
async fn forgeries_about_unknown_orders_use_no_query_budget() {
    let world = World::start().await;
    let shop = world.shop();
    let number = payable(&world, &shop).await;
    let invented = (0..3 * BUDGET).map(|_| {
        let options = PayOptions { out_trade_no: Some(Shop::number()), ..forged() };
        world.unsent_notification(&shop, &number, options)
    });
    let invented: Vec<_> = invented.collect();
    join_all(invented.iter().map(|body| world.notify_ok(&shop.mch_id, body))).await;
    eventually("all to be counted", async || {
        let all: i64 = rows(&world, &shop, "-").await.iter().map(|row| row.2).sum();
        (all == 3 * BUDGET).then_some(())
    })
    .await;
    let body = world.unsent_notification(&shop, &number, forged());
    world.notify_ok(&shop.mch_id, &body).await;
    asked(&world, &shop, &number, 1).await;
    looked_at(&world).await;
    world.finish().await;
}

#[tokio::test]
async fn notification_to_unconfigured_merchant_stores_nothing() {
    let mut world = World::start().await;
    let shop = world.shop();
    let number = payable(&world, &shop).await;
    let books = world.ledger_rows().await;
    for options in [untrue(), forged()] {
        let body = world.unsent_notification(&shop, &number, options);
        world.notify_ok("1999999999", &body).await;
        world.notify_ok(&world.hmac_shop().mch_id, &body).await;
    }
    world.process_queues().await;
    looked_at(&world).await;
    let rows = "select (select count(*) from notifications) + (select count(*) from exceptions)";
    let rows: i64 = sqlx::query_scalar(rows).fetch_one(&world.environment.pool).await.unwrap();
    assert_eq!(rows, 0);
    assert_eq!(queries(&world, &shop, &number), 0);
    assert_eq!(world.ledger_rows().await, books);
    world.finish().await;
}
