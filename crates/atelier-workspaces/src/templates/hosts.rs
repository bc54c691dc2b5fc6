//! The hosts of `network.allow_hosts`: a name, or `*.` and one for all names below it.

use std::net::{IpAddr, Ipv4Addr};

use atelier_egress::EgressPolicy;

/// Why `host` is not an entry of the list. With `outgoing`, also why it would never be reached.
pub(super) fn host_pattern_fault(host: &str, outgoing: Option<&EgressPolicy>) -> Option<&'static str> {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let good = (1..=253).contains(&name.len())
        && name
            .split('.')
            .all(|label| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
    if !good {
        return Some("must be a host name, or *. and one");
    }
    outgoing.and_then(|policy| unreachable_fault(host, name, policy))
}

/// Why an address, or a name that always means this host, is of no use in the list.
fn unreachable_fault(host: &str, name: &str, policy: &EgressPolicy) -> Option<&'static str> {
    let last = name.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let is_numeric = last.bytes().all(|byte| byte.is_ascii_digit()) || last.starts_with("0x");
    match name.parse::<Ipv4Addr>() {
        Ok(_) if host != name => Some("is an address, and nothing is below an address"),
        Ok(address) if !policy.allows_address(IpAddr::V4(address)) => Some(
            "is an address that is never dialled; only public ones are, and those of ATELIER_WORKSPACE_EGRESS_ALLOW",
        ),
        Ok(_) => None,
        Err(_) if is_numeric => Some("must be a host name; an address is written as four numbers"),
        Err(_) if last == "localhost" && !policy.allows_address(IpAddr::V4(Ipv4Addr::LOCALHOST)) => {
            Some("is the workspace itself, which is reached without being listed")
        }
        Err(_) => None,
    }
}

/// Whether a list has `host`, a name in lower case without a dot at its end.
pub(crate) fn lists_host(list: &[String], host: &str) -> bool {
    list.iter().any(|entry| {
        let entry = entry.to_ascii_lowercase();
        match entry.strip_prefix("*.") {
            // the name above is not below itself
            Some(above) => host.strip_suffix(above).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            None => entry == host,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_never_dialled_is_refused() {
        let outgoing = EgressPolicy::default();
        let fault = |host: &str| host_pattern_fault(host, Some(&outgoing));
        for never in ["127.0.0.1", "10.0.0.1", "169.254.169.254", "0.0.0.0", "*.8.8.8.8", "127.1", "2130706433"] {
            assert!(fault(never).is_some(), "{never}");
        }
        for never in ["0x7f.1", "localhost", "*.localhost", "LOCALHOST"] {
            assert!(fault(never).is_some(), "{never}");
        }
        for host in ["8.8.8.8", "crates.io", "*.crates.io", "1.example", "x0x7f.example", "localhost.example"] {
            assert_eq!(fault(host), None, "{host}");
        }
        let opened: EgressPolicy = "loopback,10.0.0.0/24".parse().unwrap();
        for host in ["127.0.0.1", "10.0.0.1", "localhost"] {
            assert_eq!(host_pattern_fault(host, Some(&opened)), None, "{host}");
        }
        assert_eq!(host_pattern_fault("127.0.0.1", None), None);
    }

    #[test]
    fn a_star_is_all_below_and_not_the_name_itself() {
        let list = ["*.Crates.io".to_owned(), "git.example".to_owned()];
        for listed in ["static.crates.io", "a.b.crates.io", "git.example"] {
            assert!(lists_host(&list, listed), "{listed}");
        }
        for other in ["crates.io", ".crates.io", "evilcrates.io", "a.git.example", "git.example.evil", "example", ""] {
            assert!(!lists_host(&list, other), "{other}");
        }
    }
}
