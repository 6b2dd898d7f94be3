//! The worker takes commands and notifications from RabbitMQ, calls WeChat, and writes every
//! move of an order to Postgres, from where the relay publishes its events.

mod budget;
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
mod ops;
mod order_service;
mod pay;
mod reconcile;
mod relay;
pub mod replay;
mod run;
mod schedule;
pub mod store;
mod telemetry;
mod trace;

/// The single settings, for the verbs that need only one of them.
pub mod settings {
    pub use crate::config::{
        broker_settings, clients_file, database_url, gateway_settings, log_filter, merchants,
        merchants_file, ops_addr, topology,
    };
}

pub use clients::{BadClients, ClientEntry, Clients};
pub use config::{BadSetting, Config, DatabaseUrl};
pub use gateway::GatewayLimits;
pub use merchants::{BadMerchants, Merchant, MerchantEntry, Merchants};
pub use migrations::{MigrationStatus, is_current, migrate, migration_status};
pub use run::run;
pub use schedule::CheckSchedule;
pub use store::OutboxNotifier;
