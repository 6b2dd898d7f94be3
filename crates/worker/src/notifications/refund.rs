//! A refund notification is decrypted and stored as `deferred`. A later version acts on it.

use broker::{Delivery, Outcome};
use wechatpay_v2::refund_notification::Received;

use super::reading::{Reading, cut_number, evidence};
use crate::merchants::Merchant;
use crate::store::{NotificationStatus, SettlementInput};

pub(super) fn read(delivery: &Delivery, merchant: &Merchant) -> Reading {
    let mut evidence = evidence(delivery, "refund", merchant);
    let received = match Received::parse(&delivery.body) {
        Ok(received) => received,
        Err(error) => return Reading::unverified(evidence, error.to_string(), None),
    };
    if received.mch_id() != Some(merchant.mch_id.as_str()) {
        return Reading::Ignored("other_merchant");
    }
    let Some(decrypted) = merchant.keys().find_map(|key| received.decrypt(key).ok()) else {
        evidence.status = NotificationStatus::BadSignature;
        return Reading::unverified(evidence, "req_info does not decrypt".to_owned(), None);
    };
    evidence.status = NotificationStatus::Deferred;
    evidence.out_trade_no = decrypted.get("out_trade_no").map(cut_number);
    evidence.transaction_id = decrypted.get("transaction_id").map(cut_number);
    Reading::authentic(SettlementInput::Evidence(evidence), Outcome::Done)
}
