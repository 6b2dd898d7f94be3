//! The copy of a delivery that goes into a delay or parked queue.
//!
//! A copy is published with a confirm before the original is acknowledged: a crash in between
//! leaves two of them, never none.

use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldTable},
};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    delivery::ATTEMPT,
    outgoing::HEADERS_BYTES_MAX,
    sender::{ORIGIN, Us},
};

const PARKED_REASON: &str = "parked_reason";
pub(crate) const PARKED_AT: &str = "parked_at";
/// Ours; a copy carries the present ones and not those of an earlier round.
const OURS: [&str; 4] = [ATTEMPT, PARKED_REASON, PARKED_AT, ORIGIN];
/// Survives even when there are too many others.
const TRACE: &str = "traceparent";

const REASON_BYTES_MAX: usize = 500;

/// Properties of a copy that comes back.
pub(super) fn delayed(original: &BasicProperties, attempt: u32, us: &Us) -> BasicProperties {
    copied(original, attempt, FieldTable::default(), us)
}

/// Properties of a copy that a human, or whoever mended a binding, sends on its way again.
pub(crate) fn anew(original: &BasicProperties, us: &Us) -> BasicProperties {
    copied(original, 1, FieldTable::default(), us)
}

/// Properties of a copy that waits for a human.
pub(super) fn parked(
    original: &BasicProperties,
    attempt: u32,
    reason: &str,
    us: &Us,
) -> BasicProperties {
    let mut headers = FieldTable::default();
    let now = OffsetDateTime::now_utc();
    let now = now.format(&Rfc3339).unwrap_or_else(|_| now.unix_timestamp().to_string());
    headers.insert(PARKED_AT.into(), AMQPValue::LongString(now.into()));
    headers.insert(PARKED_REASON.into(), AMQPValue::LongString(bounded_text(reason).into()));
    copied(original, attempt, headers, us)
}

/// `user_id` becomes ours, because the broker refuses every other, and the sender's name goes into
/// a header. What is left out are the expiration and the priority, which were meant for the first queue.
fn copied(
    original: &BasicProperties,
    attempt: u32,
    mut headers: FieldTable,
    us: &Us,
) -> BasicProperties {
    copy_headers(original, &mut headers);
    headers.insert(ATTEMPT.into(), AMQPValue::LongLongInt(attempt.into()));

    if let Some(sender) = us.sender(original) {
        headers.insert(ORIGIN.into(), AMQPValue::LongString(sender.into()));
    }

    let mut copy = us.sign(BasicProperties::default().with_headers(headers));
    macro_rules! carry {
        ($($get:ident => $with:ident),*) => {
            $(if let Some(value) = original.$get() { copy = copy.$with(value.clone()); })*
        };
    }
    carry!(
        message_id => with_message_id,
        kind => with_type,
        content_type => with_content_type,
        content_encoding => with_content_encoding,
        correlation_id => with_correlation_id,
        reply_to => with_reply_to,
        timestamp => with_timestamp,
        app_id => with_app_id
    );
    copy
}

/// Everything but what the broker (`x-…`) and we ourselves have put there. With `x-death` in a
/// copy, the broker's search for cycles may drop the message (engineering, section 3.3).
///
/// A sender may have filled the headers to the limit of a frame, and a byte more ends our whole
/// connection: too many of them are left behind.
fn copy_headers(original: &BasicProperties, headers: &mut FieldTable) {
    let Some(theirs) = original.headers() else {
        return;
    };
    let keeps = |name: &str| !name.starts_with("x-") && !OURS.contains(&name);
    let kept = || theirs.into_iter().filter(move |(name, _)| keeps(name.as_str()));
    let bytes: usize = kept().map(|(name, value)| name.as_str().len() + size(value)).sum();
    for (name, value) in kept() {
        if bytes <= HEADERS_BYTES_MAX || (name.as_str() == TRACE && size(value) <= 255) {
            headers.insert(name.clone(), value.clone());
        }
    }
}

/// Roughly, and never less than what it takes on the wire.
fn size(value: &AMQPValue) -> usize {
    const OVERHEAD: usize = 17;
    OVERHEAD
        + match value {
            AMQPValue::LongString(text) => text.len(),
            AMQPValue::ByteArray(bytes) => bytes.len(),
            AMQPValue::FieldArray(array) => array.as_slice().iter().map(size).sum(),
            AMQPValue::FieldTable(table) => {
                table.into_iter().map(|(name, value)| name.as_str().len() + size(value)).sum()
            }
            _ => 0,
        }
}

/// A reason fit for a header: one line of at most 500 bytes.
fn bounded_text(reason: &str) -> String {
    let mut text: String = reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut end = text.len().min(REASON_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us() -> Us {
        Us::of(&crate::BrokerConfig {
            amqp_url: crate::AmqpUrl::parse("amqp://guest:guest@localhost").unwrap(),
            namespace: crate::Namespace::parse("test").unwrap(),
            connection_name: String::new(),
        })
    }

    fn text(value: &str) -> AMQPValue {
        AMQPValue::LongString(value.into())
    }

    fn original(headers: &[(&str, AMQPValue)]) -> BasicProperties {
        let mut table = FieldTable::default();
        for (name, value) in headers {
            table.insert((*name).into(), value.clone());
        }
        BasicProperties::default()
            .with_headers(table)
            .with_message_id("id".into())
            .with_user_id("shop".into())
            .with_expiration("5".into())
            .with_reply_to("there".into())
    }

    #[test]
    fn keeps_what_is_the_senders_and_drops_what_is_the_brokers() {
        let headers = [
            ("traceparent", text("00-ab-cd-01")),
            ("flag", AMQPValue::Boolean(true)),
            ("x-death", text("…")),
            ("x-delivery-count", AMQPValue::LongLongInt(3)),
            ("attempt", AMQPValue::LongLongInt(2)),
            ("parked_reason", text("of an earlier round")),
        ];
        let copy = delayed(&original(&headers), 3, &us());
        let names: Vec<_> =
            copy.headers().iter().flatten().map(|(name, _)| name.to_string()).collect();
        assert_eq!(names, ["attempt", "flag", "origin_user_id", "traceparent"]);
        let attempt = copy.headers().as_ref().unwrap().inner().get("attempt");
        assert_eq!(attempt, Some(&AMQPValue::LongLongInt(3)));
        assert_eq!(copy.message_id().as_ref().unwrap().as_str(), "id");
        assert_eq!(copy.reply_to().as_ref().unwrap().as_str(), "there");
        assert_eq!(copy.user_id().as_ref().map(ToString::to_string).as_deref(), Some("guest"));
        assert_eq!(copy.expiration(), &None);
    }

    #[test]
    fn leaves_headers_behind_that_would_not_fit() {
        let long = "x".repeat(HEADERS_BYTES_MAX);
        let copy =
            parked(&original(&[("long", text(&long)), ("traceparent", text("t"))]), 1, "r", &us());
        let headers = copy.headers().as_ref().unwrap();
        assert!(headers.contains_key("traceparent") && headers.contains_key(PARKED_REASON));
        assert!(!headers.contains_key("long"));
    }

    #[test]
    fn a_reason_is_one_short_line() {
        assert_eq!(bounded_text("a\nb"), "a b");
        let cut = bounded_text(&"支".repeat(400));
        assert_eq!(cut.len(), 498);
    }
}
