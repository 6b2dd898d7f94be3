//! Notifications on their way to the queue.

use broker::Queue;
use ingress::{Config, Networks};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

use crate::fake_worker::FakeWorker;
use crate::http::post;
use crate::samples::{MCH_ID, NOTIFICATION, notify_path};
use crate::test_broker::TestBroker;
use crate::test_server::TestServer;

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[tokio::test]
async fn notification_reaches_the_queue_byte_for_byte() {
    let broker = TestBroker::start().await;
    let mut worker = FakeWorker::silent(&broker, Queue::Notifications).await;
    let server = TestServer::start(broker.config()).await.ready().await;
    let before = OffsetDateTime::now_utc();

    let large = format!("<xml>{}</xml>", "é".repeat(32_000));
    for body in [
        NOTIFICATION,
        "\u{feff}\r\n <?xml version=\"1.0\"?>\r\n<xml>\t<a>支付\u{0}</a></xml>\n\n",
        &large,
    ] {
        let request = post(notify_path(), body)
            .header("traceparent", TRACEPARENT)
            .header("content-type", "application/x-www-form-urlencoded");
        let answer = request.send(server.public).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("text/xml"));
        assert_eq!(answer.text(), wechatpay_v2::notification_answer::SUCCESS);

        let delivery = worker.next().await;
        assert_eq!(delivery.body, body.as_bytes());
        assert_eq!(delivery.routing_key, "payment");
        assert_eq!(delivery.kind.as_deref(), Some("notification.payment"));
        assert_eq!(delivery.content_type.as_deref(), Some("text/xml"));
        assert_eq!(delivery.message_id.map(|id| id.get_version_num()), Some(7));
        assert_eq!(delivery.header("mch_id"), Some(MCH_ID));
        assert_eq!(delivery.header("remote_addr"), Some("127.0.0.1"));
        assert_eq!(delivery.header("traceparent"), Some(TRACEPARENT));
        let received_at = delivery.header("received_at").unwrap();
        assert_eq!(received_at.len(), "2026-07-21T10:31:42.123Z".len(), "{received_at}");
        let received_at = OffsetDateTime::parse(received_at, &Rfc3339).unwrap();
        assert_eq!(received_at.offset(), UtcOffset::UTC);
        let since = received_at - before;
        assert!(since.whole_milliseconds() >= -1 && since.whole_seconds() < 60, "{since}");
    }
}

#[tokio::test]
async fn source_is_the_one_that_a_trusted_proxy_reports() {
    let broker = TestBroker::start().await;
    let mut worker = FakeWorker::silent(&broker, Queue::Notifications).await;
    let trusted_proxies = Networks::parse("127.0.0.1").unwrap();
    let server =
        TestServer::start(Config { trusted_proxies, ..broker.config() }).await.ready().await;
    for (header, value, source) in [
        ("x-forwarded-for", "192.0.2.66, 203.0.113.1", "203.0.113.1"),
        ("forwarded", "for=\"[2001:db8::1]:4711\";proto=https", "2001:db8::1"),
        ("x-real-ip", "192.0.2.66", "127.0.0.1"),
    ] {
        let request = post(notify_path(), NOTIFICATION).header(header, value);
        assert_eq!(request.send(server.public).await.status, 200);
        assert_eq!(worker.next().await.header("remote_addr"), Some(source));
    }
}

#[tokio::test]
async fn refund_has_its_own_routing_key() {
    let broker = TestBroker::start().await;
    let mut worker = FakeWorker::silent(&broker, Queue::Notifications).await;
    let server = TestServer::start(broker.config()).await.ready().await;
    let answer = post("/notify/1900000110/refund", NOTIFICATION).send(server.public).await;
    assert_eq!(answer.status, 200);
    let delivery = worker.next().await;
    assert_eq!(delivery.routing_key, "refund");
    assert_eq!(delivery.kind.as_deref(), Some("notification.refund"));
    assert_eq!(delivery.header("mch_id"), Some("1900000110"));
    let made = delivery.header("traceparent").unwrap();
    assert_eq!((made.len(), &made[..3]), (TRACEPARENT.len(), "00-"), "{made}");
}

#[tokio::test]
async fn refused_notification_reaches_no_queue() {
    let broker = TestBroker::start().await;
    let mut worker = FakeWorker::silent(&broker, Queue::Notifications).await;
    let server = TestServer::start(broker.config()).await.ready().await;
    for bad in ["", "{}", "<xml><!DOCTYPE x></xml>"] {
        post(notify_path(), bad).send(server.public).await.assert_fail(400);
    }
    assert_eq!(post(notify_path(), NOTIFICATION).send(server.public).await.status, 200);
    assert_eq!(worker.next().await.body, NOTIFICATION, "the first that arrives is the good one");
}
