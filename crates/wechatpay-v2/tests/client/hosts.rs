use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use wechatpay_v2::client::{Client, ClientError, HostUse, ProbeError, Timeouts};
use wechatpay_v2::{CallOutcome, Unknown};

use crate::gateway::{Gateway, Reply, answer, closed_port};
use crate::{BROKEN, NO_ANSWER, NO_CONNECTION, create, prepay_answer, transport_failure};

#[tokio::test]
async fn backup_gets_the_call_if_the_primary_does_not_connect() {
    let (_primary_port, primary) = closed_port();
    let backup = Gateway::start(Reply::Close(prepay_answer())).await;
    let client = Client::new(&primary, Some(&backup.url)).unwrap();
    let outcome = create(&client).await;
    assert!(matches!(outcome, CallOutcome::Success(_)), "{outcome:?}");
    assert_eq!(backup.received().len(), 1);

    // A primary that accepts connections gets every call.
    let primary = Gateway::start(Reply::Close(prepay_answer())).await;
    let client = Client::new(&primary.url, Some(&backup.url)).unwrap();
    assert!(matches!(create(&client).await, CallOutcome::Success(_)));
    assert_eq!((primary.received().len(), backup.received().len()), (1, 1));
}

/// A connection without a TLS session has carried no request.
#[tokio::test]
async fn handshake_without_end_is_no_connection() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let primary = format!("https://{}", silent.local_addr().unwrap());
    let backup = Gateway::start(Reply::Close(prepay_answer())).await;
    let timeouts = Timeouts { connect: Duration::from_millis(250), ..Timeouts::default() };
    let client = Client::with_timeouts(&primary, Some(&backup.url), timeouts).unwrap();
    let outcome = create(&client).await;
    assert!(matches!(outcome, CallOutcome::Success(_)), "{outcome:?}");
    assert_eq!(backup.received().len(), 1);
}

/// A host that drops packets delays one call by the connect timeout, and not every call.
#[tokio::test]
async fn unreachable_primary_is_avoided_during_its_cooldown() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let primary = format!("https://{}", silent.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok(connection) = silent.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            kept.push(connection);
        }
    });
    let backup = Gateway::start(Reply::Close(prepay_answer())).await;
    let timeouts = Timeouts { connect: Duration::from_millis(250), ..Timeouts::default() };
    let client = Client::with_timeouts(&primary, Some(&backup.url), timeouts).unwrap();
    for _ in 0..20 {
        assert!(matches!(create(&client).await, CallOutcome::Success(_)));
    }
    assert_eq!((connections.load(Ordering::SeqCst), backup.received().len()), (1, 20));
    let usage = client.hosts();
    assert_eq!(usage[0], HostUse { sent: 0, unreachable: 1 });
    assert_eq!(usage[1], HostUse { sent: 20, unreachable: 0 });

    // Without a cooldown every call tries the primary first.
    let timeouts = Timeouts { host_cooldown: Duration::ZERO, ..timeouts };
    let client = Client::with_timeouts(&primary, Some(&backup.url), timeouts).unwrap();
    for _ in 0..2 {
        assert!(matches!(create(&client).await, CallOutcome::Success(_)));
    }
    assert_eq!(connections.load(Ordering::SeqCst), 3);
}

/// The cooldown is a preference: if the backup is unreachable too, nothing was sent, and the primary
/// may be back.
#[tokio::test]
async fn primary_in_cooldown_is_tried_if_the_backup_is_down() {
    let (primary_port, primary) = closed_port();
    let (_backup_port, backup) = closed_port();
    let client = Client::new(&primary, Some(&backup)).unwrap();
    assert_eq!(create(&client).await, transport_failure(NO_CONNECTION));
    let gateway = Gateway::serve(primary_port.listen(8).unwrap(), Reply::Close(prepay_answer()));
    assert!(matches!(create(&client).await, CallOutcome::Success(_)));
    assert_eq!(gateway.received().len(), 1);
}

#[tokio::test]
async fn call_that_may_have_been_sent_avoids_the_backup() {
    for (reply, expected) in [
        (Reply::Disconnect, BROKEN),
        (Reply::Close(Vec::new()), BROKEN),
        (Reply::Close(prepay_answer()[..100].to_vec()), BROKEN),
        (Reply::Close(answer("502 Bad Gateway", b"")), "HTTP status 502"),
        (Reply::Silence(Vec::new()), NO_ANSWER),
    ] {
        let mut timeouts = Timeouts::default();
        if matches!(reply, Reply::Silence(_)) {
            timeouts.call = Duration::from_millis(200);
        }
        let primary = Gateway::start(reply.clone()).await;
        let backup = Gateway::start(Reply::Close(prepay_answer())).await;
        let client = Client::with_timeouts(&primary.url, Some(&backup.url), timeouts).unwrap();
        assert_eq!(create(&client).await, transport_failure(expected));
        assert!(backup.received().is_empty(), "{expected}");
        let sent = primary.received().len();
        match reply {
            Reply::Disconnect => assert_eq!(sent, 0),
            // A silent gateway may not have read the request yet.
            Reply::Silence(_) => assert!(sent <= 1),
            _ => assert_eq!(sent, 1, "{expected}"),
        }
    }
}

