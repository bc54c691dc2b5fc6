//! Base URLs of providers: what is accepted, and where a call goes (governance.md 1).

use atelier_egress::Url;

use crate::kind::ProviderKind;

const MAX_BYTES: usize = 2048;

/// What calls are made to below a base. Documentation often shows the whole URL of a call.
const ENDPOINTS: [&str; 5] = ["/chat/completions", "/completions", "/messages", "/responses", "/models"];

/// An accepted base URL, without a slash or an endpoint at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    url: Url,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BaseUrlError {
    #[error("must be an absolute http or https URL with a host")]
    NotAbsolute,
    #[error("must not contain a user name or password")]
    UserInfo,
    #[error("must not have a query or fragment")]
    QueryOrFragment,
    #[error("must be at most {MAX_BYTES} bytes")]
    TooLong,
}

impl BaseUrl {
    /// # Errors
    /// `text` is no base URL.
    pub fn parse(text: &str) -> Result<Self, BaseUrlError> {
        let text = text.trim();
        if text.len() > MAX_BYTES {
            return Err(BaseUrlError::TooLong);
        }
        let mut url = Url::parse(text).map_err(|_| BaseUrlError::NotAbsolute)?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
            return Err(BaseUrlError::NotAbsolute);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BaseUrlError::UserInfo);
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(BaseUrlError::QueryOrFragment);
        }
        let path = without_endpoint(url.path().trim_end_matches('/')).to_owned();
        url.set_path(&path);
        Ok(Self { url })
    }

    /// As it is stored and shown.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }

    /// Plain http to another machine: keys and chats would travel in the clear.
    #[must_use]
    pub fn is_insecure(&self) -> bool {
        let host = self.url.host_str().unwrap_or_default();
        let is_loopback = host == "localhost"
            || host.ends_with(".localhost")
            || host == "[::1]"
            || host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback());
        self.url.scheme() == "http" && !is_loopback
    }

    /// Whether a key for one may be sent to the other: same scheme, host and port.
    #[must_use]
    pub fn is_same_host(&self, other: &Self) -> bool {
        self.url.origin() == other.url.origin()
    }

    /// Host, and port if it is not the scheme's own.
    pub(crate) fn host(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// The URL of `path` below this one.
    pub(crate) fn join(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!("{}/{path}", self.url.path().trim_end_matches('/')));
        url
    }

    /// The URL of `path` of the Anthropic API, whether or not the base ends in its version.
    pub(crate) fn join_version(&self, version: &str, path: &str) -> Url {
        if self.url.path().trim_end_matches('/').ends_with(&format!("/{version}")) {
            self.join(path)
        } else {
            self.join(&format!("{version}/{path}"))
        }
    }

    /// The base URL in use for a provider of `kind`; `None` if it has none and needs one.
    #[must_use]
    pub fn in_use(kind: ProviderKind, saved: Option<&str>) -> Option<Result<Self, BaseUrlError>> {
        let text = saved.map(str::trim).filter(|text| !text.is_empty()).or_else(|| kind.default_base_url())?;
        Some(Self::parse(text))
    }
}

/// The path of the base, where the path of one of its endpoints was given.
fn without_endpoint(path: &str) -> &str {
    let base = ENDPOINTS.iter().find_map(|endpoint| path.strip_suffix(endpoint));
    base.unwrap_or(path).trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_accepted() {
        let accepted = |text: &str| BaseUrl::parse(text).unwrap().as_str().to_owned();
        assert_eq!(accepted(" https://API.example.com/v1/ "), "https://api.example.com/v1");
        assert_eq!(accepted("http://localhost:8080"), "http://localhost:8080");
        for endpoint in ["chat/completions", "completions", "messages", "responses", "models", "chat/completions//"] {
            assert_eq!(accepted(&format!("http://h/v1/{endpoint}")), "http://h/v1", "{endpoint}");
        }
        assert_eq!(accepted("http://h/messages"), "http://h");
        assert_eq!(accepted("http://h/mymodels/v1"), "http://h/mymodels/v1");
        for (text, error) in [
            ("api.example.com", BaseUrlError::NotAbsolute),
            ("ftp://example.com", BaseUrlError::NotAbsolute),
            ("http://", BaseUrlError::NotAbsolute),
            ("", BaseUrlError::NotAbsolute),
            ("https://me:pw@example.com", BaseUrlError::UserInfo),
            ("https://example.com/?a=b", BaseUrlError::QueryOrFragment),
            ("https://example.com/#x", BaseUrlError::QueryOrFragment),
        ] {
            assert_eq!(BaseUrl::parse(text), Err(error), "{text}");
        }
        assert_eq!(BaseUrl::parse(&format!("https://e.com/{}", "a".repeat(2048))), Err(BaseUrlError::TooLong));
    }

    #[test]
    fn hosts_are_compared_and_warned_about() {
        let url = |text| BaseUrl::parse(text).unwrap();
        assert!(url("https://a.com/v1").is_same_host(&url("https://A.com:443/v2")));
        assert!(!url("https://a.com").is_same_host(&url("http://a.com")));
        assert!(!url("https://a.com").is_same_host(&url("https://a.com:444")));
        assert!(url("http://10.0.0.1/v1").is_insecure());
        assert!(!url("http://127.0.0.1:1/v1").is_insecure());
        assert!(!url("http://[::1]/").is_insecure());
        assert!(!url("https://a.com").is_insecure());
    }

    #[test]
    fn calls_go_below_the_base() {
        let url = |text| BaseUrl::parse(text).unwrap();
        assert_eq!(url("http://a.com:81/x/").join("chat/completions").as_str(), "http://a.com:81/x/chat/completions");
        assert_eq!(url("https://a.com").join_version("v1", "messages").as_str(), "https://a.com/v1/messages");
        assert_eq!(url("https://a.com/p/v1").join_version("v1", "messages").as_str(), "https://a.com/p/v1/messages");
        assert_eq!(url("https://a.com:443").host(), "a.com");
        assert_eq!(url("http://a.com:8080/v1").host(), "a.com:8080");
    }
}
