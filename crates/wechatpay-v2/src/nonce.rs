use std::fmt;

use crate::FieldError;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A `nonce_str`: 32 letters and digits from the system's secure generator, fresh for every
/// message (reference 1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nonce(String);

impl Nonce {
    /// Draws a nonce.
    ///
    /// # Panics
    /// When the operating system has no randomness to give, which leaves nothing safe to do.
    #[must_use]
    pub fn generate() -> Self {
        let mut text = String::with_capacity(32);
        let mut bytes = [0u8; 48];
        while text.len() < 32 {
            getrandom::fill(&mut bytes).expect("the operating system gives randomness");
            // Bytes of 248 and above would make the first letters of the alphabet likelier.
            let fair = bytes.iter().filter(|byte| **byte < 248);
            let wanted = 32 - text.len();
            text.extend(fair.take(wanted).map(|byte| char::from(ALPHABET[usize::from(byte % 62)])));
        }
        Self(text)
    }

    /// Takes a nonce that was drawn elsewhere (known answers, pure code).
    ///
    /// # Errors
    /// When it is not 1 to 32 ASCII letters and digits.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        if text.is_empty() || text.len() > 32 || !text.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(FieldError::new("nonce_str", "1 to 32 ASCII letters and digits"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The text as it is sent.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_within_its_bounds() {
        assert_eq!(Nonce::parse("a1Z").unwrap().as_str(), "a1Z");
        for bad in ["", "a b", "0.8437", &"a".repeat(33), "é"] {
            assert!(Nonce::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn is_32_letters_and_digits_and_never_the_same() {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            let nonce = Nonce::generate();
            assert!(nonce.as_str().len() == 32 && Nonce::parse(nonce.as_str()).is_ok());
            assert!(seen.insert(nonce.as_str().to_owned()));
        }
    }
}
