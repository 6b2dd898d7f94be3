//! The ingress over real sockets: first without any broker, then with the one that
//! `WXPAY_AMQP_URL` names.

mod certificates;
mod http;
mod program;
mod service;
mod texts;

mod binary;
mod bounds;
mod clients;
mod config;
mod gate;
mod logs;
mod measured;
mod openapi;
mod pipelining;
mod private;
mod public;
mod smuggling;
mod stopping;
mod tls;

mod fake_worker;
mod world;

mod dropped_clients;
mod notifications;
mod orders_asked;
mod orders_sent;
mod readiness;
