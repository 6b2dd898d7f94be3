//! The crate against a real RabbitMQ, at `WXPAY_AMQP_URL`. Each test works in a namespace of its
//! own, which is removed afterwards.
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed

mod support;

mod event_subscription;
mod publish;
mod replies;
mod spans;
mod topology;

mod batches;
mod outcomes;
mod parked;

mod blocked;
mod copies;
mod loss;
mod start;
