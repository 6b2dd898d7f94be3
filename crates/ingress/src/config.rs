//! The settings, read once and checked before anything starts (design 9).

use std::{
    env,
    net::SocketAddr,
    num::NonZeroU32,
    path::{Path, PathBuf},
};

use broker::{AmqpUrl, BrokerConfig, Namespace};

use crate::{Clients, InvalidTls, Limits, Merchants, Networks, Tls, log::LogFilter, rate};

/// Everything the service has to be told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The broker and our names on it.
    pub broker: BrokerConfig,
    /// Where WeChat's notifications come in.
    pub public_addr: SocketAddr,
    /// Where shops and probes come in.
    pub private_addr: SocketAddr,
    /// The proxies whose word about the source of a request is taken.
    pub trusted_proxies: Networks,
    /// Who may use the public listener; anybody when `None`.
    pub public_allow: Option<Networks>,
    /// Requests per second of one source on the public listener.
    pub public_rate: NonZeroU32,
    /// TLS on the public listener.
    pub public_tls: Option<Tls>,
    /// TLS on the private listener.
    pub private_tls: Option<Tls>,
    /// The merchants served here.
    pub merchants: Merchants,
    /// Who may come in at the private listener. Without any, it must be loopback.
    pub clients: Option<Clients>,
    /// What to log.
    pub log: LogFilter,
    /// The bounds; no setting changes them.
    pub limits: Limits,
}

/// A setting that cannot be used. Never repeats the value, which may hold a password.
#[derive(Debug, thiserror::Error)]
#[error("{variable} {rule}")]
pub struct ConfigError {
    /// The environment variable, or two of them when they contradict each other.
    pub variable: &'static str,
    /// What is wrong with it.
    pub rule: String,
}

impl Config {
    /// The defaults of every setting but the broker's, on ports that the system chooses.
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
            public_rate: rate::PER_SECOND_DEFAULT,
            public_tls: None,
            private_tls: None,
            merchants: Merchants::default(),
            clients: None,
            log: LogFilter::default(),
            limits: Limits::default(),
        }
    }

    /// Reads the environment.
    ///
    /// # Errors
    /// On the first setting that breaks its rule.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_variables(|name| match env::var(name) {
            Ok(value) => Ok(Some(value)),
            Err(env::VarError::NotPresent) => Ok(None),
            Err(env::VarError::NotUnicode(_)) => Err("must be UTF-8".to_owned()),
        })
    }

    /// The same from any other source of variables; `Err` says what is wrong with one.
    ///
    /// # Errors
    /// On the first setting that breaks its rule.
    pub fn from_variables(
        variable: impl Fn(&'static str) -> Result<Option<String>, String>,
    ) -> Result<Self, ConfigError> {
        let settings = Settings(variable);
        let amqp_url = settings.or_default(
            "WXPAY_AMQP_URL",
            "amqp://guest:guest@127.0.0.1:5672/%2f",
            |text| AmqpUrl::parse(text).map_err(|error| error.to_string()),
        )?;
        let namespace = settings.or_default("WXPAY_NAMESPACE", "wxpay", |text| {
            Namespace::parse(text).map_err(|error| error.to_string())
        })?;
        let config = Self {
            public_addr: settings.or_default("WXPAY_PUBLIC_ADDR", "127.0.0.1:8080", address)?,
            private_addr: settings.or_default("WXPAY_PRIVATE_ADDR", "127.0.0.1:8081", address)?,
            trusted_proxies: settings
                .optional("WXPAY_TRUSTED_PROXIES", proxies)?
                .unwrap_or_default(),
            public_allow: settings.optional("WXPAY_PUBLIC_ALLOW", Networks::parse)?,
            public_rate: settings
                .optional("WXPAY_PUBLIC_RATE", per_second)?
                .unwrap_or(rate::PER_SECOND_DEFAULT),
            public_tls: settings.tls("WXPAY_PUBLIC_TLS_CERT", "WXPAY_PUBLIC_TLS_KEY")?,
            private_tls: settings.tls("WXPAY_PRIVATE_TLS_CERT", "WXPAY_PRIVATE_TLS_KEY")?,
            merchants: settings.optional("WXPAY_MCH_IDS", merchants)?.unwrap_or_default(),
            clients: settings.optional("WXPAY_CLIENTS_FILE", |path| {
                Clients::read(Path::new(path)).map_err(|error| error.to_string())
            })?,
            log: settings.or_default("WXPAY_LOG", "info", LogFilter::parse)?,
            ..Self::new(amqp_url, namespace)
        };
        if config.clients.is_none() && !config.private_addr.ip().to_canonical().is_loopback() {
            return Err(ConfigError {
                variable: "WXPAY_PRIVATE_ADDR",
                rule: "is open to other machines and needs WXPAY_CLIENTS_FILE".to_owned(),
            });
        }
        Ok(config)
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "must be an IP address and a port, like 127.0.0.1:8080".to_owned())
}

fn merchants(text: &str) -> Result<Merchants, String> {
    let rule = "must be merchant numbers with commas between them, each";
    Merchants::parse(text).map_err(|error| format!("{rule} {}", error.rule))
}

/// Whoever believes everybody believes a forger.
fn proxies(text: &str) -> Result<Networks, String> {
    let networks = Networks::parse(text)?;
    if networks.are_everybody() { Err("must not be everybody".to_owned()) } else { Ok(networks) }
}

/// The upper bound is as good as none.
fn per_second(text: &str) -> Result<NonZeroU32, String> {
    let rate = text.parse().ok().filter(|rate: &NonZeroU32| rate.get() <= 1_000_000);
    rate.ok_or_else(|| "must be requests per second, from 1 to 1000000".to_owned())
}

struct Settings<V>(V);

impl<V: Fn(&'static str) -> Result<Option<String>, String>> Settings<V> {
    fn optional<T>(
        &self,
        variable: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let complain = |rule| ConfigError { variable, rule };
        match self.0(variable).map_err(complain)? {
            None => Ok(None),
            // More likely a template that went wrong than a wish for the default.
            Some(text) if text.trim().is_empty() => {
                Err(complain("must not be empty; leave it out for its default".to_owned()))
            }
            Some(text) => parse(&text).map(Some).map_err(complain),
        }
    }

    /// A certificate and its key, given both or not at all.
    fn tls(
        &self,
        cert_variable: &'static str,
        key_variable: &'static str,
    ) -> Result<Option<Tls>, ConfigError> {
        let path = |text: &str| Ok(PathBuf::from(text));
        let cert = self.optional(cert_variable, path)?;
        let key = self.optional(key_variable, path)?;
        let (cert, key) = match (cert, key) {
            (None, None) => return Ok(None),
            (Some(cert), Some(key)) => (cert, key),
            (cert, _) => {
                let (variable, other) = match cert {
                    None => (cert_variable, key_variable),
                    Some(_) => (key_variable, cert_variable),
                };
                return Err(ConfigError { variable, rule: format!("must stand beside {other}") });
            }
        };
        Tls::read(&cert, &key).map(Some).map_err(|error| {
            let (variable, complaint) = match error {
                InvalidTls::Certificate(complaint) => (cert_variable, complaint),
                InvalidTls::Key(complaint) => (key_variable, complaint),
            };
            ConfigError { variable, rule: complaint.to_string() }
        })
    }

    fn or_default<T>(
        &self,
        variable: &'static str,
        default: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, ConfigError> {
        match self.optional(variable, &parse)? {
            Some(value) => Ok(value),
            None => parse(default).map_err(|rule| ConfigError { variable, rule }),
        }
    }
}
