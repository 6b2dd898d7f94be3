//! One AMQP connection, from connect to close, with a bound on each stage.
//!
//! The client library applies no timeout: it parses and ignores `connection_timeout` in the URL,
//! and a peer that accepts TCP and then stays silent keeps a thread and a socket for ever. So the
//! socket is opened here, and a second handle on it is kept to shut it down: the library's thread
//! ends with its socket.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lapin::ConnectionProperties;
use lapin::runtime::default_runtime;
use lapin::tcp::AsyncTcpStream;
use lapin::uri::{AMQPScheme, AMQPUri};
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::config::BrokerConfig;
use crate::connection::tls;
use crate::error::BrokerError;

/// Maximum wait for the broker's answer to a close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// An open connection. Dropping it shuts the socket down.
pub(crate) struct AmqpConnection {
    amqp: Arc<lapin::Connection>,
    socket: ShutdownOnDrop,
}

impl AmqpConnection {
    /// Opens the socket and performs the handshake. Each of the two takes at most the URL's
    /// connection timeout.
    pub(crate) async fn connect(config: &BrokerConfig) -> Result<Self, BrokerError> {
        let action = format!("connecting to {}", config.amqp_url);
        let stage_timeout = config.amqp_url.connection_timeout();
        let total_timeout = stage_timeout * 2;
        let socket = ShutdownOnDrop::default();
        let handshake = handshake(config, stage_timeout, socket.handle.clone());
        match timeout(total_timeout, handshake).await {
            Ok(Ok(connection)) => Ok(Self { amqp: Arc::new(connection), socket }),
            Ok(Err(error)) => Err(BrokerError::client(action, error)),
            Err(_elapsed) => Err(BrokerError::timed_out(action, total_timeout)),
        }
    }

    pub(crate) fn amqp(&self) -> &Arc<lapin::Connection> {
        &self.amqp
    }

    /// Closes in order if the broker reads from the connection, and shuts the socket down
    /// otherwise. On a blocked connection a close would hang.
    pub(crate) async fn close(self) {
        let status = self.amqp.status();
        if status.connected() && !status.blocked() {
            let close = self.amqp.close(200, "OK".into());
            if matches!(timeout(CLOSE_TIMEOUT, close).await, Ok(Ok(()))) {
                // The library now closes the socket itself; a shutdown would look like an error.
                self.socket.disarm();
            }
        }
    }
}

async fn handshake(
    config: &BrokerConfig,
    socket_timeout: Duration,
    socket: SocketHandle,
) -> lapin::Result<lapin::Connection> {
    let uri = config.amqp_url.uri().clone();
    let ca_file = config.amqp_url.ca_file().map(Path::to_owned);
    let name = config.connection_name.as_str().into();
    let properties = ConnectionProperties::default().with_connection_name(name);
    // An inline closure, so that the compiler infers the runtime and with it the socket's type.
    lapin::Connection::connector(
        uri,
        default_runtime()?,
        async move |uri, runtime| {
            let connect = timeout(socket_timeout, async {
                let mut connected = Err(io::Error::other("the name has no address"));
                for address in addresses(&uri).await? {
                    connected = AsyncTcpStream::connect(&runtime, address).await;
                    if connected.is_ok() {
                        break;
                    }
                }
                let stream = connected?;
                if let AsyncTcpStream::Plain(plain) = &stream {
                    socket.set(plain.get_ref())?;
                }
                match uri.scheme {
                    AMQPScheme::AMQP => Ok(stream),
                    AMQPScheme::AMQPS => {
                        let connector = tls::connector(ca_file.as_deref())?;
                        stream.into_rustls(&connector, &uri.authority.host).await
                    }
                }
            });
            let connected = connect.await.unwrap_or_else(|elapsed| Err(io::Error::from(elapsed)));
            connected.map_err(lapin::Error::from)
        },
        properties,
    )
    .await
}

async fn addresses(uri: &AMQPUri) -> io::Result<impl Iterator<Item = SocketAddr>> {
    lookup_host((uri.authority.host.as_str(), uri.authority.port)).await
}

/// A second handle on the socket, from the moment when there is one.
#[derive(Clone, Default)]
struct SocketHandle(Arc<Mutex<SocketState>>);

#[derive(Default)]
enum SocketState {
    #[default]
    None,
    Open(TcpStream),
    ShutDown,
}

impl SocketHandle {
    fn set(&self, socket: &impl AsFd) -> io::Result<()> {
        let second = TcpStream::from(socket.as_fd().try_clone_to_owned()?);
        let mut state = self.lock();
        if matches!(*state, SocketState::ShutDown) {
            // The attempt was given up meanwhile.
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        *state = SocketState::Open(second);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, SocketState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Default)]
struct ShutdownOnDrop {
    handle: SocketHandle,
}

impl ShutdownOnDrop {
    fn disarm(&self) {
        *self.handle.lock() = SocketState::None;
    }
}

impl Drop for ShutdownOnDrop {
    fn drop(&mut self) {
        let state = std::mem::replace(&mut *self.handle.lock(), SocketState::ShutDown);
        if let SocketState::Open(socket) = state {
            let _ = socket.shutdown(Shutdown::Both); // fails when it is closed already
        }
    }
}
