//! Reads problems (RFC 9457) in answers and replies.

use serde_json::Value;

const TYPES: &str = "urn:wxpay-orders:problem:";

/// The kind of a problem: its type without the common prefix.
pub fn kind_of(problem: &Value) -> &str {
    let kind = problem["type"].as_str().and_then(|t| t.strip_prefix(TYPES));
    kind.unwrap_or_else(|| panic!("unknown problem type: {problem}"))
}

/// The wrong fields that a problem names. Each one must have a rule.
pub fn wrong_fields(problem: &Value) -> Vec<&str> {
    let errors = problem["errors"].as_array().map_or(&[][..], Vec::as_slice);
    let named = errors.iter().map(|error| {
        let rule = error["rule"].as_str().unwrap_or_default();
        assert!(!rule.is_empty(), "a field without its rule: {problem}");
        error["field"].as_str().unwrap()
    });
    named.collect()
}

/// Expects a problem as the answer, with its media type and status, and returns it.
pub async fn expect_problem(response: reqwest::Response) -> Value {
    let status = response.status().as_u16();
    let media_type = response.headers().get("content-type").cloned();
    let body = response.text().await.unwrap();
    let media_type = media_type.as_ref().and_then(|it| it.to_str().ok());
    assert_eq!(media_type, Some("application/problem+json"), "{body}");
    let problem: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(problem["status"], status, "{problem}");
    problem
}
