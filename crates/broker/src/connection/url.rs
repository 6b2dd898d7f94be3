//! The broker's URL, which never shows its password.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use lapin::uri::AMQPUri;

use crate::connection::tls;
use crate::error::InvalidSetting;

/// Seconds between heartbeats unless the URL says otherwise. A dead peer is noticed after twice
/// that; with RabbitMQ's own default of 60 s it would take two minutes.
const HEARTBEAT_SECONDS: u16 = 10;
/// Maximum wait for the socket with its TLS, and again for the AMQP handshake, unless the URL says
/// otherwise.
const CONNECTION_TIMEOUT_MS: u64 = 10_000;
/// What `lapin` understands behind the `?`. It ignores everything else silently.
const PARAMETERS: [&str; 5] =
    ["frame_max", "channel_max", "heartbeat", "connection_timeout", "auth_mechanism"];
/// A PEM file with the certificate authorities that are accepted instead of the system's, under the
/// name that RabbitMQ's own clients use.
const CA_FILE: &str = "cacertfile";

/// An `amqp://` or `amqps://` URL. Neither `Debug` nor `Display` shows the password.
#[derive(Clone, PartialEq, Eq)]
pub struct AmqpUrl {
    uri: AMQPUri,
    ca_file: Option<PathBuf>,
}

impl AmqpUrl {
    /// Parses `amqp[s]://user:password@host:port/vhost?heartbeat=…&connection_timeout=…`. Adds a
    /// heartbeat of 10 s and a connection timeout of 10 000 ms unless they are given. The file of
    /// `cacertfile=…` must be there and hold a certificate.
    pub fn parse(text: &str) -> Result<Self, InvalidSetting> {
        if !text.starts_with("amqp://") && !text.starts_with("amqps://") {
            return Err(InvalidSetting("must begin with amqp:// or amqps://"));
        }
        check_parameters(text)?;
        // The parser's own message may quote the URL with its password, so it is dropped.
        let mut uri: AMQPUri = text.parse().map_err(|_| {
            InvalidSetting(
                "is not of the form amqp://user:password@host:port/vhost (special characters \
                 in the user and password must be percent-encoded)",
            )
        })?;
        if uri.vhost.is_empty() {
            return Err(InvalidSetting("names no virtual host: the default one is written %2f"));
        }
        if let Some(address) = ipv6_host(text) {
            uri.authority.host = address.to_owned();
        }
        uri.query.heartbeat.get_or_insert(HEARTBEAT_SECONDS);
        uri.query.connection_timeout.get_or_insert(CONNECTION_TIMEOUT_MS);
        Ok(Self { uri, ca_file: ca_file(text)? })
    }

    /// The URL without user and password: `amqp://host:port/vhost`.
    pub fn display_address(&self) -> String {
        let AMQPUri { scheme, authority, vhost, .. } = &self.uri;
        let host = &authority.host;
        let port = authority.port;
        format!("{scheme}://{host}:{port}/{}", vhost.replace('/', "%2f"))
    }

    pub(crate) fn uri(&self) -> &AMQPUri {
        &self.uri
    }

    pub(crate) fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// For each stage of connecting.
    pub(crate) fn connection_timeout(&self) -> Duration {
        Duration::from_millis(self.uri.query.connection_timeout.unwrap_or(CONNECTION_TIMEOUT_MS))
    }
}

