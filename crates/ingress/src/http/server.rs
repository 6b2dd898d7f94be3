//! A listener: accepts connections and serves them, each within bounds.
//!
//! Not `axum::serve`, which has no timeout for headers and no bound on its graceful shutdown.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CONNECTION, TRANSFER_ENCODING};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use service::metrics::names;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::http::connections::Connections;
use crate::http::source::Peer;
use crate::http::write_timeout::WriteTimeout;
use crate::{Limits, Networks, Tls};

/// After an error of `accept` (usually no file handles left) trying again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// No request takes longer: its body, its confirm and the longest wait for a reply.
const REQUEST_WITHIN: Duration = Duration::from_secs(45);

pub(crate) struct Server {
    pub(crate) name: &'static str,
    pub(crate) limits: Limits,
    pub(crate) connections: Connections,
    /// Exempt from the bound on the connections of one source.
    pub(crate) trusted_proxies: Networks,
    pub(crate) tls: Option<Tls>,
    pub(crate) stop: CancellationToken,
}

impl Server {
    /// Serves until `stop`, then waits for the requests in flight, at most `drain_timeout`. Dropping
    /// the future closes every connection.
    pub(crate) async fn run(self, listener: TcpListener, router: Router) {
        let connections = Arc::new(self.connections);
        let context = ConnectionContext {
            listener: self.name,
            limits: self.limits,
            tls: self.tls,
            stop: self.stop,
            router,
        };
        let mut tasks = JoinSet::new();
        loop {
            while tasks.try_join_next().is_some() {}
            let next = async {
                // Before `accept`: until there is a permit, clients wait in the kernel's backlog.
                let permit = connections.wait_for_permit().await;
                (permit, listener.accept().await)
            };
            let (permit, accepted) = tokio::select! {
                biased;
                () = context.stop.cancelled() => break,
                next = next => next,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    context.pause_after(&error).await;
                    continue;
                }
            };
            let peer = Peer(peer.ip().to_canonical());
            let is_trusted_proxy = self.trusted_proxies.contains(peer.0);
            let permit = permit.and_then(|it| connections.open(it, peer, is_trusted_proxy));
            let Some(permit) = permit else {
                context.count_error("source_full");
                continue;
            };
            let connection = context.clone().serve(stream, peer);
            tasks.spawn(async move {
                connection.await;
                drop(permit);
            });
        }
        drop(listener);
        drain(tasks, &context).await;
    }
}

async fn drain(mut tasks: JoinSet<()>, context: &ConnectionContext) {
    let ended = async { while tasks.join_next().await.is_some() {} };
    if timeout(context.limits.drain_timeout, ended).await.is_err() {
        let open = tasks.len();
        let listener = context.listener;
        tracing::warn!(listener, open, "closed connections with requests in flight");
    }
}

/// What every connection of a listener needs.
#[derive(Clone)]
struct ConnectionContext {
    listener: &'static str,
    limits: Limits,
    tls: Option<Tls>,
    stop: CancellationToken,
    router: Router,
}

impl ConnectionContext {
    async fn pause_after(&self, error: &io::Error) {
        // The client closed the connection between its handshake and `accept`.
        if error.kind() == io::ErrorKind::ConnectionAborted {
            return;
        }
        tracing::error!(listener = self.listener, "cannot accept connections: {error}");
        tokio::select! {
            () = sleep(ACCEPT_PAUSE) => {}
            () = self.stop.cancelled() => {}
        }
    }

    async fn serve(self, stream: TcpStream, peer: Peer) {
        // Answers are small and clients wait for them. An error means that the peer has left.
        let _ = stream.set_nodelay(true);
        let stream = WriteTimeout::new(stream, self.limits.answer_read_timeout);
        let Some(tls) = &self.tls else {
            return self.serve_http(stream, peer).await;
        };
        let handshake = timeout(self.limits.handshake_timeout, tls.acceptor().accept(stream));
        let handshake = tokio::select! {
            handshake = handshake => handshake,
            () = self.stop.cancelled() => return,
        };
        match handshake {
            Ok(Ok(stream)) => Box::pin(self.serve_http(stream, peer)).await,
            Ok(Err(_)) => self.count_error("tls_handshake"),
            Err(_elapsed) => self.count_error("tls_timeout"),
        }
    }

    async fn serve_http(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: Peer,
    ) {
        let service = service_fn(async |mut request: Request<Incoming>| {
            if !has_plain_framing(request.headers()) {
                self.count_error("transfer_encoding");
                return Ok::<_, Infallible>(bad_framing_response());
            }
            request.extensions_mut().insert(peer);
            self.router.clone().oneshot(request.map(Body::new)).await
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.header_timeout)
            .max_buf_size(self.limits.header_bytes)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.wait_until_last_request() => {
                connection.as_mut().graceful_shutdown();
                timeout(REQUEST_WITHIN, connection).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = ended {
            self.count_error(error_label(&error));
        }
    }

    /// Returns when a connection gets no further request. The age also bounds connections that are
    /// never idle and whose answers are read slowly.
    async fn wait_until_last_request(&self) {
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = sleep(self.limits.connection_age) => {}
        }
    }

    fn count_error(&self, reason: &'static str) {
        let labels = [("listener", self.listener), ("reason", reason)];
        metrics::counter!(names::HTTP_CONNECTION_ERRORS, &labels).increment(1);
        let listener = self.listener;
        tracing::debug!(listener, reason, "a connection was refused or ended early");
    }
}

/// Why a connection ended without a whole request. `hyper` has answered if it could.
fn error_label(error: &hyper::Error) -> &'static str {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    if error.is_timeout() {
        "header_timeout"
    } else if error.is_parse_too_large() {
        "too_large"
    } else if error.is_parse() {
        "not_http"
    } else if error.is_incomplete_message() {
        "incomplete"
    } else if cause.is_some_and(|it| it.kind() == io::ErrorKind::TimedOut) {
        "answer_unread"
    } else {
        "broken"
    }
}

/// `chunked` and nothing else, once, if there is no length. `hyper` accepts any list that ends in
/// it; a proxy in front may parse such a list otherwise and see other requests than the ingress.
fn has_plain_framing(headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_plain = encodings.next().is_none_or(|it| it.as_bytes().eq_ignore_ascii_case(b"chunked"));
    is_plain && encodings.next().is_none()
}

/// As `hyper` answers such errors: nothing more is read from this connection.
fn bad_framing_response() -> Response {
    let mut response = StatusCode::BAD_REQUEST.into_response();
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
