//! Payments that do not match their order.

use harness::{Shop, StoredNotification, World, eventually};
use simulator::PayOptions;
use wechatpay_v2::Fen;

use super::{
    create_payable_order, expect_open_exception, fast_options, forged, is_polled, queries, resolve,
    rows, transaction_of, unpaid_notification, wait_for_queries, wait_until_checked,
};

#[tokio::test]
async fn repeated_mismatch_opens_once_and_queries_wechat() {
    let mut world = World::start().await;
    let amount = PayOptions { total_fee: Some(Fen::new(1).unwrap()), ..unpaid_notification() };
    let app = PayOptions { appid: Some("wx1111111111111111".to_owned()), ..unpaid_notification() };
    let mut mismatches = Vec::new();
    for shop in [world.md5_shop(), world.hmac_shop()] {
        for (options, kind) in [(&amount, "amount_mismatch"), (&app, "identity_mismatch")] {
            let number = create_payable_order(&world, &shop).await;
            let body = world.unsent_notification(&shop, &number, options.clone());
            for _ in 0..3 {
                world.notify_ok(&shop.mch_id, &body).await;
            }
            world
                .expect_stored_notifications(&number, &[StoredNotification::new("exception", 2)])
                .await;
            wait_for_queries(&world, &shop, &number, 1).await;
            mismatches.push((shop.clone(), number, kind, transaction_of(&body)));
        }
    }
    world.process_queues().await;
    wait_until_checked(&world).await;
    for (shop, number, kind, id) in &mismatches {
        expect_open_exception(&world, shop, number, kind, id).await;
        assert_eq!(world.order_state(shop, number).await.as_deref(), Some("payable"));
        // The query finds no payment, so checks go on.
        assert!(is_polled(&world, number).await);
    }
    world.finish().await;
}

/// Mismatched notifications of two payments are two exceptions of their order.
#[tokio::test]
async fn second_mismatched_payment_is_second_exception() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = create_payable_order(&world, &shop).await;
    let amount = PayOptions { total_fee: Some(Fen::new(1).unwrap()), ..unpaid_notification() };
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
    let wrong = PayOptions { total_fee: Some(Fen::new(1).unwrap()), ..unpaid_notification() };
    let mut hidden = Vec::new();
    for shop in [world.md5_shop(), world.hmac_shop()] {
        for options in [forged(), wrong.clone()] {
            let number = create_payable_order(&world, &shop).await;
            let without_notification = PayOptions { state_only: true, ..PayOptions::default() };
            let paid = world.pay(&shop, &number, &without_notification);
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
        assert_eq!(world.transition_labels(number).await, history);
        let (_, view) = world.get(shop, number).await;
        assert_eq!(view["transaction_id"], id.as_str());
    }
    world.finish().await;
}

/// Has WeChat report one payment for two orders: the first is paid, the second is a mismatch.
async fn book_payment_twice(world: &World, shop: &Shop) -> (String, String) {
    let first = create_payable_order(world, shop).await;
    let second = create_payable_order(world, shop).await;
    let paid = world.pay(shop, &first, &PayOptions::default());
    world.wait_for_state(shop, &first, "paid").await;
    let again = PayOptions {
        transaction_id: Some(paid.transaction_id.clone()),
        state_only: true,
        ..PayOptions::default()
    };
    world.pay(shop, &second, &again);
    eventually("the end of the checks", async || (!is_polled(world, &second).await).then_some(()))
        .await;
    wait_until_checked(world).await;
    (second, paid.transaction_id.to_string())
}

#[tokio::test]
async fn confirmed_mismatch_waits_for_operator() {
    let world = World::start_with(fast_options()).await;
    let shop = world.md5_shop();
    let (number, id) = book_payment_twice(&world, &shop).await;
    expect_open_exception(&world, &shop, &number, "identity_mismatch", &id).await;
    assert_eq!(world.order_state(&shop, &number).await.as_deref(), Some("payable"));
    let before = queries(&world, &shop, &number);
    let output = resolve(&world, &shop, &number, "identity_mismatch").await;
    assert!(output.contains("is queried about the order again"), "{output}");
    wait_for_queries(&world, &shop, &number, before + 1).await;
    wait_until_checked(&world).await;
    // WeChat confirms the mismatch: no second event, and no more checks.
    assert!(!is_polled(&world, &number).await);
    world.exception_events(&number, 1).await;
    world.finish().await;
}

/// While a payment at WeChat is not booked, an exception is open.
#[tokio::test]
async fn resolved_mismatch_confirmed_by_query_reopens() {
    let world = World::start_with(fast_options()).await;
    let shop = world.md5_shop();
    let (number, id) = book_payment_twice(&world, &shop).await;
    let before = queries(&world, &shop, &number);
    resolve(&world, &shop, &number, "identity_mismatch").await;
    wait_for_queries(&world, &shop, &number, before + 1).await;
    wait_until_checked(&world).await;
    expect_open_exception(&world, &shop, &number, "identity_mismatch", &id).await;
    world.finish().await;
}
