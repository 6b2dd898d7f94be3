//! A payment notification: the checks of reference 3.5 that need no database. Those that need the
//! order are the machine's.

use broker::{Delivery, Outcome};
use orders::{Fact, OrderKey, Source};
use wechatpay_v2::OutTradeNo;
use wechatpay_v2::payment_notification::{NotificationError, Received};

use super::{Reading, evidence, keep, known, unverified};
use crate::merchants::Merchant;
use crate::store::{NotificationStatus, ObservedFact, SettlementInput};
use crate::trace;

pub(super) fn read(delivery: &Delivery, merchant: &Merchant) -> Reading {
    let mut evidence = evidence(delivery, "payment", merchant, NotificationStatus::Unreadable);
    let received = match Received::parse(&delivery.body) {
        Ok(received) => received,
        Err(error) => return unverified(evidence, error.to_string(), None),
    };
    // The path decides whose key verifies, so a body for another merchant is nobody's.
    if received.mch_id() != Some(merchant.mch_id.as_str()) {
        return Reading::Count("other_merchant");
    }
    let claims = received.out_trade_no().and_then(|text| OutTradeNo::parse(text).ok());
    let claims =
        claims.map(|out_trade_no| OrderKey { mch_id: merchant.mch_id.clone(), out_trade_no });
    let verified = match received.verify(merchant.keys()) {
        Ok(verified) => verified,
        Err(error) => {
            evidence.status = NotificationStatus::BadSignature;
            // Only a claim, but the order's story shows who tried what.
            evidence.out_trade_no = claims.as_ref().map(|key| key.out_trade_no.to_string());
            return unverified(evidence, error.to_string(), claims);
        }
    };
    // From here on it is signed: it is about money and always kept.
    evidence.out_trade_no = verified.out_trade_no().map(known);
    let payment = match verified.payment() {
        Ok(payment) => Box::new(payment),
        Err(error @ NotificationError::ResultCode) => {
            evidence.status = NotificationStatus::NotSuccess;
            evidence.detail = Some(error.to_string());
            return keep(SettlementInput::Evidence(evidence), Outcome::Done);
        }
        Err(error) => {
            let reason = format!("signed but unreadable: {error}");
            evidence.detail = Some(reason.clone());
            return keep(SettlementInput::Evidence(evidence), Outcome::Park { reason });
        }
    };
    evidence.transaction_id = Some(payment.transaction_id.to_string());
    let key =
        OrderKey { mch_id: payment.mch_id.clone(), out_trade_no: payment.out_trade_no.clone() };
    let fact = Fact::Paid { payment, sign_type: verified.sign_type() };
    let observed = ObservedFact {
        traceparent: trace::of(delivery),
        ..ObservedFact::new(key, fact, Source::Notify)
    };
    keep(SettlementInput::Fact(Box::new(observed), Some(evidence)), Outcome::Done)
}
