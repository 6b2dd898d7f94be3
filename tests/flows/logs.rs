//! The programs at trace level: no log line contains a secret.

use harness::program::Program;
use harness::{Shop, World, eventually, http_client};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use serde_json::json;
use simulator::{PayOptions, Signing};

/// The most verbose setting. It names the libraries that would log payloads.
const EVERYTHING: &str = "trace,lapin=trace,lapin::channel=trace,amq_protocol=trace,sqlx=trace,\
    hyper=trace,hyper_util=trace,reqwest=trace,rustls=trace,tower=trace,axum=trace";
const TOKEN: &str = "a-token-of-the-shop";
/// The SHA-256 of [`TOKEN`].
const TOKEN_SHA256: &str = "21038e4af1592d2410b95884b02f13df945761974182208d6a757793a6d9e61d";

fn with_a_token() -> reqwest::Client {
    let token = HeaderValue::from_str(&format!("Bearer {TOKEN}")).unwrap();
    let headers = HeaderMap::from_iter([(AUTHORIZATION, token)]);
    http_client().default_headers(headers).build().unwrap()
}

#[tokio::test]
async fn no_secret_in_logs_at_trace_level() {
    let mut world = World::start().await;
    world.stop_workers().await;
    world.stop_ingress().await;
    world.add_secret(TOKEN);
    world.http = with_a_token();
    let mut program = Program::of(&world);
    program.set("WXPAY_LOG", EVERYTHING);
    let worker = program.start_worker(&world).await;
    let clients = format!(
        "[[client]]\nname = \"shop\"\ntoken_sha256 = [\"{TOKEN_SHA256}\"]\nmch_ids = \"*\"\n"
    );
    let clients = program.write("clients.toml", &clients);
    program.set("WXPAY_CLIENTS_FILE", clients);
    let ingress = program.start_ingress(&world).await;

    let mut numbers = Vec::new();
    for shop in [world.md5_shop(), world.hmac_shop()] {
        let [paid, closed, wrong] = [(); 3].map(|()| Shop::number());
        world.create_payable(&shop.order(&paid, 9900)).await;
        world.create_payable(&shop.order(&closed, 1)).await;
        let mut order = shop.order(&wrong, 1);
        order["total_fee"] = json!(0);
        assert_eq!(world.create(&order, Some(20)).await.0, 422);
        assert_eq!(world.post("{\"openid\": \"", &[]).await.status(), 400);

        let unpaid = PayOptions { notify_only: true, ..PayOptions::default() };
        for sign in [Signing::Wrong, Signing::OtherKey, Signing::Missing] {
            let forged =
                world.unsent_notification(&shop, &paid, PayOptions { sign, ..unpaid.clone() });
            world.notify_ok(&shop.mch_id, &forged).await;
            let (status, _) =
                world.notify(&shop.mch_id, [&b"<!DOCTYPE"[..], &forged].concat()).await;
            assert_eq!(status, 400);
        }
        world.pay(&shop, &paid, &PayOptions::default());
        world.wait_for_state(&shop, &paid, "paid").await;
        assert!(world.close(&shop.mch_id, &closed, Some(20)).await.0.is_success());
        assert_eq!(world.get(&shop, &closed).await.0, 200);

        // With a wrong key neither answers nor notifications of WeChat verify.
        let file = program.key_file(&shop.mch_id);
        let key = Shop::number();
        world.add_secret(&key);
        std::fs::write(&file, &key).unwrap();
        let reread = worker.log().matches("was reread").count();
        worker.signal("HUP");
        eventually("the reread key", async || {
            (worker.log().matches("was reread").count() > reread).then_some(())
        })
        .await;
        let unknown = Shop::number();
        assert_eq!(world.create(&shop.order(&unknown, 9900), Some(20)).await.0, 202);
        numbers.extend([paid, closed, unknown]);
    }
    // The workers of `World::finish` settle the rest.
    let worker = worker.stop().await;
    let ingress = ingress.stop().await;
    for number in &numbers {
        assert!(worker.contains(number) || ingress.contains(number), "{number} is in no line");
    }
    for log in [&worker, &ingress] {
        let lines = world.lines_with_secrets(log.lines()).await;
        assert!(lines.is_empty(), "{lines:#?}");
    }
    world.finish().await;
}
