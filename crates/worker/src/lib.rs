//! The worker takes commands and notifications from RabbitMQ, calls WeChat, and writes every
//! move of an order to Postgres, from where the relay publishes its events.

mod budget;
pub mod cli;
mod clients;
mod clock;
mod commands;
mod config;
mod consumers;
pub mod failpoint;
mod gateway;
mod gauges;
mod heartbeat;
mod merchants;
mod migrations;
mod notifications;
mod notified_payments;
mod operator;
mod ops;
mod order_service;
mod pay;
mod reconcile;
mod relay;
mod replay;
mod retention;
mod run;
mod schedule;
mod store;
#[doc(hidden)]
pub mod testing;
mod traceparent;
mod unrouted;

pub use clients::Clients;
pub use config::{Config, DatabaseUrl};
pub use gateway::GatewayLimits;
pub use merchants::{InvalidMerchants, Merchant, Merchants};
pub use migrations::migrate;
pub use run::run;
pub use schedule::{CheckSchedule, PayableChecks};
