//! Whether a request comes from a page of this site, as far as its browser tells (`api.md` 1.2).

use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use crate::error::{ApiError, ApiResult};
use crate::state::Shared;

/// How much of a header is repeated in a refusal.
const MAX_SHOWN: usize = 200;

/// The origin that pages of this site have.
pub(crate) struct OwnOrigin {
    access_url: String,
    access: Option<Origin>,
    /// The first refusal is in the log, for whoever set up the proxy; later ones say nothing new.
    is_told: AtomicBool,
}

impl OwnOrigin {
    pub(crate) fn new(access_url: &str) -> Self {
        Self { access_url: access_url.to_owned(), access: Origin::parse(access_url), is_told: AtomicBool::new(false) }
    }

    /// Refuses what a page of another site sent. Programs send neither of the two headers and pass.
    ///
    /// # Errors
    /// 403 `origin_mismatch`, which says what was compared.
    pub(crate) fn check(&self, request: &Request) -> ApiResult<()> {
        let sent = |name: &str| request.headers().get(name).map(|value| value.to_str().unwrap_or_default());
        // HTTP/2 has the host in the address
        let host = sent(header::HOST.as_str()).or(request.uri().authority().map(|host| host.as_str()));
        let host = host.unwrap_or_default();
        let (is_own, shown) = match (sent(header::ORIGIN.as_str()), sent("sec-fetch-site")) {
            (Some(origin), _) => (self.is_own(origin, host), format!("Origin `{origin:.MAX_SHOWN$}`")),
            (None, Some(site)) => {
                let is_own = ["same-origin", "none"].iter().any(|own| site.eq_ignore_ascii_case(own));
                (is_own, format!("no Origin, and Sec-Fetch-Site `{site:.MAX_SHOWN$}`"))
            }
            (None, None) => return Ok(()),
        };
        if is_own {
            return Ok(());
        }
        let message = "The request comes from a page of another site.";
        let detail = format!(
            "The browser sent {shown}. Pages of this site come from `{}` (ATELIER_ACCESS_URL) or from the request's \
             Host `{host:.MAX_SHOWN$}`. If people open the site at another address, set ATELIER_ACCESS_URL to it.",
            self.access_url,
        );
        if !self.is_told.swap(true, Ordering::Relaxed) {
            tracing::warn!("a browser was refused with origin_mismatch (this is logged once). {detail}");
        }
        Err(ApiError::new(StatusCode::FORBIDDEN, "origin_mismatch", message).with_detail(detail))
    }

    fn is_own(&self, origin: &str, host: &str) -> bool {
        Origin::parse(origin).is_some_and(|origin| self.access.as_ref() == Some(&origin) || origin.is_at(host))
    }
}

/// Scheme, host and port in lower case; a port that is left out is the scheme's own.
#[derive(Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    fn parse(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let own_port = match scheme.as_str() {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        Some(Self { scheme, host: uri.host()?.to_ascii_lowercase(), port: uri.port_u16().unwrap_or(own_port) })
    }

    /// Whether a `Host` header names the same place. It has no scheme: a proxy may have ended TLS.
    fn is_at(&self, host: &str) -> bool {
        Self::parse(&format!("{}://{host}", self.scheme)).as_ref() == Some(self)
    }
}

/// Checks the origin of every change that somebody without a credential asks for.
pub(crate) async fn own_origin(State(app): State<Shared>, request: Request, next: Next) -> Response {
    if !request.method().is_safe()
        && let Err(error) = app.logins.origin.check(&request)
    {
        return error.into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_ports_count_as_equal_and_everything_else_counts() {
        let own = OwnOrigin::new("https://atelier.example/below");
        for (origin, host, is_own) in [
            ("https://atelier.example", "10.0.0.1:3000", true),
            ("https://atelier.example:443", "10.0.0.1:3000", true),
            ("HTTPS://Atelier.Example", "", true),
            ("http://atelier.example", "10.0.0.1:3000", false),
            ("https://atelier.example:3000", "10.0.0.1:3000", false),
            ("https://atelier.example.evil.example", "10.0.0.1:3000", false),
            ("http://10.0.0.1:3000", "10.0.0.1:3000", true),
            ("http://inside.example", "inside.example:80", true),
            ("http://inside.example:80", "inside.example", true),
            ("https://inside.example", "inside.example:443", true),
            ("https://inside.example", "inside.example:80", false),
            ("http://[::1]:3000", "[::1]:3000", true),
            ("http://[::1]:3000", "[::1]:3001", false),
            ("null", "null", false),
            ("", "", false),
            ("file://", "", false),
            ("chrome-extension://abc", "abc", false),
        ] {
            assert_eq!(own.is_own(origin, host), is_own, "{origin} at {host}");
        }
    }
}
