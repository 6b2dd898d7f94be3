//! Authentic notifications: repeated, early, with unusual fields, or while no worker runs.

mod batch;
mod mismatches;
mod refunds;

use futures_util::future::join_all;
use harness::{Options, Shop, StoredNotification, World, eventually};
use serde_json::json;
use simulator::{AttemptOutcome, Fault, FaultPlan, NotificationState, PayOptions};
use simulator::{HeldCallFilter, PlannedFault};
use wechatpay_v2::{Coupon, Fen};

const EVENTS: [&str; 3] = ["order.created", "order.payable", "order.paid"];
const HISTORY: [&str; 3] = ["created by shop", "payable by reply", "paid by notify"];

/// WeChat sends the same bytes five times.
async fn notify_five_times(concurrently: bool) {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    world.create_payable(&shop.order(&number, 9900)).await;
    let options = PayOptions { notify: Some(5), concurrently, ..PayOptions::default() };
    let paid = world.pay(&shop, &number, &options);
    world.expect_stored_notifications(&number, &[StoredNotification::new("applied", 4)]).await;
    let notifications = eventually("five answers", async || {
        let notifications = world.simulator.notifications(&shop.mch_id, &number);
        (notifications[0].attempts.len() == 5).then_some(notifications)
    })
    .await;
    let success = |outcome| outcome == AttemptOutcome::Success;
    assert!(notifications[0].attempts.iter().all(|sent| success(sent.outcome)));

    let (_, view) = world.get(&shop, &number).await;
    assert_eq!(view["state"], "paid");
    assert_eq!(view["seq"], 3);
    assert_eq!(view["transaction_id"], paid.transaction_id.as_str());
    assert_eq!(view["exceptions"], json!([]));
    assert_eq!(world.transition_labels(&number).await, HISTORY);
    world.expect_events(&number, &EVENTS).await;
    world.finish().await;
}

#[tokio::test]
async fn notification_sent_five_times_moves_order_once() {
    notify_five_times(false).await;
}

#[tokio::test]
async fn notification_sent_five_times_at_once_moves_order_once() {
    notify_five_times(true).await;
}

#[tokio::test]
async fn payment_signed_again_moves_order_once() {
    let world = World::start().await;
    let shop = world.hmac_shop();
    let number = Shop::number();
    world.create_payable(&shop.order(&number, 100)).await;
    let first = world.unsent_notification(&shop, &number, PayOptions::default());
    let again = PayOptions { notify_only: true, ..PayOptions::default() };
    let second = world.unsent_notification(&shop, &number, again);
    assert_ne!(first, second);

    world.notify_ok(&shop.mch_id, &first).await;
    world.wait_for_state(&shop, &number, "paid").await;
    world.notify_ok(&shop.mch_id, &second).await;
    let each_once = [StoredNotification::new("already", 0), StoredNotification::new("applied", 0)];
    world.expect_stored_notifications(&number, &each_once).await;
    assert_eq!(
        world.stored_notification(&second).await,
        Some(StoredNotification::new("already", 0))
    );
    assert_eq!(world.transition_labels(&number).await, HISTORY);
    assert_eq!(world.exception_kinds(&number).await, [""; 0]);
    world.finish().await;
}

#[tokio::test]
async fn two_workers_book_repeated_notifications_once() {
    let world = World::start_with(Options { workers: Some(2), ..Options::default() }).await;
    let shop = world.md5_shop();
    let numbers: Vec<String> = (0..20).map(|_| Shop::number()).collect();
    let orders = numbers.iter().map(|number| shop.order(number, 9900));
    let orders: Vec<_> = orders.collect();
    join_all(orders.iter().map(|order| world.create_payable(order))).await;

    let options = PayOptions { notify: Some(4), concurrently: true, ..PayOptions::default() };
    for number in &numbers {
        world.pay(&shop, number, &options);
    }
    for number in &numbers {
        world.expect_stored_notifications(number, &[StoredNotification::new("applied", 3)]).await;
        assert_eq!(world.transition_labels(number).await, HISTORY);
        world.expect_events(number, &EVENTS).await;
    }
    world.finish().await;
}

#[tokio::test]
async fn payment_notified_before_create_reply_is_booked() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let hold = PlannedFault::new(Fault::HoldAfterCommit, 1);
    let plan = FaultPlan { unifiedorder: vec![hold], ..FaultPlan::default() };
    world.simulator.set_faults(plan).unwrap();

    let order = shop.order(&number, 9900);
    let customer = async {
        eventually("the held call", async || {
            (!world.simulator.held_calls().is_empty()).then_some(())
        })
        .await;
        let paid = world.pay(&shop, &number, &PayOptions::default());
        world.wait_for_state(&shop, &number, "paid").await;
        world.simulator.release(&HeldCallFilter::default());
        paid
    };
    let ((status, view), paid) = tokio::join!(world.create(&order, Some(20)), customer);

    assert_eq!((status.as_u16(), &view["state"]), (200, &json!("paid")));
    assert_eq!(view["transaction_id"], paid.transaction_id.as_str());
    assert_eq!(view.get("pay"), None, "a second payment must not be possible");
    assert_eq!(view["exceptions"], json!([]));
    assert_eq!(world.transition_labels(&number).await, ["created by shop", "paid by notify"]);
    world.expect_events(&number, &["order.created", "order.paid"]).await;
    assert_eq!(world.simulator.calls(&shop.mch_id, &number).unifiedorder, 1);
    world.finish().await;
}

