//! Receiving events as a shop does.

use broker::Exchange;
use tokio::time::timeout;

use crate::support::{DEADLINE, SHORT, in_namespace, message_to};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscription_receives_matching_events_only() {
    in_namespace(|namespace| async move {
        let publisher = namespace.publisher().await;
        let mut subscription =
            broker::subscribe_events(&namespace.config, "order.paid.*").await.unwrap();
        for key in ["order.closed.1900000109", "order.paid.1900000109"] {
            let mut event = message_to(Exchange::Events, key);
            event.body = key.to_owned().into();
            publisher.publish(event, SHORT).await.unwrap();
        }
        let received = timeout(DEADLINE, subscription.next()).await.unwrap();
        assert_eq!(received.as_deref(), Some(&b"order.paid.1900000109"[..]));
    })
    .await;
}
