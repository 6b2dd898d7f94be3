//! The HTTP client: one call, one request, no retry hidden inside.
//!
//! The only repetition is on the backup host when the primary could not even be connected to, so
//! nothing was sent there (reference 5.4).
//!
//! ```no_run
//! use wechatpay_v2::client::{Client, ClientError};
//! use wechatpay_v2::{Credentials, Fields, CallOutcome};
//!
//! async fn create(by: &Credentials, parameters: &Fields) -> Result<(), ClientError> {
//!     let backup = Some("https://api2.mch.weixin.qq.com");
//!     let client = Client::new("https://api.mch.weixin.qq.com", backup)?;
//!     match client.unifiedorder(by, parameters).await {
//!         CallOutcome::Success(prepay) => println!("payable: {}", prepay.prepay_id),
//!         CallOutcome::Refused(refused) => println!("{}: {:?}", refused.err_code, refused.advice),
//!         CallOutcome::Unknown(why) => println!("query, then repeat: {why}"),
//!     }
//!     Ok(())
//! }
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::redirect::Policy;

mod hosts;
mod probe;

pub use hosts::HostUse;
use hosts::Hosts;
pub use probe::{Probe, ProbeError};

use crate::closeorder::{self, CloseOrder};
use crate::orderquery::{self, OrderQuery, OrderStatus};
use crate::unifiedorder::{self, Prepay};
use crate::{CallOutcome, Credentials, Fields, Limits, Nonce, Unknown, write_xml};

/// WeChat's own client waits 6 s and 8 s (reference 0.2); a caller of ours waits in front of it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A whole call: from the first attempt to connect, over the backup host where it is needed, to the
/// last byte of the answer. Whoever holds a lease for a call holds it longer than this.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(8);
/// How long a host that could not be connected to is left alone: long enough that few calls pay for
/// finding out, short enough that the primary is soon back in use.
const HOST_COOLDOWN: Duration = Duration::from_secs(30);
/// Shorter than a load balancer's usual 60 s, so that a request rarely meets a closing connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Calls WeChat Pay. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    hosts: Arc<Hosts>,
    call_timeout: Duration,
}

/// How long a [`Client`] waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For one connection, TLS included. Default 3 s.
    pub connect: Duration,
    /// For a whole call, the backup host included. Default [`CALL_TIMEOUT`].
    pub call: Duration,
    /// How long the primary is left alone after it could not be connected to, give or take a
    /// quarter by chance. Default 30 s.
    pub host_cooldown: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: CONNECT_TIMEOUT, call: CALL_TIMEOUT, host_cooldown: HOST_COOLDOWN }
    }
}

/// The client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A host that is no plain `http://host[:port]` or `https://host[:port]`.
    #[error("the gateway URL must be http(s)://host[:port] without path, query or user")]
    Url,
    /// No TLS roots, or the like.
    #[error("the HTTP client cannot be set up")]
    Setup(#[source] reqwest::Error),
}

impl Client {
    /// `primary` and `backup` are base URLs. Installs rustls' ring provider for the process unless
    /// there is one already.
    ///
    /// # Errors
    /// When a URL is not usable, or TLS cannot be set up.
    pub fn new(primary: &str, backup: Option<&str>) -> Result<Self, ClientError> {
        Self::with_timeouts(primary, backup, Timeouts::default())
    }

    /// [`Client::new`] with other waits.
    ///
    /// # Errors
    /// When a URL is not usable, or TLS cannot be set up.
    pub fn with_timeouts(
        primary: &str,
        backup: Option<&str>,
        timeouts: Timeouts,
    ) -> Result<Self, ClientError> {
        let backup = backup.map(base_url).transpose()?;
        let hosts = Arc::new(Hosts::new(base_url(primary)?, backup, timeouts.host_cooldown));
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Losing a race against another installer is as good as winning it.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(timeouts.connect)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build()
            .map_err(ClientError::Setup)?;
        Ok(Self { http, hosts, call_timeout: timeouts.call })
    }

    /// Creates or re-enters an order with stored `parameters`
    /// ([`crate::unifiedorder::UnifiedOrder::parameters`]).
    pub async fn unifiedorder(&self, by: &Credentials, parameters: &Fields) -> CallOutcome<Prepay> {
        let request = unifiedorder::request(parameters.clone(), by, &Nonce::generate());
        match self.post(unifiedorder::PATH, &request).await {
            Ok(body) => unifiedorder::read(&body, by, parameters),
            Err(unknown) => CallOutcome::Unknown(unknown),
        }
    }

    /// Asks what WeChat knows of an order.
    pub async fn orderquery(
        &self,
        by: &Credentials,
        query: &OrderQuery,
    ) -> CallOutcome<OrderStatus> {
        let request = orderquery::request(query, by, &Nonce::generate());
        match self.post(orderquery::PATH, &request).await {
            Ok(body) => orderquery::read(&body, by, query),
            Err(unknown) => CallOutcome::Unknown(unknown),
        }
    }

    /// Closes an order.
    pub async fn closeorder(&self, by: &Credentials, close: &CloseOrder) -> CallOutcome<()> {
        let request = closeorder::request(close, by, &Nonce::generate());
        match self.post(closeorder::PATH, &request).await {
            Ok(body) => closeorder::read(&body, by),
            Err(unknown) => CallOutcome::Unknown(unknown),
        }
    }

    /// How the hosts were used so far: the primary's first, then the backup's, if there is one.
    #[must_use]
    pub fn hosts(&self) -> Vec<HostUse> {
        self.hosts.used()
    }

    async fn post(&self, path: &str, request: &Fields) -> Result<Vec<u8>, Unknown> {
        let xml = write_xml(request);
        let deadline = Instant::now() + self.call_timeout;
        let mut hosts = self.hosts.in_order(Instant::now()).peekable();
        while let Some(host) = hosts.next() {
            let sent = self
                .http
                .post(format!("{}{path}", host.url))
                .header("content-type", "text/xml; charset=utf-8")
                .body(xml.clone())
                .timeout(deadline.saturating_duration_since(Instant::now()))
                .send()
                .await;
            match sent {
                Err(error) if error.is_connect() => {
                    self.hosts.unreachable(host, Instant::now());
                    // No connection, so nothing was sent: the other host may have it.
                    if hosts.peek().is_none() {
                        return Err(transport(&error));
                    }
                }
                sent => {
                    self.hosts.reached(host);
                    return read_body(sent.map_err(|error| transport(&error))?).await;
                }
            }
        }
        Err(Unknown::Transport("no gateway host is configured".to_owned()))
    }
}

async fn read_body(mut response: reqwest::Response) -> Result<Vec<u8>, Unknown> {
    if response.status() != reqwest::StatusCode::OK {
        return Err(Unknown::Transport(format!("HTTP status {}", response.status().as_u16())));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| transport(&error))? {
        if body.len() + chunk.len() > Limits::MESSAGE.bytes {
            return Err(Unknown::Transport("the answer is too large".to_owned()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Our own words: reqwest's text holds the URL and more.
fn transport(error: &reqwest::Error) -> Unknown {
    let text = if error.is_connect() {
        "no connection to the gateway"
    } else if error.is_timeout() {
        "no answer in time"
    } else {
        "the connection broke before the answer was complete"
    };
    Unknown::Transport(text.to_owned())
}

fn base_url(text: &str) -> Result<String, ClientError> {
    let url = reqwest::Url::parse(text).map_err(|_| ClientError::Url)?;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if !plain {
        return Err(ClientError::Url);
    }
    // As the parser understood it: it forgives spaces and line ends that a later join would not.
    Ok(url.as_str().trim_end_matches('/').to_owned())
}
