//! What a client's token allows and what is refused without one.

use ingress::{Clients, Config};
use service::hex;
use sha2::{Digest, Sha256};

use crate::http::{Request, get, post};
use crate::samples::{MCH_ID, order, order_path};
use crate::test_server::{TestServer, config_without_broker};

fn hash(token: &str) -> String {
    hex::encode(&Sha256::digest(token))
}

/// A shop with two tokens, another shop, and a client that may act for every merchant.
async fn config() -> Config {
    let file = format!(
        "[[client]]\nname = \"shop\"\ntoken_sha256 = [\"{}\", \"{}\"]\nmch_ids = [\"{MCH_ID}\"]\n\
         [[client]]\nname = \"other\"\ntoken_sha256 = [\"{}\"]\nmch_ids = [\"1900000110\"]\n\
         [[client]]\nname = \"all\"\ntoken_sha256 = [\"{}\"]\nmch_ids = \"*\"\namqp_user = \"all\"\n",
        hash("shop-old"),
        hash("shop-new").to_uppercase(),
        hash("other"),
        hash("all"),
    );
    Config { clients: Some(Clients::parse(&file).expect("fits")), ..config_without_broker().await }
}

fn requests() -> [Request; 3] {
    [
        post("/v1/orders", order().to_string()),
        get(order_path()),
        post(format!("{}/close", order_path()), ""),
    ]
}

#[tokio::test]
async fn request_without_valid_token_is_answered_401() {
    let server = TestServer::start(config().await).await;
    for request in requests().into_iter().chain([get("/metrics"), get("/openapi.json")]) {
        for wrong in ["", "Bearer", "Bearer ", "Bearer wrong", "Basic shop-old", "shop-old"] {
            let answer = request.clone().header("Authorization", wrong).send(server.private).await;
            answer.problem(401, "unauthorized");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
        request.send(server.private).await.problem(401, "unauthorized");
        let twice =
            request.header("Authorization", "Bearer all").header("Authorization", "Bearer all");
        twice.send(server.private).await.problem(401, "unauthorized");
    }
    // The body is read before the refusal, or the client might not see the answer.
    let large = post("/v1/orders", "x".repeat(200 * 1024));
    large.send(server.private).await.problem(401, "unauthorized");
}

#[tokio::test]
async fn probes_need_no_token() {
    let server = TestServer::start(config().await).await;
    assert_eq!(get("/healthz").send(server.private).await.status, 200);
    assert_eq!(get("/readyz").send(server.private).await.status, 503);
}

#[tokio::test]
async fn client_acts_only_for_its_own_merchants() {
    let server = TestServer::start(config().await).await;
    for request in requests() {
        let with = async |token: &str| {
            let authorization = format!("bearer {token}");
            request.clone().header("authorization", &authorization).send(server.private).await
        };
        // Both tokens of a rotation, and the client that may act for all.
        for right in ["shop-old", "shop-new", "all"] {
            with(right).await.problem(503, "not-accepted");
        }
        with("other").await.problem(403, "forbidden");
    }
    for path in ["/metrics", "/openapi.json"] {
        let request = get(path).header("authorization", "Bearer other");
        assert_eq!(request.send(server.private).await.status, 200);
    }
}
