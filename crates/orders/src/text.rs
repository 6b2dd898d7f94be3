//! What a text of an order may hold.

use wechatpay_v2::payment::is_safe_to_echo;

use crate::json;

/// How much of a foreign name or number is repeated, in characters.
const ECHO_CHARS_MAX: usize = 64;

/// A text's rule besides its length.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) accepts: fn(&str) -> bool,
}

pub(crate) const ANY: Shape = Shape { name: "a string", accepts: |_| true };
/// WeChat refuses a `body` with characters of four bytes, or shows them wrong.
pub(crate) const BASIC_PLANE: Shape = Shape {
    name: "a string without emoji or other characters beyond U+FFFF",
    accepts: |text| text.chars().all(|c| c <= '\u{ffff}'),
};
pub(crate) const JSON_OBJECT: Shape =
    Shape { name: "a string that holds a JSON object", accepts: is_json_object };

/// WeChat returns these fields with the payment, whose XML must be readable then.
pub(crate) const ATTACH: Shape =
    Shape { name: RETURNED, accepts: |text| is_safe_to_echo("attach", text) };
pub(crate) const DEVICE_INFO: Shape =
    Shape { name: RETURNED, accepts: |text| is_safe_to_echo("device_info", text) };
const RETURNED: &str = "a string without <!DOCTYPE, <!ENTITY or what reads as an element of a \
                        payment, such as &fee_type=,";

fn is_json_object(text: &str) -> bool {
    json::parse(text.as_bytes()).is_ok()
}

/// Whether the text has 1 to `bytes_max` bytes and arrives, is hashed and is read as it was sent.
/// Outer white space is refused because WeChat's own SDK trims it before hashing. Invisible
/// characters count as white space.
pub(crate) fn is_plain(text: &str, bytes_max: usize) -> bool {
    let blank = |c: char| c.is_whitespace() || matches!(c, '\u{200b}' | '\u{2060}' | '\u{feff}');
    (1..=bytes_max).contains(&text.len())
        && text.trim_matches(blank) == text
        && !text.chars().any(is_forbidden)
}

/// Control characters and line separators, which XML readers change; the two code points that XML
/// 1.0 forbids; and bidirectional controls, which make a text read in another order than it is
/// written, on a payer's bill and on an operator's screen.
fn is_forbidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{2028}' | '\u{2029}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
                | '\u{fffe}' | '\u{ffff}'
        )
}

/// A foreign name or number, fit to be stored and shown: Postgres refuses U+0000 in a text, and a
/// terminal obeys control characters.
pub(crate) fn echo(foreign: &str) -> String {
    let printable = |c| if is_forbidden(c) { '\u{fffd}' } else { c };
    foreign.chars().take(ECHO_CHARS_MAX).map(printable).collect()
}
