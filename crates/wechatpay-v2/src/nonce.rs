use std::fmt;

use crate::FieldError;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A `nonce_str`, which makes a signature unpredictable. Every message gets a fresh one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nonce(String);

impl Nonce {
    /// Draws 32 letters and digits from the secure generator of the operating system.
    ///
    /// # Panics
    /// When the operating system fails to provide randomness.
    #[must_use]
    pub fn generate() -> Self {
        let mut text = String::with_capacity(32);
        let mut bytes = [0u8; 48];
        while text.len() < 32 {
            getrandom::fill(&mut bytes).expect("the operating system provides randomness");
            // 248 = 4 * 62. Larger bytes would make the first characters more likely than the rest.
            let unbiased = bytes.iter().filter(|byte| **byte < 248);
            let missing = 32 - text.len();
            let characters = unbiased.map(|byte| char::from(ALPHABET[usize::from(byte % 62)]));
            text.extend(characters.take(missing));
        }
        Self(text)
    }

    /// Takes a nonce that was drawn elsewhere.
    ///
    /// # Errors
    /// When it is not 1 to 32 ASCII letters and digits.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        if text.is_empty() || text.len() > 32 || !text.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(FieldError::new("nonce_str", "1 to 32 ASCII letters and digits"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The text of the element `nonce_str`.
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
    fn nonce_of_wrong_length_or_alphabet_is_refused() {
        assert_eq!(Nonce::parse("a1Z").unwrap().as_str(), "a1Z");
        for bad in ["", "a b", "0.8437", &"a".repeat(33), "é"] {
            assert!(Nonce::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn generated_nonces_are_valid_and_differ() {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            let nonce = Nonce::generate();
            assert!(nonce.as_str().len() == 32 && Nonce::parse(nonce.as_str()).is_ok());
            assert!(seen.insert(nonce.as_str().to_owned()));
        }
    }
}
