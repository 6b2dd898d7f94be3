//! No secret reaches the log at any level.

use std::fs;

use service::hex;
use sha2::{Digest, Sha256};

use crate::http::{get, post};
use crate::program::Running;
use crate::samples::{MCH_ID, NOTIFICATION, OPENID, OUT_TRADE_NO, notify_path, order, order_with};
use crate::test_broker::{TestBroker, amqp_url_text};
use crate::test_server::until;

const TOKEN: &str = "t0ken-of-the-shop";

#[tokio::test]
async fn log_holds_no_secret() {
    let broker = TestBroker::start().await;
    let hash = hex::encode(&Sha256::digest(TOKEN));
    let clients = format!("{}/logs-{}.toml", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    let shop = format!("[[client]]\nname = \"shop\"\ntoken_sha256 = [\"{hash}\"]\nmch_ids = \"*\"");
    fs::write(&clients, shop).unwrap();
    let server = Running::start(&[
        ("WXPAY_AMQP_URL", &amqp_url_text()),
        ("WXPAY_NAMESPACE", broker.namespace()),
        ("WXPAY_CLIENTS_FILE", &clients),
        ("WXPAY_LOG", "trace,lapin=trace,lapin::channel=trace"),
    ]);
    fs::remove_file(clients).unwrap();
    let ready = async || get("/readyz").send(server.private).await.status == 200;
    until("the program is ready", ready).await;

    assert_eq!(post(notify_path(), NOTIFICATION).send(server.public).await.status, 200);
    let strange = post(notify_path(), format!("{NOTIFICATION}<!ENTITY"));
    strange.send(server.public).await.assert_fail(400);
    for (order, status) in [(order(), 202), (order_with("total_fee", 0.into()), 422)] {
        let create = post("/v1/orders", order.to_string());
        let create = create.header("authorization", &format!("Bearer {TOKEN}"));
        assert_eq!(create.send(server.private).await.status, status);
    }
    let (status, log) = server.terminate().await;
    assert!(status.success());

    let names_the_order = |line: &&String| line.contains(OUT_TRADE_NO);
    let about_the_order = log.iter().find(names_the_order).expect("a line about the order");
    for expected in [MCH_ID, "\"status\":202", "\"client\":\"shop\"", "\"duration_ms\":"] {
        assert!(about_the_order.contains(expected), "{about_the_order}");
    }
    let password = password(&amqp_url_text());
    for secret in [OPENID, "B552ED6B279343CB493C5DD0D78AB241", TOKEN, "两杯咖啡", &password] {
        let leak = log.iter().find(|line| line.contains(secret));
        assert!(leak.is_none(), "{leak:?}");
    }
}

/// `guest` is no secret, and part of many words.
fn password(url: &str) -> String {
    let user = url.split_once("://").and_then(|(_, rest)| rest.split_once('@'));
    let password = user.and_then(|(user, _)| user.split_once(':')).map(|(_, password)| password);
    password.filter(|password| *password != "guest").unwrap_or("no password at all").to_owned()
}
