use std::time::Duration;

/// The largest body that either listener accepts. An order may be as large, and the worker reads a
/// notification up to the same 64 KiB (`wechatpay_v2::Limits::MESSAGE`).
pub(crate) const BODY_BYTES_MAX: usize = orders::COMMAND_BYTES_MAX;

/// The bounds. The defaults are meant for production; tests shorten them.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections per listener. Further ones wait in the kernel's backlog.
    pub connections: usize,
    /// Open connections of one source on the public listener: an IPv4 address or an IPv6 /64.
    /// Further ones are closed at once. Trusted proxies are exempt.
    pub connections_per_source: usize,
    /// Requests in flight per listener. Further ones are refused at once.
    pub requests: usize,
    /// Bytes of one request's line and headers, at least 8192.
    pub header_bytes: usize,
    /// Time for a request's line and headers to arrive whole, and for a connection to be idle.
    pub header_timeout: Duration,
    /// Time for a TLS handshake: two round trips on a very slow network, as for headers.
    pub handshake_timeout: Duration,
    /// Time for a client to read any part of an answer that does not fit into the kernel's
    /// buffers. Longer than packet loss lasts, and far less than [`Self::connection_age`].
    pub answer_read_timeout: Duration,
    /// Time for a notification's body to arrive whole. With [`Self::notification_timeout`] it stays
    /// below the five seconds after which WeChat counts a failure.
    pub public_body_timeout: Duration,
    /// Time for a shop's body to arrive whole.
    pub private_body_timeout: Duration,
    /// Time for the broker to confirm a notification.
    pub notification_timeout: Duration,
    /// Time for the broker to confirm a command.
    pub command_timeout: Duration,
    /// Time for a worker to answer a query.
    pub query_timeout: Duration,
    /// A connection older than this gets no further request, so that none is kept for ever.
    pub connection_age: Duration,
    /// Time for requests in flight to end once the service stops; then again for open confirms.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            // A quarter: WeChat repeats from another address what one address could not deliver.
            connections_per_source: 256,
            requests: 512,
            header_bytes: 16 * 1024,
            header_timeout: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(5),
            answer_read_timeout: Duration::from_secs(10),
            public_body_timeout: Duration::from_millis(1_500),
            private_body_timeout: Duration::from_secs(5),
            notification_timeout: Duration::from_secs(3),
            command_timeout: Duration::from_secs(5),
            query_timeout: Duration::from_secs(5),
            connection_age: Duration::from_secs(300),
            drain_timeout: Duration::from_secs(5),
        }
    }
}
