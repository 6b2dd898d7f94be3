//! A payment notification: the checks that need no database. The state machine makes those that
//! need the order.

use broker::{Delivery, Outcome};
use orders::{Fact, OrderKey, Source};
use wechatpay_v2::OutTradeNo;
use wechatpay_v2::payment_notification::{NotificationError, Received};

use super::reading::{Reading, cut_number, evidence};
use crate::merchants::Merchant;
use crate::store::{NotificationStatus, ObservedFact, SettlementInput};
use crate::traceparent;

pub(super) fn read(delivery: &Delivery, merchant: &Merchant) -> Reading {
    let mut evidence = evidence(delivery, "payment", merchant);
    let received = match Received::parse(&delivery.body) {
        Ok(received) => received,
        Err(error) => return Reading::unverified(evidence, error.to_string(), None),
    };
    // The URL path has chosen the merchant whose key verifies. A body that names another merchant
    // cannot be verified.
    if received.mch_id() != Some(merchant.mch_id.as_str()) {
        return Reading::Ignored("other_merchant");
    }
    let claimed = received.out_trade_no().and_then(|text| OutTradeNo::parse(text).ok());
    let claimed_key =
        claimed.map(|out_trade_no| OrderKey { mch_id: merchant.mch_id.clone(), out_trade_no });
    let verified = match received.verify(merchant.keys()) {
        Ok(verified) => verified,
        Err(error) => {
            evidence.status = NotificationStatus::BadSignature;
            // Only a claim, but it shows an operator who tried what with this order.
            evidence.out_trade_no = claimed_key.as_ref().map(|key| key.out_trade_no.to_string());
            return Reading::unverified(evidence, error.to_string(), claimed_key);
        }
    };
    // From here on the notification is signed. It is about money and is always stored.
    evidence.out_trade_no = verified.out_trade_no().map(cut_number);
    let payment = match verified.payment() {
        Ok(payment) => Box::new(payment),
        Err(error @ NotificationError::ResultCode) => {
            evidence.status = NotificationStatus::NotSuccess;
            evidence.detail = Some(error.to_string());
            return Reading::authentic(SettlementInput::Evidence(evidence), Outcome::Done);
        }
        Err(error) => {
            let reason = format!("signed but unreadable: {error}");
            evidence.detail = Some(reason.clone());
            let input = SettlementInput::Evidence(evidence);
            return Reading::authentic(input, Outcome::Park { reason });
        }
    };
    evidence.transaction_id = Some(payment.transaction_id.to_string());
    let key =
        OrderKey { mch_id: payment.mch_id.clone(), out_trade_no: payment.out_trade_no.clone() };
    let fact = Fact::Paid { payment, sign_type: verified.sign_type() };
    let observed = ObservedFact {
        traceparent: traceparent::of(delivery),
        ..ObservedFact::new(key, fact, Source::Notify)
    };
    Reading::authentic(SettlementInput::Fact(Box::new(observed), Some(evidence)), Outcome::Done)
}
