//! What users do, and what can go wrong meanwhile, through the whole system.
#![allow(clippy::unwrap_used, reason = "in a test a failure is a panic")]

mod amqp;
mod bad_orders;
mod broker_down;
mod broker_lost;
mod clients;
mod closing;
mod crash;
mod doctor;
mod documents;
mod exceptions;
mod failpoints;
mod forged;
mod gateway_limits;
mod logs;
mod merchant_keys;
mod metrics;
mod notifications;
mod operator;
mod payments;
mod privileges;
mod query_lag;
mod reconcile;
mod relay;
mod repeated_orders;
mod table;
mod tls;
mod unknown_outcomes;
mod workers;
