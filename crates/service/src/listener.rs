//! Listening for connections, with a backlog for a rush of clients.

use std::io;
use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait to be accepted. Linux takes less if `net.core.somaxconn` is less. With the
/// usual 128 a rush of clients overflows it, and each of those left out tries again a second later.
const BACKLOG: u32 = 4096;

/// Listens on an address.
///
/// # Errors
/// When the address is in use or not this machine's.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // As the standard library does: a restarted program need not wait for old connections.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