fn coupon(coupon_id: &str, coupon_type: &str, coupon_fee: i64) -> Coupon {
    Coupon {
        coupon_id: coupon_id.to_owned(),
        coupon_type: Some(coupon_type.to_owned()),
        coupon_fee: Fen::new(coupon_fee).unwrap(),
    }
}

#[tokio::test]
async fn coupons_and_unknown_and_empty_fields_are_accepted() {
    let world = World::start().await;
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let cases = [
        (
            PayOptions {
                coupons: vec![coupon("30000000001", "CASH", 9900)],
                ..PayOptions::default()
            },
            json!(0),
        ),
        (
            PayOptions {
                coupons: vec![
                    coupon("30000000001", "CASH", 500),
                    coupon("30000000002", "NO_CASH", 300),
                ],
                ..PayOptions::default()
            },
            json!(9100),
        ),
        (
            PayOptions {
                extra_fields: [("future_field_x".to_owned(), "v=1&v=2 <b>".to_owned())].into(),
                empty_fields: names(&["attach", "device_info", "fee_type", "sub_mch_note"]),
                ..PayOptions::default()
            },
            json!(9900),
        ),
        (
            PayOptions {
                empty_fields: names(&["cash_fee", "bank_type", "is_subscribe"]),
                ..PayOptions::default()
            },
            json!(null),
        ),
    ];
    for shop in [world.md5_shop(), world.hmac_shop()] {
        for (options, cash_fee) in &cases {
            let number = Shop::number();
            world.create_payable(&shop.order(&number, 9900)).await;
            world.pay(&shop, &number, options);
            world.wait_for_state(&shop, &number, "paid").await;
            let (_, view) = world.get(&shop, &number).await;
            assert_eq!(view["total_fee"], 9900);
            assert_eq!(&view["cash_fee"], cash_fee, "{options:?}");
            assert_eq!(view["exceptions"], json!([]), "{options:?}");
        }
    }
    world.finish().await;
}

#[tokio::test]
async fn notification_may_carry_sign_type() {
    let world = World::start().await;
    for (shop, sign_type) in [(world.md5_shop(), "MD5"), (world.hmac_shop(), "HMAC-SHA256")] {
        let number = Shop::number();
        world.create_payable(&shop.order(&number, 9900)).await;
        let options = PayOptions {
            extra_fields: [("sign_type".to_owned(), sign_type.to_owned())].into(),
            ..PayOptions::default()
        };
        world.pay(&shop, &number, &options);
        world.wait_for_state(&shop, &number, "paid").await;
    }
    world.finish().await;
}

#[tokio::test]
async fn notification_without_worker_is_booked_later() {
    let mut world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    world.create_payable(&shop.order(&number, 9900)).await;
    world.stop_workers().await;

    world.pay(&shop, &number, &PayOptions::default());
    let notifications = eventually("the end of the repeats", async || {
        let notifications = world.simulator.notifications(&shop.mch_id, &number);
        (notifications[0].state != NotificationState::Pending).then_some(notifications)
    })
    .await;
    assert_eq!(notifications[0].state, NotificationState::Delivered);
    assert_eq!(notifications[0].attempts.len(), 1, "SUCCESS at the first attempt");
    let now = world.order_state(&shop, &number).await;
    assert_eq!(now.as_deref(), Some("payable"));

    world.add_worker().await;
    world.wait_for_state(&shop, &number, "paid").await;
    assert_eq!(world.transition_labels(&number).await, HISTORY);
    world.finish().await;
}

#[tokio::test]
async fn sub_merchant_order_is_paid_for_its_sub_merchant_only() {
    let world = World::start().await;
    let shop = world.hmac_shop();
    let number = Shop::number();
    let mut order = shop.order(&number, 9900);
    order.as_object_mut().unwrap().remove("openid");
    order["sub_mch_id"] = json!("1900000999");
    order["sub_appid"] = json!("wx9999999999999999");
    order["sub_openid"] = json!(shop.openid);
    let view = world.create_payable(&order).await;
    assert_eq!(view["pay"]["appId"], "wx9999999999999999");

    let other_sub_merchant = PayOptions {
        notify_only: true,
        extra_fields: [("sub_mch_id".to_owned(), "1900000998".to_owned())].into(),
        ..PayOptions::default()
    };
    let no_sub_merchant = PayOptions {
        notify_only: true,
        empty_fields: vec!["sub_mch_id".to_owned()],
        ..PayOptions::default()
    };
    for options in [other_sub_merchant, no_sub_merchant] {
        let body = world.unsent_notification(&shop, &number, options);
        world.notify_ok(&shop.mch_id, &body).await;
        let stored =
            eventually("the stored notification", async || world.stored_notification(&body).await)
                .await;
        assert_eq!(stored, StoredNotification::new("exception", 0));
    }
    let mut theirs = Vec::new();
    for event in world.exception_events(&number, 2).await {
        let exception = &event["exception"];
        assert_eq!(exception["kind"], "identity_mismatch");
        let differs = exception["differs"].as_array().unwrap();
        assert_eq!(differs.len(), 1, "{differs:?}");
        assert_eq!(differs[0]["field"], "sub_mch_id");
        assert_eq!(differs[0]["ours"], "1900000999");
        theirs.push(differs[0]["theirs"].clone());
    }
    theirs.sort_by_key(ToString::to_string);
    assert_eq!(theirs, ["", "1900000998"]);
    let now = world.order_state(&shop, &number).await;
    assert_eq!(now.as_deref(), Some("payable"));

    world.pay(&shop, &number, &PayOptions::default());
    world.wait_for_state(&shop, &number, "paid").await;
    assert_eq!(world.transition_labels(&number).await, HISTORY);
    world.finish().await;
}