fn parameters(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let query = text.split_once('?').map_or("", |(_, query)| query);
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

fn check_parameters(text: &str) -> Result<(), InvalidSetting> {
    if parameters(text).all(|(name, _)| PARAMETERS.contains(&name) || name == CA_FILE) {
        Ok(())
    } else {
        Err(InvalidSetting(
            "has an unknown parameter (known: frame_max, channel_max, heartbeat, \
             connection_timeout, auth_mechanism, cacertfile)",
        ))
    }
}

fn ca_file(text: &str) -> Result<Option<PathBuf>, InvalidSetting> {
    let Some((_, path)) = parameters(text).find(|(name, _)| *name == CA_FILE) else {
        return Ok(None);
    };
    if !text.starts_with("amqps://") {
        return Err(InvalidSetting("has a cacertfile, which is for amqps://"));
    }
    let path = percent_decode(path).ok_or(InvalidSetting("has a cacertfile that is not UTF-8"))?;
    match tls::read_certificates(Path::new(&path)) {
        Ok(_) => Ok(Some(path.into())),
        Err(error) if error.kind() == std::io::ErrorKind::InvalidData => {
            Err(InvalidSetting("has a cacertfile without a usable certificate in PEM"))
        }
        Err(_) => Err(InvalidSetting("has a cacertfile that cannot be read")),
    }
}

fn percent_decode(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

/// The address between brackets. The parser underneath reads an IPv6 address as no host at all and
/// would silently connect to localhost.
fn ipv6_host(text: &str) -> Option<&str> {
    let authority = text.split_once("://")?.1.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    host.strip_prefix('[')?.split_once(']').map(|(address, _)| address)
}

impl fmt::Display for AmqpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AMQPUri { scheme, authority, vhost, .. } = &self.uri;
        let user = &authority.userinfo.username;
        let host = &authority.host;
        let port = authority.port;
        write!(f, "{scheme}://{user}:***@{host}:{port}/{}", vhost.replace('/', "%2f"))
    }
}

impl fmt::Debug for AmqpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AmqpUrl({self})")
    }
}

impl FromStr for AmqpUrl {
    type Err = InvalidSetting;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse_adds_heartbeat_and_timeout_unless_given() {
        let url = AmqpUrl::parse("amqp://u:p@h/%2f").unwrap();
        assert_eq!(url.uri().query.heartbeat, Some(10));
        assert_eq!(url.connection_timeout(), Duration::from_secs(10));
        let url = AmqpUrl::parse("amqp://u:p@h/%2f?heartbeat=3&connection_timeout=500").unwrap();
        assert_eq!(url.uri().query.heartbeat, Some(3));
        assert_eq!(url.connection_timeout(), Duration::from_millis(500));
    }

    #[test]
    fn password_is_never_shown() {
        let url = AmqpUrl::parse("amqp://shop:s3cr%2Fet@mq.example:5673/pay").unwrap();
        assert_eq!(url.to_string(), "amqp://shop:***@mq.example:5673/pay");
        assert_eq!(format!("{url:?}"), "AmqpUrl(amqp://shop:***@mq.example:5673/pay)");
        assert_eq!(url.display_address(), "amqp://mq.example:5673/pay");
        for bad in ["http://u:s3cret@h/", "amqp://u:s3cret@h:port/v", "amqp://u:s3/cret@h/v?x=1"] {
            let error = AmqpUrl::parse(bad).unwrap_err();
            assert!(!error.to_string().contains("cret"), "{error}");
        }
    }

    #[test]
    fn parse_refuses_what_would_be_misread() {
        assert!(AmqpUrl::parse("amqp://h/").is_err(), "the virtual host with the empty name");
        assert!(AmqpUrl::parse("amqp://h/%2f?hearbeat=5").is_err(), "a misspelt parameter");
        assert!(AmqpUrl::parse("amqp://h/%2f?heartbeat=soon").is_err());
        assert!(AmqpUrl::parse("").is_err());
    }

    #[test]
    fn parse_refuses_an_unusable_cacertfile() {
        let manifest = env!("CARGO_MANIFEST_DIR");
        let error = |url: String| AmqpUrl::parse(&url).unwrap_err().to_string();
        let not_pem = format!("u:s3cret@h/%2f?cacertfile={manifest}/Cargo.toml");
        assert!(error(format!("amqp://{not_pem}")).contains("for amqps://"));
        assert!(error(format!("amqps://{not_pem}")).contains("without a usable certificate"));
        let missing = format!("amqps://u:s3cret@h/%2f?cacertfile={manifest}/missing.pem");
        assert!(error(missing).contains("cannot be read"));
        assert!(error("amqps://h/%2f?cacertfile=%2".to_owned()).contains("UTF-8"));
        assert_eq!(percent_decode("%2Fetc%2fwxpay/a b.pem").unwrap(), "/etc/wxpay/a b.pem");
    }

    #[test]
    fn ipv6_address_is_kept() {
        let url = AmqpUrl::parse("amqp://u:p@[2001:db8::1]:5673/%2f").unwrap();
        assert_eq!(url.uri().authority.host, "2001:db8::1");
        assert_eq!(url.uri().authority.port, 5673);
        assert_eq!(AmqpUrl::parse("amqp://10.0.0.7").unwrap().uri().authority.host, "10.0.0.7");
    }
}
