//! An order as the gateway stores it.

use std::collections::VecDeque;

use time::OffsetDateTime;
use wechatpay_v2::{BeijingTime, Fen, Fields, MchId, SignType};

use crate::payment::Payment;

/// An `out_trade_no` is unique per merchant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct OrderKey {
    pub(crate) mch_id: MchId,
    pub(crate) out_trade_no: String,
}

pub(crate) struct Order {
    /// The parameters of the first unifiedorder: all but the nonce, the signature and its
    /// algorithm.
    pub(crate) parameters: Fields,
    pub(crate) sign_type: SignType,
    pub(crate) total_fee: Fen,
    /// An open set, because a test may set any.
    pub(crate) trade_state: String,
    /// More than one only when a test makes a second payment.
    pub(crate) payments: Vec<Payment>,
    /// Only the last `PREPAY_IDS_MAX` that were issued.
    pub(crate) prepay_ids: VecDeque<String>,
    pub(crate) issued_count: u64,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) closed_at: Option<OffsetDateTime>,
}

const PREPAY_IDS_MAX: usize = 20;

impl Order {
    pub(crate) fn is_paid(&self) -> bool {
        matches!(&*self.trade_state, "SUCCESS" | "REFUND") && !self.payments.is_empty()
    }

    pub(crate) fn is_closed(&self) -> bool {
        matches!(&*self.trade_state, "CLOSED" | "REVOKED")
    }

    /// Whether a payer can no longer pay. A cashier page that was opened before `time_expire`
    /// still takes a payment for about a minute.
    pub(crate) fn is_expired(&self, now: OffsetDateTime) -> bool {
        let expire = self.parameters.get("time_expire");
        let expire = expire.and_then(|text| BeijingTime::parse("time_expire", text).ok());
        expire.is_some_and(|at| now > at.instant() + time::Duration::minutes(1))
    }

    pub(crate) fn add_prepay_id(&mut self, prepay_id: String) {
        if self.prepay_ids.len() == PREPAY_IDS_MAX {
            self.prepay_ids.pop_front();
        }
        self.prepay_ids.push_back(prepay_id);
        self.issued_count += 1;
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn an_order_expires_a_minute_after_time_expire() {
        let order = Order {
            parameters: Fields::from_iter([("time_expire", "20260721190000")]),
            sign_type: SignType::Md5,
            total_fee: Fen::new(1).unwrap(),
            trade_state: "NOTPAY".to_owned(),
            payments: Vec::new(),
            prepay_ids: VecDeque::new(),
            issued_count: 0,
            created_at: datetime!(2026-07-21 10:30:00 UTC),
            closed_at: None,
        };
        assert!(!order.is_expired(datetime!(2026-07-21 11:01:00 UTC)));
        assert!(order.is_expired(datetime!(2026-07-21 11:01:01 UTC)));
    }
}
