//! What the rows share: the settings, the peer, the limits that were measured so far.

use std::time::Duration;

use anyhow::Result;

use crate::limit::Limit;
use crate::peer::Peer;
use crate::report::Row;
use crate::settings::Settings;

/// Not counted: connections are made, caches and pools fill.
pub(crate) const WARM_UP: Duration = Duration::from_secs(1);
/// For what an ended load has left to do.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

pub(crate) struct Bench {
    pub(crate) settings: Settings,
    pub(crate) peer: Option<Peer>,
    pub(crate) rows: Vec<Row>,
    /// How many orders this machine can create.
    pub(crate) create_limit: Option<Limit>,
}

impl Bench {
    pub(crate) fn new(settings: Settings) -> Result<Self> {
        let peer = settings.peer.as_deref().map(Peer::prepare).transpose()?;
        Ok(Self { settings, peer, rows: Vec::new(), create_limit: None })
    }

    pub(crate) fn composed_create_limit(&self) -> Option<f64> {
        self.create_limit.as_ref().map(|limit| limit.composed)
    }

    /// Adds a row to the table. Its figures are printed at once: a run takes minutes.
    pub(crate) fn add(&mut self, row: Row) {
        println!("bench: {row}");
        self.rows.push(row);
    }
}
