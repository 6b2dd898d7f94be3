//! Errors of the private API, as problems of RFC 9457.

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use broker::PublishError;
use orders::{FieldProblem, Problem};

use crate::http::body::BodyError;
use crate::limits::BODY_BYTES_MAX;

/// A [`Problem`] as the answer to a request.
#[derive(Debug)]
pub(crate) struct ApiError(Box<Problem>);

impl ApiError {
    pub(crate) fn invalid_header(error: FieldProblem) -> Self {
        let problem = Problem::new("invalid-header", "a header breaks its rule", 400);
        Self::from(Problem { errors: vec![error], ..problem })
    }

    pub(crate) fn no_route() -> Self {
        Self::from(Problem::new("no-route", "nothing is served under this path", 404))
    }

    pub(crate) fn wrong_method() -> Self {
        Self::from(Problem::new("wrong-method", "this path does not take this method", 405))
    }
}

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

impl From<BodyError> for ApiError {
    fn from(error: BodyError) -> Self {
        Self::from(match error {
            BodyError::TooLarge => Problem::too_large(BODY_BYTES_MAX),
            BodyError::TooSlow => Problem::new("too-slow", "the body took too long to arrive", 408),
            BodyError::Encoded => Problem::malformed("send the body without a content-encoding"),
            BodyError::Broken => Problem::malformed("the body is incomplete"),
        })
    }
}

impl From<PublishError> for ApiError {
    fn from(error: PublishError) -> Self {
        Self::from(match error {
            PublishError::NotSent(reason) => Problem::not_accepted(reason.to_string()),
            PublishError::Refused => Problem::not_accepted("the broker refused it"),
            PublishError::Unknown => Problem::unknown(),
        })
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status);
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.0)).into_response();
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
    fn only_what_may_have_been_published_is_unknown() {
        let status = |error| ApiError::from(error).0.status;
        assert_eq!(status(PublishError::Unknown), 504);
        assert_eq!(status(PublishError::Refused), 503);
        for reason in [
            NotSentReason::NoBroker,
            NotSentReason::Blocked,
            NotSentReason::Full,
            NotSentReason::TooLate,
        ] {
            assert_eq!(status(PublishError::NotSent(reason)), 503);
        }
    }
}
