//! The flows: what users do, and what can happen to them, through every room.
#![allow(clippy::unwrap_used, reason = "in a test a failure is a panic")]

mod amqp;
mod bad_orders;
mod broker_down;
mod forged;
mod notifications;
mod pays;
mod repeats;
mod tidy;
mod unknown;
mod workers;
