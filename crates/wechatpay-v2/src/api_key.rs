use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::FieldError;

/// A merchant's APIv2 key: 32 ASCII letters and digits.
///
/// Its `Debug` output hides it, and its memory is wiped when it is dropped.
#[derive(Clone)]
pub struct ApiKey(Zeroizing<String>);

impl ApiKey {
    /// Takes the key as the merchant platform shows it.
    ///
    /// # Errors
    /// When the text is not 32 ASCII letters and digits. The error does not contain the text.
    pub fn parse(text: &str) -> Result<Self, FieldError> {
        if text.len() != 32 || !text.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(FieldError::new("api_key", "32 ASCII letters and digits"));
        }
        Ok(Self(Zeroizing::new(text.to_owned())))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Compares in constant time, so that the duration reveals nothing of the key.
impl PartialEq for ApiKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes().ct_eq(other.as_bytes()).into()
    }
}

impl Eq for ApiKey {}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_of_another_length_or_alphabet_is_refused() {
        for bad in [
            "",
            "OrderWorkerDemoKeyV2Only0000000",
            "OrderWorkerDemoKeyV2Only000000022",
            "OrderWorkerDemoKeyV2Only0000000\n",
            "OrderWorkerDemoKeyV2Only-0000002",
            "OrderWorkerDemoKeyV2Only000000é",
        ] {
            assert!(ApiKey::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn keys_are_equal_only_to_themselves() {
        let key = |text| ApiKey::parse(text).unwrap();
        let one = key("OrderWorkerDemoKeyV2Only00000002");
        assert_eq!(one, one.clone());
        assert_ne!(one, key("OrderWorkerDemoKeyV2Only00000003"));
    }

    #[test]
    fn key_is_printed_neither_by_debug_nor_by_an_error() {
        let key = ApiKey::parse("OrderWorkerDemoKeyV2Only00000002").unwrap();
        assert_eq!(format!("{key:?}"), "ApiKey(…)");
        let error = ApiKey::parse("OrderWorkerDemoKeyV2Only0000000").unwrap_err();
        assert!(!format!("{error:?} {error}").contains("OrderWorker"));
    }
}
