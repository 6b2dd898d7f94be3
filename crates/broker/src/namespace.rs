//! The prefix that keeps our exchanges and queues apart from everyone else's.

use std::{fmt, str::FromStr};

use crate::InvalidSetting;

/// Longest prefix: leaves room for the names behind it (AMQP allows 255 bytes in all).
const LENGTH_MAX: usize = 40;

/// Prefix of every exchange and queue name: `[a-z0-9][a-z0-9_-]{0,39}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Namespace(String);

impl Namespace {
    /// Checks the text against `[a-z0-9][a-z0-9_-]{0,39}`.
    pub fn parse(text: &str) -> Result<Self, InvalidSetting> {
        let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let starts_well = text.bytes().next().is_some_and(alphanumeric);
        let goes_on_well =
            text.bytes().all(|byte| alphanumeric(byte) || byte == b'_' || byte == b'-');
        if starts_well && goes_on_well && text.len() <= LENGTH_MAX {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidSetting(
                "must be 1 to 40 of a-z, 0-9, '_' and '-', beginning with a letter or digit",
            ))
        }
    }

    /// The prefix itself, without the dot that follows it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether an exchange or queue of this name is one of ours. A `reply_to` that is must be
    /// refused: an answer would land in a work queue.
    pub fn owns(&self, name: &str) -> bool {
        name.strip_prefix(self.as_str()).is_some_and(|rest| rest.starts_with('.'))
    }

    /// `{namespace}.{name}`.
    pub(crate) fn prefixed(&self, name: &str) -> String {
        format!("{}.{name}", self.0)
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Namespace {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_fits_and_nothing_else() {
        for good in ["wxpay", "0", "a-b_c9", &"x".repeat(40)] {
            assert!(Namespace::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "_a", "Wx", "a.b", "a b", "ä", &"x".repeat(41)] {
            assert!(Namespace::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn owns_its_own_names_only() {
        let ours = Namespace::parse("wxpay").unwrap();
        assert!(ours.owns("wxpay.orders"));
        assert!(!ours.owns("wxpay"));
        assert!(!ours.owns("wxpay2.orders"));
        assert!(!ours.owns("amq.rabbitmq.reply-to.abc"));
    }
}
