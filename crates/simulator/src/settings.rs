//! The settings of the program `wxpay-simulator`.

use std::env;
use std::net::SocketAddr;
use std::path::PathBuf;

use service::SettingError;
use service::log::LogFilter;

use crate::config::Config;
use crate::merchants;

#[derive(Debug)]
pub struct Settings {
    pub addr: SocketAddr,
    /// A second host with the same data.
    pub backup_addr: Option<SocketAddr>,
    pub log: LogFilter,
    pub config: Config,
}

impl Settings {
    /// Reads the settings from the environment.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn from_env() -> Result<Self, SettingError> {
        let settings = service::Settings::from_lookup(|name| Ok(variable(name)));
        let file = settings.optional_path("WXPAY_MERCHANTS_FILE")?;
        let file = file.unwrap_or_else(|| PathBuf::from("merchants.toml"));
        let mut config = Config::new(merchants::load(&file, variable)?);
        config.time_scale = settings.or_default("WXPAY_SIM_TIME_SCALE", "1", parse_time_scale)?;
        Ok(Self {
            addr: settings.address("WXPAY_SIM_ADDR", "127.0.0.1:8090")?,
            backup_addr: settings.optional_address("WXPAY_SIM_BACKUP_ADDR")?,
            log: settings.or_default("WXPAY_LOG", "info", LogFilter::parse)?,
            config,
        })
    }
}

/// An empty variable counts as not set. Bytes that are no UTF-8 are replaced; no rule accepts them.
fn variable(name: &str) -> Option<String> {
    let text = env::var_os(name)?.to_string_lossy().into_owned();
    if text.is_empty() { None } else { Some(text) }
}

fn parse_time_scale(text: &str) -> Result<f64, &'static str> {
    let scale = text.parse().ok().filter(|scale| Config::is_time_scale(*scale));
    scale.ok_or("must be a number from 0.001 to 1000000000, such as 1000")
}
