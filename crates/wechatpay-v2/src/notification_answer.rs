//! The bodies that reply to a notification, with HTTP status 200 and within five seconds.
//!
//! Any other reply, and a later one, counts as a failed delivery
//! ([protocol](crate::protocol#replying-to-a-notification)).

/// Ends the deliveries. Send it once the message is stored durably.
pub const SUCCESS: &str = "<xml><return_code><![CDATA[SUCCESS]]></return_code>\
    <return_msg><![CDATA[OK]]></return_msg></xml>";

/// Asks WeChat to deliver the notification again later.
///
/// # Panics
/// When `reason` contains `<`, `>`, `&` or `]`. It is meant to be a literal, not a received text.
#[must_use]
pub fn fail(reason: &'static str) -> String {
    assert!(!reason.contains(['<', '>', '&', ']']), "a reason contains no markup");
    format!(
        "<xml><return_code><![CDATA[FAIL]]></return_code>\
         <return_msg><![CDATA[{reason}]]></return_msg></xml>"
    )
}
