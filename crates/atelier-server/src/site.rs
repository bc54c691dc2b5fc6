//! The built site, embedded in the program.
//!
//! The site's build leaves each file beside its gzip and Brotli forms; nothing is compressed here. A page
//! is any path that no file and no route has: the site's own router shows what belongs there.

use std::borrow::Cow;
use std::collections::HashMap;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

use crate::router::is_of_api;

const INDEX: &str = "index.html";
/// Files below it carry a hash in their name.
const HASHED: &str = "assets/";
/// Forms in the order of preference: coding, and what it adds to a file's name.
const CODINGS: [(&str, &str); 2] = [("br", ".br"), ("gzip", ".gz")];
/// What a server says that was built without the site.
const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Atelier</title>\
    <h1>The site is not part of this build</h1>\
    <p>The API works. Run <code>./dev build</code> or <code>./dev run</code> to build the program with its site.</p>";

#[derive(rust_embed::Embed)]
#[folder = "../../site/dist"]
#[allow_missing = true]
struct Embedded;

/// What is served beside the API.
pub(crate) struct Site {
    files: HashMap<String, File>,
    policy: HeaderValue,
}

struct File {
    content_type: HeaderValue,
    etag: HeaderValue,
    plain: Bytes,
    /// As in [`CODINGS`].
    coded: [Option<Bytes>; CODINGS.len()],
}

impl Site {
    pub(crate) fn embedded() -> Self {
        let files = Embedded::iter().filter_map(|name| {
            let data = match Embedded::get(&name)?.data {
                Cow::Borrowed(data) => Bytes::from_static(data),
                Cow::Owned(data) => data.into(),
            };
            Some((name.into_owned(), data))
        });
        Self::of(files.collect())
    }

    /// A site of these files, by their paths; those with a suffix of [`CODINGS`] are forms of others.
    fn of(mut all: HashMap<String, Bytes>) -> Self {
        all.entry(INDEX.to_owned()).or_insert(Bytes::from_static(NOT_BUILT.as_bytes()));
        let is_form = |name: &String| CODINGS.iter().any(|(_, suffix)| name.ends_with(suffix));
        let files: HashMap<_, _> = all
            .iter()
            .filter(|(name, _)| !is_form(name))
            .map(|(name, plain)| {
                let coded = CODINGS.map(|(_, suffix)| all.get(&format!("{name}{suffix}")).cloned());
                let etag = format!("\"{}\"", BASE64_URL_SAFE_NO_PAD.encode(&Sha256::digest(plain)[..16]));
                let file = File {
                    content_type: HeaderValue::from_static(content_type(name)),
                    etag: HeaderValue::try_from(etag).expect("base64 is a valid header"),
                    plain: plain.clone(),
                    coded,
                };
                (name.clone(), file)
            })
            .collect();
        let policy = policy(&String::from_utf8_lossy(&files[INDEX].plain));
        Self { files, policy }
    }

    /// The answer to a GET or HEAD that no route takes, unless it is for the API.
    pub(crate) fn answer(&self, method: &Method, path: &str, headers: &HeaderMap) -> Option<Response> {
        if ![Method::GET, Method::HEAD].contains(method) || is_of_api(path) || path == "/healthz" {
            return None;
        }
        let path = path.strip_prefix('/').unwrap_or(path);
        let (name, file) = match self.files.get_key_value(path) {
            Some(found) => found,
            // browsers ask for HTML by name; scripts, which take anything, get the error they can read
            None if path.is_empty()
                || (!path.starts_with(HASHED) && accepts(headers, &header::ACCEPT, "text/html")) =>
            {
                self.files.get_key_value(INDEX)?
            }
            None => return None,
        };
        Some(self.file(name, file, headers))
    }

    fn file(&self, name: &str, file: &File, headers: &HeaderMap) -> Response {
        let is_known = headers
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|tag| tag.trim().trim_start_matches("W/").as_bytes() == file.etag.as_bytes());
        let mut response = if is_known {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let form = CODINGS.iter().zip(&file.coded).find_map(|((coding, _), form)| {
                let form = form.as_ref()?;
                accepts(headers, &header::ACCEPT_ENCODING, coding).then_some((*coding, form))
            });
            let (coding, bytes) = form.map_or((None, &file.plain), |(coding, form)| (Some(coding), form));
            let mut response = Response::new(Body::from(bytes.clone()));
            if let Some(coding) = coding {
                response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
            }
            response.headers_mut().insert(header::CONTENT_TYPE, file.content_type.clone());
            response
        };
        let caching = if name.starts_with(HASHED) { "public, max-age=31536000, immutable" } else { "no-cache" };
        let answer = response.headers_mut();
        answer.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching));
        answer.insert(header::ETAG, file.etag.clone());
        answer.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        answer.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        answer.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        answer.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
        response
    }
}

