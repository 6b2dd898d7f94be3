use std::net::IpAddr;

use ipnet::IpNet;

/// Networks of IP addresses; none by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Parses networks in CIDR form with commas between them. An address alone is a network of one.
    pub fn parse(text: &str) -> Result<Self, String> {
        let networks: Option<Vec<IpNet>> = text.split(',').map(|one| network(one.trim())).collect();
        networks.map(Self).ok_or_else(|| {
            "must be networks like 203.0.113.0/24, 2001:db8::/32 or 203.0.113.7 with commas between \
             them, none with a bit set beyond its length"
                .to_owned()
        })
    }

    /// The address must be canonical: never an IPv4 address mapped into IPv6.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether one of them is the whole of IPv4 or IPv6.
    pub(crate) fn cover_every_address(&self) -> bool {
        self.0.iter().any(|network| network.prefix_len() == 0)
    }
}

/// A bit beyond the length is more likely a typo than intended.
fn network(text: &str) -> Option<IpNet> {
    let network = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?;
    (network.trunc() == network).then_some(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_contains_its_addresses() {
        let networks = Networks::parse("203.0.113.0/24, 2001:db8::/32,198.51.100.7").unwrap();
        for inside in ["203.0.113.0", "203.0.113.255", "2001:db8:1::1", "198.51.100.7"] {
            assert!(networks.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["203.0.114.0", "2001:db9::", "198.51.100.8", "::", "::ffff:203.0.113.1"] {
            assert!(!networks.contains(outside.parse().unwrap()), "{outside}");
        }
        assert!(!Networks::default().contains("203.0.113.1".parse().unwrap()));
    }

    #[test]
    fn malformed_network_is_refused() {
        for bad in
            ["", ",", "10.0.0.0/8,", "10.0.0.1/8", "10.0.0.0/33", "10.0.0", "proxy", "::1/64"]
        {
            assert!(Networks::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Networks::parse("10.0.0.0/8,::/0").unwrap().cover_every_address());
        assert!(!Networks::parse("10.0.0.0/8,::1").unwrap().cover_every_address());
    }
}
