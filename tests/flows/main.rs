//! The flows: what users do, and what can happen to them, through every room.
#![allow(clippy::unwrap_used, reason = "in a test a failure is a panic")]

mod amqp;
mod bad_orders;
mod broker_down;
mod clients;
mod closing;
mod crash;
mod doctor;
mod exceptions;
mod forged;
mod keys;
mod metrics;
mod notifications;
mod operator;
mod pays;
mod reconcile;
mod repeats;
mod table;
mod tidy;
mod unknown;
mod workers;