/// Whether a list of preferences names this value, or `*`, with a weight above zero.
fn accepts(headers: &HeaderMap, name: &header::HeaderName, value: &str) -> bool {
    let preferences =
        headers.get_all(name).iter().filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(','));
    let mut named = None;
    let mut any = false;
    for preference in preferences {
        let mut pieces = preference.split(';').map(str::trim);
        let what = pieces.next().unwrap_or_default();
        let is_wanted = pieces
            .find_map(|piece| piece.strip_prefix("q="))
            .is_none_or(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0));
        if what.eq_ignore_ascii_case(value) {
            named = Some(is_wanted);
        } else if what == "*" {
            any = is_wanted;
        }
    }
    named.unwrap_or(any)
}

/// What a page may load: the site's own files, and the scripts that its first page holds.
fn policy(index: &str) -> HeaderValue {
    let hashes: String = index
        .split("<script>")
        .skip(1)
        .filter_map(|rest| rest.split_once("</script>"))
        .map(|(script, _)| format!(" 'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(script))))
        .collect();
    let policy = format!(
        "default-src 'self'; script-src 'self'{hashes}; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; \
         worker-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).expect("base64 is a valid header")
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json" | "map") => "application/json",
        Some("webmanifest") => "application/manifest+json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("ico") => "image/x-icon",
        Some("woff2") => "font/woff2",
        Some("txt") => "text/plain; charset=utf-8",
        Some(_) | None => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn built() -> Site {
        let file = |name: &str, data: &'static [u8]| (name.to_owned(), Bytes::from_static(data));
        Site::of(HashMap::from([
            file("index.html", b"<script>let a = 1</script><script type=module src=/assets/a-1.js></script>"),
            file("assets/a-1.js", b"plain"),
            file("assets/a-1.js.br", b"brotli"),
            file("assets/a-1.js.gz", b"gzip"),
        ]))
    }

    fn headers(pairs: &[(header::HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    fn page() -> HeaderMap {
        headers(&[(header::ACCEPT, "text/html,application/xhtml+xml,*/*;q=0.8")])
    }

    async fn body(response: Response) -> Bytes {
        axum::body::to_bytes(response.into_body(), 1024 * 1024).await.unwrap()
    }

    #[tokio::test]
    async fn the_best_form_that_a_client_takes_is_sent() {
        for (asked, coding, wanted) in [
            ("gzip, deflate, br, zstd", Some("br"), "brotli"),
            ("gzip", Some("gzip"), "gzip"),
            ("br;q=0, gzip;q=0.5", Some("gzip"), "gzip"),
            ("*", Some("br"), "brotli"),
            ("identity", None, "plain"),
            ("", None, "plain"),
        ] {
            let response =
                built().answer(&Method::GET, "/assets/a-1.js", &headers(&[(header::ACCEPT_ENCODING, asked)])).unwrap();
            let found = response.headers().get(header::CONTENT_ENCODING).map(|coding| coding.to_str().unwrap());
            assert_eq!(found, coding, "{asked}");
            assert_eq!(response.headers()[header::CONTENT_TYPE], "text/javascript; charset=utf-8");
            assert_eq!(response.headers()[header::CACHE_CONTROL], "public, max-age=31536000, immutable");
            assert_eq!(body(response).await, wanted, "{asked}");
        }
    }

    #[tokio::test]
    async fn a_file_that_is_known_is_not_sent_again() {
        let first = built().answer(&Method::GET, "/", &page()).unwrap();
        let mut again = page();
        again.insert(header::IF_NONE_MATCH, first.headers()[header::ETAG].clone());
        let second = built().answer(&Method::GET, "/agents/settings/general", &again).unwrap();
        assert_eq!(second.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(second.headers()[header::CACHE_CONTROL], "no-cache");
        assert!(body(second).await.is_empty());
    }

    #[test]
    fn the_policy_names_the_scripts_of_the_page_and_no_others() {
        let response = built().answer(&Method::GET, "/agents", &page()).unwrap();
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap().to_owned();
        let hash = BASE64_STANDARD.encode(Sha256::digest("let a = 1"));
        assert!(policy.contains(&format!("script-src 'self' 'sha256-{hash}'; ")), "{policy}");
    }

    #[test]
    fn pages_are_for_people_and_the_api_is_never_a_page() {
        let site = built();
        for path in ["/api", "/api/v2/nothing", "/healthz", "/assets/gone-2.js"] {
            assert!(site.answer(&Method::GET, path, &page()).is_none(), "{path}");
        }
        assert!(site.answer(&Method::GET, "/agents", &headers(&[(header::ACCEPT, "application/json")])).is_none());
        assert!(site.answer(&Method::GET, "/agents", &headers(&[(header::ACCEPT, "*/*")])).is_none());
        assert!(site.answer(&Method::GET, "/", &HeaderMap::new()).is_some());
    }

    #[tokio::test]
    async fn a_server_without_its_site_says_what_to_do() {
        let response = Site::of(HashMap::new()).answer(&Method::GET, "/", &page()).unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert!(String::from_utf8_lossy(&body(response).await).contains("./dev build"));
    }
}
