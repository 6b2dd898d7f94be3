//! A handler that does as it is told and remembers what it saw.

use std::sync::{Arc, Mutex};

use broker::{Delivery, Handler, Outcome};

type Act = dyn Fn(&Delivery) -> Outcome + Send + Sync;

pub(crate) struct Recorder {
    act: Box<Act>,
    seen: Mutex<Vec<Delivery>>,
    batches: Mutex<Vec<usize>>,
}

impl Recorder {
    pub(crate) fn new(act: impl Fn(&Delivery) -> Outcome + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { act: Box::new(act), seen: Mutex::default(), batches: Mutex::default() })
    }

    pub(crate) fn seen(&self) -> Vec<Delivery> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }

    pub(crate) fn largest_batch(&self) -> usize {
        self.batches.lock().unwrap().iter().copied().max().unwrap_or(0)
    }

    /// Which bodies were seen, each once.
    pub(crate) fn distinct(&self) -> std::collections::BTreeSet<String> {
        let text = |it: &Delivery| String::from_utf8(it.body.to_vec()).unwrap();
        self.seen.lock().unwrap().iter().map(text).collect()
    }
}

impl Handler for Recorder {
    async fn handle(&self, batch: Vec<Delivery>) -> Vec<Outcome> {
        self.batches.lock().unwrap().push(batch.len());
        self.seen.lock().unwrap().extend(batch.iter().cloned());
        tokio::task::yield_now().await;
        batch.iter().map(|delivery| (self.act)(delivery)).collect()
    }
}
