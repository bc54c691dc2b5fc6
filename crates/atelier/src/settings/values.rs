//! Settings that are more than text: what they must look like, and what to write instead.

use std::path::PathBuf;

use reqwest::Url;

/// `HOST:PORT`, where the host may be a name.
pub(super) fn host_and_port(text: &str) -> Result<String, String> {
    let (host, port) = text.rsplit_once(':').ok_or("it must be HOST:PORT, for instance 127.0.0.1:3000")?;
    if port.parse::<u16>().is_err() {
        return Err(format!("{port:?} is not a port: write HOST:PORT, for instance 127.0.0.1:3000"));
    }
    if host.is_empty() {
        return Err(format!("it needs a host: write 127.0.0.1:{port}, or 0.0.0.0:{port} for all addresses"));
    }
    if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
        return Err("an address of IPv6 stands in brackets, for instance [::1]:3000".into());
    }
    Ok(text.to_owned())
}

/// A URL of nothing but scheme, host and port, as browsers write it in `Origin`: lower case, and without the
/// scheme's own port.
pub(super) fn site_url(text: &str) -> Result<String, String> {
    let example = "write it like https://atelier.example";
    let is_web = |url: &Url| ["http", "https"].contains(&url.scheme()) && url.has_host();
    let url = Url::parse(text).ok().filter(is_web);
    let url = url.ok_or_else(|| format!("it must begin with http:// or https:// and name a host; {example}"))?;
    if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
        return Err(format!("only scheme, host and port belong in it; {example}"));
    }
    if url.path() != "/" {
        return Err(format!(
            "it must not have a path: the site works at the root of a host only, so give it a host name of its own \
             instead of {}; {example}",
            url.path()
        ));
    }
    Ok(url.origin().ascii_serialization())
}

/// A path that means the same without a shell.
pub(super) fn whole_path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("it is empty".into());
    }
    if text.starts_with('~') {
        return Err("only a shell replaces ~: write the whole path (or ./~ for a folder of that name)".into());
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_to_listen_on() {
        for good in ["127.0.0.1:3000", "localhost:3000", "[::1]:0", "0.0.0.0:65535", "atelier.example:80"] {
            assert_eq!(host_and_port(good).as_deref(), Ok(good));
        }
        for (bad, words) in [
            ("3000", "HOST:PORT"),
            ("localhost", "HOST:PORT"),
            (":3000", "0.0.0.0:3000"),
            ("localhost:http", "not a port"),
            ("localhost:70000", "not a port"),
            ("::1:3000", "brackets"),
        ] {
            assert!(host_and_port(bad).unwrap_err().contains(words), "{bad}");
        }
    }

    #[test]
    fn urls_of_the_site() {
        for (text, url) in [
            ("https://atelier.example", "https://atelier.example"),
            ("https://atelier.example/", "https://atelier.example"),
            ("HTTPS://Atelier.Example:443", "https://atelier.example"),
            ("http://atelier.example:80/", "http://atelier.example"),
            ("http://10.0.0.1:3000", "http://10.0.0.1:3000"),
            ("http://[::1]:3000", "http://[::1]:3000"),
            ("https://atelier.example:8443", "https://atelier.example:8443"),
        ] {
            assert_eq!(site_url(text).as_deref(), Ok(url));
        }
        for (text, words) in [
            ("atelier.example", "http://"),
            ("atelier.example:3000", "http://"),
            ("ftp://atelier.example", "http://"),
            ("https://", "name a host"),
            ("", "http://"),
            ("https://atelier.example/below", "must not have a path"),
            ("https://atelier.example/?a", "only scheme"),
            ("https://ada:secret@atelier.example", "only scheme"),
        ] {
            let error = site_url(text).unwrap_err();
            assert!(error.contains(words) && error.contains("https://atelier.example"), "{text}: {error}");
        }
    }

    #[test]
    fn paths_that_only_a_shell_understands_are_refused() {
        assert_eq!(whole_path("/srv/atelier"), Ok("/srv/atelier".into()));
        assert_eq!(whole_path("./~"), Ok("./~".into()));
        for bad in ["~", "~/atelier", "~ada/atelier"] {
            assert!(whole_path(bad).unwrap_err().contains("whole path"), "{bad}");
        }
        assert!(whole_path("").is_err());
    }
}
