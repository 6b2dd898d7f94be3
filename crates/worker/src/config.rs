//! The worker's settings (design 9), read once and checked at start.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use broker::{AmqpUrl, Namespace, TopologyMode};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use wechatpay_v2::client::Client;

use crate::{CheckSchedule, Clients, GatewayLimits, Merchants, failpoint};

/// Everything that `run` needs to know.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the broker is.
    pub amqp_url: AmqpUrl,
    /// The prefix of everything on it.
    pub namespace: Namespace,
    /// Whether to declare the topology or only check it.
    pub topology: TopologyMode,
    /// Where Postgres is.
    pub database_url: DatabaseUrl,
    /// Whose keys we hold.
    pub merchants: Merchants,
    /// WeChat's base URL.
    pub gateway_url: String,
    /// Its backup, used when the first cannot be connected to.
    pub gateway_backup_url: Option<String>,
    /// Whom a command must come from; anybody on the broker when there is no such file.
    pub clients: Option<Clients>,
    /// The waits of the reconciler; no setting changes them.
    pub schedule: CheckSchedule,
    /// The bounds of our calls; no setting changes them.
    pub gateway_limits: GatewayLimits,
}

/// A setting that cannot be used: the variable, and what is wrong. Never holds its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{variable}: {problem}")]
pub struct BadSetting {
    /// The environment variable.
    pub variable: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl BadSetting {
    fn new(variable: &'static str, problem: impl fmt::Display) -> Self {
        Self { variable, problem: problem.to_string() }
    }
}

/// What sqlx understands behind the `?`, and `options[…]`.
const PARAMETERS: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];
/// The ways to name the file of those who may vouch for the server.
const AUTHORITIES: [&str; 3] = ["sslrootcert", "ssl-root-cert", "ssl-ca"];

/// A database URL, which may hold a password and so is never printed.
#[derive(Clone)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// # Errors
    /// When it is no Postgres URL, or has parameters that do nothing.
    pub fn parse(text: &str) -> Result<Self, BadSetting> {
        let wrong = |problem| BadSetting::new("WXPAY_DATABASE_URL", problem);
        if !text.starts_with("postgres://") && !text.starts_with("postgresql://") {
            return Err(wrong("must be a postgres:// URL"));
        }
        // Before the parser sees them: it logs an unknown one with its value, and goes on.
        let query = text.split_once('?').map_or("", |(_, query)| query);
        let mut names = query.split('&').filter_map(|pair| pair.split('=').next());
        let known = |name: &str| PARAMETERS.contains(&name) || name.starts_with("options[");
        if !names.clone().all(|name| name.is_empty() || known(name)) {
            return Err(wrong("has a parameter that is unknown here"));
        }
        let options =
            PgConnectOptions::from_str(text).map_err(|_| wrong("must be a postgres:// URL"))?;
        let verifies =
            matches!(options.get_ssl_mode(), PgSslMode::VerifyCa | PgSslMode::VerifyFull);
        if names.any(|name| AUTHORITIES.contains(&name)) && !verifies {
            return Err(wrong(
                "has an sslrootcert, which nobody reads without sslmode=verify-full",
            ));
        }
        Ok(Self(text.to_owned()))
    }

    /// Where it points, without user and password: `host:port/database`.
    #[must_use]
    pub fn display_address(&self) -> String {
        let Ok(options) = sqlx::postgres::PgConnectOptions::from_str(&self.0) else {
            return String::new();
        };
        let socket = options.get_socket().map(|path| path.display().to_string());
        let host = socket.unwrap_or_else(|| options.get_host().to_owned());
        let database = options.get_database().unwrap_or(options.get_username());
        format!("{host}:{}/{database}", options.get_port())
    }

    /// The text, for the one place that connects with it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseUrl(…)")
    }
}

impl Config {
    /// Reads the environment.
    ///
    /// # Errors
    /// The first setting that cannot be used.
    pub fn from_env() -> Result<Self, BadSetting> {
        let (amqp_url, namespace) = broker_settings()?;
        let (gateway_url, gateway_backup_url) = gateway_settings()?;
        Ok(Self {
            amqp_url,
            namespace,
            topology: topology()?,
            database_url: database_url()?,
            merchants: merchants()?,
            gateway_url,
            gateway_backup_url,
            clients: clients()?,
            schedule: failpoint::schedule(),
            gateway_limits: GatewayLimits::default(),
        })
    }
}

fn clients() -> Result<Option<Clients>, BadSetting> {
    let Some((path, user)) = clients_file()? else { return Ok(None) };
    let clients = Clients::load(&path, user);
    clients.map(Some).map_err(|error| BadSetting::new("WXPAY_CLIENTS_FILE", error))
}

