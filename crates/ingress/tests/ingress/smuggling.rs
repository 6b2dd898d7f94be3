//! Request smuggling: bytes that two HTTP parsers may split differently, and what else is nearly
//! HTTP. No request hidden in another one is ever handled.

use std::time::Duration;

use ingress::{Config, Limits};

use crate::http::Connection;
use crate::samples::{NOTIFICATION, notify_path};
use crate::test_server::{TestServer, config_without_broker};

/// After it the server closes a connection that was kept open for one more request. Long enough
/// for a request to arrive on a busy machine.
const IDLE: Duration = Duration::from_millis(600);

/// It would be answered with 405, as nothing else here is.
const HIDDEN: &str = "GET /notify/1/payment HTTP/1.1\r\nhost: a\r\n\r\n";
/// The status of a notification that was parsed; there is no broker to publish it to.
const PARSED: u16 = 503;

async fn server() -> TestServer {
    let limits = Limits { header_timeout: IDLE, public_body_timeout: IDLE, ..Limits::default() };
    TestServer::start(Config { limits, ..config_without_broker().await }).await
}

/// A notification with these headers; each line ends in CRLF.
fn notification(headers: &str, body: &str) -> String {
    format!("POST {} HTTP/1.1\r\nhost: a\r\n{headers}\r\n{body}", notify_path())
}

/// A body of one chunk.
fn chunked(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len())
}

/// Writes it on a connection of its own, and returns the statuses of all answers.
async fn statuses(server: &TestServer, bytes: &str) -> Vec<u16> {
    let mut connection = Connection::open(server.public).await;
    connection.write(bytes.as_bytes()).await;
    connection.statuses().await
}

/// Each request gets this status, and the hidden request behind it no answer.
async fn expect_one_answer(cases: &[(&str, String)], status: u16) {
    let server = server().await;
    for (what, request) in cases {
        assert_eq!(statuses(&server, &format!("{request}{HIDDEN}")).await, [status], "{what}");
    }
}

#[tokio::test]
async fn two_requests_get_two_answers() {
    // Without this, the tests below would prove nothing.
    let length = format!("content-length: {}\r\n", NOTIFICATION.len());
    let request = notification(&length, NOTIFICATION);
    assert_eq!(statuses(&server().await, &format!("{request}{HIDDEN}")).await, [PARSED, 405]);
    let request = notification("transfer-encoding: Chunked\r\n", &chunked(NOTIFICATION));
    assert_eq!(statuses(&server().await, &format!("{request}{HIDDEN}")).await, [PARSED, 405]);
}

#[tokio::test]
async fn length_beside_chunks_is_ignored_and_closes_connection() {
    let body = chunked(NOTIFICATION);
    let length = format!("content-length: {}\r\n", body.len());
    expect_one_answer(
        &[
            (
                "the length first",
                notification(&format!("{length}transfer-encoding: chunked\r\n"), &body),
            ),
            (
                "the chunks first",
                notification(&format!("transfer-encoding: chunked\r\n{length}"), &body),
            ),
            (
                "a length that hides what follows",
                notification("transfer-encoding: chunked\r\ncontent-length: 9999\r\n", &body),
            ),
        ],
        PARSED,
    )
    .await;
    // A proxy in front would take all of it for the body of one request.
    let hiding = notification("content-length: 50\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n");
    expect_one_answer(&[("a last chunk before the end of the length", hiding)], 400).await;
}

#[tokio::test]
async fn malformed_length_is_answered_400() {
    let cases = [
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: 5, 6\r\n",
        "content-length: 5, 5\r\n",
        "content-length: +5\r\n",
        "content-length: -5\r\n",
        "content-length: 0x5\r\n",
        "content-length: 5 5\r\n",
        "content-length:\r\n",
        "content-length: 99999999999999999999\r\n",
        "content-length : 5\r\n",
    ];
    let cases = cases.map(|headers| (headers, notification(headers, "<xml>")));
    expect_one_answer(&cases, 400).await;
}

