//! Settings from environment variables.

use std::env;
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;

/// `EX_USAGE` of sysexits.h: a setting or an argument is wrong. A restart does not help.
pub const EXIT_USAGE: u8 = 64;

/// A setting that cannot be used. Never repeats its value, which may hold a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {rule}")]
pub struct SettingError {
    pub variable: &'static str,
    /// What is wrong, as the rest of a sentence: "must be …", "needs … beside it".
    pub rule: String,
}

impl SettingError {
    pub fn new(variable: &'static str, rule: impl Display) -> Self {
        Self { variable, rule: rule.to_string() }
    }
}

type Lookup<'a> = dyn Fn(&str) -> Result<Option<String>, String> + 'a;

/// Reads variables and names the one that cannot be used.
pub struct Settings<'a>(Box<Lookup<'a>>);

impl Settings<'static> {
    #[must_use]
    pub fn from_env() -> Self {
        Self::from_lookup(|name| match env::var(name) {
            Ok(value) => Ok(Some(value)),
            Err(env::VarError::NotPresent) => Ok(None),
            Err(env::VarError::NotUnicode(_)) => Err("must be UTF-8".to_owned()),
        })
    }
}

impl<'a> Settings<'a> {
    /// Reads from another source than the environment. `Err` is the rule that a variable breaks.
    pub fn from_lookup(lookup: impl Fn(&str) -> Result<Option<String>, String> + 'a) -> Self {
        Self(Box::new(lookup))
    }

    /// Whether the variable is set, usable or not.
    #[must_use]
    pub fn is_set(&self, variable: &str) -> bool {
        !matches!(self.0(variable), Ok(None))
    }

    /// The value as it is, which may be empty.
    pub fn text(&self, variable: &'static str, default: &str) -> Result<String, SettingError> {
        let value = self.0(variable).map_err(|rule| SettingError { variable, rule })?;
        Ok(value.unwrap_or_else(|| default.to_owned()))
    }

    /// The parsed value, or `None` when the variable is not set.
    pub fn optional<T, E: Display>(
        &self,
        variable: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, SettingError> {
        match self.0(variable).map_err(|rule| SettingError { variable, rule })? {
            None => Ok(None),
            // Rather a template that went wrong than a wish for the default.
            Some(text) if text.trim().is_empty() => {
                let rule = "must not be empty; leave it out to get the default";
                Err(SettingError::new(variable, rule))
            }
            Some(text) => {
                parse(&text).map(Some).map_err(|error| SettingError::new(variable, error))
            }
        }
    }

    /// The parsed value, or the parsed default when the variable is not set.
    pub fn or_default<T, E: Display>(
        &self,
        variable: &'static str,
        default: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<T, SettingError> {
        match self.optional(variable, &parse)? {
            Some(value) => Ok(value),
            None => parse(default).map_err(|error| SettingError::new(variable, error)),
        }
    }

    pub fn optional_path(&self, variable: &'static str) -> Result<Option<PathBuf>, SettingError> {
        self.optional(variable, |text| Ok::<_, String>(PathBuf::from(text)))
    }

    pub fn address(
        &self,
        variable: &'static str,
        default: &str,
    ) -> Result<SocketAddr, SettingError> {
        self.or_default(variable, default, parse_address)
    }

    pub fn optional_address(
        &self,
        variable: &'static str,
    ) -> Result<Option<SocketAddr>, SettingError> {
        self.optional(variable, parse_address)
    }
}

fn parse_address(text: &str) -> Result<SocketAddr, &'static str> {
    text.parse().map_err(|_| "must be an IP address and a port, like 127.0.0.1:8080")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(value: Result<Option<&str>, &str>) -> Settings<'static> {
        let value = value.map(|value| value.map(str::to_owned)).map_err(str::to_owned);
        Settings::from_lookup(move |_| value.clone())
    }

    fn number(value: Result<Option<&str>, &str>) -> Result<u8, String> {
        let read = settings(value).or_default("NUMBER", "7", str::parse::<u8>);
        read.map_err(|error| error.to_string())
    }

    #[test]
    fn default_stands_in_for_an_absent_variable() {
        assert_eq!(number(Ok(None)), Ok(7));
        assert_eq!(number(Ok(Some("8"))), Ok(8));
        assert_eq!(settings(Ok(None)).optional("NUMBER", str::parse::<u8>), Ok(None));
    }

    #[test]
    fn bad_value_is_named_and_not_repeated() {
        for (value, rule) in [
            (Ok(Some("s3cret")), "NUMBER: invalid digit found in string"),
            (Ok(Some(" ")), "NUMBER: must not be empty; leave it out to get the default"),
            (Err("must be UTF-8"), "NUMBER: must be UTF-8"),
        ] {
            assert_eq!(number(value), Err(rule.to_owned()));
        }
    }

    #[test]
    fn text_may_be_empty() {
        assert_eq!(settings(Ok(Some(""))).text("TEXT", "default").as_deref(), Ok(""));
        assert_eq!(settings(Ok(None)).text("TEXT", "default").as_deref(), Ok("default"));
        assert!(settings(Ok(Some(""))).is_set("TEXT"));
        assert!(!settings(Ok(None)).is_set("TEXT"));
    }
}
