//! The hands: they take commands and notifications from RabbitMQ, call WeChat, and write every
//! move of an order to Postgres, from where the relay tells the shops.

mod budget;
mod clients;
mod clock;
mod commands;
mod config;
pub mod failpoint;
mod gateway;
mod gauges;
mod hands;
pub mod log;
mod merchants;
mod migrations;
mod notifications;
mod ops;
mod pay;
mod reconcile;
mod relay;
pub mod replay;
mod run;
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
pub use gateway::Restraint;
pub use merchants::{BadMerchants, Merchant, MerchantEntry, Merchants};
pub use migrations::{MigrationStatus, is_current, migrate, migration_status};
pub use reconcile::Patience;
pub use run::run;
pub use store::OutboxNotifier;
