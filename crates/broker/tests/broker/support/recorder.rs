//! A handler that answers with given outcomes and records its deliveries.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use broker::{Delivery, Handler, Outcome};

type Act = dyn Fn(&Delivery) -> Outcome + Send + Sync;

pub(crate) struct Recorder {
    act: Box<Act>,
    deliveries: Mutex<Vec<Delivery>>,
    batches: Mutex<Vec<usize>>,
}

impl Recorder {
    pub(crate) fn new(act: impl Fn(&Delivery) -> Outcome + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            act: Box::new(act),
            deliveries: Mutex::default(),
            batches: Mutex::default(),
        })
    }

    pub(crate) fn deliveries(&self) -> Vec<Delivery> {
        self.deliveries.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.deliveries.lock().unwrap().len()
    }

    pub(crate) fn largest_batch(&self) -> usize {
        self.batches.lock().unwrap().iter().copied().max().unwrap_or(0)
    }

    pub(crate) fn distinct_bodies(&self) -> BTreeSet<String> {
        let text = |it: &Delivery| String::from_utf8(it.body.to_vec()).unwrap();
        self.deliveries.lock().unwrap().iter().map(text).collect()
    }
}

impl Handler for Recorder {
    async fn handle(&self, batch: Vec<Delivery>) -> Vec<Outcome> {
        self.batches.lock().unwrap().push(batch.len());
        self.deliveries.lock().unwrap().extend(batch.iter().cloned());
        tokio::task::yield_now().await;
        batch.iter().map(|delivery| (self.act)(delivery)).collect()
    }
}
