//! The HTTP client. A call is one request, without hidden retries.
//!
//! It goes to the backup host only if no connection to the primary could be made, so that nothing
//! was sent there ([protocol](crate::protocol#hosts)).
//!
//! ```no_run
//! use wechatpay_v2::client::{Client, ClientError};
//! use wechatpay_v2::{Credentials, Fields, CallOutcome};
//!
//! async fn create(credentials: &Credentials, parameters: &Fields) -> Result<(), ClientError> {
//!     let backup = Some("https://api2.mch.weixin.qq.com");
//!     let client = Client::new("https://api.mch.weixin.qq.com", backup)?;
//!     match client.unifiedorder(credentials, parameters).await {
//!         CallOutcome::Success(prepay) => println!("payable: {}", prepay.prepay_id),
//!         CallOutcome::Refused(refused) => println!("{}: {:?}", refused.err_code, refused.advice),
//!         CallOutcome::Unknown(why) => println!("query, then repeat: {why}"),
//!     }
//!     Ok(())
//! }
//! ```

mod hosts;
mod probe;

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::redirect::Policy;

use crate::closeorder::{self, CloseOrder};
use crate::orderquery::{self, OrderQuery, OrderStatus};
use crate::unifiedorder::{self, Prepay};
use crate::{CallOutcome, Credentials, Fields, Limits, Nonce, Unknown, write_xml};
pub use hosts::HostUse;
use hosts::Hosts;
pub use probe::{Probe, ProbeError};

// WeChat's own Java client waits 6 s. Here a caller waits in the foreground.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest duration of a call: from the first attempt to connect, including the backup host, to
/// the last byte of the answer. A lock that covers a call must last longer.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(8);
// Long enough that few calls wait for a connect timeout, and short enough that the primary is soon
// used again.
const HOST_COOLDOWN: Duration = Duration::from_secs(30);
// Shorter than a load balancer's usual 60 s, so that a request rarely meets a closing connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Calls WeChat Pay. Clones share connections and the state of the hosts.
#[derive(Clone, Debug)]
pub struct Client {
    http: reqwest::Client,
    hosts: Arc<Hosts>,
    call_timeout: Duration,
}

/// How long a [`Client`] waits for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// For one connection including TLS. Default: 3 s.
    pub connect: Duration,
    /// For a whole call including the backup host. Default: [`CALL_TIMEOUT`].
    pub call: Duration,
    /// How long calls avoid the primary after a failed connection. Each cooldown is lengthened or
    /// shortened by a random part of up to a quarter. Default: 30 s.
    pub host_cooldown: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { connect: CONNECT_TIMEOUT, call: CALL_TIMEOUT, host_cooldown: HOST_COOLDOWN }
    }
}

/// Why a client cannot be created.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A URL is not a plain `http://host[:port]` or `https://host[:port]`.
    #[error("the gateway URL must be http(s)://host[:port] without path, query or user")]
    Url,
    /// The HTTP library failed, for example because there are no TLS roots.
    #[error("the HTTP client cannot be set up")]
    Setup(#[source] reqwest::Error),
}

impl Client {
    /// Creates a client of the hosts with these base URLs. Installs the ring provider of rustls for
    /// the process unless there already is one.
    ///
    /// # Errors
    /// When a URL is not usable, or TLS cannot be set up.
    pub fn new(primary: &str, backup: Option<&str>) -> Result<Self, ClientError> {
        Self::with_timeouts(primary, backup, Timeouts::default())
    }

    /// Creates a client as [`Client::new`] does, with other timeouts.
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
            // An error means that another thread has just installed one.
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

    /// Creates an order, or returns it again if it exists. `parameters` are those of
    /// [`UnifiedOrder::parameters`](crate::unifiedorder::UnifiedOrder::parameters).
    pub async fn unifiedorder(
        &self,
        credentials: &Credentials,
        parameters: &Fields,
    ) -> CallOutcome<Prepay> {
        let request = unifiedorder::request(parameters.clone(), credentials, &Nonce::generate());
        match self.post(unifiedorder::PATH, &request).await {
            Ok(body) => unifiedorder::read(&body, credentials, parameters),
            Err(unknown) => CallOutcome::Unknown(unknown),
        }
    }

    /// Asks WeChat for the state of an order.
    pub async fn orderquery(
        &self,
        credentials: &Credentials,
        query: &OrderQuery,
    ) -> CallOutcome<OrderStatus> {
        let request = orderquery::request(query, credentials, &Nonce::generate());
        match self.post(orderquery::PATH, &request).await {
            Ok(body) => orderquery::read(&body, credentials, query),
            Err(unknown) => CallOutcome::Unknown(unknown),
        }
    }

    /// Closes an order for good.
    pub async fn closeorder(
        &self,
        credentials: &Credentials,
        close: &CloseOrder,
    ) -> CallOutcome<()> {
        let request = closeorder::request(close, credentials, &Nonce::generate());
        match self.post(closeorder::PATH, &request).await {
            Ok(body) => closeorder::read(&body, credentials),
            Err(unknown) => CallOutcome::Unknown(unknown),
        }
    }

    /// How often each host was used so far: first the primary, then the backup if there is one.
    #[must_use]
    pub fn hosts(&self) -> Vec<HostUse> {
        self.hosts.usage()
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
                    self.hosts.record_unreachable(host, Instant::now());
                    // Without a connection nothing was sent, so the other host may get the request.
                    if hosts.peek().is_none() {
                        return Err(transport_error(&error));
                    }
                }
                sent => {
                    self.hosts.record_connected(host);
                    let response = sent.map_err(|error| transport_error(&error))?;
                    return read_body(response).await;
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
    while let Some(chunk) = response.chunk().await.map_err(|error| transport_error(&error))? {
        if body.len() + chunk.len() > Limits::MESSAGE.bytes {
            return Err(Unknown::Transport("the answer is too large".to_owned()));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

// Not reqwest's text, which contains the URL.
fn transport_error(error: &reqwest::Error) -> Unknown {
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
    // The URL as it was parsed, without the spaces and line ends that the parser ignores.
    Ok(url.as_str().trim_end_matches('/').to_owned())
}
