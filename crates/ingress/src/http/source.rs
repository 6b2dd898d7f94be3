//! Where a request comes from, behind proxies or not.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use axum::http::HeaderMap;

use crate::Networks;

/// The address at the other end of the connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// The address that a request comes from: the peer's, or the one that trusted proxies report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source(pub(crate) IpAddr);

impl Source {
    /// Each proxy appends the address of its peer, so the right-most address that is no trusted
    /// proxy is the last one that can be believed; any sender may have written what is left of it.
    /// Where a list cannot be parsed, the proxy itself is the source.
    ///
    /// A proxy appends to `X-Forwarded-For` or to `Forwarded` and passes the other one on unchanged.
    /// When both are there and disagree, one is forged, and the proxy itself is the source.
    pub(crate) fn of(Peer(peer): Peer, headers: &HeaderMap, trusted: &Networks) -> Self {
        if !trusted.contains(peer) {
            return Self(peer);
        }
        let nearest = |name, parse| nearest_untrusted(peer, headers, name, parse, trusted);
        let x_forwarded_for = nearest("x-forwarded-for", parse_address);
        let forwarded = nearest("forwarded", parse_forwarded);
        match (x_forwarded_for, forwarded) {
            (Some(one), Some(other)) if one != other => Self(peer),
            _ => Self(x_forwarded_for.or(forwarded).unwrap_or(peer)),
        }
    }

    /// What is counted as one source: an IPv4 address, or a /64 of IPv6, which is the least that a
    /// customer of an internet provider gets.
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
fn nearest_untrusted(
    peer: IpAddr,
    headers: &HeaderMap,
    name: &str,
    parse: fn(&str) -> Option<IpAddr>,
    trusted: &Networks,
) -> Option<IpAddr> {
    let mut nearest = None;
    for line in headers.get_all(name).iter().rev() {
        let hops = line.to_str().unwrap_or_default();
        for hop in hops.rsplit(',') {
            let Some(address) = parse(hop.trim()) else {
                return nearest.or(Some(peer));
            };
            nearest = Some(address);
            if !trusted.contains(address) {
                return nearest;
            }
        }
    }
    nearest
}

/// An address, with or without a port, IPv6 with or without brackets.
fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok();
    let address = address.or_else(|| text.parse::<SocketAddr>().ok().map(|it| it.ip()));
    address.map(|address| address.to_canonical())
}

/// The `for` of an element of `Forwarded` (RFC 7239).
fn parse_forwarded(element: &str) -> Option<IpAddr> {
    let pairs = element.split(';').filter_map(|pair| pair.trim().split_once('='));
    let mut values = pairs.filter(|(name, _)| name.eq_ignore_ascii_case("for"));
    let ((_, value), None) = (values.next()?, values.next()) else {
        return None;
    };
    let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    parse_address(quoted.unwrap_or(value))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    /// The source of a request that a trusted proxy, 10.0.0.1, has passed on with these headers.
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
    fn headers_of_an_untrusted_peer_are_ignored() {
        let forged = [("x-forwarded-for", "203.0.113.1"), ("forwarded", "for=203.0.113.1")];
        assert_eq!(source_from("198.51.100.9", &forged), "198.51.100.9");
        assert_eq!(source_from("198.51.100.9", &[]), "198.51.100.9");
    }

    #[test]
    fn right_most_untrusted_address_is_the_source() {
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
            // Nothing that can be parsed: the nearest proxy that sent it.
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
    fn forwarded_header_gives_the_source_too() {
        for (list, expected) in [
            ("for=203.0.113.1", "203.0.113.1"),
            ("For=\"203.0.113.1:4711\";proto=https;by=10.0.0.1", "203.0.113.1"),
            ("for=192.0.2.66, proto=https; for=\"[2001:db8::1]:4711\"", "2001:db8::1"),
            ("for=203.0.113.1, for=10.2.2.2", "203.0.113.1"),
            // An open quote at the left hides nothing.
            ("for=\"192.0.2.66, for=203.0.113.1", "203.0.113.1"),
            ("for=_hidden", "10.0.0.1"),
            ("proto=https", "10.0.0.1"),
            ("for=203.0.113.1;for=203.0.113.2", "10.0.0.1"),
        ] {
            assert_eq!(source(&[("forwarded", list)]), expected, "{list:?}");
        }
    }

    #[test]
    fn headers_that_disagree_are_ignored() {
        let of = |x, standard| source(&[("x-forwarded-for", x), ("forwarded", standard)]);
        assert_eq!(of("203.0.113.1", "for=203.0.113.1"), "203.0.113.1");
        assert_eq!(of("203.0.113.1", "for=192.0.2.66"), "10.0.0.1");
        assert_eq!(of("203.0.113.1", "for=_hidden"), "10.0.0.1");
    }

    #[test]
    fn ipv6_network_is_one_source() {
        let block = |text: &str| Source(text.parse().unwrap()).block().to_string();
        assert_eq!(block("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
        assert_eq!(block("203.0.113.7"), "203.0.113.7");
    }
}
