//! The worker's settings. All are read and checked at the start; the operator's verbs read only
//! those that they need.

mod database_url;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use broker::{AmqpUrl, Namespace, TopologyMode};
use service::log::LogFilter;
use service::{SettingError, Settings};
use wechatpay_v2::client::Client;

use crate::clients::Clients;
use crate::failpoint;
use crate::gateway::GatewayLimits;
use crate::merchants::Merchants;
use crate::schedule::CheckSchedule;

pub use database_url::DatabaseUrl;

#[derive(Clone, Debug)]
pub struct Config {
    pub amqp_url: AmqpUrl,
    /// The prefix of all names on the broker.
    pub namespace: Namespace,
    /// Whether the topology is declared or only checked.
    pub topology: TopologyMode,
    pub database_url: DatabaseUrl,
    pub merchants: Merchants,
    pub gateway_url: String,
    /// Used when the first host cannot be connected to.
    pub gateway_backup_url: Option<String>,
    /// The senders that may give commands. `None`: everyone on the broker.
    pub clients: Option<Clients>,
    /// Where probes and Prometheus connect.
    pub ops_addr: SocketAddr,
    pub log: LogFilter,
    /// No setting changes it.
    pub schedule: CheckSchedule,
    pub gateway_limits: GatewayLimits,
}

impl Config {
    /// # Errors
    /// The first setting that cannot be used.
    pub fn read(settings: &Settings<'_>) -> Result<Self, SettingError> {
        let (amqp_url, namespace) = broker(settings)?;
        let (gateway_url, gateway_backup_url) = gateway(settings)?;
        Ok(Self {
            amqp_url,
            namespace,
            topology: topology(settings)?,
            database_url: database_url(settings)?,
            merchants: merchants(settings)?,
            gateway_url,
            gateway_backup_url,
            clients: clients(settings)?,
            ops_addr: ops_addr(settings)?,
            log: log_filter(settings)?,
            schedule: failpoint::shortened_schedule().unwrap_or_default(),
            gateway_limits: GatewayLimits {
                concurrent_calls: concurrent_calls(settings)?,
                ..GatewayLimits::default()
            },
        })
    }
}

pub(crate) fn broker(settings: &Settings<'_>) -> Result<(AmqpUrl, Namespace), SettingError> {
    let default = "amqp://guest:guest@127.0.0.1:5672/%2f";
    let amqp_url = settings.or_default("WXPAY_AMQP_URL", default, AmqpUrl::parse)?;
    let namespace = settings.or_default("WXPAY_NAMESPACE", "wxpay", Namespace::parse)?;
    Ok((amqp_url, namespace))
}

pub(crate) fn topology(settings: &Settings<'_>) -> Result<TopologyMode, SettingError> {
    settings.or_default("WXPAY_TOPOLOGY", "declare", TopologyMode::from_str)
}

pub(crate) fn database_url(settings: &Settings<'_>) -> Result<DatabaseUrl, SettingError> {
    let default = "postgres://postgres@127.0.0.1:5432/wxpay";
    settings.or_default("WXPAY_DATABASE_URL", default, DatabaseUrl::parse)
}

/// The merchants in `WXPAY_MERCHANTS_FILE`.
pub(crate) fn merchants(settings: &Settings<'_>) -> Result<Merchants, SettingError> {
    let merchants = Merchants::load(&merchants_file(settings)?);
    merchants.map_err(|error| SettingError::new("WXPAY_MERCHANTS_FILE", error))
}

pub(crate) fn merchants_file(settings: &Settings<'_>) -> Result<PathBuf, SettingError> {
    settings.or_default("WXPAY_MERCHANTS_FILE", "merchants.toml", |text| {
        Ok::<_, Infallible>(PathBuf::from(text))
    })
}

/// The file of `WXPAY_CLIENTS_FILE`, and the AMQP user of the ingress.
#[derive(Debug)]
pub(crate) struct ClientsFile {
    pub(crate) path: PathBuf,
    pub(crate) ingress_user: Option<String>,
}

/// `WXPAY_CLIENTS_FILE`, if it is set, and `WXPAY_INGRESS_USER` beside it.
pub(crate) fn clients_file(settings: &Settings<'_>) -> Result<Option<ClientsFile>, SettingError> {
    let ingress_user =
        settings.optional("WXPAY_INGRESS_USER", |text| Ok::<_, Infallible>(text.to_owned()))?;
    match settings.optional_path("WXPAY_CLIENTS_FILE")? {
        Some(path) => Ok(Some(ClientsFile { path, ingress_user })),
        None if ingress_user.is_none() => Ok(None),
        // A worker that looks protected and is not is worse than none.
        None => Err(SettingError::new("WXPAY_INGRESS_USER", "needs WXPAY_CLIENTS_FILE beside it")),
    }
}

fn clients(settings: &Settings<'_>) -> Result<Option<Clients>, SettingError> {
    let Some(file) = clients_file(settings)? else { return Ok(None) };
    let clients = Clients::read(&file.path, file.ingress_user);
    clients.map(Some).map_err(|error| SettingError::new("WXPAY_CLIENTS_FILE", error))
}

pub(crate) fn ops_addr(settings: &Settings<'_>) -> Result<SocketAddr, SettingError> {
    settings.address("WXPAY_OPS_ADDR", "127.0.0.1:8082")
}

/// `WXPAY_LOG`, which may be empty.
fn log_filter(settings: &Settings<'_>) -> Result<LogFilter, SettingError> {
    let text = settings.text("WXPAY_LOG", "info")?;
    LogFilter::parse(&text).map_err(|error| SettingError::new("WXPAY_LOG", error))
}

/// `WXPAY_GATEWAY_URL` and `WXPAY_GATEWAY_BACKUP_URL`. The default backup belongs to the default
/// primary: a worker that calls another primary, such as the simulator, must not call WeChat when
/// that is down.
pub(crate) fn gateway(settings: &Settings<'_>) -> Result<(String, Option<String>), SettingError> {
    let parse = |text: &str| Client::new(text, None).map(|_| text.to_owned());
    let default = "https://api.mch.weixin.qq.com";
    let primary_url = settings.or_default("WXPAY_GATEWAY_URL", default, parse)?;
    let mut backup_url = settings.optional("WXPAY_GATEWAY_BACKUP_URL", parse)?;
    if backup_url.is_none() && !settings.is_set("WXPAY_GATEWAY_URL") {
        backup_url = Some("https://api2.mch.weixin.qq.com".to_owned());
    }
    Ok((primary_url, backup_url))
}

/// `WXPAY_GATEWAY_CONCURRENCY`. Each call in progress holds a connection and a file descriptor.
fn concurrent_calls(settings: &Settings<'_>) -> Result<usize, SettingError> {
    const MAX: usize = 10_000;
    settings.or_default(
        "WXPAY_GATEWAY_CONCURRENCY",
        &GatewayLimits::CONCURRENT_CALLS.to_string(),
        |text| match text.parse() {
            Ok(calls) if (1..=MAX).contains(&calls) => Ok(calls),
            _ => Err(format!("a number of calls from 1 to {MAX}")),
        },
    )
}
