//! The identifiers of WeChat Pay. `parse` is the only way to construct one.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

/// A field that breaks its rule.
///
/// The rule describes what the field must be. The error does not contain the value, because values can
/// be personal data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} must be {rule}")]
pub struct FieldError {
    /// The field, by WeChat's name for it.
    pub field: &'static str,
    /// What the field must be, to be read after "must be".
    pub rule: &'static str,
}

impl FieldError {
    pub(crate) const fn new(field: &'static str, rule: &'static str) -> Self {
        Self { field, rule }
    }

    /// The same rule, broken by another field of the same type.
    pub(crate) fn for_field(self, field: &'static str) -> Self {
        Self { field, ..self }
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $field:literal, $length:expr, $rule:literal, $allowed:expr, $printable:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Checks the text. It is not trimmed or changed.
            ///
            /// # Errors
            #[doc = concat!("When the text is not ", $rule, ".")]
            pub fn parse(text: impl Into<String>) -> Result<Self, FieldError> {
                let text = text.into();
                let allowed: fn(u8) -> bool = $allowed;
                if !$length.contains(&text.len()) || !text.bytes().all(allowed) {
                    return Err(FieldError::new($field, $rule));
                }
                Ok(Self(text))
            }

            /// The text as WeChat writes it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(if $printable { &self.0 } else { "…" })
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Self::parse(String::deserialize(deserializer)?).map_err(de::Error::custom)
            }
        }
    };
}

id! {
    /// The merchant's number of one payment attempt, unique per merchant for ever.
    ///
    /// WeChat's pages disagree on further characters; these are the ones that all of them allow.
    OutTradeNo, "out_trade_no", (6..=32), "6 to 32 of the characters 0-9 A-Z a-z _ -",
    |b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-', true
}
id! {
    /// WeChat's own number of one payment.
    TransactionId, "transaction_id", (1..=32), "1 to 32 ASCII letters and digits",
    |b| b.is_ascii_alphanumeric(), true
}
id! {
    /// WeChat's number of a prepared payment, valid for two hours.
    PrepayId, "prepay_id", (1..=64), "1 to 64 printable ASCII characters",
    |b| b.is_ascii_graphic(), true
}
id! {
    /// The number of a merchant, sub-merchant or service provider.
    MchId, "mch_id", (1..=32), "1 to 32 digits", |b| b.is_ascii_digit(), true
}
id! {
    /// An official account, mini program or native app that is bound to a merchant.
    AppId, "appid", (1..=32), "1 to 32 ASCII letters and digits",
    |b| b.is_ascii_alphanumeric(), true
}
id! {
    /// The payer under one `appid`. It is personal data: `Display` and `Debug` print `…`.
    OpenId, "openid", (1..=128), "1 to 128 of the characters 0-9 A-Z a-z _ -",
    |b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-', false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_trade_no_is_checked_by_parse_and_by_json() {
        for good in ["SO2026", "a-b_c1", &"9".repeat(32)] {
            assert!(OutTradeNo::parse(good).is_ok(), "{good}");
            assert!(serde_json::from_str::<OutTradeNo>(&format!("{good:?}")).is_ok());
        }
        for bad in ["", "short", "with space", "with/slash", &"9".repeat(33), "支付支付支付"]
        {
            assert!(OutTradeNo::parse(bad).is_err(), "{bad}");
            assert!(serde_json::from_str::<OutTradeNo>(&format!("{bad:?}")).is_err());
        }
    }

    #[test]
    fn id_of_wrong_length_or_alphabet_is_refused() {
        fn check<T>(parse: impl Fn(String) -> Result<T, FieldError>, max: usize, bad: &str) {
            for good in ["1".to_owned(), "1".repeat(max)] {
                assert!(parse(good).is_ok());
            }
            for bad in ["", &"1".repeat(max + 1), " 1", "1\n", "1\0", "é", "１", bad] {
                assert!(parse(bad.to_owned()).is_err(), "{bad:?}");
            }
        }
        check(TransactionId::parse, 32, "42-1");
        check(PrepayId::parse, 64, "wx 21");
        check(MchId::parse, 32, "16990000O1");
        check(AppId::parse, 32, "wx_5f");
        check(OpenId::parse, 128, "o<script>");
    }

    #[test]
    fn field_error_names_the_field_and_omits_the_value() {
        let error = OpenId::parse("o secret").unwrap_err();
        assert_eq!(error.to_string(), "openid must be 1 to 128 of the characters 0-9 A-Z a-z _ -");
        let error = serde_json::from_str::<OpenId>("\"o secret\"").unwrap_err();
        assert!(!error.to_string().contains("secret"));
    }

    #[test]
    fn openid_is_printed_as_an_ellipsis() {
        let openid = OpenId::parse("oDemoUser0000000000000000001").unwrap();
        assert_eq!(format!("{openid} {openid:?}"), "… OpenId(…)");
        assert_eq!(openid.as_str(), "oDemoUser0000000000000000001");
    }
}
