//! Bytes as hex digits.

use std::fmt::Write;

/// Encodes bytes as lower-case hex digits.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Exactly `N` bytes, in either case.
#[must_use]
pub fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = 16 * digit(pair[0])? + digit(pair[1])?;
    }
    Some(bytes)
}

fn digit(byte: u8) -> Option<u8> {
    let value = char::from(byte).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_decode_to_what_was_encoded() {
        assert_eq!(encode(&[0x0a, 0xff]), "0aff");
        assert_eq!(decode("0aFf"), Some([0x0a, 0xff]));
        for bad in ["0af", "0aff0", "0afg", "0a+f", "éé"] {
            assert_eq!(decode::<2>(bad), None, "{bad}");
        }
    }
}