/// `WXPAY_CLIENTS_FILE`, if there is one, and `WXPAY_INGRESS_USER` beside it.
///
/// # Errors
/// When one of them cannot be used, or the second stands alone.
pub(crate) fn clients_file() -> Result<Option<(PathBuf, Option<String>)>, BadSetting> {
    let ingress_user = "WXPAY_INGRESS_USER";
    let user = optional(ingress_user)?;
    match (optional("WXPAY_CLIENTS_FILE")?, user) {
        (Some(path), user) => Ok(Some((path.into(), user))),
        // Better no worker than one that looks guarded and is not.
        (None, Some(_)) => Err(BadSetting::new(ingress_user, "needs WXPAY_CLIENTS_FILE beside it")),
        (None, None) => Ok(None),
    }
}

/// What stands in `WXPAY_MERCHANTS_FILE`.
///
/// # Errors
/// When the file cannot be used.
pub(crate) fn merchants() -> Result<Merchants, BadSetting> {
    Merchants::load(&merchants_file()?)
        .map_err(|error| BadSetting::new("WXPAY_MERCHANTS_FILE", error))
}

/// `WXPAY_MERCHANTS_FILE`.
///
/// # Errors
/// When it is not UTF-8.
pub(crate) fn merchants_file() -> Result<PathBuf, BadSetting> {
    variable("WXPAY_MERCHANTS_FILE", "merchants.toml").map(PathBuf::from)
}

/// `WXPAY_TOPOLOGY`.
///
/// # Errors
/// When it is neither of its two words.
pub(crate) fn topology() -> Result<TopologyMode, BadSetting> {
    parsed("WXPAY_TOPOLOGY", "declare", TopologyMode::from_str)
}

/// `WXPAY_DATABASE_URL`.
///
/// # Errors
/// Those of [`DatabaseUrl::parse`].
pub(crate) fn database_url() -> Result<DatabaseUrl, BadSetting> {
    let default = "postgres://postgres@127.0.0.1:5432/wxpay";
    DatabaseUrl::parse(&variable("WXPAY_DATABASE_URL", default)?)
}

/// `WXPAY_AMQP_URL` and `WXPAY_NAMESPACE`.
///
/// # Errors
/// When one of them cannot be used.
pub(crate) fn broker_settings() -> Result<(AmqpUrl, Namespace), BadSetting> {
    let default = "amqp://guest:guest@127.0.0.1:5672/%2f";
    Ok((
        parsed("WXPAY_AMQP_URL", default, AmqpUrl::parse)?,
        parsed("WXPAY_NAMESPACE", "wxpay", Namespace::parse)?,
    ))
}

/// `WXPAY_OPS_ADDR`.
///
/// # Errors
/// When it is no socket address.
pub(crate) fn ops_addr() -> Result<SocketAddr, BadSetting> {
    parsed("WXPAY_OPS_ADDR", "127.0.0.1:8082", SocketAddr::from_str)
}

/// `WXPAY_LOG`.
///
/// # Errors
/// When it is not UTF-8.
pub(crate) fn log_filter() -> Result<String, BadSetting> {
    variable("WXPAY_LOG", "info")
}

/// `WXPAY_GATEWAY_URL` and `WXPAY_GATEWAY_BACKUP_URL`: WeChat's hosts. The default backup belongs to the default primary: whoever points the worker
/// elsewhere (at the simulator, say) must not reach WeChat when that is down.
///
/// # Errors
/// When one of them is no plain base URL.
pub(crate) fn gateway_settings() -> Result<(String, Option<String>), BadSetting> {
    let (primary, backup) = ("WXPAY_GATEWAY_URL", "WXPAY_GATEWAY_BACKUP_URL");
    let is_given = |name| std::env::var_os(name).is_some();
    let url = |name, default| {
        parsed(name, default, |text| Client::new(text, None).map(|_| text.to_owned()))
    };
    let primary_url = url(primary, "https://api.mch.weixin.qq.com")?;
    let backup_url = (is_given(backup) || !is_given(primary))
        .then(|| url(backup, "https://api2.mch.weixin.qq.com"))
        .transpose()?;
    Ok((primary_url, backup_url))
}

/// A variable that has no default. An empty one is more likely a template that went wrong.
fn optional(name: &'static str) -> Result<Option<String>, BadSetting> {
    match std::env::var_os(name) {
        None => Ok(None),
        Some(text) if text.is_empty() => Err(BadSetting::new(name, "must not be empty")),
        Some(_) => variable(name, "").map(Some),
    }
}

fn variable(name: &'static str, default: &str) -> Result<String, BadSetting> {
    match std::env::var(name) {
        Ok(text) => Ok(text),
        Err(std::env::VarError::NotPresent) => Ok(default.to_owned()),
        Err(std::env::VarError::NotUnicode(_)) => Err(BadSetting::new(name, "must be UTF-8")),
    }
}

fn parsed<T, E: fmt::Display>(
    name: &'static str,
    default: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, BadSetting> {
    parse(&variable(name, default)?).map_err(|error| BadSetting::new(name, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_named_without_its_user() {
        let place = |url: &str| DatabaseUrl::parse(url).unwrap().display_address();
        assert_eq!(place("postgres://shop:s3cret@db.example:5433/pay"), "db.example:5433/pay");
        assert_eq!(place("postgres://shop@%2Frun%2Fpg/pay"), "/run/pg:5432/pay");
    }
}
