//! HTTP below the routes: connections, TLS, bodies, and where a request comes from.

pub(crate) mod body;
pub(crate) mod connections;
pub(crate) mod server;
pub(crate) mod source;
pub(crate) mod tls;
mod write_timeout;
