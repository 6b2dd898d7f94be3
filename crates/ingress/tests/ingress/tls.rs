//! TLS on the listeners.

use std::fs;
use std::time::Duration;

use ingress::{Config, Limits};
use rustls::version::{TLS12, TLS13};

use crate::certificates::{Client, Files};
use crate::http::{Connection, get, post};
use crate::program::Running;
use crate::samples::{NOTIFICATION, notify_path};
use crate::test_server::{TestServer, config_without_broker, until};

#[tokio::test]
async fn both_listeners_serve_tls_1_2_and_1_3() {
    let (public, public_cert) = Files::new();
    let (private, private_cert) = Files::new();
    let config = Config {
        public_tls: Some(public.read()),
        private_tls: Some(private.read()),
        ..config_without_broker().await
    };
    let server = TestServer::start(config).await;
    for version in [&TLS12, &TLS13] {
        let mut wechat = Client::with_versions(&public_cert, &[version]).open(server.public).await;
        for _ in 0..3 {
            wechat.write(&post(notify_path(), NOTIFICATION).bytes()).await;
            wechat.answer().await.assert_fail(503);
        }
        let shop = Client::with_versions(&private_cert, &[version]).open(server.private).await;
        assert_eq!(get("/healthz").send_on(shop).await.status, 200);
    }
    assert!(Client::trusting(&private_cert).handshake(server.public).await.is_err());
}

#[tokio::test]
async fn alpn_agrees_only_on_http_1() {
    let (files, cert) = Files::new();
    let config = Config { public_tls: Some(files.read()), ..config_without_broker().await };
    let server = TestServer::start(config).await;
    let both = Client::trusting(&cert).offering(&["h2", "http/1.1"]);
    let stream = both.handshake(server.public).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let other = Client::trusting(&cert).offering(&["h2"]);
    assert!(other.handshake(server.public).await.is_err());
}

#[tokio::test]
async fn renewed_certificate_is_presented_after_reload() {
    let (files, old) = Files::new();
    let tls = files.read();
    let config = Config { public_tls: Some(tls.clone()), ..config_without_broker().await };
    let server = TestServer::start(config).await;
    let mut open = Client::trusting(&old).open(server.public).await;

    let new = files.renew();
    Client::trusting(&old).handshake(server.public).await.expect("nothing is reloaded by itself");
    tls.try_reload().unwrap();
    Client::trusting(&new).handshake(server.public).await.unwrap();
    assert!(Client::trusting(&old).handshake(server.public).await.is_err());
    open.write(&get("/").bytes()).await;
    open.answer().await.assert_fail(404);
}

#[tokio::test]
async fn broken_certificate_file_keeps_the_old_certificate() {
    let (files, cert) = Files::new();
    let tls = files.read();
    let config = Config { public_tls: Some(tls.clone()), ..config_without_broker().await };
    let server = TestServer::start(config).await;
    let [cert_pem, key_pem] =
        [&files.cert, &files.key].map(|path| fs::read_to_string(path).unwrap());
    let half = |text: &str| text[..text.len() / 2].to_owned();
    let (other, _) = Files::new();
    let other_key = fs::read_to_string(&other.key).unwrap();
    for (broken_cert, broken_key, expected) in [
        (String::new(), key_pem.clone(), "certificate is not a PEM file"),
        (half(&cert_pem), key_pem.clone(), "certificate is not a PEM file"),
        (key_pem.clone(), key_pem.clone(), "certificate is not a PEM file"),
        (cert_pem.clone(), String::new(), "key is not a PEM file"),
        (cert_pem.clone(), half(&key_pem), "key is not a PEM file"),
        (cert_pem.clone(), cert_pem.clone(), "key is not a PEM file"),
        (cert_pem.clone(), other_key, "key is not the key of the certificate"),
    ] {
        fs::write(&files.cert, &broken_cert).unwrap();
        fs::write(&files.key, &broken_key).unwrap();
        let error = tls.try_reload().unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(text.contains(expected), "{text}, not {expected}");
        for line in cert_pem.lines().chain(key_pem.lines()).filter(|line| line.len() > 8) {
            let content = line.trim_matches('-');
            assert!(!text.contains(content), "{text}");
        }
        Client::trusting(&cert)
            .handshake(server.public)
            .await
            .expect("the old one is still presented");
    }
    fs::remove_file(&files.key).unwrap();
    fs::write(&files.cert, &cert_pem).unwrap();
    let error = tls.try_reload().unwrap_err().to_string();
    assert!(error.contains("key cannot be read"), "{error}");
}

#[tokio::test]
async fn sighup_reloads_the_certificate_without_a_stop() {
    let (files, old) = Files::new();
    let [cert, key] = files.settings();
    let program = Running::start(&[
        ("WXPAY_AMQP_URL", "amqp://127.0.0.1:1/%2f"),
        ("WXPAY_PRIVATE_TLS_CERT", cert),
        ("WXPAY_PRIVATE_TLS_KEY", key),
    ]);
    let alive = async |client: &Client| {
        let Ok(stream) = client.handshake(program.private).await else { return false };
        get("/healthz").send_on(Connection::over(stream)).await.status == 200
    };
    assert!(alive(&Client::trusting(&old)).await);
    let new = files.renew();
    program.send_sighup();
    let client = Client::trusting(&new);
    until("the new certificate is presented", async || alive(&client).await).await;
    fs::write(&files.key, "s3cret").unwrap();
    program.send_sighup();
    assert!(alive(&client).await);
    // The second signal is handled after the first; both may also arrive as one.
    files.renew();
    let (status, log) = program.terminate().await;
    assert!(status.success(), "{log:#?}");
    let reread = log.iter().find(|line| line.contains("reread the certificate"));
    assert!(reread.is_some_and(|line| line.contains("private")), "{log:#?}");
    assert!(log.iter().all(|line| !line.contains("s3cret")), "{log:#?}");
}

#[tokio::test]
async fn plain_http_on_a_tls_listener_is_refused() {
    let (files, _) = Files::new();
    let config = Config { public_tls: Some(files.read()), ..config_without_broker().await };
    let server = TestServer::start(config).await;
    let mut plain = Connection::open(server.public).await;
    plain.write(&post(notify_path(), NOTIFICATION).bytes()).await;
    plain.closed().await;
}

#[tokio::test]
async fn stalled_handshake_frees_its_connection() {
    let (files, cert) = Files::new();
    let limits = Limits {
        connections: 1,
        handshake_timeout: Duration::from_millis(300),
        header_timeout: Duration::from_secs(600),
        ..Limits::default()
    };
    let config = Config { limits, public_tls: Some(files.read()), ..config_without_broker().await };
    let server = TestServer::start(config).await;
    // One sends nothing, the other a part of a greeting.
    for greeting in [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00"] {
        let mut stalled = Connection::open(server.public).await;
        stalled.write(greeting).await;
        stalled.closed().await;
    }
    // On a busy machine a handshake may itself take too long.
    let client = Client::trusting(&cert);
    until("a handshake succeeds", async || {
        let Ok(stream) = client.handshake(server.public).await else { return false };
        get("/").send_on(Connection::over(stream)).await.status == 404
    })
    .await;
}
