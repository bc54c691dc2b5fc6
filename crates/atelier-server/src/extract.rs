//! Reading paths, queries and bodies, with one clear refusal each.

use std::borrow::Cow;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use atelier_api::Validation;
use atelier_domain::search::{Keys, Terms, parse_terms};
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::LengthLimitError;
use serde::de::DeserializeOwned;

use crate::error::{ApiError, ApiResult, fault};
use crate::repeats::{Repeatable, Scope};

/// The largest body that is read.
pub(crate) const MAX_BODY_BYTES: usize = 2 * 1024 * 1024;
/// The largest body of somebody who has no credential: a login, the first user.
const MAX_ANONYMOUS_BODY_BYTES: usize = 16 * 1024;
/// The largest file.
const MAX_FILE_BYTES: usize = 10 * 1024 * 1024;

/// How long a body may take.
const BODY_WAIT: Duration = Duration::from_secs(60);

/// A whole body, not yet parsed: what it names is looked at after what the path names, and after the
/// request's key ([`crate::repeats`]).
pub(crate) struct RawBody {
    bytes: Bytes,
    repeatable: Option<Arc<Repeatable>>,
}

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = ApiError;

    async fn from_request(mut request: Request, _: &S) -> Result<Self, ApiError> {
        let repeatable = request.extensions_mut().remove();
        let (max_bytes, too_large) = match request.extensions().get::<SmallBody>() {
            Some(SmallBody) => (MAX_ANONYMOUS_BODY_BYTES, "The request is larger than 16 KiB."),
            None => (MAX_BODY_BYTES, "The request is larger than 2 MiB."),
        };
        Ok(Self { bytes: read_body(request.into_body(), max_bytes, ("body_too_large", too_large)).await?, repeatable })
    }
}

#[derive(Clone, Copy)]
struct SmallBody;

/// A layer for routes that need no credential: only small bodies are read there, since anybody can send them and
/// let them lie in memory by not ending them.
pub(crate) async fn small_body(mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(SmallBody);
    next.run(request).await
}

/// Reads a body that is neither too large nor too slow.
async fn read_body(body: Body, max_bytes: usize, too_large: (&'static str, &'static str)) -> ApiResult<Bytes> {
    let read = tokio::time::timeout(BODY_WAIT, axum::body::to_bytes(body, max_bytes)).await;
    let read =
        read.map_err(|_| ApiError::bad_request("invalid_json", "The request's body did not come to its end."))?;
    read.map_err(|error| {
        let is_too_large =
            std::error::Error::source(&error).is_some_and(<dyn std::error::Error>::is::<LengthLimitError>);
        if is_too_large {
            ApiError::new(axum::http::StatusCode::PAYLOAD_TOO_LARGE, too_large.0, too_large.1)
        } else {
            ApiError::bad_request("invalid_json", "The request's body broke off.")
        }
    })
}

impl RawBody {
    /// Takes the request's key, if it has one. For handlers that need no body; reading one does it too.
    ///
    /// # Errors
    /// This request is not the first with its key.
    pub(crate) async fn begin(&self) -> ApiResult<()> {
        match &self.repeatable {
            Some(repeatable) => repeatable.begin(&self.bytes).await,
            None => Ok(()),
        }
    }

    /// Bytes.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// What the answer may be kept under.
    pub(crate) fn scope(&self) -> Option<Scope> {
        self.repeatable.as_ref().map(|repeatable| repeatable.scope())
    }

    /// The body as a JSON object of this type. U+0000 is refused outside of message content, which is read with
    /// [`RawBody::json_with_any_text`].
    pub(crate) async fn json<T: DeserializeOwned>(&self) -> ApiResult<T> {
        self.begin().await?;
        if holds_nul(&self.bytes) {
            return Err(ApiError::bad_request("invalid_json", "The request holds U+0000, which no field may contain."));
        }
        self.parse()
    }

    /// The same, where a request without a body asks for nothing special.
    pub(crate) async fn json_or_default<T: DeserializeOwned + Default>(&self) -> ApiResult<T> {
        if self.bytes.is_empty() {
            return self.begin().await.map(|()| T::default());
        }
        self.json().await
    }

    pub(crate) async fn json_with_any_text<T: DeserializeOwned>(&self) -> ApiResult<T> {
        self.begin().await?;
        self.parse()
    }

    fn parse<T: DeserializeOwned>(&self) -> ApiResult<T> {
        // serde reads a list as the fields of a struct in their order, and null as nothing
        match self.bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
            Some(b'{') => {}
            Some(_) => return Err(ApiError::bad_request("invalid_json", "The body must be a JSON object.")),
            None => return Err(ApiError::bad_request("invalid_json", "The body is empty and must be a JSON object.")),
        }
        serde_json::from_slice(&with_whole_characters(&self.bytes)).map_err(|error| {
            ApiError::bad_request("invalid_json", format!("The body is not the JSON expected here: {error}."))
        })
    }
}

/// Whether a string of this JSON holds U+0000: `\u0000` does, `\\u0000` only shows it.
fn holds_nul(json: &[u8]) -> bool {
    let mut rest = json;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        let escape = &rest[at + 1..];
        if escape.starts_with(b"u0000") {
            return true;
        }
        // what is escaped may be a backslash itself
        rest = escape.get(1..).unwrap_or_default();
    }
    false
}

