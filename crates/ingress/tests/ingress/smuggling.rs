//! Requests that two readers may cut differently, and what else is nearly HTTP. Whatever it is, no
//! request that hides in another one is ever seen.

use std::time::Duration;

use ingress::{Config, Limits};

use crate::{
    http::Connection,
    service::{Service, config_without_broker},
    texts::{NOTIFICATION, notify_path},
};

/// Ends a connection that is kept open for one more request.
const IDLE: Duration = Duration::from_millis(300);

/// It would be answered with 405, and nothing else here is.
const HIDDEN: &str = "GET /notify/1/payment HTTP/1.1\r\nhost: a\r\n\r\n";
/// Of a notification that came through, as far as it can without a broker.
const TAKEN: u16 = 503;

async fn service() -> Service {
    let limits = Limits { header_within: IDLE, public_body_within: IDLE, ..Limits::default() };
    Service::start(Config { limits, ..config_without_broker().await }).await
}

/// A notification with these headers, each line with its end.
fn notification(headers: &str, body: &str) -> String {
    format!("POST {} HTTP/1.1\r\nhost: a\r\n{headers}\r\n{body}", notify_path())
}

/// In one chunk.
fn chunked(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n0\r\n\r\n", text.len())
}

/// Writes it on a connection of its own, and returns the statuses of all answers.
async fn told(service: &Service, bytes: &str) -> Vec<u16> {
    let mut connection = Connection::open(service.public).await;
    connection.write(bytes.as_bytes()).await;
    connection.statuses().await
}

/// Each is answered so and nothing after it, though a request stands behind it.
async fn answered_once(cases: &[(&str, String)], status: u16) {
    let service = service().await;
    for (what, request) in cases {
        assert_eq!(told(&service, &format!("{request}{HIDDEN}")).await, [status], "{what}");
    }
}

#[tokio::test]
async fn two_requests_are_two() {
    // Or the tests below would see nothing where there is something.
    let length = format!("content-length: {}\r\n", NOTIFICATION.len());
    let request = notification(&length, NOTIFICATION);
    assert_eq!(told(&service().await, &format!("{request}{HIDDEN}")).await, [TAKEN, 405]);
    let request = notification("transfer-encoding: Chunked\r\n", &chunked(NOTIFICATION));
    assert_eq!(told(&service().await, &format!("{request}{HIDDEN}")).await, [TAKEN, 405]);
}

#[tokio::test]
async fn a_length_beside_chunks_counts_for_nothing_and_ends_the_connection() {
    let body = chunked(NOTIFICATION);
    let length = format!("content-length: {}\r\n", body.len());
    answered_once(
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
        TAKEN,
    )
    .await;
    // The proxy in front takes all of it for the body of one request.
    let hiding = notification("content-length: 50\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n");
    answered_once(&[("an end before the end", hiding)], 400).await;
}

#[tokio::test]
async fn a_length_is_one_number() {
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
    answered_once(&cases, 400).await;
}

#[tokio::test]
async fn an_encoding_is_chunked_and_nothing_else() {
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
    answered_once(&cases, 400).await;
}

#[tokio::test]
async fn a_chunk_is_as_long_as_it_says() {
    let cases = [
        ("no number", "zz\r\n<xml>\r\n0\r\n\r\n".to_owned()),
        ("no size", "\r\n<xml>\r\n0\r\n\r\n".to_owned()),
        ("less than nothing", "-5\r\n<xml>\r\n0\r\n\r\n".to_owned()),
        ("as programmers write it", "0x5\r\n<xml>\r\n0\r\n\r\n".to_owned()),
        ("more than 64 bits", "10000000000000005\r\n<xml>\r\n0\r\n\r\n".to_owned()),
        ("a line feed alone after the size", "5\n<xml>\r\n0\r\n\r\n".to_owned()),
        ("a line feed alone after the chunk", "5\r\n<xml>\n0\r\n\r\n".to_owned()),
        ("a line feed in an extension", "5;a\nb\r\n<xml>\r\n0\r\n\r\n".to_owned()),
        ("longer than it says", "5\r\n<xml></xml>\r\n0\r\n\r\n".to_owned()),
        ("an endless extension", format!("5;{}\r\n<xml>\r\n0\r\n\r\n", "x".repeat(32 * 1024))),
        ("endless trailers", format!("5\r\n<xml>\r\n0\r\na: {}\r\n\r\n", "x".repeat(32 * 1024))),
    ];
    let cases =
        cases.map(|(what, body)| (what, notification("transfer-encoding: chunked\r\n", &body)));
    answered_once(&cases, 400).await;
}

#[tokio::test]
async fn a_chunk_that_does_not_come_is_not_waited_for() {
    for size in ["ffff", "7fffffffffffffff"] {
        let request = notification("transfer-encoding: chunked\r\n", &format!("{size}\r\n<xml>"));
        assert_eq!(told(&service().await, &request).await, [408], "{size}");
    }
}

#[tokio::test]
async fn extensions_and_trailers_are_passed_over() {
    let body = "5;name=\"value\";x\r\n<xml>\r\n6 ;y\r\n</xml>\r\n0;z\r\n\
                content-length: 3\r\ntransfer-encoding: gzip\r\n\r\n";
    let request = notification("transfer-encoding: chunked\r\n", body);
    assert_eq!(told(&service().await, &format!("{request}{HIDDEN}")).await, [TAKEN, 405]);
}

