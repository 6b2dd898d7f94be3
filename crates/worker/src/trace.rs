//! The W3C trace context that a message carries from whoever began to whoever is told.

use broker::Delivery;

/// `00-`, 32 and 16 hex digits, and two of flags; later versions may be longer.
const BYTES_MAX: usize = 128;

/// The `traceparent` of a delivery, when it has the form of one: it is stored and sent on.
pub(crate) fn of(delivery: &Delivery) -> Option<String> {
    let text = delivery.header("traceparent")?;
    let plain = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    (text.len() <= BYTES_MAX && text.bytes().all(plain)).then(|| text.to_owned())
}
