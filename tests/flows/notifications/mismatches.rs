//! Signed notifications that do not match their order: an exception names the difference, and the
//! order does not move.

use broker::Queue;
use harness::{Shop, StoredNotification, World, eventually};
use serde_json::json;
use simulator::{Fault, FaultPlan, Malformation, PayOptions, PlannedFault};
use wechatpay_v2::{Fen, TransactionId};

use super::HISTORY;

/// The options of a signed notification without a payment.
fn unpaid_notification() -> PayOptions {
    PayOptions { notify_only: true, ..PayOptions::default() }
}

/// Sends a notification and waits until it is stored.
async fn notify_and_wait(world: &World, shop: &Shop, body: &[u8]) -> StoredNotification {
    world.notify_ok(&shop.mch_id, body).await;
    eventually("the stored notification", async || world.stored_notification(body).await).await
}

/// Pays the order and expects it to be paid: by the notification, or by the query that the mismatch
/// caused.
async fn pay_and_expect_paid(world: &World, shop: &Shop, number: &str) {
    let now = world.order_state(shop, number).await;
    assert_eq!(now.as_deref(), Some("payable"));
    let paid = world.pay(shop, number, &PayOptions::default());
    world.wait_for_state(shop, number, "paid").await;
    let (_, view) = world.get(shop, number).await;
    assert_eq!(view["transaction_id"], paid.transaction_id.as_str());
    let history = world.transition_labels(number).await;
    assert_eq!(history[..2], HISTORY[..2]);
    assert!(["paid by notify", "paid by query"].contains(&&*history[2]), "{history:?}");
    assert_eq!(history.len(), 3);
}

#[tokio::test]
async fn other_amount_is_exception_and_true_amount_settles() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    world.create_payable(&shop.order(&number, 9900)).await;
    let options = PayOptions { total_fee: Some(Fen::new(1).unwrap()), ..unpaid_notification() };
    let body = world.unsent_notification(&shop, &number, options);
    assert_eq!(
        notify_and_wait(&world, &shop, &body).await,
        StoredNotification::new("exception", 0)
    );
    // A repeat is evaluated again and finds the open exception.
    world.notify_ok(&shop.mch_id, &body).await;
    world.expect_stored_notifications(&number, &[StoredNotification::new("exception", 1)]).await;

    let events = world.exception_events(&number, 1).await;
    assert_eq!(events[0]["exception"]["kind"], "amount_mismatch");
    let differs = json!([{"field": "total_fee", "ours": "9900", "theirs": "1"}]);
    assert_eq!(events[0]["exception"]["differs"], differs);
    assert_eq!(events[0]["order"]["state"], "payable");
    let (_, view) = world.get(&shop, &number).await;
    assert_eq!(view["exceptions"][0]["kind"], "amount_mismatch");

    pay_and_expect_paid(&world, &shop, &number).await;
    assert_eq!(world.exception_kinds(&number).await, ["amount_mismatch"]);
    world.finish().await;
}

#[tokio::test]
async fn other_currency_or_app_is_exception() {
    let world = World::start().await;
    let shop = world.hmac_shop();
    let currency = PayOptions {
        extra_fields: [("fee_type".to_owned(), "USD".to_owned())].into(),
        ..unpaid_notification()
    };
    let app = PayOptions { appid: Some("wx1111111111111111".to_owned()), ..unpaid_notification() };
    let cases = [(currency, "amount_mismatch", "fee_type"), (app, "identity_mismatch", "appid")];
    for (options, kind, field) in cases {
        let number = Shop::number();
        world.create_payable(&shop.order(&number, 9900)).await;
        let body = world.unsent_notification(&shop, &number, options);
        let stored = notify_and_wait(&world, &shop, &body).await;
        assert_eq!(stored, StoredNotification::new("exception", 0));
        let events = world.exception_events(&number, 1).await;
        assert_eq!(events[0]["exception"]["kind"], kind);
        assert_eq!(events[0]["exception"]["differs"][0]["field"], field);
        pay_and_expect_paid(&world, &shop, &number).await;
    }
    world.finish().await;
}