/// This JSON with U+FFFD in the place of each half of a character that has lost its other half: `\ud83d` without a
/// `\ude00` behind it. Programs that cut texts by their UTF-16 length send such halves.
fn with_whole_characters(json: &[u8]) -> Cow<'_, [u8]> {
    let mut mended = Cow::Borrowed(json);
    let mut at = 0;
    while let Some(found) = json.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'\\')) {
        let escape = at + found;
        at = match (utf16_unit(json, escape), utf16_unit(json, escape + 6)) {
            (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => escape + 12,
            (Some(0xd800..0xe000), _) => {
                mended.to_mut()[escape..escape + 6].copy_from_slice(b"\\ufffd");
                escape + 6
            }
            // what is escaped may be a backslash itself
            (Some(_) | None, _) => escape + 2,
        };
    }
    mended
}

/// The unit of UTF-16 that an escape such as `\ud83d` at this place stands for.
fn utf16_unit(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// The bytes of a file. They are read when the handler asks for them.
pub(crate) struct FileBody {
    body: Body,
    repeatable: Option<Arc<Repeatable>>,
}

impl<S: Send + Sync> FromRequest<S> for FileBody {
    type Rejection = ApiError;

    async fn from_request(mut request: Request, _: &S) -> Result<Self, ApiError> {
        let repeatable = request.extensions_mut().remove();
        Ok(Self { body: request.into_body(), repeatable })
    }
}

impl FileBody {
    /// Reads the file and takes the request's key, if it has one.
    ///
    /// # Errors
    /// It is larger than 10 MiB or breaks off, or this request is not the first with its key.
    pub(crate) async fn bytes(self) -> ApiResult<Bytes> {
        let too_large = ("file_too_large", "The file is larger than 10 MiB.");
        let bytes = read_body(self.body, MAX_FILE_BYTES, too_large).await?;
        if let Some(repeatable) = &self.repeatable {
            repeatable.begin(&bytes).await?;
        }
        Ok(bytes)
    }
}

/// What a path names.
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = ApiError;

    /// Refuses what is no UTF-8.
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|found| Self(found.0)).map_err(|_| ApiError::invalid_id("name"))
    }
}

/// An id in a path.
pub(crate) fn id<T: FromStr>(text: &str, name: &str) -> ApiResult<T> {
    text.parse().map_err(|_| ApiError::invalid_id(name))
}

/// The number of a message or queue entry in a path: they count from 1.
pub(crate) fn number(text: &str, name: &str) -> ApiResult<i64> {
    let number: i64 = id(text, name)?;
    if number > 0 { Ok(number) } else { Err(ApiError::invalid_id(name)) }
}

/// A query, with all that is wrong with it collected.
pub(crate) struct Query {
    values: Vec<(String, String)>,
    faults: Vec<Validation>,
}

impl Query {
    pub(crate) fn new(values: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { values: values.into_iter().collect(), faults: Vec::new() }
    }

    /// The last value counts, if there are several.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.values.iter().rfind(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn texts(&self, name: &str) -> Vec<String> {
        self.values.iter().filter(|(given, _)| given == name).map(|(_, value)| value.clone()).collect()
    }

    /// The terms of `q`.
    pub(crate) fn terms(&mut self, keys: Keys) -> Terms {
        parse_terms(self.text("q").unwrap_or_default(), keys).unwrap_or_else(|faults| {
            self.faults.extend(faults.into_iter().map(|found| fault(found.field, found.detail)));
            Terms::default()
        })
    }

    pub(crate) fn fault(&mut self, name: &str, detail: impl Into<String>) {
        self.faults.push(fault(name, detail));
    }

    /// A number within bounds; absent gives `default`.
    pub(crate) fn number(&mut self, name: &str, default: i64, bounds: std::ops::RangeInclusive<i64>) -> i64 {
        let Some(text) = self.text(name) else { return default };
        match text.parse::<i64>() {
            Ok(number) if bounds.contains(&number) => number,
            _ => {
                self.fault(name, format!("must be a whole number, {} to {}", bounds.start(), bounds.end()));
                default
            }
        }
    }

    /// `limit` and `offset` as in every list: 50 by default, at most 200; 0 is the default.
    pub(crate) fn page(&mut self) -> (i64, i64) {
        let limit = self.number("limit", 50, 0..=200);
        let offset = self.number("offset", 0, 0..=i64::from(i32::MAX));
        (if limit == 0 { 50 } else { limit }, offset)
    }

    pub(crate) fn boolean(&mut self, name: &str) -> Option<bool> {
        let parsed = self.text(name)?.parse().ok();
        self.known(name, parsed, "must be true or false")
    }

    /// The same of a key of `q`.
    pub(crate) fn boolean_term(&mut self, terms: &Terms, key: &str) -> Option<bool> {
        self.known(key, terms.value(key)?.parse().ok(), "must be true or false")
    }

    /// The value, if there is one; else its fault.
    fn known<T>(&mut self, name: &str, value: Option<T>, fault: &str) -> Option<T> {
        if value.is_none() {
            self.fault(name, fault);
        }
        value
    }

    pub(crate) fn id<T: FromStr>(&mut self, name: &str) -> Option<T> {
        let parsed = self.text(name)?.parse().ok();
        self.known(name, parsed, "is not a valid id")
    }

    pub(crate) fn finish(self) -> ApiResult<()> {
        if self.faults.is_empty() { Ok(()) } else { Err(ApiError::validation(self.faults)) }
    }
}
