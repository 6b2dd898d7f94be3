//! Where a request comes from, when proxies stand between.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::HeaderMap;

use crate::Networks;

/// The address at the other end of the connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// The address that a request came from: the peer's, or what trusted proxies say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source(pub(crate) IpAddr);

impl Source {
    /// Each proxy adds whom it has seen at the right, so the right-most address that is no proxy of
    /// ours is the last one that can be believed; whatever stands left of it anybody may have
    /// written. Where a list says nothing that can be read, the proxy itself is the source.
    ///
    /// A proxy adds to `X-Forwarded-For` or to `Forwarded` and passes the other one on as it came.
    /// When both are there and disagree, one is forged, and the proxy itself is the source.
    pub(crate) fn of(Peer(peer): Peer, headers: &HeaderMap, trusted: &Networks) -> Self {
        if !trusted.contain(peer) {
            return Self(peer);
        }
        let nearest = |name, read| nearest_stranger(peer, headers, name, read, trusted);
        let told = nearest("x-forwarded-for", address);
        let told_too = nearest("forwarded", for_address);
        match (told, told_too) {
            (Some(one), Some(other)) if one != other => Self(peer),
            (told, told_too) => Self(told.or(told_too).unwrap_or(peer)),
        }
    }

    /// What is counted as one: an IPv4 address, or a /64 of IPv6, which is the least that a single
    /// customer of a provider gets.
    pub(crate) fn block(self) -> IpAddr {
        match self.0 {
            IpAddr::V4(_) => self.0,
            IpAddr::V6(address) => {
                let network = address.to_bits() & (u128::MAX << 64);
                IpAddr::V6(Ipv6Addr::from_bits(network))
            }
        }
    }
}

/// `None` without such a header.
fn nearest_stranger(
    peer: IpAddr,
    headers: &HeaderMap,
    name: &str,
    read: fn(&str) -> Option<IpAddr>,
    trusted: &Networks,
) -> Option<IpAddr> {
    let mut nearest = None;
    for line in headers.get_all(name).iter().rev() {
        let hops = line.to_str().unwrap_or_default();
        for hop in hops.rsplit(',') {
            let Some(address) = read(hop.trim()) else {
                return nearest.or(Some(peer));
            };
            nearest = Some(address);
            if !trusted.contain(address) {
                return nearest;
            }
        }
    }
    nearest
}

/// An address, perhaps with a port, as one of IPv6 perhaps in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok();
    let address = address.or_else(|| text.parse::<SocketAddr>().ok().map(|it| it.ip()));
    address.map(|address| address.to_canonical())
}

/// The `for` of an element of `Forwarded` (RFC 7239).
fn for_address(element: &str) -> Option<IpAddr> {
    let pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let mut given = pairs.filter(|(name, _)| name.eq_ignore_ascii_case("for"));
    let ((_, value), None) = (given.next()?, given.next()) else {
        return None;
    };
    let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    address(quoted.unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    /// Of a request that a trusted proxy, 10.0.0.1, has passed on with these headers.
    fn source(headers: &[(&str, &str)]) -> String {
        source_from("10.0.0.1", headers)
    }

    fn source_from(peer: &str, headers: &[(&str, &str)]) -> String {
        let trusted = Networks::parse("10.0.0.0/8, fd00::/8").unwrap();
        let header = |(name, value): &(&str, &str)| {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            (name, HeaderValue::from_bytes(value.as_bytes()).unwrap())
        };
        let mut map = HeaderMap::new();
        for (name, value) in headers.iter().map(header) {
            map.append(name, value);
        }
        Source::of(Peer(peer.parse().unwrap()), &map, &trusted).0.to_string()
    }

    #[test]
    fn a_stranger_is_not_believed() {
        let forged = [("x-forwarded-for", "203.0.113.1"), ("forwarded", "for=203.0.113.1")];
        assert_eq!(source_from("198.51.100.9", &forged), "198.51.100.9");
        assert_eq!(source_from("198.51.100.9", &[]), "198.51.100.9");
    }

    #[test]
    fn the_right_most_stranger_is_the_source() {
        for (list, expected) in [
            ("203.0.113.1", "203.0.113.1"),
            ("192.0.2.66, 203.0.113.1", "203.0.113.1"),
            ("192.0.2.66, 203.0.113.1, 10.9.9.9", "203.0.113.1"),
            ("10.3.3.3,10.2.2.2", "10.3.3.3"),
            ("203.0.113.1:4711", "203.0.113.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:4711", "2001:db8::1"),
            ("::ffff:203.0.113.1", "203.0.113.1"),
            ("::ffff:10.2.2.2", "10.2.2.2"),
            // Nothing that can be read: the nearest proxy that said so.
            ("", "10.0.0.1"),
            ("unknown", "10.0.0.1"),
            ("203.0.113.1,", "10.0.0.1"),
            ("203.0.113.1, unknown, 10.2.2.2", "10.2.2.2"),
            ("203.0.113.1, \u{e9}", "10.0.0.1"),
        ] {
            assert_eq!(source(&[("x-forwarded-for", list)]), expected, "{list:?}");
        }
        assert_eq!(source(&[]), "10.0.0.1");
        let lines = [("x-forwarded-for", "192.0.2.66"), ("x-forwarded-for", "203.0.113.1")];
        assert_eq!(source(&lines), "203.0.113.1", "lines are one list");
    }

    #[test]
    fn the_standard_header_says_the_same() {
        for (list, expected) in [
            ("for=203.0.113.1", "203.0.113.1"),
            ("For=\"203.0.113.1:4711\";proto=https;by=10.0.0.1", "203.0.113.1"),
            ("for=192.0.2.66, proto=https; for=\"[2001:db8::1]:4711\"", "2001:db8::1"),
            ("for=203.0.113.1, for=10.2.2.2", "203.0.113.1"),
            // An open quote at the left swallows nothing.
            ("for=\"192.0.2.66, for=203.0.113.1", "203.0.113.1"),
            ("for=_hidden", "10.0.0.1"),
            ("proto=https", "10.0.0.1"),
            ("for=203.0.113.1;for=203.0.113.2", "10.0.0.1"),
        ] {
            assert_eq!(source(&[("forwarded", list)]), expected, "{list:?}");
        }
    }

    #[test]
    fn headers_that_disagree_say_nothing() {
        let of = |x, standard| source(&[("x-forwarded-for", x), ("forwarded", standard)]);
        assert_eq!(of("203.0.113.1", "for=203.0.113.1"), "203.0.113.1");
        assert_eq!(of("203.0.113.1", "for=192.0.2.66"), "10.0.0.1");
        assert_eq!(of("203.0.113.1", "for=_hidden"), "10.0.0.1");
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let block = |text: &str| Source(text.parse().unwrap()).block().to_string();
        assert_eq!(block("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(block("203.0.113.7"), "203.0.113.7");
    }
}