#[tokio::test]
async fn second_payment_is_exception_and_first_stands() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    world.create_payable(&shop.order(&number, 9900)).await;
    let first = world.pay(&shop, &number, &PayOptions::default());
    world.wait_for_state(&shop, &number, "paid").await;
    let options = PayOptions {
        second_payment: true,
        notify: Some(3),
        concurrently: true,
        ..PayOptions::default()
    };
    let second = world.pay(&shop, &number, &options);
    assert_ne!(first.transaction_id, second.transaction_id);

    let both = [StoredNotification::new("applied", 0), StoredNotification::new("exception", 2)];
    world.expect_stored_notifications(&number, &both).await;
    let events = world.exception_events(&number, 1).await;
    let exception = &events[0]["exception"];
    assert_eq!(exception["kind"], "duplicate_payment");
    assert_eq!(exception["transaction_id"], second.transaction_id.as_str());
    assert_eq!(exception["differs"][0]["field"], "transaction_id");
    let (_, view) = world.get(&shop, &number).await;
    assert_eq!(view["transaction_id"], first.transaction_id.as_str());
    assert_eq!(view["exceptions"][0]["kind"], "duplicate_payment");
    assert_eq!(world.transition_labels(&number).await, HISTORY);
    world.finish().await;
}

#[tokio::test]
async fn payment_settles_one_order_only() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let paid_number = Shop::number();
    let number = Shop::number();
    world.create_payable(&shop.order(&paid_number, 9900)).await;
    world.create_payable(&shop.order(&number, 9900)).await;
    let paid = world.pay(&shop, &paid_number, &PayOptions::default());
    world.wait_for_state(&shop, &paid_number, "paid").await;

    let options =
        PayOptions { transaction_id: Some(paid.transaction_id.clone()), ..unpaid_notification() };
    let body = world.unsent_notification(&shop, &number, options);
    assert_eq!(
        notify_and_wait(&world, &shop, &body).await,
        StoredNotification::new("exception", 0)
    );
    let events = world.exception_events(&number, 1).await;
    assert_eq!(events[0]["exception"]["kind"], "identity_mismatch");
    let differs = &events[0]["exception"]["differs"][0];
    assert_eq!(differs["field"], "transaction_id");
    assert_eq!(differs["theirs"], paid.transaction_id.as_str());
    assert!(differs["ours"].as_str().unwrap().contains(&paid_number), "{differs}");
    pay_and_expect_paid(&world, &shop, &number).await;
    assert_eq!(world.exception_kinds(&paid_number).await, [""; 0]);
    world.finish().await;
}

#[tokio::test]
async fn payment_of_failed_order_is_booked_as_late() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let refusal = Fault::ErrCode {
        err_code: "NOAUTH".to_owned(),
        err_code_des: "商户无此接口权限".to_owned(),
    };
    let plan =
        FaultPlan { unifiedorder: vec![PlannedFault::new(refusal, 1)], ..FaultPlan::default() };
    world.simulator.set_faults(plan).unwrap();
    let (status, problem) = world.create(&shop.order(&number, 9900), Some(20)).await;
    assert_eq!(status, 422, "{problem}");
    world.wait_for_state(&shop, &number, "failed").await;

    let body = notification_of_unknown_order(&world, &shop, &number, &transaction_id());
    assert_eq!(notify_and_wait(&world, &shop, &body).await, StoredNotification::new("applied", 0));
    let history = ["created by shop", "failed by reply", "paid by notify"];
    assert_eq!(world.transition_labels(&number).await, history);
    let events = world.exception_events(&number, 1).await;
    assert_eq!(events[0]["exception"]["kind"], "late_payment");
    let (_, view) = world.get(&shop, &number).await;
    assert_eq!(view["state"], "paid");
    assert_eq!(view["exceptions"][0]["kind"], "late_payment");
    world.finish().await;
}

/// A notification of an unknown order of 99 yuan.
fn notification_of_unknown_order(
    world: &World,
    shop: &Shop,
    number: &str,
    id: &TransactionId,
) -> Vec<u8> {
    let options = PayOptions {
        total_fee: Some(Fen::new(9900).unwrap()),
        transaction_id: Some(id.clone()),
        ..unpaid_notification()
    };
    world.unsent_notification(shop, number, options)
}

