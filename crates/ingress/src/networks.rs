//! Networks of addresses, as operators write them.

use std::net::IpAddr;

use ipnet::IpNet;

/// Some networks; none unless said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Reads networks in CIDR form with commas between them; an address alone is a network of one.
    ///
    /// # Errors
    /// With the rule.
    pub fn parse(text: &str) -> Result<Self, String> {
        let networks: Option<Vec<IpNet>> = text.split(',').map(|one| network(one.trim())).collect();
        networks.map(Self).ok_or_else(|| {
            "must be networks like 203.0.113.0/24, 2001:db8::/32 or 203.0.113.7 with commas between \
             them, none with a bit set beyond its length"
                .to_owned()
        })
    }

    /// Of an address in its canonical form: an IPv4 address is never one of IPv6 here.
    pub(crate) fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whether one of them is the whole of IPv4 or IPv6.
    pub(crate) fn are_everybody(&self) -> bool {
        self.0.iter().any(|network| network.prefix_len() == 0)
    }
}

/// A bit beyond the length is more likely a slip of the pen than a wish.
fn network(text: &str) -> Option<IpNet> {
    let network = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?;
    (network.trunc() == network).then_some(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_inside_or_not() {
        let networks = Networks::parse("203.0.113.0/24, 2001:db8::/32,198.51.100.7").unwrap();
        for inside in ["203.0.113.0", "203.0.113.255", "2001:db8:1::1", "198.51.100.7"] {
            assert!(networks.contain(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["203.0.114.0", "2001:db9::", "198.51.100.8", "::", "::ffff:203.0.113.1"] {
            assert!(!networks.contain(outside.parse().unwrap()), "{outside}");
        }
        assert!(!Networks::default().contain("203.0.113.1".parse().unwrap()));
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for bad in
            ["", ",", "10.0.0.0/8,", "10.0.0.1/8", "10.0.0.0/33", "10.0.0", "proxy", "::1/64"]
        {
            assert!(Networks::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Networks::parse("10.0.0.0/8,::/0").unwrap().are_everybody());
        assert!(!Networks::parse("10.0.0.0/8,::1").unwrap().are_everybody());
    }
}
