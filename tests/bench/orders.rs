//! The orders of a run: each has its own number, and the merchants take turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use harness::Shop;

use crate::http::post;
use crate::load::NextRequest;
use crate::peer::PeerSystem;
use crate::system::System;

const PATH: &str = "/v1/orders";
const PLACEHOLDER: &str = "THE-NUMBER";
const JSON: &str = "content-type: application/json\r\n";
/// The longest wait that the ingress allows.
const JSON_AND_WAIT: &str = "content-type: application/json\r\nprefer: wait=30\r\n";

pub(crate) struct Orders {
    /// One order of each merchant, with a placeholder for its number.
    templates: Vec<String>,
    prefix: String,
    made: AtomicUsize,
}

/// An order that no one has sent yet.
pub(crate) struct NewOrder {
    pub(crate) number: String,
    /// Its place among the merchants that take turns.
    pub(crate) merchant: usize,
    pub(crate) json: String,
}

impl NewOrder {
    /// The request that is answered when the order is accepted.
    pub(crate) fn request(&self) -> Vec<u8> {
        post(PATH, JSON, &self.json)
    }
}

impl Orders {
    /// Orders for the peer, which reads some of the fields.
    pub(crate) fn of_peer(peer: &PeerSystem) -> Arc<Self> {
        Self::new(vec![Shop::of(&peer.merchant).order(PLACEHOLDER, 9900).to_string()])
    }

    /// Orders of all merchants.
    pub(crate) fn of(system: &System) -> Arc<Self> {
        Self::of_merchants(system, 0..system.merchants.len())
    }

    pub(crate) fn of_merchants(
        system: &System,
        merchants: impl Iterator<Item = usize>,
    ) -> Arc<Self> {
        Self::new(merchants.map(|merchant| system.order(merchant, PLACEHOLDER)).collect())
    }

    fn new(templates: Vec<String>) -> Arc<Self> {
        let prefix = format!("{:08x}-", fastrand::u32(..));
        Arc::new(Self { templates, prefix, made: AtomicUsize::new(0) })
    }

    /// How many orders were made.
    pub(crate) fn made(&self) -> usize {
        self.made.load(Ordering::Relaxed)
    }

    pub(crate) fn next(&self) -> NewOrder {
        let n = self.made.fetch_add(1, Ordering::Relaxed);
        let number = format!("{}{n:08}", self.prefix);
        let merchant = n % self.templates.len();
        let json = self.templates[merchant].replace(PLACEHOLDER, &number);
        NewOrder { number, merchant, json }
    }

    /// Requests that are answered when the outcome is known.
    pub(crate) fn waiting_requests(self: &Arc<Self>) -> NextRequest {
        let orders = Arc::clone(self);
        Arc::new(move || Some(post(PATH, JSON_AND_WAIT, &orders.next().json)))
    }

    /// At most `count` requests that are answered when the order is accepted.
    pub(crate) fn requests(self: &Arc<Self>, count: usize) -> NextRequest {
        let orders = Arc::clone(self);
        let sent = AtomicUsize::new(0);
        Arc::new(move || {
            let is_left = sent.fetch_add(1, Ordering::Relaxed) < count;
            is_left.then(|| orders.next().request())
        })
    }
}
