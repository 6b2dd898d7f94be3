const UPPER: &[u8; 16] = b"0123456789ABCDEF";
const LOWER: &[u8; 16] = b"0123456789abcdef";

pub(crate) fn upper(bytes: &[u8]) -> String {
    encode(bytes, UPPER)
}

pub(crate) fn lower(bytes: &[u8]) -> String {
    encode(bytes, LOWER)
}

fn encode(bytes: &[u8], digits: &[u8; 16]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(char::from(digits[usize::from(byte >> 4)]));
        text.push(char::from(digits[usize::from(byte & 15)]));
    }
    text
}
