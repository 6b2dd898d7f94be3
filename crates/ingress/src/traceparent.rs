//! The `traceparent` header of W3C Trace Context: carried through, or begun here.

use axum::http::{HeaderMap, header::HeaderName};
use uuid::Uuid;

/// The header's name, over HTTP and AMQP alike.
pub(crate) const TRACEPARENT: &str = "traceparent";

/// The caller's trace when its header is valid, otherwise a fresh one.
pub(crate) fn of(headers: &HeaderMap) -> String {
    let mut given = headers.get_all(HeaderName::from_static(TRACEPARENT)).iter();
    match (given.next().and_then(|value| value.to_str().ok()), given.next()) {
        (Some(text), None) if is_valid(text) => text.to_owned(),
        _ => fresh(),
    }
}

/// Version 00: `00-{trace id}-{parent id}-{flags}`, all lower-case hex, no id all zeros. What a
/// later version appends is not understood here and is not carried on.
fn is_valid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [version, trace_id, parent_id, flags] = parts.as_slice() else {
        return false;
    };
    let hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let id = |text: &str, length| hex(text, length) && text.bytes().any(|b| b != b'0');
    *version == "00" && id(trace_id, 32) && id(parent_id, 16) && hex(flags, 2)
}

/// Not sampled: nobody here records spans, and whoever does may decide for himself.
fn fresh() -> String {
    let (trace_id, parent_id) =
        (Uuid::now_v7().simple().to_string(), Uuid::now_v7().as_u64_pair().1);
    format!("00-{trace_id}-{parent_id:016x}-00")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn carried(values: &[&str]) -> String {
        let name = HeaderName::from_static(TRACEPARENT);
        of(&values.iter().map(|value| (name.clone(), value.parse().unwrap())).collect())
    }

    #[test]
    fn a_valid_one_is_carried_through() {
        assert_eq!(carried(&[GIVEN]), GIVEN);
    }

    #[test]
    fn anything_else_begins_a_trace() {
        let zeros = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        let upper = GIVEN.to_uppercase();
        let longer = format!("{GIVEN}-00");
        for bad in ["", "x", zeros, &upper, &longer, &GIVEN.replacen("00", "ff", 1)] {
            let made = carried(&[bad]);
            assert!(is_valid(&made), "{made}");
            assert_ne!(made, bad);
        }
        assert_ne!(carried(&[GIVEN, GIVEN]), GIVEN, "two are none");
        assert_ne!(carried(&[]), carried(&[]));
    }
}
