use orders::{Exception, Fact, OrderKey, Pay, Source};
use time::OffsetDateTime;
use uuid::Uuid;

use super::notifications::Evidence;
use crate::clock;

/// One entry of a batch.
#[derive(Clone, Debug)]
pub(crate) enum SettlementInput {
    /// A fact about an order, with the notification that brought it, if one did.
    Fact(Box<ObservedFact>, Option<Evidence>),
    /// A notification without a fact.
    Evidence(Evidence),
    /// An exception that was found without a fact.
    Exception(ExceptionNotice),
}

/// Something that does not fit, found otherwise than by applying a fact.
#[derive(Clone, Debug)]
pub(crate) struct ExceptionNotice {
    pub(crate) key: OrderKey,
    pub(crate) exception: Exception,
    /// When it was found, in UTC.
    pub(crate) at: OffsetDateTime,
}

/// A fact about an order, with what the machine and the events need beside it.
#[derive(Clone, Debug)]
pub(crate) struct ObservedFact {
    pub(crate) key: OrderKey,
    pub(crate) fact: Fact,
    pub(crate) source: Source,
    /// When it is applied, in UTC.
    pub(crate) at: OffsetDateTime,
    /// The second signature, for the event of an order that becomes payable.
    pub(crate) pay: Option<Pay>,
    /// The call lease that ends with this fact.
    pub(crate) lease_holder: Option<Uuid>,
    /// The trace of the message or the call that brought the fact.
    pub(crate) traceparent: Option<String>,
}

impl ObservedFact {
    /// A fact of now, without a second signature, a lease or a trace.
    #[must_use]
    pub(crate) fn new(key: OrderKey, fact: Fact, source: Source) -> Self {
        let at = clock::now();
        Self { key, fact, source, at, pay: None, lease_holder: None, traceparent: None }
    }
}

impl SettlementInput {
    /// A fact that no notification brought.
    #[must_use]
    pub(crate) fn fact(fact: ObservedFact) -> Self {
        Self::Fact(Box::new(fact), None)
    }

    #[must_use]
    pub(crate) fn observed_fact(&self) -> Option<&ObservedFact> {
        match self {
            Self::Fact(fact, _) => Some(fact),
            Self::Evidence(_) | Self::Exception(_) => None,
        }
    }

    #[must_use]
    pub(crate) fn evidence(&self) -> Option<&Evidence> {
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
