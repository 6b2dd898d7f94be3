//! TCP ports of 127.0.0.1 on which nothing listens.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the range from which the kernel takes the ports of outgoing connections: none of those
/// gets a port between this check and the bind that follows it.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// A free address. One process never gets the same one twice in a row of 12,000.
pub fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(u16::MAX);
    // The first caller draws where to begin, so that processes do not meet.
    let start = fastrand::u16(..COUNT);
    let _ = NEXT.compare_exchange(u16::MAX, start, Ordering::Relaxed, Ordering::Relaxed);
    for _ in 0..COUNT {
        let next = |offset: u16| Some((offset + 1) % COUNT);
        let offset = NEXT.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        let port = FIRST + offset.unwrap_or_default();
        if is_free(port) {
            return SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT - 1);
}

pub(crate) fn free_port() -> u16 {
    free_address().port()
}

/// The address with this port if it is free, otherwise another one.
pub fn free_address_near(port: u16) -> SocketAddr {
    if is_free(port) { SocketAddr::from((Ipv4Addr::LOCALHOST, port)) } else { free_address() }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
