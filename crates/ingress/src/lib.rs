//! HTTP in, RabbitMQ out: a request is answered only after the broker's confirm.
//!
//! Two listeners. The public one takes WeChat's notifications, the private one the shops' orders.
//! Neither knows a merchant key or a database: a request is checked for size and shape, published
//! with a confirm, and answered. The worker decides what it means.
//!
//! The service starts and keeps running without a broker. It is then not ready and answers 503.

mod app;
mod clients;
mod config;
mod limits;
mod merchants;
mod networks;
mod run;

mod api_error;
mod http;
mod middleware;
mod notify_response;
mod outbound;
mod routes;
mod worker_reply;

pub use clients::Clients;
pub use config::Config;
pub use http::tls::{InvalidTls, Tls};
pub use limits::Limits;
pub use merchants::Merchants;
pub use networks::Networks;
pub use routes::OPENAPI;
pub use run::{Listeners, run};
