//! The page on which you play the customer.

use axum::http::header;
use axum::response::{Html, IntoResponse};
use wechatpay_v2::Nonce;

// An order's texts are untrusted. The page inserts them as text nodes, never as mark-up, and its
// content security policy allows no script but its own.
const PAGE: &str = include_str!("page.html");

pub(crate) async fn serve() -> impl IntoResponse {
    let nonce = Nonce::generate();
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let headers = [
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    (headers, Html(PAGE.replace("{nonce}", nonce.as_str())))
}
