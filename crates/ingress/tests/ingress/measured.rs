//! Every refusal at the door is counted, under a reason of a short list.

use crate::{
    certificates::{Client, Files},
    http::{Connection, get, post},
    program::Running,
    service::until,
    texts::{NOTIFICATION, notify_path},
};

/// The value of a series as `/metrics` shows it; 0 when it is not there.
async fn value(program: &Running, series: &str) -> u64 {
    let metrics = get("/metrics").send(program.private).await;
    let line = metrics.text().lines().find_map(|line| line.strip_prefix(series)).unwrap_or("0");
    line.trim().parse().expect("a number")
}

async fn counted(program: &Running, series: &str, count: u64) {
    until(&format!("{series} is {count}"), async || value(program, series).await == count).await;
}

fn errors(listener: &str, reason: &str) -> String {
    format!("wxpay_http_connection_errors_total{{listener=\"{listener}\",reason=\"{reason}\"}}")
}

fn shed(reason: &str) -> String {
    format!("wxpay_shed_total{{reason=\"{reason}\"}}")
}

#[tokio::test]
async fn what_is_no_request_is_counted() {
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
        connection.ended().await;
        counted(&program, &errors("public", reason), 1).await;
        assert_eq!(value(&program, &errors("private", reason)).await, 0, "{reason}");
    }
    let gauge = "wxpay_http_connections_open{listener=\"public\"}";
    counted(&program, gauge, 0).await;
    let mut open = Vec::new();
    for count in 1..=3 {
        open.push(Connection::open(program.public).await);
        counted(&program, gauge, count).await;
    }
    // The rest of what one source may have, and one more.
    for _ in 3..256 {
        open.push(Connection::open(program.public).await);
    }
    counted(&program, gauge, 256).await;
    Connection::open(program.public).await.ended().await;
    counted(&program, &errors("public", "source_full"), 1).await;
    drop(open);
    counted(&program, gauge, 0).await;
}

#[tokio::test]
async fn who_is_turned_away_is_counted() {
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
    plain.ended().await;
    counted(&program, &errors("public", "tls_handshake"), 1).await;

    let client = Client::trusting(&cert);
    let told = async |address: &str| {
        let request = post(notify_path(), NOTIFICATION).header("x-forwarded-for", address);
        request.send_on(client.open(program.public).await).await.status
    };
    assert_eq!(told("203.0.114.1").await, 403);
    counted(&program, &shed("public_not_allowed"), 1).await;
    until("a source is over its rate", async || told("203.0.113.1").await == 429).await;
    counted(&program, &shed("public_rate"), 1).await;
}
