//! `GET /openapi.json`: the description of the private API.

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

/// The description of the private API, as OpenAPI 3.
pub const OPENAPI: &str = include_str!("../openapi.json");

pub(super) async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], OPENAPI)
}
