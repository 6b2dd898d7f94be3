//! Problems as HTTP answers, and the few that only HTTP has.

use axum::{
    http::{
        HeaderValue, StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use broker::PublishError;
use orders::{FieldProblem, Problem};

use crate::body::{BODY_BYTES_MAX, BodyError};

/// A [`Problem`] as the answer to a request.
#[derive(Debug)]
pub(crate) struct Declined(Box<Problem>);

impl From<Problem> for Declined {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

impl From<BodyError> for Declined {
    fn from(error: BodyError) -> Self {
        Self::from(match error {
            BodyError::TooLarge => Problem::too_large(BODY_BYTES_MAX),
            BodyError::TooSlow => Problem::new("too-slow", "the body took too long", 408),
            BodyError::Encoded => Problem::malformed("a compressed body is not read"),
            BodyError::Broken => Problem::malformed("the body did not arrive whole"),
        })
    }
}

/// Of a command.
impl From<PublishError> for Declined {
    fn from(error: PublishError) -> Self {
        Self::from(match error {
            PublishError::NotSent(reason) => Problem::not_accepted(reason.to_string()),
            PublishError::Refused => Problem::not_accepted("the broker refused it"),
            PublishError::Unknown => Problem::unknown(),
        })
    }
}

impl Declined {
    /// A header that breaks its rule.
    pub(crate) fn header(error: FieldProblem) -> Self {
        let problem = Problem::new("invalid-header", "a header breaks its rule", 400);
        Self::from(Problem { errors: vec![error], ..problem })
    }

    /// There is nothing under this path.
    pub(crate) fn no_route() -> Self {
        Self::from(Problem::new("no-route", "nothing is served under this path", 404))
    }

    /// The path is right and the method is not.
    pub(crate) fn wrong_method() -> Self {
        Self::from(Problem::new("wrong-method", "this path does not take this method", 405))
    }
}

impl IntoResponse for Declined {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status);
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(self.0)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
            }
            _ => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use broker::NotSentReason;

    use super::*;

    #[test]
    fn only_what_may_have_been_written_is_unknown() {
        let of = |error| Declined::from(error).0.status;
        assert_eq!(of(PublishError::Unknown), 504);
        assert_eq!(of(PublishError::Refused), 503);
        for reason in [
            NotSentReason::NoBroker,
            NotSentReason::Blocked,
            NotSentReason::Full,
            NotSentReason::TooLate,
        ] {
            assert_eq!(of(PublishError::NotSent(reason)), 503);
        }
    }
}
