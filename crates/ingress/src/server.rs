//! A listener: accepts connections and serves them, each within bounds.
//!
//! `axum::serve` would do if it had a timeout for headers (engineering, finding 9) and an end to
//! its graceful shutdown.

use std::{io, net::IpAddr, pin::pin, sync::Arc, time::Duration};

use axum::{Router, body::Body};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::Limits;

/// After an error of `accept` (no file handles left, usually) trying again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// No request takes longer: its body, its confirm and the longest wait for an answer.
const REQUEST_WITHIN: Duration = Duration::from_secs(45);

/// The address a request came from: the proxy's, where there is one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) limits: Limits,
    pub(crate) stop: CancellationToken,
}

impl Server {
    /// Serves until `stop`, then lets what is in flight end within `drain_within`. Dropping the
    /// future cuts everything off.
    pub(crate) async fn run(self, listener: TcpListener, router: Router) {
        let permits = Arc::new(Semaphore::new(self.limits.connections));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let next = async {
                // Before `accept`: whoever finds no room waits in the kernel's backlog.
                let permit = Arc::clone(&permits).acquire_owned().await;
                (permit, listener.accept().await)
            };
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                (permit, accepted) = next => match accepted {
                    Ok((stream, peer)) => {
                        let peer = Peer(peer.ip().to_canonical());
                        let serving = self.clone().serve(stream, peer, router.clone());
                        connections.spawn(async move {
                            serving.await;
                            drop(permit);
                        });
                    }
                    Err(error) => self.pause_after(&error).await,
                },
            }
        }
        drop(listener);
        let ended = async { while connections.join_next().await.is_some() {} };
        if timeout(self.limits.drain_within, ended).await.is_err() {
            tracing::warn!(listener = self.name, open = connections.len(), "cut connections off");
        }
    }

    async fn pause_after(&self, error: &io::Error) {
        // The client went away between its handshake and our accept.
        if error.kind() == io::ErrorKind::ConnectionAborted {
            return;
        }
        tracing::error!(listener = self.name, "cannot accept connections: {error}");
        tokio::select! {
            () = sleep(ACCEPT_PAUSE) => {}
            () = self.stop.cancelled() => {}
        }
    }

    async fn serve(self, stream: TcpStream, peer: Peer, router: Router) {
        // Answers are small and waited for. An error means that the peer is gone.
        let _ = stream.set_nodelay(true);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            router.clone().oneshot(request.map(Body::new))
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_within)
            .max_buf_size(self.limits.header_bytes)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.enough() => {
                connection.as_mut().graceful_shutdown();
                timeout(REQUEST_WITHIN, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            self.note(&error);
        }
    }

    /// Returns when a connection shall take no further request. The age bounds those that are
    /// never idle and never read their answers, too.
    async fn enough(&self) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = sleep(self.limits.connection_age) => {}
        }
    }

    /// Requests that never became one: `hyper` has answered them, if anybody could.
    fn note(&self, error: &hyper::Error) {
        let reason = match () {
            () if error.is_timeout() => "header_timeout",
            () if error.is_parse() => "not_http",
            () if error.is_incomplete_message() => "incomplete",
            () => "broken",
        };
        let labels = [("listener", self.name), ("reason", reason)];
        metrics::counter!("wxpay_http_connection_errors_total", &labels).increment(1);
        tracing::debug!(listener = self.name, reason, "a connection ended early");
    }
}