#[tokio::test]
async fn transfer_encoding_is_chunked_and_nothing_else() {
    let cases = [
        "transfer-encoding: identity\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: identity, chunked\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: chunked, chunked\r\n",
        "transfer-encoding: \"chunked\"\r\n",
        "transfer-encoding: \u{b}chunked\r\n",
        "transfer-encoding: chunked;x=y\r\n",
        "transfer-encoding: identity\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding:\r\n",
        "transfer-encoding : chunked\r\n",
        "transfer-encoding\r\n : chunked\r\n",
        "transfer-encoding:\r\n chunked\r\n",
    ];
    let cases = cases.map(|headers| (headers, notification(headers, &chunked(NOTIFICATION))));
    expect_one_answer(&cases, 400).await;
}

#[tokio::test]
async fn malformed_chunk_is_answered_400() {
    let cases = [
        ("no number", "zz\r\n<xml>\r\n0\r\n\r\n".to_owned()),
        ("no size", "\r\n<xml>\r\n0\r\n\r\n".to_owned()),
        ("less than nothing", "-5\r\n<xml>\r\n0\r\n\r\n".to_owned()),
        ("a prefix 0x", "0x5\r\n<xml>\r\n0\r\n\r\n".to_owned()),
        ("more than 64 bits", "10000000000000005\r\n<xml>\r\n0\r\n\r\n".to_owned()),
        ("a line feed alone after the size", "5\n<xml>\r\n0\r\n\r\n".to_owned()),
        ("a line feed alone after the chunk", "5\r\n<xml>\n0\r\n\r\n".to_owned()),
        ("a line feed in an extension", "5;a\nb\r\n<xml>\r\n0\r\n\r\n".to_owned()),
        ("longer than its size", "5\r\n<xml></xml>\r\n0\r\n\r\n".to_owned()),
        ("an endless extension", format!("5;{}\r\n<xml>\r\n0\r\n\r\n", "x".repeat(32 * 1024))),
        ("endless trailers", format!("5\r\n<xml>\r\n0\r\na: {}\r\n\r\n", "x".repeat(32 * 1024))),
    ];
    let cases =
        cases.map(|(what, body)| (what, notification("transfer-encoding: chunked\r\n", &body)));
    expect_one_answer(&cases, 400).await;
}

#[tokio::test]
async fn missing_chunk_is_answered_408() {
    for size in ["ffff", "7fffffffffffffff"] {
        let request = notification("transfer-encoding: chunked\r\n", &format!("{size}\r\n<xml>"));
        assert_eq!(statuses(&server().await, &request).await, [408], "{size}");
    }
}

#[tokio::test]
async fn chunk_extensions_and_trailers_are_ignored() {
    let body = "5;name=\"value\";x\r\n<xml>\r\n6 ;y\r\n</xml>\r\n0;z\r\n\
                content-length: 3\r\ntransfer-encoding: gzip\r\n\r\n";
    let request = notification("transfer-encoding: chunked\r\n", body);
    assert_eq!(statuses(&server().await, &format!("{request}{HIDDEN}")).await, [PARSED, 405]);
}

#[tokio::test]
async fn malformed_head_is_answered_400() {
    let line = |line: &str| format!("{line}\r\nhost: a\r\n\r\n");
    expect_one_answer(
        &[
            ("a folded header", notification("x: a\r\n b\r\n", "")),
            ("a folded first header", "GET / HTTP/1.1\r\n x: a\r\n\r\n".to_owned()),
            ("a header without a colon", notification("x\r\n", "")),
            ("a header without a name", notification(": x\r\n", "")),
            ("a space in a name", notification("x y: z\r\n", "")),
            ("a carriage return in a value", notification("x: a\rb\r\n", "")),
            ("a null byte in a value", notification("x: a\0b\r\n", "")),
            ("the first HTTP", line("GET /")),
            ("a later HTTP", line("GET / HTTP/1.2")),
            ("a much later HTTP", line("GET / HTTP/2.0")),
            ("no HTTP", line("GET / ICY/1.1")),
            ("no method", line(" / HTTP/1.1")),
            ("no target", line("GET  HTTP/1.1")),
            ("two targets", line("GET / / HTTP/1.1")),
            ("a tab for a space", line("GET\t/ HTTP/1.1")),
            ("a method of no letters", line("G@T / HTTP/1.1")),
            ("an encoding before 1.1", {
                let encoding = "transfer-encoding: chunked";
                format!("POST {} HTTP/1.0\r\n{encoding}\r\n\r\n0\r\n\r\n", notify_path())
            }),
        ],
        400,
    )
    .await;
}

