//! A TCP proxy in front of the broker, on which faults can be switched on.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;

use super::amqp_url;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    Pass,
    /// New connections are closed at once.
    Refuse,
    /// Connections stay open and nothing moves.
    Stall,
}

#[derive(Clone)]
pub(crate) struct Proxy {
    pub port: u16,
    mode: watch::Sender<Mode>,
    alive: Arc<std::sync::Mutex<CancellationToken>>,
    to_client: Arc<Mutex<Vec<OwnedWriteHalf>>>,
}

impl Proxy {
    pub(crate) async fn start(mode: Mode) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            port: listener.local_addr().unwrap().port(),
            mode: watch::Sender::new(mode),
            alive: Arc::default(),
            to_client: Arc::default(),
        };
        let accepting = proxy.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(accepting.clone().forward(client));
            }
        });
        proxy
    }

    pub(crate) fn switch(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Cuts every open connection; the mode decides about new ones.
    pub(crate) fn cut(&self) {
        std::mem::take(&mut *self.alive.lock().unwrap()).cancel();
    }

    /// Sends bytes to the client as if from the broker. Only while the broker sends nothing.
    pub(crate) async fn send_to_client(&self, bytes: &[u8]) {
        for writer in self.to_client.lock().await.iter_mut() {
            let _ = writer.write_all(bytes).await;
        }
    }

    async fn forward(self, client: TcpStream) {
        if *self.mode.borrow() == Mode::Refuse {
            return;
        }
        let alive = self.alive.lock().unwrap().clone();
        let Ok(server) = TcpStream::connect(broker_address()).await else {
            return;
        };
        let (client_in, client_out) = client.into_split();
        let (server_in, server_out) = server.into_split();
        let index = {
            let mut writers = self.to_client.lock().await;
            writers.push(client_out);
            writers.len() - 1
        };
        tokio::select! {
            () = alive.cancelled() => {}
            () = self.upstream(client_in, server_out) => {}
            () = self.downstream(server_in, index) => {}
        }
        let _ = self.to_client.lock().await[index].shutdown().await;
    }

    async fn upstream(&self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            self.wait_while_stalled().await;
            if to.write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    }

    async fn downstream(&self, mut from: OwnedReadHalf, index: usize) {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            self.wait_while_stalled().await;
            let mut writers = self.to_client.lock().await;
            if writers[index].write_all(&buffer[..count]).await.is_err() {
                return;
            }
        }
    }

    async fn wait_while_stalled(&self) {
        let _ = self.mode.subscribe().wait_for(|mode| *mode != Mode::Stall).await;
    }
}

fn broker_address() -> SocketAddr {
    let url = amqp_url();
    let authority = url.split_once("://").unwrap().1.split('/').next().unwrap().to_owned();
    let host = authority.rsplit_once('@').map_or(authority.as_str(), |(_, host)| host);
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:5672") };
    std::net::ToSocketAddrs::to_socket_addrs(&host).unwrap().next().unwrap()
}
