//! A listener: accepts connections and serves them, each within bounds.
//!
//! `axum::serve` would do if it had a timeout for headers (engineering, finding 9) and an end to
//! its graceful shutdown.

use std::{convert::Infallible, error::Error, io, pin::pin, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CONNECTION, TRANSFER_ENCODING},
    },
    response::{IntoResponse, Response},
};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::{Limits, Networks, Tls, connections::Connections, source::Peer, unread::ReadWithin};

/// After an error of `accept` (no file handles left, usually) trying again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// No request takes longer: its body, its confirm and the longest wait for an answer.
const REQUEST_WITHIN: Duration = Duration::from_secs(45);

pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) limits: Limits,
    pub(crate) connections: Connections,
    /// The bound on the connections of one source is not for these.
    pub(crate) trusted_proxies: Networks,
    pub(crate) tls: Option<Tls>,
    pub(crate) stop: CancellationToken,
}

impl Server {
    /// Serves until `stop`, then lets what is in flight end within `drain_within`. Dropping the
    /// future cuts everything off.
    pub(crate) async fn run(self, listener: TcpListener, router: Router) {
        let places = Arc::new(self.connections);
        let serving = Serving {
            name: self.name,
            limits: self.limits,
            tls: self.tls,
            stop: self.stop,
            router,
        };
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let next = async {
                // Before `accept`: whoever finds no room waits in the kernel's backlog.
                let permit = places.room().await;
                (permit, listener.accept().await)
            };
            tokio::select! {
                biased;
                () = serving.stop.cancelled() => break,
                (permit, accepted) = next => match accepted {
                    Ok((stream, peer)) => {
                        let peer = Peer(peer.ip().to_canonical());
                        let is_counted = !self.trusted_proxies.contain(peer.0);
                        let place = permit.and_then(|it| places.take(it, peer, is_counted));
                        let Some(place) = place else {
                            serving.note("source_full");
                            continue;
                        };
                        let serving = serving.clone().serve(stream, peer);
                        connections.spawn(async move {
                            serving.await;
                            drop(place);
                        });
                    }
                    Err(error) => serving.pause_after(&error).await,
                },
            }
        }
        drop(listener);
        let ended = async { while connections.join_next().await.is_some() {} };
        if timeout(serving.limits.drain_within, ended).await.is_err() {
            let open = connections.len();
            tracing::warn!(listener = serving.name, open, "cut connections off");
        }
    }
}

/// What every connection of a listener needs.
#[derive(Clone)]
struct Serving {
    name: &'static str,
    limits: Limits,
    tls: Option<Tls>,
    stop: CancellationToken,
    router: Router,
}

impl Serving {
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

    async fn serve(self, stream: TcpStream, peer: Peer) {
        // Answers are small and waited for. An error means that the peer is gone.
        let _ = stream.set_nodelay(true);
        let stream = ReadWithin::new(stream, self.limits.answer_read_within);
        let Some(tls) = &self.tls else {
            return self.serve_http(stream, peer).await;
        };
        let shaken = timeout(self.limits.handshake_within, tls.acceptor().accept(stream));
        let shaken = tokio::select! {
            shaken = shaken => shaken,
            () = self.stop.cancelled() => return,
        };
        match shaken {
            Ok(Ok(stream)) => Box::pin(self.serve_http(stream, peer)).await,
            Ok(Err(_)) => self.note("tls_handshake"),
            Err(_elapsed) => self.note("tls_timeout"),
        }
    }

    async fn serve_http(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: Peer,
    ) {
        let service = service_fn(async |mut request: Request<Incoming>| {
            if !has_plain_framing(request.headers()) {
                self.note("transfer_encoding");
                return Ok::<_, Infallible>(badly_framed());
            }
            request.extensions_mut().insert(peer);
            self.router.clone().oneshot(request.map(Body::new)).await
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
            self.note(why(&error));
        }
    }

    /// Returns when a connection shall take no further request. The age bounds those that are
    /// never idle and read their answers slowly, too.
    async fn enough(&self) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = sleep(self.limits.connection_age) => {}
        }
    }

    fn note(&self, reason: &'static str) {
        let labels = [("listener", self.name), ("reason", reason)];
        metrics::counter!(service::metrics::names::HTTP_CONNECTION_ERRORS, &labels).increment(1);
        tracing::debug!(listener = self.name, reason, "a connection was refused or ended early");
    }
}

/// Requests that never became one: `hyper` has answered them, if anybody could.
fn why(error: &hyper::Error) -> &'static str {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    match () {
        () if error.is_timeout() => "header_timeout",
        () if error.is_parse_too_large() => "too_large",
        () if error.is_parse() => "not_http",
        () if error.is_incomplete_message() => "incomplete",
        () if cause.is_some_and(|it| it.kind() == io::ErrorKind::TimedOut) => "answer_unread",
        () => "broken",
    }
}

/// `chunked` and nothing else, once, if the length is not given. `hyper` takes any list that ends
/// in it; a proxy in front of us may read such a list otherwise and see other requests than we do.
fn has_plain_framing(headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_plain = encodings.next().is_none_or(|it| it.as_bytes().eq_ignore_ascii_case(b"chunked"));
    is_plain && encodings.next().is_none()
}

/// In the manner of `hyper`. Nothing more is read from this connection.
fn badly_framed() -> Response {
    let mut response = StatusCode::BAD_REQUEST.into_response();
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
