//! The flows: what users do, and what can happen to them, through every room.
#![allow(clippy::unwrap_used, reason = "in a test a failure is a panic")]

mod amqp;
mod bad_orders;
mod broker_down;
mod broker_lost;
mod clients;
mod closing;
mod crash;
mod crash_points;
mod doctor;
mod exceptions;
mod forged;
mod guards;
mod keys;
mod lag;
mod logs;
mod metrics;
mod notifications;
mod operator;
mod pays;
mod privileges;
mod reconcile;
mod repeats;
mod table;
mod tls;
mod unknown;
mod workers;
