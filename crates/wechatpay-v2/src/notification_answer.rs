//! What WeChat wants to read after a notification (reference 3.3). Anything else is a failed
//! attempt, and so is an answer after five seconds.

/// Stops the repeats: the message is safe.
pub const SUCCESS: &str = "<xml><return_code><![CDATA[SUCCESS]]></return_code>\
    <return_msg><![CDATA[OK]]></return_msg></xml>";

/// Asks for a repeat. `reason` is one of our own short texts.
///
/// # Panics
/// When `reason` could end its own element: it is a literal, never something received.
#[must_use]
pub fn fail(reason: &'static str) -> String {
    assert!(!reason.contains(['<', '>', '&', ']']), "a reason is plain text");
    format!(
        "<xml><return_code><![CDATA[FAIL]]></return_code>\
         <return_msg><![CDATA[{reason}]]></return_msg></xml>"
    )
}
