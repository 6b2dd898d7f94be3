//! Events on queues of the shops.

use std::time::{SystemTime, UNIX_EPOCH};

use harness::amqp::Amqp;
use harness::{Shop, World, eventually};
use lapin::types::ShortString;
use serde_json::Value;

use super::{CREATE, EVENTS, bytes, command_properties, new_id, pay_and_expect_paid, wrong_order};

#[tokio::test]
async fn event_properties_describe_event() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let amqp = Amqp::connect(&world.environment).await;
    let mut events = amqp.events("#").await;
    amqp.command(CREATE, &bytes(&wrong_order(&shop, &number)), command_properties("7")).await;
    world.wait_for_event(&number, "order.rejected").await;
    world.create_payable(&shop.order(&number, 9900)).await;
    pay_and_expect_paid(&world, &shop, &number).await;

    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    for kind in ["order.rejected", "order.created", "order.payable", "order.paid"] {
        let found = events.next().await;
        let body: Value = serde_json::from_slice(&found.data).unwrap();
        assert_eq!(body["type"], kind, "{body}");
        assert_eq!(found.routing_key, format!("{kind}.{}", shop.mch_id).into());
        let event_properties = &found.properties;
        let text = |it: &Option<ShortString>| it.as_ref().unwrap().to_string();
        assert_eq!(text(event_properties.content_type()), "application/json");
        assert_eq!(text(event_properties.kind()), kind);
        assert_eq!(text(event_properties.message_id()), body["id"].as_str().unwrap());
        assert_eq!(text(event_properties.app_id()), "wxpay-orders");
        assert_eq!(*event_properties.delivery_mode(), Some(2));
        let sent = event_properties.timestamp().unwrap();
        assert!(sent.abs_diff(now.as_secs()) < 300, "sent at {sent}");
        assert_eq!(event_properties.reply_to(), &None);
        assert_eq!(event_properties.expiration(), &None);
    }
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn shop_queue_holds_events_of_its_merchant_only() {
    let world = World::start().await;
    let own_shop = world.md5_shop();
    let other_shop = world.hmac_shop();
    let own_number = Shop::number();
    let other_number = Shop::number();
    let amqp = Amqp::connect(&world.environment).await;
    let queue = format!("shop-{}", Shop::number());
    amqp.durable_queue(&queue, &format!("order.*.{}", own_shop.mch_id)).await;
    for (shop, number) in [(&other_shop, &other_number), (&own_shop, &own_number)] {
        let id = new_id();
        amqp.command(CREATE, &bytes(&wrong_order(shop, number)), command_properties(&id)).await;
        world.wait_for_event(number, "order.rejected").await;
        world.create_payable(&shop.order(number, 9900)).await;
        pay_and_expect_paid(&world, shop, number).await;
    }
    // The queue has no consumer, so the events wait there.
    let found = eventually("the shop's events", async || {
        let found = amqp.peek_all(&queue).await;
        (found.len() == 4).then_some(found)
    })
    .await;
    for (found, kind) in found.iter().zip(["order.rejected"].iter().chain(&EVENTS)) {
        let body: Value = serde_json::from_slice(&found.data).unwrap();
        assert_eq!(body["type"], *kind);
        assert_eq!(body["mch_id"], own_shop.mch_id.as_str());
        assert_eq!(body["out_trade_no"], own_number.as_str());
    }
    amqp.delete(&queue).await;
    amqp.close().await;
    world.finish().await;
}
