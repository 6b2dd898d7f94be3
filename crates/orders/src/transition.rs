use std::fmt;

use serde_json::Value;
use time::OffsetDateTime;

use crate::{FactKind, Source, StateName};

/// A state change as it is stored. The history is append-only, and `seq` has no gaps.
///
/// `Debug` omits the fact's content, which names the payer.
#[derive(Clone, PartialEq, Eq)]
pub struct Transition {
    /// 1 for the first one.
    pub seq: i32,
    /// `None` for the first one.
    pub from: Option<StateName>,
    pub to: StateName,
    pub fact: FactKind,
    /// The fact with its content.
    pub fact_json: Value,
    pub source: Source,
    /// When the fact was applied, in UTC.
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
