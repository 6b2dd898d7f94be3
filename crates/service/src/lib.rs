//! What every program of this workspace needs: settings from the environment, the log, metrics,
//! signals, the clients file, and small helpers that two programs share.

pub mod clients_file;
pub mod hex;
pub mod listener;
pub mod log;
pub mod metrics;
pub mod settings;
pub mod shutdown;
pub mod token_bucket;
pub mod traceparent;

pub use settings::{EXIT_USAGE, SettingError, Settings};
