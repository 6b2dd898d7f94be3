//! Hearing events as a shop does.

use crate::support::{PATIENCE, SHORT, on_site, to};
use broker::Exchange;
use tokio::time::timeout;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_hears_what_it_asked_for() {
    on_site(|site| async move {
        let publisher = site.publisher().await;
        let mut listening = broker::subscribe_events(&site.config, "order.paid.*").await.unwrap();
        for key in ["order.closed.1900000109", "order.paid.1900000109"] {
            let mut event = to(Exchange::Events, key);
            event.body = key.to_owned().into();
            publisher.publish(event, SHORT).await.unwrap();
        }
        let heard = timeout(PATIENCE, listening.next()).await.unwrap();
        assert_eq!(heard.as_deref(), Some(&b"order.paid.1900000109"[..]));
    })
    .await;
}
