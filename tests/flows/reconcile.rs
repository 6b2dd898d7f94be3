//! Nobody told us: WeChat is asked, and what it says in clear is believed; what it does not say is
//! asked again, and never guessed.

mod concurrency;
mod found_payments;
mod outcomes;
mod unsettled;

use futures_util::future::join_all;
use harness::{Options, Shop, World, fast_schedule};
use serde_json::Value;
use simulator::{Fault, PayOptions};

const STORY: [&str; 3] = ["order.created", "order.payable", "order.paid"];
const PAYABLE: [&str; 2] = ["created by shop", "payable by reply"];
const FOUND: [&str; 3] = ["created by shop", "payable by reply", "paid by query"];

async fn world_with_fast_schedule() -> World {
    World::start_with(Options { schedule: Some(fast_schedule()), ..Options::default() }).await
}

/// A payment of which no notification exists.
fn unpublished() -> PayOptions {
    PayOptions { state_only: true, ..PayOptions::default() }
}

/// So many payable orders.
async fn payable(world: &World, shop: &Shop, count: usize) -> Vec<String> {
    let numbers: Vec<String> = (0..count).map(|_| Shop::number()).collect();
    let orders: Vec<Value> = numbers.iter().map(|number| shop.order(number, 9900)).collect();
    join_all(orders.iter().map(|order| world.create_payable(order))).await;
    numbers
}

async fn is_untroubled(world: &World, number: &str) {
    assert_eq!(world.exception_kinds(number).await, Vec::<String>::new(), "{number}");
}

fn refusal(err_code: &str, err_code_des: &str) -> Fault {
    Fault::ErrCode { err_code: err_code.to_owned(), err_code_des: err_code_des.to_owned() }
}
