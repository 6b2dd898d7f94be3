//! Log lines about a message carry its keys, in their span.

use std::io;
use std::sync::{Arc, Mutex};

use broker::{Exchange, Outcome, Queue, topology};
use serde_json::Value;

use crate::support::recorder::Recorder;
use crate::support::{CONSUMER, SHORT, in_namespace, message_to};

/// No other test of this process parks for this reason.
const REASON: &str = "its log line is checked";

#[derive(Clone, Default)]
struct LogLines(Arc<Mutex<Vec<u8>>>);

impl LogLines {
    fn find(&self, text: &str) -> Option<Value> {
        let bytes = self.0.lock().unwrap();
        let lines = str::from_utf8(&bytes).unwrap().lines();
        let mut lines = lines.filter(|line| line.contains(text));
        lines.next().map(|line| serde_json::from_str(line).unwrap())
    }
}

impl io::Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The subscriber is that of the whole process: beside other threads `tracing` may take one thread's
/// subscriber for absent, and disable a span for good.
#[tokio::test]
async fn parked_log_line_carries_the_keys_of_its_delivery() {
    let log = LogLines::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    in_namespace(|namespace| async move {
        let handler = Recorder::new(|_| Outcome::Park { reason: REASON.into() });
        let consumer = namespace.consume(Queue::Orders, CONSUMER, &handler).await;
        let message = message_to(Exchange::Commands, topology::ORDER_CREATE);
        let id = message.message_id.to_string();
        namespace.publisher().await.publish(message, SHORT).await.unwrap();
        let mut raw = namespace.raw_client().await;
        raw.wait_for_count(&namespace.name("orders.parked"), 1).await;
        consumer.stop().await;

        let line = log.find(&format!("parked: {REASON}")).unwrap();
        assert_eq!(line["span"]["name"], "delivery");
        assert_eq!(line["span"]["queue"], "orders");
        assert_eq!(line["span"]["routing_key"], topology::ORDER_CREATE);
        assert_eq!(line["span"]["message_id"], id.as_str());
        assert_eq!(line["span"]["attempt"], 1);
    })
    .await;
}
