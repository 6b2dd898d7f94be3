//! The trace of a request.

use axum::http::HeaderMap;
use service::traceparent::{TRACEPARENT, generate, is_valid};

/// The caller's `traceparent` when it is valid, otherwise a new one.
pub(crate) fn of(headers: &HeaderMap) -> String {
    let mut given = headers.get_all(TRACEPARENT).iter();
    match (given.next().and_then(|value| value.to_str().ok()), given.next()) {
        (Some(text), None) if is_valid(text) => text.to_owned(),
        _ => generate(),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn carried(values: &[&str]) -> String {
        let name = HeaderName::from_static(TRACEPARENT);
        of(&values.iter().map(|value| (name.clone(), value.parse().unwrap())).collect())
    }

    #[test]
    fn valid_traceparent_is_passed_on() {
        assert_eq!(carried(&[GIVEN]), GIVEN);
    }

    #[test]
    fn anything_else_begins_a_trace() {
        let upper = GIVEN.to_uppercase();
        for bad in ["", "x", &upper] {
            let made = carried(&[bad]);
            assert!(is_valid(&made), "{made}");
            assert_ne!(made, bad);
        }
        assert_ne!(carried(&[GIVEN, GIVEN]), GIVEN, "two are none");
        assert_ne!(carried(&[]), carried(&[]));
    }
}
