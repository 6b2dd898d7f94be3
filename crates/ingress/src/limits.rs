use std::time::Duration;

/// The bounds. The defaults are meant for production; tests shorten them.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Open connections per listener. Further ones wait in the kernel's backlog.
    pub connections: usize,
    /// Open connections of one source on the public listener, an IPv4 address or an IPv6 /64.
    /// Further ones are closed at once. Trusted proxies have as many as there are.
    pub connections_per_source: usize,
    /// Requests in flight per listener. Further ones are shed at once.
    pub requests: usize,
    /// Bytes of one request's line and headers, at least 8192.
    pub header_bytes: usize,
    /// For a request's line and headers to arrive whole, and how long a connection may be idle.
    pub header_within: Duration,
    /// For a TLS handshake: two round trips over the worst of roads, as for headers.
    pub handshake_within: Duration,
    /// For a client to read anything of an answer that does not fit into the kernel's buffers.
    /// Longer than a road loses packets, and far less than [`Self::connection_age`].
    pub answer_read_within: Duration,
    /// For a notification's body to arrive whole. With [`Self::notification_within`] it stays
    /// below the five seconds after which WeChat counts a failure.
    pub public_body_within: Duration,
    /// For a shop's body to arrive whole.
    pub private_body_within: Duration,
    /// For the broker to confirm a notification.
    pub notification_within: Duration,
    /// For the broker to confirm a command.
    pub command_within: Duration,
    /// For a worker to answer a question.
    pub query_within: Duration,
    /// After this age a connection gets no further request, so that nobody holds one for ever.
    pub connection_age: Duration,
    /// For requests in flight to end once the service stops; then again for open confirms.
    pub drain_within: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            // A quarter: WeChat repeats from another address what one address could not deliver.
            connections_per_source: 256,
            requests: 512,
            header_bytes: 16 * 1024,
            header_within: Duration::from_secs(5),
            handshake_within: Duration::from_secs(5),
            answer_read_within: Duration::from_secs(10),
            public_body_within: Duration::from_millis(1_500),
            private_body_within: Duration::from_secs(5),
            notification_within: Duration::from_secs(3),
            command_within: Duration::from_secs(5),
            query_within: Duration::from_secs(5),
            connection_age: Duration::from_secs(300),
            drain_within: Duration::from_secs(5),
        }
    }
}
