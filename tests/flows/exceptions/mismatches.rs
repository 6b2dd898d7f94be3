//! Payments that do not match their order.

use harness::{Shop, StoredNotification, World, eventually};
use simulator::PayOptions;
use wechatpay_v2::Fen;

use super::{
    asked, forged, in_a_hurry, is_polled, looked_at, payable, queries, resolve, rows, stands,
    transaction_of, untrue,
};

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
