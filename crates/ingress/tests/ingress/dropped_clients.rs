//! Clients that close their connection before they are answered.

use broker::Queue;
use serde_json::json;

use crate::fake_worker::FakeWorker;
use crate::http::{Connection, post};
use crate::samples::order;
use crate::test_broker::TestBroker;
use crate::test_server::TestServer;

const LOST: usize = 50;
const LAST: &str = "SOLAST0001";

#[tokio::test]
async fn messages_of_dropped_clients_arrive_whole_or_not_at_all() {
    let broker = TestBroker::start().await;
    let mut worker = FakeWorker::silent(&broker, Queue::Orders).await;
    let server = TestServer::start(broker.config()).await.ready().await;
    let order_number = |number: &str| {
        let mut order = order();
        order["out_trade_no"] = json!(number);
        order.to_string()
    };
    for number in 0..LOST {
        let body = order_number(&format!("SOLOST{number:04}"));
        let request = post("/v1/orders", body);
        let request = if number % 2 == 0 { request } else { request.header("prefer", "wait=30") };
        let mut connection = Connection::open(server.private).await;
        connection.write(&request.bytes()).await;
    }
    let answer = post("/v1/orders", order_number(LAST)).send(server.private).await;
    assert_eq!(answer.status, 202);
    // Those that wait are on another channel and may come after the last one.
    loop {
        let delivery = worker.next().await;
        let order = orders::OrderRequest::parse(&delivery.body).expect("arrives whole");
        let number = order.out_trade_no.to_string();
        assert_eq!(delivery.body, order_number(&number));
        if number == LAST {
            break;
        }
    }
    server.end().await.unwrap();
}
