//! A refund notification: decrypted and kept with the verdict `deferred`. Acting on it comes with
//! refunds.

use broker::{Delivery, Outcome};
use wechatpay_v2::refund_notification::Received;

use super::{Reading, evidence, keep, known, unverified};
use crate::merchants::Merchant;
use crate::store::{NotificationStatus, SettlementInput};

pub(super) fn read(delivery: &Delivery, merchant: &Merchant) -> Reading {
    let mut evidence = evidence(delivery, "refund", merchant, NotificationStatus::Unreadable);
    let received = match Received::parse(&delivery.body) {
        Ok(received) => received,
        Err(error) => return unverified(evidence, error.to_string(), None),
    };
    if received.mch_id() != Some(merchant.mch_id.as_str()) {
        return Reading::Count("other_merchant");
    }
    let Some(inner) = merchant.keys().find_map(|key| received.decrypt(key).ok()) else {
        evidence.status = NotificationStatus::BadSignature;
        return unverified(evidence, "req_info does not decrypt".to_owned(), None);
    };
    evidence.status = NotificationStatus::Deferred;
    evidence.out_trade_no = inner.get("out_trade_no").map(known);
    evidence.transaction_id = inner.get("transaction_id").map(known);
    keep(SettlementInput::Evidence(evidence), Outcome::Done)
}
