//! Problems as RFC 9457 writes them, over HTTP and in replies.

use serde_json::Value;

const TYPES: &str = "urn:wxpay-orders:problem:";

/// What kind of problem it is, without what all kinds begin with.
pub fn kind_of(problem: &Value) -> &str {
    let kind = problem["type"].as_str().and_then(|t| t.strip_prefix(TYPES));
    kind.unwrap_or_else(|| panic!("no problem of ours: {problem}"))
}

/// The wrong fields that a problem names, each of them with its rule.
pub fn wrong_fields(problem: &Value) -> Vec<&str> {
    let errors = problem["errors"].as_array().map_or(&[][..], Vec::as_slice);
    let named = errors.iter().map(|error| {
        let rule = error["rule"].as_str().unwrap_or_default();
        assert!(!rule.is_empty(), "a field without its rule: {problem}");
        error["field"].as_str().unwrap()
    });
    named.collect()
}

/// The problem of a request that was declined. Its media type and status say the same.
pub async fn declined(response: reqwest::Response) -> Value {
    let status = response.status().as_u16();
    let media_type = response.headers().get("content-type").cloned();
    let body = response.text().await.unwrap();
    let media_type = media_type.as_ref().and_then(|it| it.to_str().ok());
    assert_eq!(media_type, Some("application/problem+json"), "{body}");
    let problem: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(problem["status"], status, "{problem}");
    problem
}
