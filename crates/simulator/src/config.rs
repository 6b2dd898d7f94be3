//! What a simulator is started with, and the binary's settings.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use wechatpay_v2::{ApiKey, AppId, MchId, SignType};

use crate::merchants;

/// A merchant as WeChat knows it.
#[derive(Clone, Debug)]
pub struct Merchant {
    /// Its number.
    pub mch_id: MchId,
    /// The apps bound to it; a call for another one is refused.
    pub appids: Vec<AppId>,
    /// Its APIv2 key.
    pub key: ApiKey,
    /// Signs only forged notifications about orders that the gateway does not know. Each order has
    /// the algorithm of the call that created it.
    pub sign_type: SignType,
    /// Where forged notifications about unknown orders go, plus `/notify/{mch_id}/payment`.
    pub notify_base_url: Option<String>,
}

/// What the gateway is like. [`Config::new`] gives WeChat's own behaviour.
#[derive(Clone, Debug)]
pub struct Config {
    /// The merchants it serves.
    pub merchants: Vec<Merchant>,
    /// How many times faster than WeChat the repeat schedule of notifications runs, from 0.001 to 1e9.
    pub time_scale: f64,
    /// How long an endpoint may take to answer a notification; never scaled.
    pub notify_timeout: Duration,
    /// How old an order must be before closeorder takes it. WeChat documents five minutes and is
    /// reported not to insist (reference 2.4), so the default is zero.
    pub close_age_min: Duration,
    /// Orders kept; beyond, the oldest is forgotten.
    pub orders_max: usize,
}

impl Config {
    /// WeChat's own behaviour for these merchants.
    #[must_use]
    pub fn new(merchants: Vec<Merchant>) -> Self {
        Self {
            merchants,
            time_scale: 1.0,
            notify_timeout: Duration::from_secs(5),
            close_age_min: Duration::ZERO,
            orders_max: 100_000,
        }
    }
}

/// The binary's settings.
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

/// A setting that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{variable}: {reason}")]
pub struct SettingError {
    /// The name of the environment variable.
    pub variable: &'static str,
    /// What is wrong with it. Never holds a key.
    pub reason: String,
}

impl SettingError {
    pub(crate) fn new(variable: &'static str, reason: impl ToString) -> Self {
        Self { variable, reason: reason.to_string() }
    }
}

impl Settings {
    /// Reads the settings; `variable` is the environment.
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
    text.parse().ok().filter(|scale| is_time_scale(*scale)).ok_or_else(|| {
        let reason = "must be a number from 0.001 to 1000000000, such as 1000";
        SettingError::new("WXPAY_SIM_TIME_SCALE", reason)
    })
}

pub(crate) fn is_time_scale(scale: f64) -> bool {
    (0.001..=1e9).contains(&scale)
}
