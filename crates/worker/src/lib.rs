//! The worker takes commands and notifications from RabbitMQ, calls WeChat, and writes every
//! move of an order to Postgres, from where the relay publishes its events.

mod budget;
pub mod cli;
mod clients;
mod clock;
mod commands;
mod config;
pub mod failpoint;
mod gateway;
mod gauges;
pub mod log;
mod merchants;
mod migrations;
mod notifications;
mod operator;
mod ops;
mod order_service;
mod pay;
mod reconcile;
mod relay;
mod replay;
mod run;
mod schedule;
mod store;
mod telemetry;
#[doc(hidden)]
pub mod testing;
mod trace;

pub use clients::{BadClients, ClientEntry, Clients};
pub use config::{BadSetting, Config, DatabaseUrl};
pub use gateway::GatewayLimits;
pub use merchants::{BadMerchants, Merchant, MerchantEntry, Merchants};
pub use migrations::migrate;
pub use run::run;
pub use schedule::CheckSchedule;
