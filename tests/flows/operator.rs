//! The operator commands of `wxpay-worker`: their output, their effects and their audit rows.
//! [`Program::run`] checks that the output contains no secret.

mod exceptions;
mod history;
mod orders;
mod parked;
mod replays;

use harness::program::Program;
use harness::{Options, Shop, World, fast_schedule};
use lapin::BasicProperties;
use serde_json::Value;
use simulator::PayOptions;
use sqlx::Row;

/// The audit rows of a command, oldest first: operator, subject and reason.
async fn actions(world: &World, verb: &str) -> Vec<(String, String, Option<String>)> {
    let rows = "select operator, subject, reason from operator_actions where verb = $1 order by id";
    let rows = sqlx::query(rows).bind(verb).fetch_all(&world.environment.pool).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
}

/// Expects exactly one audit row of a command.
async fn expect_audited(world: &World, verb: &str, subject: &str, reason: Option<&str>) {
    let done = actions(world, verb).await;
    assert_eq!(done.len(), 1, "{done:?}");
    let (operator, found, why) = &done[0];
    assert_eq!((operator.as_str(), why.as_deref()), ("lin", reason));
    assert!(found.starts_with(subject), "{found}");
}

async fn create_payable_order(world: &World, shop: &Shop) -> String {
    let number = Shop::number();
    world.create_payable(&shop.order(&number, 9900)).await;
    number
}

async fn create_paid_order(world: &World, shop: &Shop) -> String {
    let number = create_payable_order(world, shop).await;
    world.pay(shop, &number, &PayOptions::default());
    world.wait_for_event(&number, "order.paid").await;
    number
}

fn unpaid_notification() -> PayOptions {
    PayOptions { notify_only: true, ..PayOptions::default() }
}

fn fast_options() -> Options {
    Options { schedule: Some(fast_schedule()), ..Options::default() }
}

#[tokio::test]
async fn verbs_about_unknown_objects_fail_and_change_nothing() {
    let world = World::start().await;
    let shop = world.md5_shop();
    let number = Shop::number();
    let program = Program::of(&world);
    let mch_id = shop.mch_id.as_str();
    for arguments in [
        &["order", "show", mch_id, &number][..],
        &["order", "explain", mch_id, &number],
        &["order", "requery", mch_id, &number],
        &["order", "close", mch_id, &number, "--reason", "none"],
        &["exceptions", "show", mch_id, &number],
        &["exceptions", "resolve", mch_id, &number, "unsettled", "--reason", "none"],
        &["notification", "list", mch_id, &number],
        &["notification", "show", "abcdef"],
        &["notification", "replay", "abcdef"],
        &["events", "replay", "--order", &format!("{mch_id}/{number}")],
        &["parked", "show", "orders", "#1"],
        &["parked", "replay", "orders", "#1"],
        &["parked", "discard", "orders", "#1", "--reason", "none"],
    ] {
        program.run_expecting_failure(&world, arguments).await;
    }
    assert_eq!(program.run_ok(&world, &["exceptions", "list"]).await, "no exceptions\n");
    assert_eq!(program.run_ok(&world, &["parked", "list"]).await, "nothing is parked\n");
    let rows = "select (select count(*) from operator_actions) + (select count(*) from exceptions)
        + (select count(*) from orders)";
    let rows: i64 = sqlx::query_scalar(rows).fetch_one(&world.environment.pool).await.unwrap();
    assert_eq!(rows, 0);
    world.finish().await;
}

fn command(message_id: &str) -> BasicProperties {
    BasicProperties::default()
        .with_content_type("application/json".into())
        .with_message_id(message_id.into())
        .with_delivery_mode(2)
}

/// The entries of a history with this kind and text.
fn lines<'a>(history: &'a Value, kind: &str, text: &str) -> Vec<&'a Value> {
    let entries = history.as_array().unwrap().iter();
    entries.filter(|it| it["kind"] == kind && it.to_string().contains(text)).collect()
}