#[tokio::test]
async fn call_over_a_closed_kept_connection_is_not_repeated() {
    // The gateway announces that it keeps the connection, answers once and closes it.
    let gateway = Gateway::start(Reply::Close(prepay_answer())).await;
    let client = Client::new(&gateway.url, None).unwrap();
    let mut answered = 0;
    for call in 1..=5 {
        let outcome = create(&client).await;
        let seen = gateway.received().len();
        match outcome {
            CallOutcome::Success(_) => answered += 1,
            // The client had not noticed the close yet: unknown, and not sent again.
            CallOutcome::Unknown(Unknown::Transport(text)) => assert_eq!(text, BROKEN),
            other => panic!("{other:?}"),
        }
        assert!((answered..=call).contains(&seen), "{seen} for {call} calls");
    }
    assert!(answered >= 1);
}

#[tokio::test]
async fn call_without_any_connection_is_unknown() {
    let (_primary_port, primary) = closed_port();
    let (_backup_port, backup) = closed_port();
    let client = Client::new(&primary, Some(&backup)).unwrap();
    assert_eq!(create(&client).await, transport_failure(NO_CONNECTION));
    let client = Client::new(&primary, None).unwrap();
    assert_eq!(create(&client).await, transport_failure(NO_CONNECTION));
}

#[tokio::test]
async fn base_url_with_more_than_a_host_is_refused() {
    for bad in [
        "",
        "api.mch.weixin.qq.com",
        "ftp://api.mch.weixin.qq.com",
        "https://",
        "https://api.mch.weixin.qq.com/pay",
        "https://api.mch.weixin.qq.com//",
        "https://api.mch.weixin.qq.com/?a=1",
        "https://api.mch.weixin.qq.com/?",
        "https://api.mch.weixin.qq.com/#a",
        "https://user@api.mch.weixin.qq.com",
        "https://:secret@api.mch.weixin.qq.com",
        "https://api.mch.weixin.qq.com:99999",
        "file:///etc/passwd",
    ] {
        let good = "https://api.mch.weixin.qq.com";
        for client in [Client::new(bad, None), Client::new(good, Some(bad))] {
            let error = client.unwrap_err();
            assert!(matches!(error, ClientError::Url), "{bad}: {error:?}");
            assert!(!format!("{error} {error:?}").contains("secret"));
        }
    }
    let gateway = Gateway::start(Reply::Close(prepay_answer())).await;
    for form in [
        format!("{}/", gateway.url),
        format!(" {} \n", gateway.url),
        gateway.url.replace("http", "HTTP"),
    ] {
        let client = Client::new(&form, None).unwrap();
        let outcome = create(&client).await;
        assert!(matches!(outcome, CallOutcome::Success(_)), "{form:?}: {outcome:?}");
    }
}

#[tokio::test]
async fn probe_is_an_empty_request_to_the_primary_only() {
    let dated = b"HTTP/1.1 404 Not Found\r\ndate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
                  content-length: 0\r\n\r\n";
    let primary = Gateway::start(Reply::Close(dated.to_vec())).await;
    let backup = Gateway::start(Reply::Close(prepay_answer())).await;
    let probe = Client::new(&primary.url, Some(&backup.url)).unwrap().probe().await.unwrap();
    assert_eq!(probe.status, 404);
    assert_eq!(probe.date.unwrap().unix_timestamp(), 784_111_777);
    let received = primary.received();
    assert!(received[0].head.starts_with("GET / HTTP/1.1"), "{received:?}");
    assert_eq!((received.len(), received[0].body.len()), (1, 0));

    let timeouts = Timeouts { call: Duration::from_millis(200), ..Timeouts::default() };
    let (_closed_port, unreachable) = closed_port();
    for (reply, expected) in [
        (None, ProbeError::Connection),
        (Some(Reply::Disconnect), ProbeError::Broken),
        (Some(Reply::Silence(Vec::new())), ProbeError::Timeout),
    ] {
        let url = match reply {
            Some(reply) => Gateway::start(reply).await.url,
            None => unreachable.clone(),
        };
        let client = Client::with_timeouts(&url, Some(&backup.url), timeouts).unwrap();
        assert_eq!(client.probe().await, Err(expected));
    }
    assert!(backup.received().is_empty());
}
