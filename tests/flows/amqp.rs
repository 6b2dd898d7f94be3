//! Shops that use AMQP directly: commands with and without a reply, events on queues of their own, and
//! messages that are no command.

mod commands;
mod events;
mod message_ids;
mod traces;

use harness::amqp::Inbox;
use harness::{Shop, World};
use lapin::BasicProperties;
use serde_json::{Value, json};
use simulator::PayOptions;
use uuid::Uuid;

const CREATE: &str = "order.create";
const QUERY: &str = "order.query";
const EVENTS: [&str; 3] = ["order.created", "order.payable", "order.paid"];

/// The properties that a command should have.
fn command_properties(message_id: &str) -> BasicProperties {
    BasicProperties::default()
        .with_content_type("application/json".into())
        .with_message_id(message_id.into())
        .with_delivery_mode(2)
}

fn new_id() -> String {
    Uuid::now_v7().to_string()
}

/// The properties of a command with a reply to this inbox.
fn reply_properties(message_id: &str, answers: &Inbox, correlation_id: &str) -> BasicProperties {
    command_properties(message_id)
        .with_reply_to(answers.name.as_str().into())
        .with_correlation_id(correlation_id.into())
}

fn bytes(body: &Value) -> Vec<u8> {
    body.to_string().into_bytes()
}

/// An order that breaks a rule.
fn wrong_order(shop: &Shop, number: &str) -> Value {
    let mut order = shop.order(number, 9900);
    order["total_fee"] = json!(0);
    order
}

/// The body of a query or close.
fn key(shop: &Shop, number: &str) -> Value {
    json!({"mch_id": shop.mch_id, "out_trade_no": number})
}

/// Pays and waits for every event.
async fn pay_and_expect_paid(world: &World, shop: &Shop, number: &str) {
    world.wait_for_event(number, "order.payable").await;
    world.pay(shop, number, &PayOptions::default());
    world.expect_events(number, &EVENTS).await;
}
