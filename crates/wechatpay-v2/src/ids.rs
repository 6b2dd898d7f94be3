//! The identifiers of WeChat Pay, each with one door: `parse`.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

/// A field that breaks its rule. The rule is written for the person who has to mend the field;
/// the value itself is not part of the error, because values can be personal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} must be {rule}")]
pub struct FieldError {
    /// WeChat's name of the field.
    pub field: &'static str,
    /// What the field must be.
    pub rule: &'static str,
}

impl FieldError {
    pub(crate) const fn new(field: &'static str, rule: &'static str) -> Self {
        Self { field, rule }
    }

    /// The same rule, broken by another field of the same type.
    pub(crate) fn of(self, field: &'static str) -> Self {
        Self { field, ..self }
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $field:literal, $length:expr, $rule:literal, $allowed:expr, $shown:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Checks the text; nothing is trimmed or changed.
            ///
            /// # Errors
            /// When the text breaks the field's rule.
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
                f.write_str(if $shown { &self.0 } else { "…" })
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
    /// The shop's number of one payment attempt, unique per merchant for ever (reference 4.4, with
    /// the conservative character set that every WeChat page agrees on).
    OutTradeNo, "out_trade_no", (6..=32), "6 to 32 of the characters 0-9 A-Z a-z _ -",
    |b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-', true
}
id! {
    /// WeChat's number of one payment.
    TransactionId, "transaction_id", (1..=32), "1 to 32 ASCII letters and digits",
    |b| b.is_ascii_alphanumeric(), true
}
id! {
    /// WeChat's number of a prepared payment, valid two hours (reference 4.3).
    PrepayId, "prepay_id", (1..=64), "1 to 64 printable ASCII characters",
    |b| b.is_ascii_graphic(), true
}
id! {
    /// A merchant number.
    MchId, "mch_id", (1..=32), "1 to 32 digits", |b| b.is_ascii_digit(), true
}
id! {
    /// The app that belongs to a merchant.
    AppId, "appid", (1..=32), "1 to 32 ASCII letters and digits",
    |b| b.is_ascii_alphanumeric(), true
}
id! {
    /// The payer under one appid. Personal data: printing it gives `…`.
    OpenId, "openid", (1..=128), "1 to 128 of the characters 0-9 A-Z a-z _ -",
    |b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-', false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn out_trade_no_has_one_door() {
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
    fn each_id_has_its_length_and_characters() {
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
    fn an_error_names_the_field_and_never_the_value() {
        let error = OpenId::parse("o secret").unwrap_err();
        assert_eq!(error.to_string(), "openid must be 1 to 128 of the characters 0-9 A-Z a-z _ -");
        let error = serde_json::from_str::<OpenId>("\"o secret\"").unwrap_err();
        assert!(!error.to_string().contains("secret"));
    }

    #[test]
    fn openid_is_never_printed() {
        let openid = OpenId::parse("oDemoUser0000000000000000001").unwrap();
        assert_eq!(format!("{openid} {openid:?}"), "… OpenId(…)");
        assert_eq!(openid.as_str(), "oDemoUser0000000000000000001");
    }
}
