//! Which address a request comes from, when it came through proxies.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use axum::http::HeaderMap;
use ipnet::IpNet;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// Proxies whose word on their clients' addresses is taken. None by default.
#[derive(Clone, Debug, Default)]
pub struct TrustedProxies(Vec<IpNet>);

/// A text that lists no addresses.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither an address nor a range of addresses; write for instance 10.0.0.0/8, 192.0.2.7 or fd00::/8")]
pub struct TrustedProxiesError(String);

impl FromStr for TrustedProxies {
    type Err = TrustedProxiesError;

    /// Addresses and CIDRs, separated by commas.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let entries = text.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let network = |entry: &str| entry.parse::<IpNet>().or_else(|_| entry.parse::<IpAddr>().map(IpNet::from));
        entries
            .map(|entry| network(entry).map_err(|_| TrustedProxiesError(entry.to_owned())))
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl TrustedProxies {
    pub(crate) fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Who sent a request that came from `peer`: each proxy appends to `X-Forwarded-For` the address it was
    /// called from, so the list is read from its end for as long as the one who wrote an entry is trusted.
    ///
    /// `Forwarded` (RFC 7239) is not read: proxies that write one of the two headers pass the other one on as
    /// the client sent it.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let values = headers.get_all(FORWARDED_FOR).iter();
        let names: Vec<&[u8]> = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).collect();
        let mut client = peer;
        for name in names.into_iter().rev() {
            if !self.contain(client) {
                break;
            }
            let Some(address) = std::str::from_utf8(name).ok().and_then(address) else { break };
            client = address;
        }
        client
    }
}

/// An address as proxies write it: also with a port, and IPv6 also in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    address.ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(trusted: &str, peer: &str, headers: &[&str]) -> String {
        let mut map = HeaderMap::new();
        for value in headers {
            map.append(FORWARDED_FOR, value.parse().unwrap());
        }
        trusted.parse::<TrustedProxies>().unwrap().client(peer.parse().unwrap(), &map).to_string()
    }

    #[test]
    fn the_word_of_a_proxy_is_taken_as_far_as_it_is_trusted() {
        let trusted = "10.0.0.0/8, 192.0.2.7,fd00::/8";
        for (peer, headers, wanted) in [
            // strangers name nobody
            ("198.51.100.1", &["203.0.113.5"][..], "198.51.100.1"),
            ("10.1.2.3", &[], "10.1.2.3"),
            ("10.1.2.3", &["203.0.113.5"], "203.0.113.5"),
            // what a client wrote itself stands before what the proxies appended
            ("10.1.2.3", &["1.1.1.1, 203.0.113.5, 192.0.2.7"], "203.0.113.5"),
            ("10.1.2.3", &["1.1.1.1", "203.0.113.5", "192.0.2.7"], "203.0.113.5"),
            ("10.1.2.3", &["203.0.113.5, nonsense"], "10.1.2.3"),
            ("10.1.2.3", &["nonsense, 10.9.9.9"], "10.9.9.9"),
            ("10.1.2.3", &["203.0.113.5:4711"], "203.0.113.5"),
            ("fd00::1", &["[2001:db8::5]:4711"], "2001:db8::5"),
            ("fd00::1", &["[2001:db8::5]"], "2001:db8::5"),
            ("10.1.2.3", &["::ffff:203.0.113.5"], "203.0.113.5"),
        ] {
            assert_eq!(client(trusted, peer, headers), wanted, "{peer} {headers:?}");
        }
        assert_eq!(client("", "10.1.2.3", &["203.0.113.5"]), "10.1.2.3");
        assert_eq!("10.0.0.0/8, proxy".parse::<TrustedProxies>().unwrap_err(), TrustedProxiesError("proxy".into()));
    }
}
