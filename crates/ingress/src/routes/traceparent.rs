//! The trace of a request.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use broker::Message;
use service::traceparent::{TRACEPARENT, generate, is_valid};
use tracing::Span;

/// The caller's `traceparent` when it is valid, otherwise a new one. Recorded in the request's span.
pub(super) struct Traceparent(String);

impl Traceparent {
    pub(super) fn add_to(self, message: Message) -> Message {
        message.with_header(TRACEPARENT, self.0)
    }

    fn from_headers(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(TRACEPARENT).iter();
        match (values.next().and_then(|value| value.to_str().ok()), values.next()) {
            (Some(text), None) if is_valid(text) => Self(text.to_owned()),
            _ => Self(generate()),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Traceparent {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        let traceparent = Self::from_headers(&parts.headers);
        Span::current().record(TRACEPARENT, traceparent.0.as_str());
        Ok(traceparent)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn traceparent(values: &[&str]) -> String {
        let name = HeaderName::from_static(TRACEPARENT);
        let headers = values.iter().map(|value| (name.clone(), value.parse().unwrap())).collect();
        Traceparent::from_headers(&headers).0
    }

    #[test]
    fn valid_traceparent_is_kept() {
        assert_eq!(traceparent(&[GIVEN]), GIVEN);
    }

    #[test]
    fn anything_else_begins_a_trace() {
        let upper = GIVEN.to_uppercase();
        for bad in ["", "x", &upper] {
            let made = traceparent(&[bad]);
            assert!(is_valid(&made), "{made}");
            assert_ne!(made, bad);
        }
        assert_ne!(traceparent(&[GIVEN, GIVEN]), GIVEN, "two headers count as none");
        assert_ne!(traceparent(&[]), traceparent(&[]));
    }
}