#[tokio::test]
async fn a_head_that_is_no_head_is_refused() {
    let line = |line: &str| format!("{line}\r\nhost: a\r\n\r\n");
    answered_once(
        &[
            ("a folded header", notification("x: a\r\n b\r\n", "")),
            ("a folded first header", "GET / HTTP/1.1\r\n x: a\r\n\r\n".to_owned()),
            ("a header without a colon", notification("x\r\n", "")),
            ("a header without a name", notification(": x\r\n", "")),
            ("a space in a name", notification("x y: z\r\n", "")),
            ("a carriage return in a value", notification("x: a\rb\r\n", "")),
            ("a nothing in a value", notification("x: a\0b\r\n", "")),
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

/// A recipient may take a line feed alone for the end of a line (RFC 9112, 2.2). Proxies that pass
/// one on inside a value are what makes it dangerous, and they are told of in the README.
#[tokio::test]
async fn line_feeds_alone_end_lines() {
    let service = service().await;
    let length = NOTIFICATION.len();
    let request = format!(
        "POST {} HTTP/1.1\nhost: a\ncontent-length: {length}\n\n{NOTIFICATION}",
        notify_path()
    );
    assert_eq!(told(&service, &request).await, [TAKEN]);
}

#[tokio::test]
async fn an_old_client_gets_one_answer() {
    let length = NOTIFICATION.len();
    let head = format!("POST {} HTTP/1.0\r\ncontent-length: {length}\r\n", notify_path());
    answered_once(&[("HTTP/1.0", format!("{head}\r\n{NOTIFICATION}"))], TAKEN).await;
}

#[tokio::test]
async fn a_target_names_a_path_and_nothing_else() {
    let service = service().await;
    let length = NOTIFICATION.len();
    for target in ["http://elsewhere.example", "http://127.0.0.1:1", "https://user@elsewhere:9"] {
        let head = format!("POST {target}{} HTTP/1.1\r\nhost: a\r\n", notify_path());
        let request = format!("{head}content-length: {length}\r\n\r\n{NOTIFICATION}");
        assert_eq!(told(&service, &request).await, [TAKEN], "{target}");
    }
    for line in ["OPTIONS *", "POST localhost:80"] {
        let request = format!("{line} HTTP/1.1\r\nhost: a\r\n\r\n");
        assert_eq!(told(&service, &request).await, [404], "{line}");
    }
}

#[tokio::test]
async fn no_tunnel_is_opened() {
    let service = service().await;
    for target in ["elsewhere.example:443", "127.0.0.1:22"] {
        let connect = format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n");
        assert_eq!(told(&service, &connect).await, [404], "{target}");
    }
    for protocol in ["websocket", "h2c", "TLS/1.0"] {
        let length = NOTIFICATION.len();
        let headers = format!(
            "connection: upgrade, http2-settings\r\nupgrade: {protocol}\r\nhttp2-settings: AAMAAABk\r\n\
             content-length: {length}\r\n"
        );
        let request = notification(&headers, NOTIFICATION);
        assert_eq!(told(&service, &request).await, [TAKEN], "{protocol}");
    }
    // HTTP/2 with prior knowledge, and TLS where there is none.
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    assert!(told(&service, preface).await.iter().all(|status| *status == 400));
    assert_eq!(told(&service, "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0").await, [400]);
}

#[tokio::test]
async fn a_client_may_ask_before_it_sends() {
    let service = service().await;
    let length = format!("content-length: {}\r\n", NOTIFICATION.len());
    let mut asking = Connection::open(service.public).await;
    let head = notification(&format!("{length}expect: 100-continue\r\n"), "");
    asking.write(head.as_bytes()).await;
    assert_eq!(asking.answer().await.status, 100);
    asking.write(NOTIFICATION.as_bytes()).await;
    asking.answer().await.assert_fail(TAKEN);

    // It is told no before it sends what is too much, or what nobody wants.
    let mut asking = Connection::open(service.public).await;
    let head = notification("content-length: 9999999\r\nexpect: 100-continue\r\n", "");
    asking.write(head.as_bytes()).await;
    asking.answer().await.assert_fail(413);
    asking.ended().await;
    let mut asking = Connection::open(service.public).await;
    let head =
        "PUT / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: something-else\r\n\r\n<xml>";
    asking.write(head.as_bytes()).await;
    asking.answer().await.assert_fail(404);
}

#[tokio::test]
async fn a_head_is_bounded() {
    let service = service().await;
    let many = "x: y\r\n".repeat(101);
    let target = "x".repeat(20 * 1024);
    for (what, request) in [
        ("headers", notification(&many, "")),
        ("bytes", notification(&format!("x: {}\r\n", "y".repeat(20 * 1024)), "")),
        ("a target", format!("GET /{target} HTTP/1.1\r\nhost: a\r\n\r\n")),
    ] {
        assert_eq!(told(&service, &request).await, [431], "{what}");
    }
    let bearable = notification(&"x: y\r\n".repeat(90), "");
    assert_eq!(told(&service, &bearable).await, [400], "an empty body, and a head that fits");
}
