//! The reconciler queries WeChat for payments without a notification and for unknown outcomes. It
//! applies clear answers and repeats the query otherwise.

mod concurrency;
mod found_payments;
mod lost_notifications;
mod on_demand;
mod outcomes;
mod unsettled;

use futures_util::future::join_all;
use harness::{Options, Shop, World, fast_schedule};
use serde_json::Value;
use simulator::{Fault, PayOptions};

const EVENTS: [&str; 3] = ["order.created", "order.payable", "order.paid"];
const PAYABLE: [&str; 2] = ["created by shop", "payable by reply"];
const FOUND: [&str; 3] = ["created by shop", "payable by reply", "paid by query"];

async fn world_with_fast_schedule() -> World {
    World::start_with(Options { schedule: Some(fast_schedule()), ..Options::default() }).await
}

/// A payment without a notification.
fn without_notification() -> PayOptions {
    PayOptions { state_only: true, ..PayOptions::default() }
}

async fn create_payable_orders(world: &World, shop: &Shop, count: usize) -> Vec<String> {
    let numbers: Vec<String> = (0..count).map(|_| Shop::number()).collect();
    let orders: Vec<Value> = numbers.iter().map(|number| shop.order(number, 9900)).collect();
    join_all(orders.iter().map(|order| world.create_payable(order))).await;
    numbers
}

async fn expect_no_exceptions(world: &World, number: &str) {
    assert_eq!(world.exception_kinds(number).await, Vec::<String>::new(), "{number}");
}

fn refusal(err_code: &str, err_code_des: &str) -> Fault {
    Fault::ErrCode { err_code: err_code.to_owned(), err_code_des: err_code_des.to_owned() }
}
