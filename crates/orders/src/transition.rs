use std::fmt;

use serde_json::Value;
use time::OffsetDateTime;

use crate::{FactKind, Source, StateName};

/// A state change as it is written down. History is append-only, and `seq` has no gaps.
///
/// `Debug` leaves the fact's content out, which names the payer.
#[derive(Clone, PartialEq, Eq)]
pub struct Transition {
    /// 1 for the first one.
    pub seq: i32,
    /// `None` for the birth of the order.
    pub from: Option<StateName>,
    /// The state reached.
    pub to: StateName,
    /// What moved it.
    pub fact: FactKind,
    /// The fact in full.
    pub fact_json: Value,
    /// Where the fact came from.
    pub source: Source,
    /// When it was applied, in UTC.
    pub at: OffsetDateTime,
}

impl fmt::Debug for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transition")
            .field("seq", &self.seq)
            .field("from", &self.from)
            .field("to", &self.to)
            .field("fact", &self.fact)
            .field("source", &self.source)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}
