//! Every refused connection and request is counted, under a reason of a short list.

use crate::certificates::{Client, Files};
use crate::http::{Connection, get, post};
use crate::program::Running;
use crate::samples::{NOTIFICATION, notify_path};
use crate::test_server::until;

/// The value of a series as `/metrics` shows it; 0 when it is not there.
async fn value(program: &Running, series: &str) -> u64 {
    let metrics = get("/metrics").send(program.private).await;
    let line = metrics.text().lines().find_map(|line| line.strip_prefix(series)).unwrap_or("0");
    line.trim().parse().expect("a number")
}

async fn wait_for_count(program: &Running, series: &str, count: u64) {
    until(&format!("{series} is {count}"), async || value(program, series).await == count).await;
}

fn errors(listener: &str, reason: &str) -> String {
    format!("wxpay_http_connection_errors_total{{listener=\"{listener}\",reason=\"{reason}\"}}")
}

fn shed(reason: &str) -> String {
    format!("wxpay_shed_total{{reason=\"{reason}\"}}")
}

#[tokio::test]
async fn malformed_requests_are_counted_by_reason() {
    let program = Running::start(&[("WXPAY_AMQP_URL", "amqp://127.0.0.1:1/%2f")]);
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(20 * 1024));
    for (reason, bytes) in [
        ("not_http", "nonsense\r\n\r\n"),
        ("too_large", &long),
        (
            "transfer_encoding",
            "POST / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        ),
    ] {
        let mut connection = Connection::open(program.public).await;
        connection.write(bytes.as_bytes()).await;
        connection.closed().await;
        wait_for_count(&program, &errors("public", reason), 1).await;
        assert_eq!(value(&program, &errors("private", reason)).await, 0, "{reason}");
    }
    let gauge = "wxpay_http_connections_open{listener=\"public\"}";
    wait_for_count(&program, gauge, 0).await;
    let mut open = Vec::new();
    for count in 1..=3 {
        open.push(Connection::open(program.public).await);
        wait_for_count(&program, gauge, count).await;
    }
    // Up to the bound of one source, and one more.
    for _ in 3..256 {
        open.push(Connection::open(program.public).await);
    }
    wait_for_count(&program, gauge, 256).await;
    Connection::open(program.public).await.closed().await;
    wait_for_count(&program, &errors("public", "source_full"), 1).await;
    drop(open);
    wait_for_count(&program, gauge, 0).await;
}

#[tokio::test]
async fn refused_sources_are_counted_by_reason() {
    let (files, cert) = Files::new();
    let [cert_path, key_path] = files.settings();
    let program = Running::start(&[
        ("WXPAY_AMQP_URL", "amqp://127.0.0.1:1/%2f"),
        ("WXPAY_PUBLIC_TLS_CERT", cert_path),
        ("WXPAY_PUBLIC_TLS_KEY", key_path),
        ("WXPAY_TRUSTED_PROXIES", "127.0.0.0/8"),
        ("WXPAY_PUBLIC_ALLOW", "203.0.113.0/24"),
        ("WXPAY_PUBLIC_RATE", "1"),
    ]);
    let mut plain = Connection::open(program.public).await;
    plain.write(b"GET / HTTP/1.1\r\n\r\n").await;
    plain.closed().await;
    wait_for_count(&program, &errors("public", "tls_handshake"), 1).await;

    let client = Client::trusting(&cert);
    let notify_from = async |address: &str| {
        let request = post(notify_path(), NOTIFICATION).header("x-forwarded-for", address);
        request.send_on(client.open(program.public).await).await.status
    };
    assert_eq!(notify_from("203.0.114.1").await, 403);
    wait_for_count(&program, &shed("public_not_allowed"), 1).await;
    until("a source is over its rate", async || notify_from("203.0.113.1").await == 429).await;
    wait_for_count(&program, &shed("public_rate"), 1).await;
}
