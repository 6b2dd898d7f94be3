use broker::{Delivery, Outcome};
use orders::OrderKey;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::clock;
use crate::merchants::Merchant;
use crate::store::{Evidence, NotificationStatus, SettlementInput};

/// WeChat's numbers have 32 characters at most. A longer text is cut so that it fits an index.
const NUMBER_CHARS_MAX: usize = 64;

/// What a delivery contains, as far as it can be told without the database.
#[derive(Debug)]
pub(crate) enum Reading {
    /// Authentic: it is stored, and then the delivery ends with `outcome`.
    Authentic { input: Box<SettlementInput>, outcome: Outcome },
    /// Anyone can have sent it: a bounded sample is stored, the rest is counted. The order that it
    /// names is worth a query.
    Unverified { evidence: Box<Evidence>, claimed_key: Option<OrderKey> },
    /// Only counted, under this label.
    Ignored(&'static str),
    /// Not from our ingress: an operator looks at it.
    Parked(&'static str),
}

impl Reading {
    pub(super) fn authentic(input: SettlementInput, outcome: Outcome) -> Self {
        Self::Authentic { input: Box::new(input), outcome }
    }

    pub(super) fn unverified(
        evidence: Evidence,
        detail: String,
        claimed_key: Option<OrderKey>,
    ) -> Self {
        let evidence = Box::new(Evidence { detail: Some(detail), ..evidence });
        Self::Unverified { evidence, claimed_key }
    }
}

/// The evidence of a delivery of which nothing is read yet.
pub(super) fn evidence(delivery: &Delivery, kind: &'static str, merchant: &Merchant) -> Evidence {
    let received_at = delivery.header("received_at");
    let received_at = received_at.and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    Evidence {
        digest: Sha256::digest(&delivery.body).into(),
        kind,
        mch_id: merchant.mch_id.clone(),
        out_trade_no: None,
        transaction_id: None,
        raw: delivery.body.clone(),
        received_at: received_at.unwrap_or_else(clock::now),
        status: NotificationStatus::Unreadable,
        detail: None,
    }
}

pub(super) fn cut_number(number: &str) -> String {
    number.chars().take(NUMBER_CHARS_MAX).collect()
}
