//! TLS on the listeners.

use std::{fs, time::Duration};

use ingress::{Config, Limits};
use rustls::version::{TLS12, TLS13};

use crate::{
    certificates::{Client, Files},
    http::{Connection, get, post},
    program::Running,
    service::{Service, config_without_broker, until},
    texts::{NOTIFICATION, notify_path},
};

#[tokio::test]
async fn both_listeners_speak_it() {
    let (public, public_cert) = Files::new();
    let (private, private_cert) = Files::new();
    let config = Config {
        public_tls: Some(public.read()),
        private_tls: Some(private.read()),
        ..config_without_broker().await
    };
    let service = Service::start(config).await;
    for version in [&TLS12, &TLS13] {
        let mut wechat = Client::speaking(&public_cert, &[version]).open(service.public).await;
        for _ in 0..3 {
            wechat.write(&post(notify_path(), NOTIFICATION).bytes()).await;
            wechat.answer().await.assert_fail(503);
        }
        let shop = Client::speaking(&private_cert, &[version]).open(service.private).await;
        assert_eq!(get("/healthz").send_on(shop).await.status, 200);
    }
    assert!(Client::trusting(&private_cert).shake(service.public).await.is_err());
}

#[tokio::test]
async fn only_http_1_is_agreed_on() {
    let (files, cert) = Files::new();
    let config = Config { public_tls: Some(files.read()), ..config_without_broker().await };
    let service = Service::start(config).await;
    let both = Client::trusting(&cert).offering(&["h2", "http/1.1"]);
    let stream = both.shake(service.public).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let other = Client::trusting(&cert).offering(&["h2"]);
    assert!(other.shake(service.public).await.is_err());
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_from_then_on() {
    let (files, old) = Files::new();
    let tls = files.read();
    let config = Config { public_tls: Some(tls.clone()), ..config_without_broker().await };
    let service = Service::start(config).await;
    let mut open = Client::trusting(&old).open(service.public).await;

    let new = files.renew();
    Client::trusting(&old).shake(service.public).await.expect("nothing is read by itself");
    tls.reread().unwrap();
    Client::trusting(&new).shake(service.public).await.unwrap();
    assert!(Client::trusting(&old).shake(service.public).await.is_err());
    open.write(&get("/").bytes()).await;
    open.answer().await.assert_fail(404);
}

#[tokio::test]
async fn a_broken_file_changes_nothing_and_says_so() {
    let (files, cert) = Files::new();
    let tls = files.read();
    let config = Config { public_tls: Some(tls.clone()), ..config_without_broker().await };
    let service = Service::start(config).await;
    let [cert_pem, key_pem] =
        [&files.cert, &files.key].map(|path| fs::read_to_string(path).unwrap());
    let half = |text: &str| text[..text.len() / 2].to_owned();
    let (_others, others) = {
        let (others, _) = Files::new();
        let key = fs::read_to_string(&others.key).unwrap();
        (others, key)
    };
    for (broken_cert, broken_key, complaint) in [
        (String::new(), key_pem.clone(), "certificate is not a PEM file"),
        (half(&cert_pem), key_pem.clone(), "certificate is not a PEM file"),
        (key_pem.clone(), key_pem.clone(), "certificate is not a PEM file"),
        (cert_pem.clone(), String::new(), "key is not a PEM file"),
        (cert_pem.clone(), half(&key_pem), "key is not a PEM file"),
        (cert_pem.clone(), cert_pem.clone(), "key is not a PEM file"),
        (cert_pem.clone(), others, "key is not the key of the certificate"),
    ] {
        fs::write(&files.cert, &broken_cert).unwrap();
        fs::write(&files.key, &broken_key).unwrap();
        let error = tls.reread().unwrap_err();
        let said = format!("{error} {error:?}");
        assert!(said.contains(complaint), "{said}, not {complaint}");
        for line in cert_pem.lines().chain(key_pem.lines()).filter(|line| line.len() > 8) {
            let content = line.trim_matches('-');
            assert!(!said.contains(content), "{said}");
        }
        Client::trusting(&cert).shake(service.public).await.expect("the old one is shown");
    }
    fs::remove_file(&files.key).unwrap();
    fs::write(&files.cert, &cert_pem).unwrap();
    let error = tls.reread().unwrap_err().to_string();
    assert!(error.contains("key cannot be read"), "{error}");
}

#[tokio::test]
async fn sighup_rereads_and_stops_nothing() {
    let (files, old) = Files::new();
    let [cert, key] = files.settings();
    let program = Running::start(&[
        ("WXPAY_AMQP_URL", "amqp://127.0.0.1:1/%2f"),
        ("WXPAY_PRIVATE_TLS_CERT", cert),
        ("WXPAY_PRIVATE_TLS_KEY", key),
    ]);
    let alive = async |client: &Client| {
        let Ok(stream) = client.shake(program.private).await else { return false };
        get("/healthz").send_on(Connection::over(stream)).await.status == 200
    };
    assert!(alive(&Client::trusting(&old)).await);
    let new = files.renew();
    program.hang_up();
    let client = Client::trusting(&new);
    until("the new certificate is shown", async || alive(&client).await).await;
    fs::write(&files.key, "s3cret").unwrap();
    program.hang_up();
    assert!(alive(&client).await);
    // Handled after the one before: signals of one kind may fall into one.
    files.renew();
    let (status, log) = program.terminate();
    assert!(status.success(), "{log:#?}");
    let reread = log.iter().find(|line| line.contains("reread the certificate"));
    assert!(reread.is_some_and(|line| line.contains("private")), "{log:#?}");
    assert!(log.iter().all(|line| !line.contains("s3cret")), "{log:#?}");
}

#[tokio::test]
async fn plain_http_is_refused_where_tls_is_spoken() {
    let (files, _) = Files::new();
    let config = Config { public_tls: Some(files.read()), ..config_without_broker().await };
    let service = Service::start(config).await;
    let mut plain = Connection::open(service.public).await;
    plain.write(&post(notify_path(), NOTIFICATION).bytes()).await;
    plain.ended().await;
}

#[tokio::test]
async fn a_stalled_handshake_gives_its_place_back() {
    let (files, cert) = Files::new();
    let limits = Limits {
        connections: 1,
        handshake_within: Duration::from_millis(300),
        header_within: Duration::from_secs(600),
        ..Limits::default()
    };
    let config = Config { limits, public_tls: Some(files.read()), ..config_without_broker().await };
    let service = Service::start(config).await;
    // Says nothing, and begins a greeting that it never ends.
    for greeting in [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00"] {
        let mut stalled = Connection::open(service.public).await;
        stalled.write(greeting).await;
        stalled.ended().await;
    }
    let client = Client::trusting(&cert).open(service.public).await;
    get("/").send_on(client).await.assert_fail(404);
}
