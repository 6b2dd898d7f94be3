//! With a broker and without.

use crate::http::{get, post};
use crate::samples::{NOTIFICATION, notify_path, order};
use crate::test_broker::TestBroker;
use crate::test_server::{TestServer, until};

#[tokio::test]
async fn service_starts_before_the_exchanges_exist() {
    let broker = TestBroker::empty();
    let server = TestServer::start(broker.config()).await;
    until("the exchanges are found missing", async || {
        // Connecting takes a moment; it must not be ready at any time.
        let ready = get("/readyz").send(server.private).await;
        assert_eq!(ready.status, 503);
        let metrics = get("/metrics").send(server.private).await;
        metrics.text().contains("wxpay_broker_connected")
    })
    .await;
    post(notify_path(), NOTIFICATION).send(server.public).await.assert_fail(503);
    broker.declare().await;
    let server = server.ready().await;
    assert_eq!(post(notify_path(), NOTIFICATION).send(server.public).await.status, 200);
    let create = post("/v1/orders", order().to_string());
    assert_eq!(create.send(server.private).await.status, 202);
    server.end().await.unwrap();
}
