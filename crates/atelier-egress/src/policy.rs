//! Which addresses may be reached: a pure decision.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use reqwest::Url;

use crate::network::{Network, is_link_local, is_special, unmapped};

/// What may be reached beside public addresses. Empty by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EgressPolicy {
    loopback: bool,
    private: bool,
    networks: Vec<Network>,
    hosts: Vec<HostGrant>,
}

/// One host of a URL, as it is written there, whose addresses are not looked at further.
#[derive(Clone, Debug, PartialEq, Eq)]
struct HostGrant {
    /// As [`Url::host_str`] writes it: lower case, IPv6 in brackets.
    host: String,
    /// Absent: every port.
    port: Option<u16>,
}

/// An entry of the allow list that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{entry}` is not `loopback`, `private`, an address range like 10.1.0.0/16, or a host[:port]")]
pub struct PolicyError {
    pub entry: String,
}

/// An address that may not be reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the address of {host} may not be reached from this server")]
pub struct EgressDenied {
    pub host: String,
}

impl FromStr for EgressPolicy {
    type Err = PolicyError;

    /// Reads the comma list of `ATELIER_EGRESS_ALLOW`.
    fn from_str(text: &str) -> Result<Self, PolicyError> {
        let mut policy = Self::default();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            match entry {
                "loopback" => policy.loopback = true,
                "private" => policy.private = true,
                range if range.contains('/') => {
                    let network = range.parse().map_err(|()| PolicyError { entry: range.to_owned() })?;
                    policy.networks.push(network);
                }
                host => policy.hosts.push(host.parse().map_err(|()| PolicyError { entry: host.to_owned() })?),
            }
        }
        Ok(policy)
    }
}

impl FromStr for HostGrant {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let literal: Result<Ipv6Addr, _> = text.parse();
        // let the URL type decide what a host is, so that both sides write it alike
        let authority = literal.map_or_else(|_| text.to_owned(), |v6| format!("[{v6}]"));
        let url = Url::parse(&format!("http://{authority}/")).map_err(|_| ())?;
        let is_plain = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        let port_text = authority.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.contains(']'));
        let port = port_text.map(|port| port.parse().map_err(|_| ())).transpose()?;
        match url.host_str() {
            Some(host) if is_plain => Ok(Self { host: host.to_owned(), port }),
            _ => Err(()),
        }
    }
}

impl EgressPolicy {
    /// Whether `address`, found for a name or written in a URL, may be dialled.
    #[must_use]
    pub fn allows_address(&self, address: IpAddr) -> bool {
        let address = unmapped(address);
        if self.networks.iter().any(|network| network.contains(address)) || !is_special(address) {
            return true;
        }
        if is_link_local(address) {
            return false;
        }
        (self.loopback && is_loopback(address)) || (self.private && is_private(address))
    }

    /// Whether `address` may be dialled for a host that is listed by name. Link-local addresses, and so
    /// cloud metadata, open only by their range.
    #[must_use]
    pub(crate) fn allows_address_of_granted_host(&self, address: IpAddr) -> bool {
        let unmapped = unmapped(address);
        let never = is_link_local(unmapped) || unmapped.is_multicast() || unmapped.is_unspecified();
        !never || self.allows_address(address)
    }

    /// Whether the host of `url` is listed by name, for its port.
    pub(crate) fn grants_host(&self, url: &Url) -> bool {
        let (Some(host), Some(port)) = (url.host_str(), url.port_or_known_default()) else {
            return false;
        };
        self.lists_host(host, port)
    }

    /// Whether a host, written as a URL writes it, is listed by name, for this port.
    pub(crate) fn lists_host(&self, host: &str, port: u16) -> bool {
        self.hosts.iter().any(|grant| grant.host == host && grant.port.is_none_or(|granted| granted == port))
    }

    pub(crate) const fn has_hosts(&self) -> bool {
        !self.hosts.is_empty()
    }

    /// Refuses a URL whose host is an address that may not be reached. A name passes: what it resolves to
    /// is checked when it is dialled.
    ///
    /// # Errors
    /// The address is denied, or the URL has no host.
    pub fn check_url(&self, url: &Url) -> Result<(), EgressDenied> {
        let host = url.host_str().ok_or_else(|| EgressDenied { host: String::new() })?;
        let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() else {
            return Ok(());
        };
        let allowed = if self.grants_host(url) {
            self.allows_address_of_granted_host(address)
        } else {
            self.allows_address(address)
        };
        if allowed { Ok(()) } else { Err(EgressDenied { host: host.to_owned() }) }
    }
}

