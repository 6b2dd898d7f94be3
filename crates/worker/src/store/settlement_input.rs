use orders::{Exception, Fact, OrderKey, Pay, Source};
use time::OffsetDateTime;
use uuid::Uuid;

use super::notifications::Evidence;
use crate::clock;

/// One entry of a batch.
#[derive(Clone, Debug)]
pub enum SettlementInput {
    /// A fact about an order, with the notification that brought it, if one did.
    Fact(Box<ObservedFact>, Option<Evidence>),
    /// A notification without a fact.
    Evidence(Evidence),
    /// An exception that was found without a fact.
    Exception(ExceptionNotice),
}

/// Something that does not fit, found otherwise than by applying a fact.
#[derive(Clone, Debug)]
pub struct ExceptionNotice {
    pub key: OrderKey,
    pub exception: Exception,
    /// When it was found, in UTC.
    pub at: OffsetDateTime,
}

/// A fact about an order, with what the machine and the events need beside it.
#[derive(Clone, Debug)]
pub struct ObservedFact {
    pub key: OrderKey,
    pub fact: Fact,
    pub source: Source,
    /// When it is applied, in UTC.
    pub at: OffsetDateTime,
    /// The second signature, for the event of an order that becomes payable.
    pub pay: Option<Pay>,
    /// The call lease that ends with this fact.
    pub lease_holder: Option<Uuid>,
    /// The trace of the message or the call that brought the fact.
    pub traceparent: Option<String>,
}

impl ObservedFact {
    /// A fact of now, without a second signature, a lease or a trace.
    #[must_use]
    pub fn new(key: OrderKey, fact: Fact, source: Source) -> Self {
        let at = clock::now();
        Self { key, fact, source, at, pay: None, lease_holder: None, traceparent: None }
    }
}

impl SettlementInput {
    /// A fact that no notification brought.
    #[must_use]
    pub fn fact(fact: ObservedFact) -> Self {
        Self::Fact(Box::new(fact), None)
    }

    #[must_use]
    pub fn observed_fact(&self) -> Option<&ObservedFact> {
        match self {
            Self::Fact(fact, _) => Some(fact),
            Self::Evidence(_) | Self::Exception(_) => None,
        }
    }

    #[must_use]
    pub fn evidence(&self) -> Option<&Evidence> {
        match self {
            Self::Fact(_, evidence) => evidence.as_ref(),
            Self::Evidence(evidence) => Some(evidence),
            Self::Exception(_) => None,
        }
    }

    pub(super) fn key(&self) -> Option<&OrderKey> {
        match self {
            Self::Fact(fact, _) => Some(&fact.key),
            Self::Evidence(_) => None,
            Self::Exception(notice) => Some(&notice.key),
        }
    }
}
