use broker::Delivery;
use service::traceparent::{TRACEPARENT, is_valid};

/// The sender's trace, if it is valid. It is stored with the events and sent on.
pub(crate) fn of(delivery: &Delivery) -> Option<String> {
    let text = delivery.header(TRACEPARENT)?;
    is_valid(text).then(|| text.to_owned())
}
