//! With a broker and without.

use crate::{
    http::{get, post},
    service::{Service, until},
    texts::{NOTIFICATION, notify_path, order},
    world::World,
};

#[tokio::test]
async fn it_starts_before_there_is_anything_to_publish_to() {
    let world = World::empty();
    let service = Service::start(world.config()).await;
    until("the exchanges are found missing", async || {
        // Connecting takes a moment; it must not be ready at any time.
        let ready = get("/readyz").send(service.private).await;
        assert_eq!(ready.status, 503);
        let metrics = get("/metrics").send(service.private).await;
        metrics.text().contains("wxpay_broker_connected")
    })
    .await;
    post(notify_path(), NOTIFICATION).send(service.public).await.assert_fail(503);
    world.declare().await;
    let service = service.ready().await;
    assert_eq!(post(notify_path(), NOTIFICATION).send(service.public).await.status, 200);
    let create = post("/v1/orders", order().to_string());
    assert_eq!(create.send(service.private).await.status, 202);
    service.end().await.unwrap();
}
