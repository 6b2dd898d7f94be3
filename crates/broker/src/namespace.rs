//! The prefix of this system's exchanges and queues on a shared broker.

use std::fmt;
use std::str::FromStr;

use crate::error::InvalidSetting;

/// AMQP allows 255 bytes in all; the names that follow the prefix need the rest.
const LENGTH_MAX: usize = 40;

/// Prefix of every exchange and queue name: `[a-z0-9][a-z0-9_-]{0,39}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Namespace(String);

impl Namespace {
    pub fn parse(text: &str) -> Result<Self, InvalidSetting> {
        let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let valid_start = text.bytes().next().is_some_and(alphanumeric);
        let valid_bytes =
            text.bytes().all(|byte| alphanumeric(byte) || byte == b'_' || byte == b'-');
        if valid_start && valid_bytes && text.len() <= LENGTH_MAX {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidSetting(
                "must be 1 to 40 of a-z, 0-9, '_' and '-', beginning with a letter or digit",
            ))
        }
    }

    /// Without the dot that follows it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether an exchange or queue of this name belongs to this namespace. A `reply_to` that does
    /// must be refused: the reply would go to a work queue.
    pub fn owns(&self, name: &str) -> bool {
        name.strip_prefix(self.as_str()).is_some_and(|rest| rest.starts_with('.'))
    }

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
    fn parse_accepts_the_documented_pattern_only() {
        for good in ["wxpay", "0", "a-b_c9", &"x".repeat(40)] {
            assert!(Namespace::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "_a", "Wx", "a.b", "a b", "ä", &"x".repeat(41)] {
            assert!(Namespace::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn owns_names_behind_its_own_prefix_only() {
        let namespace = Namespace::parse("wxpay").unwrap();
        assert!(namespace.owns("wxpay.orders"));
        assert!(!namespace.owns("wxpay"));
        assert!(!namespace.owns("wxpay2.orders"));
        assert!(!namespace.owns("amq.rabbitmq.reply-to.abc"));
    }
}
