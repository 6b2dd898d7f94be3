//! Payers, who pay in different ways, and forgers, who send false notifications of payments.

use std::time::Duration;

use fastrand::Rng;
use harness::TestMerchant;
use simulator::{Api, Fault, Malformation, PayOptions, PlannedFault, Signing};
use tokio::time::sleep;
use wechatpay_v2::{Fen, SignType, TransactionId};

use crate::shops::Shops;

/// What happens to an order after its creation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Paid,
    PaidNotNotified,
    PaidNotifiedTwice,
    PaidNotifiedConcurrently,
    PaidNotifiedLate,
    PaidTwice,
    WrongAmountNotified,
    OtherTransactionNotified,
    OtherMerchantNotified,
    Forged,
    Malformed,
    LaggingQuery,
    FailedThenPaid,
    Closed,
    ClosedWhilePaying,
    PaidAfterClose,
    Abandoned,
}

pub(crate) const ENDINGS: [(u32, Ending); 17] = [
    (30, Ending::Paid),
    (8, Ending::PaidNotNotified),
    (6, Ending::PaidNotifiedTwice),
    (6, Ending::PaidNotifiedConcurrently),
    (6, Ending::PaidNotifiedLate),
    (3, Ending::PaidTwice),
    (3, Ending::WrongAmountNotified),
    (3, Ending::OtherTransactionNotified),
    (2, Ending::OtherMerchantNotified),
    (6, Ending::Forged),
    (4, Ending::Malformed),
    (4, Ending::LaggingQuery),
    (3, Ending::FailedThenPaid),
    (6, Ending::Closed),
    (5, Ending::ClosedWhilePaying),
    (3, Ending::PaidAfterClose),
    (2, Ending::Abandoned),
];

impl Shops<'_> {
    /// Plays the ending of an order that WeChat knows.
    pub(crate) async fn play(
        &self,
        ending: Ending,
        merchant: &TestMerchant,
        number: &str,
        mut rng: Rng,
    ) {
        let plain = PayOptions::default;
        let pay = |options: PayOptions| self.pay(&merchant.mch_id, number, options);
        match ending {
            Ending::Paid => pay(plain()),
            Ending::PaidNotNotified => pay(PayOptions { state_only: true, ..plain() }),
            Ending::PaidNotifiedTwice => pay(PayOptions { notify: Some(2), ..plain() }),
            Ending::PaidNotifiedConcurrently => {
                pay(PayOptions { notify: Some(4), concurrently: true, ..plain() });
            }
            Ending::PaidNotifiedLate => {
                pay(PayOptions { delay_ms: rng.u64(500..8000), fresh_nonce: true, ..plain() });
            }
            Ending::PaidTwice => {
                // WeChat notifies both: without a notification only the bill has the second one.
                pay(PayOptions { fresh_nonce: true, ..plain() });
                sleep(Duration::from_millis(rng.u64(0..2000))).await;
                pay(PayOptions { second_payment: true, ..plain() });
            }
            Ending::WrongAmountNotified => {
                pay(PayOptions { total_fee: Fen::new(7).ok(), ..plain() })
            }
            Ending::OtherTransactionNotified => {
                pay(plain());
                // The worker trusts every valid signature: before the real payment's notification
                // it would book this one.
                if !self.is_paid(&merchant.mch_id, number).await {
                    return;
                }
                let other = format!("42000999{:020}", rng.u64(..));
                let other = TransactionId::parse(other).unwrap();
                pay(PayOptions { notify_only: true, transaction_id: Some(other), ..plain() });
            }
            Ending::OtherMerchantNotified => {
                let other = self.system.merchants.iter().find(|it| it.mch_id != merchant.mch_id);
                let mch_id = other.map(|it| it.mch_id.clone());
                self.told_without_number.lock().unwrap().insert(number.to_owned());
                pay(PayOptions { notify_only: true, mch_id, ..plain() });
                pay(plain());
            }
            Ending::Forged => {
                let signings = [
                    Signing::Wrong,
                    Signing::OtherKey,
                    Signing::Missing,
                    Signing::Empty,
                    Signing::Md5,
                    Signing::HmacSha256,
                ];
                let sign = signings[rng.usize(0..signings.len())];
                let is_valid = matches!(
                    (sign, merchant.sign_type),
                    (Signing::Md5, SignType::Md5) | (Signing::HmacSha256, SignType::HmacSha256)
                );
                if !is_valid {
                    self.forged.lock().unwrap().insert(number.to_owned());
                    pay(PayOptions { notify_only: true, notify: Some(3), sign, ..plain() });
                }
                sleep(Duration::from_millis(rng.u64(0..1000))).await;
                pay(plain());
            }
            Ending::Malformed => {
                let malforms = [
                    Malformation::Doctype,
                    Malformation::Duplicate,
                    Malformation::Truncated,
                    Malformation::Nested,
                    Malformation::Huge,
                    Malformation::Gbk,
                    Malformation::Trailing,
                    Malformation::NoReturnCode,
                    Malformation::ReturnFail,
                    Malformation::ResultFail,
                ];
                let malform = malforms[rng.usize(0..malforms.len())];
                // The only one of them that is read as far as its number.
                if malform != Malformation::ResultFail {
                    self.told_without_number.lock().unwrap().insert(number.to_owned());
                }
                let malform = Some(malform);
                pay(PayOptions { notify_only: true, malform, ..plain() });
                pay(plain());
            }
            Ending::LaggingQuery => {
                self.inject_fault(Api::Orderquery, number, Fault::Lag, 3);
                pay(PayOptions { state_only: true, ..plain() });
            }
            Ending::FailedThenPaid => {
                self.inject_fault(Api::Orderquery, number, Fault::PayError, 2);
                sleep(Duration::from_secs(4)).await;
                pay(PayOptions { notify: Some(rng.u32(0..2)), ..plain() });
            }
            Ending::Closed => self.close(&merchant.mch_id, number, rng).await,
            Ending::ClosedWhilePaying => {
                tokio::join!(self.close(&merchant.mch_id, number, rng.fork()), async {
                    sleep(Duration::from_millis(rng.u64(0..5000))).await;
                    pay(PayOptions { force: true, ..plain() });
                });
            }
            Ending::PaidAfterClose => {
                self.close(&merchant.mch_id, number, rng.fork()).await;
                sleep(Duration::from_secs(rng.u64(3..12))).await;
                pay(PayOptions { force: true, notify: Some(2), ..plain() });
            }
            Ending::Abandoned => {}
        }
    }

    /// Pays. WeChat refuses a payment of an order that is closed or paid.
    fn pay(&self, mch_id: &str, number: &str, options: PayOptions) {
        if self.system.simulator.pay(mch_id, number, &options).is_err() {
            self.count("payment refused by WeChat");
        }
    }

    pub(crate) fn inject_fault(&self, api: Api, number: &str, fault: Fault, times: u32) {
        let fault = PlannedFault {
            out_trade_no: Some(number.to_owned()),
            ..PlannedFault::new(fault, times)
        };
        self.system.simulator.add_fault(api, fault).unwrap();
    }
}