/// A recipient may accept a line feed alone as the end of a line (RFC 9112, 2.2). It is dangerous
/// only behind a proxy that passes one on inside a value; the documentation warns of those.
#[tokio::test]
async fn line_feed_alone_ends_a_line() {
    let server = server().await;
    let length = NOTIFICATION.len();
    let request = format!(
        "POST {} HTTP/1.1\nhost: a\ncontent-length: {length}\n\n{NOTIFICATION}",
        notify_path()
    );
    assert_eq!(statuses(&server, &request).await, [PARSED]);
}

#[tokio::test]
async fn http_1_0_client_gets_one_answer() {
    let length = NOTIFICATION.len();
    let head = format!("POST {} HTTP/1.0\r\ncontent-length: {length}\r\n", notify_path());
    expect_one_answer(&[("HTTP/1.0", format!("{head}\r\n{NOTIFICATION}"))], PARSED).await;
}

#[tokio::test]
async fn host_in_the_target_is_ignored() {
    let server = server().await;
    let length = NOTIFICATION.len();
    for target in ["http://elsewhere.example", "http://127.0.0.1:1", "https://user@elsewhere:9"] {
        let head = format!("POST {target}{} HTTP/1.1\r\nhost: a\r\n", notify_path());
        let request = format!("{head}content-length: {length}\r\n\r\n{NOTIFICATION}");
        assert_eq!(statuses(&server, &request).await, [PARSED], "{target}");
    }
    for line in ["OPTIONS *", "POST localhost:80"] {
        let request = format!("{line} HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(statuses(&server, &request).await, [404], "{line}");
    }
}

#[tokio::test]
async fn connect_and_upgrade_open_no_tunnel() {
    let server = server().await;
    for target in ["elsewhere.example:443", "127.0.0.1:22"] {
        let connect = format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n");
        assert_eq!(statuses(&server, &connect).await, [404], "{target}");
    }
    for protocol in ["websocket", "h2c", "TLS/1.0"] {
        let length = NOTIFICATION.len();
        let headers = format!(
            "connection: upgrade, http2-settings\r\nupgrade: {protocol}\r\nhttp2-settings: AAMAAABk\r\n\
             content-length: {length}\r\n"
        );
        let request = notification(&headers, NOTIFICATION);
        assert_eq!(statuses(&server, &request).await, [PARSED], "{protocol}");
    }
    // HTTP/2 with prior knowledge, and TLS where there is none.
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    assert!(statuses(&server, preface).await.iter().all(|status| *status == 400));
    assert_eq!(statuses(&server, "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0").await, [400]);
}

#[tokio::test]
async fn expect_100_continue_is_answered_before_the_body() {
    let server = server().await;
    let length = format!("content-length: {}\r\n", NOTIFICATION.len());
    let mut connection = Connection::open(server.public).await;
    let head = notification(&format!("{length}expect: 100-continue\r\n"), "");
    connection.write(head.as_bytes()).await;
    assert_eq!(connection.answer().await.status, 100);
    connection.write(NOTIFICATION.as_bytes()).await;
    connection.answer().await.assert_fail(PARSED);

    // A body that is too large or not wanted is refused before it is sent.
    let mut connection = Connection::open(server.public).await;
    let head = notification("content-length: 9999999\r\nexpect: 100-continue\r\n", "");
    connection.write(head.as_bytes()).await;
    connection.answer().await.assert_fail(413);
    connection.closed().await;
    let mut connection = Connection::open(server.public).await;
    let head =
        "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: something-else\r\n\r\n<xml>";
    connection.write(head.as_bytes()).await;
    connection.answer().await.assert_fail(404);
}

#[tokio::test]
async fn head_over_the_limit_is_answered_431() {
    let server = server().await;
    let many = "x: y\r\n".repeat(101);
    let target = "x".repeat(20 * 1024);
    for (what, request) in [
        ("headers", notification(&many, "")),
        ("bytes", notification(&format!("x: {}\r\n", "y".repeat(20 * 1024)), "")),
        ("a target", format!("GET /{target} HTTP/1.1\r\nhost: a\r\n\r\n")),
    ] {
        assert_eq!(statuses(&server, &request).await, [431], "{what}");
    }
    let fits = notification(&"x: y\r\n".repeat(90), "");
    assert_eq!(statuses(&server, &fits).await, [400], "an empty body, and a head that fits");
}