#[tokio::test]
async fn unknown_order_notified_often_is_one_exception() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let id = transaction_id();
    let first = notification_of_unknown_order(&world, &shop, &number, &id);
    let fresh = notification_of_unknown_order(&world, &shop, &number, &id);
    assert_ne!(first, fresh);
    for body in [&first, &first, &first, &fresh] {
        world.notify_ok(&shop.mch_id, body).await;
    }
    let both = [StoredNotification::new("exception", 0), StoredNotification::new("exception", 2)];
    world.expect_stored_notifications(&number, &both).await;

    let events = world.exception_events(&number, 1).await;
    assert_eq!(events[0]["mch_id"], shop.mch_id);
    assert_eq!(events[0]["exception"]["kind"], "unknown_order");
    assert_eq!(events[0]["exception"]["transaction_id"], id.as_str());
    assert_eq!(events[0].get("order"), None);
    assert_eq!(world.exception_kinds(&number).await, ["unknown_order"]);
    assert_eq!(world.ledger_rows().await, [""; 0]);
    let (status, _) = world.get(&shop, &number).await;
    assert_eq!(status, 404);
    world.finish().await;
}

#[tokio::test]
async fn repeated_notification_is_evaluated_again() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let id = transaction_id();
    let early = notification_of_unknown_order(&world, &shop, &number, &id);
    assert_eq!(
        notify_and_wait(&world, &shop, &early).await,
        StoredNotification::new("exception", 0)
    );
    // The query for the unknown number ends before there is a payment to find.
    eventually("the query for the number", async || {
        (world.calls(&shop, &number).orderquery >= 1).then_some(())
    })
    .await;

    world.create_payable(&shop.order(&number, 9900)).await;
    let without_notification =
        PayOptions { transaction_id: Some(id), state_only: true, ..PayOptions::default() };
    world.pay(&shop, &number, &without_notification);
    world.notify_ok(&shop.mch_id, &early).await;
    world.wait_for_state(&shop, &number, "paid").await;
    assert_eq!(
        world.stored_notification(&early).await,
        Some(StoredNotification::new("applied", 1))
    );
    world.finish().await;
}

#[tokio::test]
async fn signed_unreadable_notification_is_parked_with_reason() {
    let mut world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    world.create_payable(&shop.order(&number, 9900)).await;
    let ledger = world.ledger_rows().await;
    let options = PayOptions {
        extra_fields: [("time_end".to_owned(), "yesterday".to_owned())].into(),
        ..unpaid_notification()
    };
    let body = world.unsent_notification(&shop, &number, options);
    assert_eq!(
        notify_and_wait(&world, &shop, &body).await,
        StoredNotification::new("unreadable", 0)
    );
    let reasons = eventually("the parked message", async || {
        let reasons = world.parked_reasons(Queue::Notifications).await;
        (!reasons.is_empty()).then_some(reasons)
    })
    .await;
    assert_eq!(reasons.len(), 1);
    assert!(reasons[0].contains("time_end"), "{reasons:?}");
    assert!(!reasons[0].contains("yesterday"), "a reason must not quote the message");
    assert_eq!(world.ledger_rows().await, ledger);

    pay_and_expect_paid(&world, &shop, &number).await;
    world.expect_parked(1);
    world.finish().await;
}

/// The history of an order includes every notification that WeChat signed for it.
#[tokio::test]
async fn signed_notifications_are_stored_with_their_order() {
    let mut world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    world.create_payable(&shop.order(&number, 9900)).await;
    let failed = PayOptions { malform: Some(Malformation::ResultFail), ..unpaid_notification() };
    let unreadable = PayOptions {
        extra_fields: [("time_end".to_owned(), "yesterday".to_owned())].into(),
        ..unpaid_notification()
    };
    for (options, verdict) in [(failed, "not_success"), (unreadable, "unreadable")] {
        let body = world.unsent_notification(&shop, &number, options);
        let stored = notify_and_wait(&world, &shop, &body).await;
        assert_eq!(stored, StoredNotification::new(verdict, 0));
    }
    world.expect_parked(1);
    let both =
        [StoredNotification::new("not_success", 0), StoredNotification::new("unreadable", 0)];
    assert_eq!(world.stored_notifications(&number).await, both);
    world.finish().await;
}

/// A new transaction id.
fn transaction_id() -> TransactionId {
    let bytes = Shop::number().into_bytes();
    let digits: String = bytes.iter().map(|byte| char::from(b'0' + byte % 10)).collect();
    TransactionId::parse(format!("42{}", &digits[..26])).unwrap()
}
