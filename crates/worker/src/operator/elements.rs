//! The elements of a notification for an operator: never the payer, never the signature.

use wechatpay_v2::{Limits, parse_xml};

use super::output::{plain, table};

/// Elements whose values are shown: they identify no payer and prove nothing.
const SHOWN: [&str; 21] = [
    "appid",
    "bank_type",
    "cash_fee",
    "cash_fee_type",
    "coupon_count",
    "coupon_fee",
    "err_code",
    "err_code_des",
    "fee_type",
    "mch_id",
    "out_trade_no",
    "result_code",
    "return_code",
    "return_msg",
    "settlement_total_fee",
    "sub_appid",
    "sub_mch_id",
    "time_end",
    "total_fee",
    "trade_type",
    "transaction_id",
];

/// The elements of a raw body: all names, and the values of [`SHOWN`].
pub(super) fn elements(raw: &[u8]) -> String {
    let fields = match parse_xml(raw, Limits::MESSAGE) {
        Ok(fields) => fields,
        Err(error) => return format!("it has no elements: {error}\n"),
    };
    let row = |(name, text): (&str, &str)| {
        let value = if SHOWN.contains(&name) {
            plain(text)
        } else {
            format!("… ({} characters)", text.chars().count())
        };
        [plain(name), value]
    };
    table(["ELEMENT", "VALUE"], &fields.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payer_and_signature_are_not_shown() {
        let raw = b"<xml><openid>oSecret</openid><sign>5EC2E7</sign><total_fee>1</total_fee>\
                    <attach>who knows</attach></xml>";
        let text = elements(raw);
        assert!(text.contains("total_fee  1\n"), "{text}");
        assert!(text.contains("openid     \u{2026} (7 characters)"), "{text}");
        for secret in ["oSecret", "5EC2E7", "who knows"] {
            assert!(!text.contains(secret), "{text}");
        }
        assert_eq!(elements(b"junk"), "it has no elements: the document is not well-formed XML\n");
    }
}
