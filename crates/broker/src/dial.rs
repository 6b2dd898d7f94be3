//! One connection to the broker, from dialling to hanging up, with a bound on each stage.
//!
//! `lapin` applies no timeout of its own: `connection_timeout` in the URL is parsed and ignored,
//! and a peer that accepts TCP and then says nothing holds a thread and a socket for ever. So the
//! socket is opened here, and a second handle on it is kept with which it can be cut: the
//! library's thread ends when its socket does.

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpStream},
    os::fd::AsFd,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use lapin::{
    ConnectionProperties,
    runtime::default_runtime,
    tcp::AsyncTcpStream,
    uri::{AMQPScheme, AMQPUri},
};
use tokio::{net::lookup_host, time::timeout};

use crate::{BrokerConfig, BrokerError, trust};

/// How long we wait for the broker to answer our goodbye.
const POLITENESS: Duration = Duration::from_secs(2);

/// An open connection. Dropping it cuts the socket.
pub(crate) struct Wire {
    connection: Arc<lapin::Connection>,
    cut: CutOnDrop,
}

impl Wire {
    /// Connects and shakes hands. Each of the two takes at most the URL's connection timeout.
    pub(crate) async fn dial(config: &BrokerConfig) -> Result<Self, BrokerError> {
        let what = format!("connecting to {}", config.amqp_url);
        let patience = config.amqp_url.connection_timeout();
        let cut = CutOnDrop::default();
        let shaken = timeout(patience * 2, shake_hands(config, patience, cut.socket.clone())).await;
        match shaken {
            Ok(Ok(connection)) => Ok(Self { connection: Arc::new(connection), cut }),
            Ok(Err(error)) => Err(BrokerError::client(what, error)),
            Err(_elapsed) => Err(BrokerError::timed_out(what, patience * 2)),
        }
    }

    pub(crate) fn connection(&self) -> &Arc<lapin::Connection> {
        &self.connection
    }

    /// Closes politely if the broker listens, and cuts the socket otherwise. A broker that has
    /// blocked us does not listen.
    pub(crate) async fn hang_up(self) {
        let status = self.connection.status();
        if status.connected() && !status.blocked() {
            let close = self.connection.close(200, "OK".into());
            if matches!(timeout(POLITENESS, close).await, Ok(Ok(()))) {
                // The library is about to end by itself; cutting in now would alarm it.
                self.cut.spare();
            }
        }
    }
}

async fn shake_hands(
    config: &BrokerConfig,
    patience: Duration,
    socket: Socket,
) -> lapin::Result<lapin::Connection> {
    let uri = config.amqp_url.uri().clone();
    let authorities = config.amqp_url.authorities().map(Path::to_owned);
    let name = config.connection_name.as_str().into();
    let properties = ConnectionProperties::default().with_connection_name(name);
    // In place, so that the compiler can tell which runtime, and so which socket, it works with.
    lapin::Connection::connector(
        uri,
        default_runtime()?,
        async move |uri, runtime| {
            let connected = timeout(patience, async {
                let mut connected = Err(io::Error::other("the name has no address"));
                for address in addresses(&uri).await? {
                    connected = AsyncTcpStream::connect(&runtime, address).await;
                    if connected.is_ok() {
                        break;
                    }
                }
                let stream = connected?;
                if let AsyncTcpStream::Plain(plain) = &stream {
                    socket.keep(plain.get_ref())?;
                }
                match uri.scheme {
                    AMQPScheme::AMQP => Ok(stream),
                    AMQPScheme::AMQPS => {
                        let connector = trust::connector(authorities.as_deref())?;
                        stream.into_rustls(&connector, &uri.authority.host).await
                    }
                }
            });
            let answer = connected.await.unwrap_or_else(|elapsed| Err(io::Error::from(elapsed)));
            answer.map_err(lapin::Error::from)
        },
        properties,
    )
    .await
}

async fn addresses(uri: &AMQPUri) -> io::Result<impl Iterator<Item = SocketAddr>> {
    lookup_host((uri.authority.host.as_str(), uri.authority.port)).await
}

/// The second handle, from the moment when there is a socket.
#[derive(Clone, Default)]
struct Socket(Arc<Mutex<State>>);

#[derive(Default)]
enum State {
    #[default]
    None,
    Open(TcpStream),
    Cut,
}

impl Socket {
    fn keep(&self, socket: &impl AsFd) -> io::Result<()> {
        let handle = TcpStream::from(socket.as_fd().try_clone_to_owned()?);
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Cut) {
            return Err(io::ErrorKind::ConnectionAborted.into()); // given up meanwhile
        }
        *state = State::Open(handle);
        Ok(())
    }
}

#[derive(Default)]
struct CutOnDrop {
    socket: Socket,
}

impl CutOnDrop {
    fn spare(&self) {
        *self.socket.0.lock().unwrap_or_else(PoisonError::into_inner) = State::None;
    }
}

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        let mut state = self.socket.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let State::Open(socket) = std::mem::replace(&mut *state, State::Cut) {
            let _ = socket.shutdown(Shutdown::Both); // may well be gone already
        }
    }
}
