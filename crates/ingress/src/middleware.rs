//! What happens to each request before its route.

pub(crate) mod authentication;
pub(crate) mod concurrency_limit;
pub(crate) mod ip_filter;
pub(crate) mod rate_limit;
pub(crate) mod request_metrics;
