//! The settings, read once and checked before anything starts.

use std::net::SocketAddr;
use std::num::NonZeroU32;

use broker::{AmqpUrl, BrokerConfig, Namespace};
use service::log::LogFilter;
use service::{SettingError, Settings};

use crate::middleware::rate_limit::REQUESTS_PER_SECOND_DEFAULT;
use crate::{Clients, InvalidTls, Limits, Merchants, Networks, Tls};

#[derive(Clone, Debug)]
pub struct Config {
    pub broker: BrokerConfig,
    /// Where WeChat posts its notifications.
    pub public_addr: SocketAddr,
    /// For shops, probes and metrics.
    pub private_addr: SocketAddr,
    /// Proxies whose headers about the source of a request are believed.
    pub trusted_proxies: Networks,
    /// Sources that may use the public listener; every one when `None`.
    pub public_allow: Option<Networks>,
    /// Requests per second of one source on the public listener.
    pub public_rate: NonZeroU32,
    pub public_tls: Option<Tls>,
    pub private_tls: Option<Tls>,
    pub merchants: Merchants,
    /// Clients of the private listener. Without any, it must be bound to loopback.
    pub clients: Option<Clients>,
    pub log: LogFilter,
    /// No setting changes these.
    pub limits: Limits,
}

impl Config {
    /// Every default but the broker's, on ports that the system chooses.
    #[must_use]
    pub fn new(amqp_url: AmqpUrl, namespace: Namespace) -> Self {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let connection_name = "wxpay-ingress".to_owned();
        Self {
            broker: BrokerConfig { amqp_url, namespace, connection_name },
            public_addr: loopback,
            private_addr: loopback,
            trusted_proxies: Networks::default(),
            public_allow: None,
            public_rate: REQUESTS_PER_SECOND_DEFAULT,
            public_tls: None,
            private_tls: None,
            merchants: Merchants::default(),
            clients: None,
            log: LogFilter::default(),
            limits: Limits::default(),
        }
    }

    /// Stops at the first setting that breaks its rule.
    pub fn read(settings: &Settings<'_>) -> Result<Self, SettingError> {
        let default = "amqp://guest:guest@127.0.0.1:5672/%2f";
        let amqp_url = settings.or_default("WXPAY_AMQP_URL", default, AmqpUrl::parse)?;
        let namespace = settings.or_default("WXPAY_NAMESPACE", "wxpay", Namespace::parse)?;
        let trusted_proxies = settings.optional("WXPAY_TRUSTED_PROXIES", proxies)?;
        let public_rate = settings.optional("WXPAY_PUBLIC_RATE", per_second)?;
        let clients_file = settings.optional_path("WXPAY_CLIENTS_FILE")?;
        let clients = clients_file.map(|path| Clients::read(&path)).transpose();
        let config = Self {
            public_addr: settings.address("WXPAY_PUBLIC_ADDR", "127.0.0.1:8080")?,
            private_addr: settings.address("WXPAY_PRIVATE_ADDR", "127.0.0.1:8081")?,
            trusted_proxies: trusted_proxies.unwrap_or_default(),
            public_allow: settings.optional("WXPAY_PUBLIC_ALLOW", Networks::parse)?,
            public_rate: public_rate.unwrap_or(REQUESTS_PER_SECOND_DEFAULT),
            public_tls: tls(settings, "WXPAY_PUBLIC_TLS_CERT", "WXPAY_PUBLIC_TLS_KEY")?,
            private_tls: tls(settings, "WXPAY_PRIVATE_TLS_CERT", "WXPAY_PRIVATE_TLS_KEY")?,
            merchants: settings.optional("WXPAY_MCH_IDS", merchants)?.unwrap_or_default(),
            clients: clients.map_err(|error| SettingError::new("WXPAY_CLIENTS_FILE", error))?,
            log: settings.or_default("WXPAY_LOG", "info", LogFilter::parse)?,
            ..Self::new(amqp_url, namespace)
        };
        if config.clients.is_none() && !config.private_addr.ip().to_canonical().is_loopback() {
            let rule = "is open to other machines and needs WXPAY_CLIENTS_FILE";
            return Err(SettingError::new("WXPAY_PRIVATE_ADDR", rule));
        }
        Ok(config)
    }
}

fn merchants(text: &str) -> Result<Merchants, String> {
    let rule = "must be merchant numbers with commas between them, each";
    Merchants::parse(text).map_err(|error| format!("{rule} {}", error.rule))
}

/// Trusting every address would let any sender forge its source.
fn proxies(text: &str) -> Result<Networks, String> {
    let networks = Networks::parse(text)?;
    if networks.cover_every_address() {
        return Err("must not cover every address".to_owned());
    }
    Ok(networks)
}

/// The upper bound catches typos; no machine serves more.
fn per_second(text: &str) -> Result<NonZeroU32, String> {
    let rate = text.parse().ok().filter(|rate: &NonZeroU32| rate.get() <= 1_000_000);
    rate.ok_or_else(|| "must be requests per second, from 1 to 1000000".to_owned())
}

/// A certificate and its key: both are given, or neither.
fn tls(
    settings: &Settings<'_>,
    cert_variable: &'static str,
    key_variable: &'static str,
) -> Result<Option<Tls>, SettingError> {
    let cert = settings.optional_path(cert_variable)?;
    let key = settings.optional_path(key_variable)?;
    let missing =
        |variable, other| Err(SettingError::new(variable, format!("must be set beside {other}")));
    match (cert, key) {
        (None, None) => Ok(None),
        (None, Some(_)) => missing(cert_variable, key_variable),
        (Some(_), None) => missing(key_variable, cert_variable),
        (Some(cert), Some(key)) => Tls::read(&cert, &key).map(Some).map_err(|error| match error {
            InvalidTls::Certificate(rule) => SettingError::new(cert_variable, rule),
            InvalidTls::Key(rule) => SettingError::new(key_variable, rule),
        }),
    }
}
