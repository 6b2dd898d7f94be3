//! The binary's settings.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::{Config, SettingError};
use crate::merchants;

#[derive(Debug)]
pub struct Settings {
    /// `WXPAY_SIM_ADDR`.
    pub addr: SocketAddr,
    /// `WXPAY_SIM_BACKUP_ADDR`: a second host with the same data.
    pub backup_addr: Option<SocketAddr>,
    /// `WXPAY_LOG`.
    pub log: String,
    /// `WXPAY_SIM_TIME_SCALE` and the merchants of `WXPAY_MERCHANTS_FILE`.
    pub config: Config,
}

impl Settings {
    /// Reads the settings; `variable` looks one up in the environment.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, SettingError> {
        let or = |name: &str, default: &str| variable(name).unwrap_or_else(|| default.to_owned());
        let backup_addr = variable("WXPAY_SIM_BACKUP_ADDR")
            .map(|text| address("WXPAY_SIM_BACKUP_ADDR", &text))
            .transpose()?;
        let file = PathBuf::from(or("WXPAY_MERCHANTS_FILE", "merchants.toml"));
        let mut config = Config::new(merchants::load(&file, &variable)?);
        config.time_scale = time_scale(&or("WXPAY_SIM_TIME_SCALE", "1"))?;
        Ok(Self {
            addr: address("WXPAY_SIM_ADDR", &or("WXPAY_SIM_ADDR", "127.0.0.1:8090"))?,
            backup_addr,
            log: or("WXPAY_LOG", "info"),
            config,
        })
    }
}

fn address(variable: &'static str, text: &str) -> Result<SocketAddr, SettingError> {
    text.parse().map_err(|_| SettingError::new(variable, "must be an address like 127.0.0.1:8090"))
}

fn time_scale(text: &str) -> Result<f64, SettingError> {
    text.parse().ok().filter(|scale| Config::is_time_scale(*scale)).ok_or_else(|| {
        let reason = "must be a number from 0.001 to 1000000000, such as 1000";
        SettingError::new("WXPAY_SIM_TIME_SCALE", reason)
    })
}
