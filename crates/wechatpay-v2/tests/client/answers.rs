use std::time::Duration;

use wechatpay_v2::client::{CALL_TIMEOUT, Client, Timeouts};
use wechatpay_v2::{CallOutcome, SignType, SignatureError, Unknown, XmlError, sign, write_xml};

use crate::gateway::{Gateway, Reply, answer};
use crate::{BROKEN, NO_ANSWER, create, create_against, prepay_answer, samples, transport_failure};

const TOO_LARGE: &str = "the answer is too large";

#[tokio::test]
async fn status_other_than_200_is_unknown() {
    for status in [
        "201 Created",
        "400 Bad Request",
        "404 Not Found",
        "500 Internal Server Error",
        "502 Bad Gateway",
        "503 Service Unavailable",
    ] {
        let reply = Reply::Close(answer(status, &samples::body("U3")));
        let text = format!("HTTP status {}", &status[..3]);
        assert_eq!(create_against(reply).await, transport_failure(&text));
    }
}

#[tokio::test]
async fn redirect_is_not_followed() {
    let elsewhere = Gateway::start(Reply::Close(prepay_answer())).await;
    for status in ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"] {
        let head = format!(
            "HTTP/1.1 {status}\r\nlocation: {}/pay/unifiedorder\r\ncontent-length: 0\r\n\r\n",
            elsewhere.url
        );
        let text = format!("HTTP status {}", &status[..3]);
        assert_eq!(create_against(Reply::Close(head.into())).await, transport_failure(&text));
    }
    assert!(elsewhere.received().is_empty());
}

#[tokio::test]
async fn answer_that_is_not_flat_xml_is_unknown() {
    for (body, reason) in [
        (Vec::new(), XmlError::Malformed),
        (samples::body("E9"), XmlError::Root("xml")),
        (samples::body("N14"), XmlError::Doctype),
        (samples::body("N15"), XmlError::Repeated),
        (samples::body("U3")[..200].to_vec(), XmlError::Malformed),
    ] {
        let outcome = create_against(Reply::Close(answer("200 OK", &body))).await;
        assert_eq!(outcome, CallOutcome::Unknown(Unknown::Xml(reason)));
    }
}

#[tokio::test]
async fn answer_that_is_not_authentic_is_unknown() {
    let mut other_merchant = samples::fields("U3");
    let signature = sign(&other_merchant, &samples::other_key(), SignType::Md5);
    other_merchant.insert("sign", signature);
    for (body, reason) in [
        (write_xml(&other_merchant).into_bytes(), Unknown::Signature(SignatureError::Wrong)),
        (samples::body("U4"), Unknown::SignTypeMismatch),
    ] {
        let outcome = create_against(Reply::Close(answer("200 OK", &body))).await;
        assert_eq!(outcome, CallOutcome::Unknown(reason));
    }
}

#[tokio::test]
async fn answer_of_64_kib_is_read_in_every_framing() {
    let body = padded(64 * 1024);
    let last_chunk = &b"0\r\n\r\n"[..];
    for reply in
        [answer("200 OK", &body), [&chunked(&body), last_chunk].concat(), until_close(&body)]
    {
        let outcome = create_against(Reply::Close(reply)).await;
        assert!(matches!(outcome, CallOutcome::Success(_)), "{outcome:?}");
    }
}

/// The gateway stops sending after one byte too many, so a client that read on would time out.
#[tokio::test]
async fn answer_over_64_kib_is_not_read_to_its_end() {
    let body = padded(64 * 1024 + 1);
    let announced = b"HTTP/1.1 200 OK\r\ncontent-length: 10000000000\r\n\r\n";
    for reply in [
        answer("200 OK", &body),
        [&announced[..], &body].concat(),
        chunked(&body),
        until_close(&body),
    ] {
        assert_eq!(create_against(Reply::Silence(reply)).await, transport_failure(TOO_LARGE));
    }
}

#[tokio::test]
async fn truncated_answer_with_complete_xml_is_unknown() {
    let body = samples::body("U3");
    let longer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len() + 1);
    let whole = answer("200 OK", &body);
    for reply in [
        [longer.as_bytes(), &body].concat(),
        chunked(&body),
        whole[..whole.len() - 1].to_vec(),
        b"HTTP/1.1 200 OK\r\ncontent-len".to_vec(),
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n".to_vec(),
        b"no HTTP at all\r\n\r\n".to_vec(),
        Vec::new(),
    ] {
        assert_eq!(create_against(Reply::Close(reply)).await, transport_failure(BROKEN));
    }
}

#[tokio::test]
async fn silent_gateway_is_unknown_after_the_call_timeout() {
    let whole = prepay_answer();
    let timeouts = Timeouts { call: Duration::from_millis(100), ..Timeouts::default() };
    for bytes in [0, 20, whole.len() - 1] {
        let gateway = Gateway::start(Reply::Silence(whole[..bytes].to_vec())).await;
        let client = Client::with_timeouts(&gateway.url, None, timeouts).unwrap();
        let outcome = tokio::time::timeout(CALL_TIMEOUT / 2, create(&client)).await;
        assert_eq!(outcome, Ok(transport_failure(NO_ANSWER)), "{bytes} bytes");
    }
    assert_eq!(Timeouts::default().call, CALL_TIMEOUT);
    assert!(Timeouts::default().connect < CALL_TIMEOUT);
}

/// U3 with white space up to a size.
fn padded(bytes: usize) -> Vec<u8> {
    let mut body = samples::body("U3");
    body.resize(bytes, b'\n');
    body
}

fn chunked(body: &[u8]) -> Vec<u8> {
    let mut bytes = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for chunk in body.chunks(1000) {
        bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
        bytes.extend([chunk, b"\r\n"].concat());
    }
    bytes
}

fn until_close(body: &[u8]) -> Vec<u8> {
    [b"HTTP/1.1 200 OK\r\n\r\n", body].concat()
}
