//! The ingress over real sockets: first without any broker, then with the one that
//! `WXPAY_AMQP_URL` names.

mod certificates;
mod http;
mod program;
mod samples;
mod test_server;

mod binary;
mod bounds;
mod clients;
mod config;
mod error_metrics;
mod logs;
mod openapi;
mod pipelining;
mod private;
mod public;
mod smuggling;
mod source_limits;
mod stopping;
mod tls;

mod fake_worker;
mod test_broker;

mod commands;
mod dropped_clients;
mod notifications;
mod readiness;
mod worker_replies;
