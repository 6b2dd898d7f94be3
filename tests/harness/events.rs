//! Every event that reaches the events exchange, as a shop with a queue of its own would see it.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use broker::BrokerConfig;
use bytes::Bytes;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::eventually;

/// Records events from the moment it listens, which it can once the exchange is there.
pub struct Recorder {
    bodies: Arc<Mutex<Vec<Bytes>>>,
    listens: CancellationToken,
    _task: AbortOnDropHandle<()>,
}

impl Recorder {
    pub fn start(config: BrokerConfig) -> Self {
        let bodies: Arc<Mutex<Vec<Bytes>>> = Arc::default();
        let listens = CancellationToken::new();
        let (seen, begun) = (Arc::clone(&bodies), listens.clone());
        let task = tokio::spawn(async move {
            let listening = async || broker::listen(&config, "#").await.ok();
            let mut listening = eventually("the exchange of events", listening).await;
            begun.cancel();
            while let Some(body) = listening.next().await {
                seen.lock().unwrap().push(body);
            }
        });
        Self { bodies, listens, _task: AbortOnDropHandle::new(task) }
    }

    /// Waits until it listens; no event is missed from then on.
    pub async fn listens(&self) {
        self.listens.cancelled().await;
    }

    /// The bodies, in the order of their arrival.
    pub fn bodies(&self) -> Vec<Bytes> {
        self.bodies.lock().unwrap().clone()
    }

    /// The events about one number, in the order of their arrival.
    pub fn about(&self, out_trade_no: &str) -> Vec<Value> {
        let bodies = self.bodies();
        let events = bodies.iter().map(|body| serde_json::from_slice::<Value>(body).unwrap());
        events.filter(|event| event["out_trade_no"] == out_trade_no).collect()
    }

    /// The same, each event once: a relay that waits too long for a confirm sends it again.
    pub fn once(&self, out_trade_no: &str) -> Vec<Value> {
        let mut seen = HashSet::new();
        let mut events = self.about(out_trade_no);
        events.retain(|event| seen.insert(event["id"].to_string()));
        events
    }

    /// The types of the moves among them, by `seq`: across workers the order of arrival says
    /// nothing.
    pub fn moves(&self, out_trade_no: &str) -> Vec<String> {
        let mut events = self.once(out_trade_no);
        events.retain(|event| event["seq"].is_i64() && event["exception"].is_null());
        events.sort_by_key(|event| event["seq"].as_i64());
        let types = events.iter().map(|event| event["type"].as_str().unwrap());
        types.map(str::to_owned).collect()
    }

    /// Their types.
    pub fn types(&self, out_trade_no: &str) -> Vec<String> {
        let events = self.about(out_trade_no);
        events.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
    }
}
