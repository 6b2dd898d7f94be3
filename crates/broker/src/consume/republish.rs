//! The properties of a delivery's copy, which is published to a delay or parked queue, or again.
//!
//! The copy is confirmed before the original is acknowledged: a crash in between leaves two of
//! them, never none.

use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::consume::delivery::ATTEMPT;
use crate::publish::outgoing::HEADERS_BYTES_MAX;
use crate::user::{BrokerUser, ORIGIN_USER_ID};

const PARKED_REASON: &str = "parked_reason";
pub(crate) const PARKED_AT: &str = "parked_at";
/// Written here: a copy carries the new values and not those of the original.
const OWN_HEADERS: [&str; 4] = [ATTEMPT, PARKED_REASON, PARKED_AT, ORIGIN_USER_ID];
/// Kept even when the other headers are too long.
const TRACEPARENT: &str = "traceparent";

const REASON_BYTES_MAX: usize = 500;

pub(super) fn delayed(
    original: &BasicProperties,
    attempt: u32,
    user: &BrokerUser,
) -> BasicProperties {
    copied(original, attempt, FieldTable::default(), user)
}

/// As a first attempt: replayed by an operator, or after a missing binding was restored.
pub(crate) fn replayed(original: &BasicProperties, user: &BrokerUser) -> BasicProperties {
    copied(original, 1, FieldTable::default(), user)
}

pub(super) fn parked(
    original: &BasicProperties,
    attempt: u32,
    reason: &str,
    user: &BrokerUser,
) -> BasicProperties {
    let mut headers = FieldTable::default();
    let now = OffsetDateTime::now_utc();
    let now = now.format(&Rfc3339).unwrap_or_else(|_| now.unix_timestamp().to_string());
    headers.insert(PARKED_AT.into(), AMQPValue::LongString(now.into()));
    headers.insert(PARKED_REASON.into(), AMQPValue::LongString(header_text(reason).into()));
    copied(original, attempt, headers, user)
}

/// `user_id` becomes this process's own, because the broker refuses every other, and the sender's
/// name goes into a header. Expiration and priority are left out: they were for the first queue.
fn copied(
    original: &BasicProperties,
    attempt: u32,
    mut headers: FieldTable,
    user: &BrokerUser,
) -> BasicProperties {
    copy_headers(original, &mut headers);
    headers.insert(ATTEMPT.into(), AMQPValue::LongLongInt(attempt.into()));

    if let Some(sender) = user.sender_of(original) {
        headers.insert(ORIGIN_USER_ID.into(), AMQPValue::LongString(sender.into()));
    }

    let mut copy = user.sign(BasicProperties::default().with_headers(headers));
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

/// All headers but the broker's (`x-…`) and those written here. With `x-death` in a copy, the
/// broker's detection of dead-letter cycles may drop the message.
///
/// A sender may have filled the headers up to the limit of a frame, and one byte more ends the whole
/// connection: when they are too long, they are left out.
fn copy_headers(original: &BasicProperties, headers: &mut FieldTable) {
    let Some(original) = original.headers() else {
        return;
    };
    let keeps = |name: &str| !name.starts_with("x-") && !OWN_HEADERS.contains(&name);
    let kept = || original.into_iter().filter(move |(name, _)| keeps(name.as_str()));
    let bytes: usize = kept().map(|(name, value)| name.as_str().len() + size(value)).sum();
    for (name, value) in kept() {
        if bytes <= HEADERS_BYTES_MAX || (name.as_str() == TRACEPARENT && size(value) <= 255) {
            headers.insert(name.clone(), value.clone());
        }
    }
}

/// An upper bound of the encoded size.
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

/// One line of at most 500 bytes.
fn header_text(reason: &str) -> String {
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

    fn user() -> BrokerUser {
        BrokerUser("guest".into())
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
    fn copy_keeps_the_senders_headers_only() {
        let headers = [
            ("traceparent", text("00-ab-cd-01")),
            ("flag", AMQPValue::Boolean(true)),
            ("x-death", text("…")),
            ("x-delivery-count", AMQPValue::LongLongInt(3)),
            ("attempt", AMQPValue::LongLongInt(2)),
            ("parked_reason", text("of an earlier attempt")),
        ];
        let copy = delayed(&original(&headers), 3, &user());
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
    fn copy_leaves_out_headers_that_are_too_long() {
        let long = "x".repeat(HEADERS_BYTES_MAX);
        let copy = parked(
            &original(&[("long", text(&long)), ("traceparent", text("t"))]),
            1,
            "r",
            &user(),
        );
        let headers = copy.headers().as_ref().unwrap();
        assert!(headers.contains_key("traceparent") && headers.contains_key(PARKED_REASON));
        assert!(!headers.contains_key("long"));
    }

    #[test]
    fn parked_reason_is_one_short_line() {
        assert_eq!(header_text("a\nb"), "a b");
        let cut = header_text(&"支".repeat(400));
        assert_eq!(cut.len(), 498);
    }
}
