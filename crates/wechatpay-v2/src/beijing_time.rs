use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::format_description::BorrowedFormatItem;
use time::macros::{datetime, format_description, offset};
use time::{OffsetDateTime, PrimitiveDateTime, UtcOffset};

use crate::FieldError;

const FORMAT: &[BorrowedFormatItem<'_>] =
    format_description!("[year][month][day][hour][minute][second]");
const BEIJING: UtcOffset = offset!(+8);

// No payment is older than 1970, and JSON, databases and a four-digit year can represent all later
// times up to the year 9999.
const EARLIEST: OffsetDateTime = datetime!(1970-01-01 00:00:00 UTC);
const LATEST: OffsetDateTime = datetime!(9999-12-31 15:59:59.999_999_999 UTC);

/// A time that WeChat writes as `yyyyMMddHHmmss` in Beijing time: UTC+8, no daylight saving.
///
/// It lies between 1970 and 9999. The time zone of the host does not matter. In JSON it is RFC 3339
/// in UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BeijingTime(OffsetDateTime);

impl BeijingTime {
    /// Reads WeChat's text. `field` is the element's name for the error.
    ///
    /// # Errors
    /// When the text is not 14 digits that name an existing second since 1970.
    pub fn parse(field: &'static str, text: &str) -> Result<Self, FieldError> {
        let error = FieldError::new(field, "yyyyMMddHHmmss in Beijing time");
        // The parser also accepts signs.
        if text.len() != 14 || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(error);
        }
        let local = PrimitiveDateTime::parse(text, FORMAT).ok();
        local.and_then(|local| Self::checked(local.assume_offset(BEIJING))).ok_or(error)
    }

    /// Converts an instant: fractions of a second are cut off, and an instant outside 1970 to 9999
    /// becomes the nearest one inside.
    #[must_use]
    pub fn from_instant(instant: OffsetDateTime) -> Self {
        let in_range = instant.clamp(EARLIEST, LATEST);
        Self(in_range.to_offset(UtcOffset::UTC).truncate_to_second())
    }

    fn checked(instant: OffsetDateTime) -> Option<Self> {
        (EARLIEST..=LATEST).contains(&instant).then(|| Self::from_instant(instant))
    }

    /// The same instant, in UTC.
    #[must_use]
    pub fn instant(self) -> OffsetDateTime {
        self.0
    }
}

impl fmt::Display for BeijingTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_offset(BEIJING).format(FORMAT).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for BeijingTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BeijingTime({self})")
    }
}

impl Serialize for BeijingTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        time::serde::rfc3339::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for BeijingTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let instant = time::serde::rfc3339::deserialize(deserializer)?;
        Self::checked(instant).ok_or_else(|| de::Error::custom("a time must lie in 1970 to 9999"))
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn beijing_is_eight_hours_ahead_of_utc() {
        let time = BeijingTime::parse("time_end", "20260721183142").unwrap();
        assert_eq!(time.instant(), datetime!(2026-07-21 10:31:42 UTC));
        assert_eq!(time.to_string(), "20260721183142");
        let midnight = BeijingTime::from_instant(datetime!(2026-12-31 16:00:00.999 UTC));
        assert_eq!(midnight.to_string(), "20270101000000");
    }

    #[test]
    fn text_that_names_no_second_is_refused() {
        for bad in [
            "",
            "2026072118314",
            "202607211831420",
            "20260732183142",
            "20260229183142",
            "20260721183160",
            "20161231235960",
            "20170101075960",
            "20260721240000",
            "20260721246060",
            "2026-07-21T18:31",
            " 2026072118314",
            "+2026072118314",
            "２０２６０",
            "00000101000000",
            "19700101075959",
        ] {
            let error = BeijingTime::parse("time_end", bad).unwrap_err();
            assert_eq!(error.field, "time_end", "{bad}");
        }
    }

    #[test]
    fn first_and_last_second_survive_text_and_json() {
        for edge in ["19700101080000", "99991231235959", "20240229235959"] {
            let time = BeijingTime::parse("time_end", edge).unwrap();
            assert_eq!(time.to_string(), edge);
            let json = serde_json::to_string(&time).unwrap();
            assert_eq!(serde_json::from_str::<BeijingTime>(&json).unwrap(), time);
        }
    }

    #[test]
    fn instant_outside_1970_to_9999_is_clamped_or_refused() {
        for (instant, nearest) in [
            (datetime!(9999-12-31 23:59:59 -10), "99991231235959"),
            (datetime!(9999-12-31 16:00:00 UTC), "99991231235959"),
            (datetime!(1969-12-31 23:59:59 UTC), "19700101080000"),
            (datetime!(-9999-01-01 00:00:00 +10), "19700101080000"),
        ] {
            assert_eq!(BeijingTime::from_instant(instant).to_string(), nearest);
        }
        for bad in [
            "9999-12-31T23:59:59-10:00",
            "9999-12-31T16:00:00Z",
            "1969-12-31T23:59:59Z",
            "0000-01-01T00:00:00+08:00",
            "2026-07-21T18:31:42",
        ] {
            assert!(serde_json::from_str::<BeijingTime>(&format!("{bad:?}")).is_err());
        }
        let cut = serde_json::from_str::<BeijingTime>("\"9999-12-31T15:59:59.9Z\"").unwrap();
        assert_eq!(cut.to_string(), "99991231235959");
    }
}
