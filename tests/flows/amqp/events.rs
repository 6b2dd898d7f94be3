//! Events on queues of the shops.

use std::time::{SystemTime, UNIX_EPOCH};

use harness::amqp::Amqp;
use harness::{Shop, World, eventually};
use lapin::types::ShortString;
use serde_json::Value;

use super::{CREATE, STORY, bytes, ends_paid, new_id, properties, wrong_order};

#[tokio::test]
async fn event_properties_describe_event() {
    let world = World::start().await;
    let shop = world.shop();
    let number = Shop::number();
    let amqp = Amqp::connect(&world.environment).await;
    let mut events = amqp.events("#").await;
    amqp.command(CREATE, &bytes(&wrong_order(&shop, &number)), properties("7")).await;
    world.wait_for_event(&number, "order.rejected").await;
    world.create_payable(&shop.order(&number, 9900)).await;
    ends_paid(&world, &shop, &number).await;

    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    for kind in ["order.rejected", "order.created", "order.payable", "order.paid"] {
        let found = events.next().await;
        let body: Value = serde_json::from_slice(&found.data).unwrap();
        assert_eq!(body["type"], kind, "{body}");
        assert_eq!(found.routing_key, format!("{kind}.{}", shop.mch_id).into());
        let said = &found.properties;
        let text = |it: &Option<ShortString>| it.as_ref().unwrap().to_string();
        assert_eq!(text(said.content_type()), "application/json");
        assert_eq!(text(said.kind()), kind);
        assert_eq!(text(said.message_id()), body["id"].as_str().unwrap());
        assert_eq!(text(said.app_id()), "wxpay-orders");
        assert_eq!(*said.delivery_mode(), Some(2));
        let sent = said.timestamp().unwrap();
        assert!(sent.abs_diff(now.as_secs()) < 300, "sent at {sent}");
        assert_eq!(said.reply_to(), &None);
        assert_eq!(said.expiration(), &None);
    }
    amqp.close().await;
    world.finish().await;
}

#[tokio::test]
async fn shop_queue_holds_events_of_its_merchant_only() {
    let world = World::start().await;
    let mine = world.shop();
    let theirs = world.hmac_shop();
    let my_number = Shop::number();
    let their_number = Shop::number();
    let amqp = Amqp::connect(&world.environment).await;
    let queue = format!("shop-{}", Shop::number());
    amqp.durable_queue(&queue, &format!("order.*.{}", mine.mch_id)).await;
    for (shop, number) in [(&theirs, &their_number), (&mine, &my_number)] {
        let id = new_id();
        amqp.command(CREATE, &bytes(&wrong_order(shop, number)), properties(&id)).await;
        world.wait_for_event(number, "order.rejected").await;
        world.create_payable(&shop.order(number, 9900)).await;
        ends_paid(&world, shop, number).await;
    }
    // Nobody has consumed so far: it waits as long as the shop is away.
    let found = eventually("the shop's events", async || {
        let found = amqp.peek_all(&queue).await;
        (found.len() == 4).then_some(found)
    })
    .await;
    for (found, kind) in found.iter().zip(["order.rejected"].iter().chain(&STORY)) {
        let body: Value = serde_json::from_slice(&found.data).unwrap();
        assert_eq!(body["type"], *kind);
        assert_eq!(body["mch_id"], mine.mch_id.as_str());
        assert_eq!(body["out_trade_no"], my_number.as_str());
    }
    amqp.delete(&queue).await;
    amqp.close().await;
    world.finish().await;
}