fn is_loopback(address: IpAddr) -> bool {
    address == IpAddr::V4(Ipv4Addr::LOCALHOST) || address == IpAddr::V6(Ipv6Addr::LOCALHOST)
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private(),
        IpAddr::V6(v6) => v6.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn policy(text: &str) -> EgressPolicy {
        text.parse().unwrap()
    }

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    fn allows(allow: &str, address: &str) -> bool {
        policy(allow).allows_address(address.parse().unwrap())
    }

    #[test]
    fn without_entries_only_public_addresses_are_reached() {
        for denied in [
            "127.0.0.1",
            "127.255.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "0.0.0.0",
            "0.1.2.3",
            "100.64.0.1",
            "192.0.0.8",
            "192.88.99.1",
            "198.18.0.1",
            "198.19.255.255",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "192.0.2.1",
            "198.51.100.7",
            "203.0.113.9",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:1ff::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!allows("", denied), "{denied}");
        }
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2001:200::1",
            "2a00::1",
            "::ffff:8.8.8.8",
        ] {
            assert!(allows("", public), "{public}");
        }
    }

    #[test]
    fn loopback_opens_two_addresses_and_private_no_link_local_one() {
        assert!(allows("loopback", "127.0.0.1"));
        assert!(allows("loopback", "::1"));
        assert!(allows("loopback", "::ffff:127.0.0.1"));
        assert!(!allows("loopback", "127.0.0.2"));
        assert!(!allows("loopback", "10.0.0.1"));
        for open in ["10.1.2.3", "172.20.0.1", "192.168.0.1", "fd00::1"] {
            assert!(allows(" private , ", open), "{open}");
        }
        for shut in ["127.0.0.1", "169.254.169.254", "fe80::1", "100.64.0.1", "fd00:ec2::254"] {
            assert!(!allows("private", shut), "{shut}");
        }
    }

    #[test]
    fn ranges_open_what_they_hold_and_nothing_else() {
        assert!(allows("169.254.169.254/32", "169.254.169.254"));
        assert!(!allows("169.254.169.254/32", "169.254.169.253"));
        assert!(allows("10.20.0.0/16, fd00::/8", "fd00:ec2::254"));
        assert!(!allows("10.20.0.0/16", "10.21.0.1"));
        assert!(allows("0.0.0.0/0", "127.0.0.1"));
        assert!(!allows("0.0.0.0/0", "::1"));
        assert!(allows("::/0", "fe80::1"));
    }

    #[test]
    fn a_listed_host_opens_its_port_but_never_link_local() {
        let open = policy("models.internal:8080, 10.0.0.5, [fd00::7]:9000, localhost");
        assert!(open.grants_host(&url("http://Models.Internal:8080/v1")));
        assert!(!open.grants_host(&url("http://models.internal/v1")));
        assert!(open.grants_host(&url("https://localhost:1")));
        assert!(open.check_url(&url("http://10.0.0.5:1234/")).is_ok());
        assert!(open.check_url(&url("http://10.0.0.6/")).is_err());
        assert!(open.check_url(&url("http://[fd00::7]:9000/")).is_ok());
        assert!(open.check_url(&url("http://[fd00::7]:9001/")).is_err());
        let metadata = policy("169.254.169.254");
        assert!(metadata.check_url(&url("http://169.254.169.254/")).is_err());
    }

    #[test]
    fn addresses_in_disguise_are_seen() {
        let closed = policy("");
        for literal in [
            "http://127.0.0.1/",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://127.1:80/",
            "http://0177.0.0.1/",
            "http://127.0.0.1./",
            "http://[::ffff:7f00:1]/",
            "http://[::1]/",
            "https://１２７.0.0.1/",
        ] {
            assert!(closed.check_url(&url(literal)).is_err(), "{literal}");
        }
        assert!(closed.check_url(&url("https://api.example.com/v1")).is_ok());
    }

    #[test]
    fn a_bad_entry_is_named() {
        for bad in ["10.0.0.0/33", "10.0.0.0/", "/8", "::/129", "a b", "host:99999", "http://x/", "user@host", "10.0/8"]
        {
            assert_eq!(bad.parse::<EgressPolicy>(), Err(PolicyError { entry: bad.to_owned() }), "{bad}");
        }
    }

    proptest! {
        /// A mapped address is decided like the IPv4 address it is.
        #[test]
        fn mapping_changes_nothing(bits: u32, entries in prop::sample::subsequence(
            vec!["loopback", "private", "169.254.0.0/16", "100.64.0.0/10", "host"], 0..5)) {
            let policy = policy(&entries.join(","));
            let v4 = Ipv4Addr::from_bits(bits);
            prop_assert_eq!(
                policy.allows_address(IpAddr::V4(v4)),
                policy.allows_address(IpAddr::V6(v4.to_ipv6_mapped()))
            );
        }

        /// More entries never close anything, and a range decides exactly by its prefix.
        #[test]
        fn entries_only_open(bits: u32, base: u32, prefix in 0_u32..=32) {
            let range = format!("{}/{prefix}", Ipv4Addr::from_bits(base));
            let address = IpAddr::V4(Ipv4Addr::from_bits(bits));
            let inside = prefix == 0 || (bits ^ base) >> (32 - prefix) == 0;
            let closed = policy("").allows_address(address);
            prop_assert_eq!(policy(&range).allows_address(address), closed || inside);
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "\\PC{0,40}") {
            let _ = text.parse::<EgressPolicy>();
        }
    }
}
