//! The hosts of `network.allow_hosts`: a name, or `*.` and one for all names below it.

/// Why `host` is no entry of the list.
pub(super) fn host_pattern_fault(host: &str) -> Option<&'static str> {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let good = (1..=253).contains(&name.len())
        && name
            .split('.')
            .all(|label| !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'));
    (!good).then_some("must be a host name, or *. and one")
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
