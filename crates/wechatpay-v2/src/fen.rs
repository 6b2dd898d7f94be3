use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::FieldError;

/// An amount of money: a whole, non-negative number of fen (CNY 0.01).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Fen(i64);

impl Fen {
    /// 2^53 - 1, the largest integer that every JSON reader keeps exactly.
    pub const MAX: i64 = (1 << 53) - 1;

    /// Checks the range of an amount.
    ///
    /// # Errors
    /// When the amount is negative or above [`Fen::MAX`].
    pub const fn new(fen: i64) -> Result<Self, FieldError> {
        if fen < 0 || fen > Self::MAX {
            return Err(FieldError::new("fen", "a whole number of fen from 0 to 9007199254740991"));
        }
        Ok(Self(fen))
    }

    /// Reads WeChat's decimal digits: no sign, no space, no point. `field` is the element's name
    /// for the error.
    ///
    /// # Errors
    /// When the text is anything else, or the amount is above [`Fen::MAX`].
    pub fn parse(field: &'static str, text: &str) -> Result<Self, FieldError> {
        let error = FieldError::new(field, "a whole number of fen in decimal digits");
        if text.is_empty() || text.len() > 16 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(error);
        }
        text.parse().ok().and_then(|fen| Self::new(fen).ok()).ok_or(error)
    }

    /// The amount as an integer of fen.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The sum, or `None` if it is above [`Fen::MAX`].
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).and_then(|sum| Self::new(sum).ok())
    }
}

impl fmt::Display for Fen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl<'de> Deserialize<'de> for Fen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(i64::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amount_is_read_from_plain_digits_only() {
        assert_eq!(Fen::parse("total_fee", "0").unwrap().get(), 0);
        assert_eq!(Fen::parse("total_fee", "9900").unwrap().get(), 9900);
        assert_eq!(Fen::parse("total_fee", "9007199254740991").unwrap().get(), Fen::MAX);
        for bad in
            ["", "+1", "-1", " 1", "1.0", "1e3", "9007199254740992", "٣", "99999999999999999"]
        {
            let error = Fen::parse("total_fee", bad).unwrap_err();
            assert_eq!(error.field, "total_fee", "{bad}");
        }
    }

    #[test]
    fn sum_above_the_maximum_is_none() {
        let fen = |amount| Fen::new(amount).unwrap();
        assert_eq!(fen(9100).checked_add(fen(800)), Some(fen(9900)));
        assert_eq!(fen(Fen::MAX).checked_add(fen(0)), Some(fen(Fen::MAX)));
        assert_eq!(fen(Fen::MAX).checked_add(fen(1)), None);
        assert!(Fen::new(-1).is_err() && Fen::new(i64::MIN).is_err());
    }

    #[test]
    fn json_amount_is_an_integer_in_range() {
        assert!(serde_json::from_str::<Fen>("1").is_ok());
        for bad in ["-1", "1.0", "1.5", "9007199254740992", "\"1\"", "null"] {
            assert!(serde_json::from_str::<Fen>(bad).is_err(), "{bad}");
        }
    }
}
