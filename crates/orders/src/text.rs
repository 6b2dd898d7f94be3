//! What a text of an order may hold (reference 4.7).

use wechatpay_v2::payment::can_be_given_back;

use crate::json;

/// How much of a name or number that is not ours is repeated, in characters.
const ECHO_CHARS_MAX: usize = 64;

/// What a text must be besides its length.
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) holds: fn(&str) -> bool,
}

pub(crate) const ANY: Shape = Shape { name: "a text", holds: |_| true };
/// Product texts with characters of four bytes are refused or shown wrong (reference 4.7).
pub(crate) const BASIC_PLANE: Shape = Shape {
    name: "a text without emoji or other characters beyond U+FFFF",
    holds: |text| text.chars().all(|c| c <= '\u{ffff}'),
};
pub(crate) const JSON_OBJECT: Shape =
    Shape { name: "a JSON object, as a text", holds: is_json_object };

/// WeChat gives these back with the payment (reference 3.2), which must be readable then.
pub(crate) const ATTACH: Shape =
    Shape { name: GIVEN_BACK, holds: |text| can_be_given_back("attach", text) };
pub(crate) const DEVICE_INFO: Shape =
    Shape { name: GIVEN_BACK, holds: |text| can_be_given_back("device_info", text) };
const GIVEN_BACK: &str = "a text without <!DOCTYPE, <!ENTITY or what reads as an element of a \
                          payment, such as &fee_type=,";

fn is_json_object(text: &str) -> bool {
    json::parse(text.as_bytes()).is_ok()
}

/// 1 to `bytes_max` bytes that arrive, are hashed and are read as they were sent. Outer white space
/// is refused because WeChat's own SDK trims it before hashing; what no eye sees counts as such.
pub(crate) fn is_plain(text: &str, bytes_max: usize) -> bool {
    let blank = |c: char| c.is_whitespace() || matches!(c, '\u{200b}' | '\u{2060}' | '\u{feff}');
    (1..=bytes_max).contains(&text.len())
        && text.trim_matches(blank) == text
        && !text.chars().any(is_forbidden)
}

/// Control characters and line separators, which XML readers change; the two code points that XML
/// 1.0 forbids; and the controls that make a text read in another order than it is written, on a
/// payer's bill as on an operator's screen.
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

/// A name or number of theirs, fit to be stored and shown: Postgres takes no U+0000 in a text, and
/// a terminal obeys control characters.
pub(crate) fn echo(theirs: &str) -> String {
    let shown = |c| if is_forbidden(c) { '\u{fffd}' } else { c };
    theirs.chars().take(ECHO_CHARS_MAX).map(shown).collect()
}
