//! Why a request to a model failed, told by what the provider's protocol says (daemon.md 6).
//!
//! Kinds come from the HTTP status and the provider's error type and code, never from the words of a
//! text, with one exception: a prompt that is too long, for which some providers have no code. Other words are
//! only passed on, without credentials.

mod redact;
mod reported;
mod retry_after;

use std::time::Duration;

use atelier_domain::Timestamp;
use atelier_domain::error::{ErrorKind, TurnError};
use atelier_domain::retry::{self, RetryRule};
use atelier_domain::text::{head_chars, plain, plain_line};
use reqwest::header::HeaderMap;

pub(crate) use self::reported::Reported;
use crate::secret::Secret;

const MAX_DETAIL_CHARS: usize = 500;

/// A failed request, or a stream that broke.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProviderError {
    pub kind: ErrorKind,
    /// For people: what happened and what to do next.
    pub message: String,
    /// The provider's code, or one of ours (`egress_denied`, `truncated`).
    pub code: Option<String>,
    /// The provider's own words, at most 500 characters, without credentials and control characters.
    pub detail: Option<String>,
    pub status_code: Option<u16>,
    /// How long the provider asks us to wait.
    pub retry_after: Option<Duration>,
    /// Name of the provider, as people know it.
    pub provider: String,
    /// Whether the same request may work later (a `bad_replay` or `context_too_long` may not: it works
    /// after a change).
    pub retryable: bool,
    /// The provider did not take the request, or failed over it, and no code says what was wrong with it.
    pub unexplained: bool,
}

impl ProviderError {
    #[must_use]
    pub fn new(kind: ErrorKind, provider: &str) -> Self {
        Self {
            kind,
            message: message(kind, provider),
            code: None,
            detail: None,
            status_code: None,
            retry_after: None,
            provider: provider.to_owned(),
            retryable: is_retryable(kind),
            unexplained: false,
        }
    }

    /// The conversation is too long, as far as can be told from a refusal that says nothing of its cause.
    #[must_use]
    pub fn into_context_too_long(self) -> Self {
        let Self { code, detail, status_code, .. } = self;
        Self { code, detail, status_code, ..Self::new(ErrorKind::ContextTooLong, &self.provider) }
    }

    /// Whether it may be about a picture or a PDF. A gateway says 404 where none of its models takes them,
    /// llama.cpp 500 with an object that says so
    /// (github.com/ggml-org/llama.cpp/issues/15377, read 2026-12-01).
    #[must_use]
    pub fn may_be_about_media(&self) -> bool {
        self.unexplained && matches!(refusal_status(self.status_code, self.kind), Some(400 | 404 | 415 | 422 | 500))
    }

    /// Whether it is a refusal that may be about the length of the prompt.
    #[must_use]
    pub fn may_be_about_length(&self) -> bool {
        self.unexplained && refusal_status(self.status_code, self.kind) == Some(400)
    }

    /// An answer that cannot be used; `found` says what was wrong with it.
    #[must_use]
    pub fn malformed(provider: &str, found: &str) -> Self {
        Self { detail: Some(detail(found)), ..Self::new(ErrorKind::Malformed, provider) }
    }

    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.code = Some(code.into());
        self
    }

    /// Adds words of the provider; `key` is taken out of them.
    #[must_use]
    pub(crate) fn with_detail(mut self, words: &str, key: Option<&Secret>) -> Self {
        let words = words.trim();
        if !words.is_empty() {
            self.detail = Some(detail(&redact::redacted(words, key.map(Secret::reveal))));
        }
        self
    }

    /// What happened, without what somebody who has sent a message could do about it.
    #[must_use]
    pub fn without_advice(&self) -> &str {
        self.message.strip_suffix(advice(self.kind)).unwrap_or(&self.message)
    }

    /// Whether the fault lies with the provider's server, though it gave no kind of its own to it.
    #[must_use]
    pub fn is_server_error(&self) -> bool {
        self.kind == ErrorKind::Generic && self.retryable
    }

    /// What is shown while the request waits to be sent again.
    #[must_use]
    pub fn retried_after(&self, delay: Duration) -> TurnError {
        let happened = happened(self.kind, &self.provider);
        let message = format!("{happened} The request is sent again in {}.", for_people(delay));
        TurnError { message, ..self.turn_error() }
    }

    /// What is shown while the request is sent again without `left_out`.
    #[must_use]
    pub fn retried_without(&self, left_out: &str) -> TurnError {
        let message = format!("{} did not accept the request. It is sent again without {left_out}.", self.provider);
        TurnError { message, kind: ErrorKind::BadReplay, ..self.turn_error() }
    }

    /// What a failed turn stores and shows.
    #[must_use]
    pub fn turn_error(&self) -> TurnError {
        TurnError {
            message: self.message.clone(),
            kind: self.kind,
            code: self.code.clone(),
            detail: self.detail.clone(),
            provider: Some(self.provider.clone()),
            status_code: self.status_code,
            retryable: self.retryable,
        }
    }
}

/// Words of a provider as they are stored and shown.
fn detail(words: &str) -> String {
    head_chars(&plain(words), MAX_DETAIL_CHARS).to_owned()
}

/// Whom a failure is told of, and what must not be told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blame<'a> {
    pub(crate) provider: &'a str,
    pub(crate) key: Option<&'a Secret>,
    /// The request carried reasoning blocks of earlier answers.
    pub(crate) replayed_reasoning: bool,
}

impl Reported {
    pub(crate) fn into_error(self, blame: Blame<'_>) -> ProviderError {
        let kind = self.kind(blame.replayed_reasoning);
        let mut error = ProviderError::new(kind, blame.provider);
        // without a status it came in mid-stream, where a nameless error is the server's
        error.retryable |= kind == ErrorKind::Generic && self.status.is_none_or(|status| status >= 500);
        error.status_code = self.status;
        let is_unexplained = kind == ErrorKind::Config || (self.status == Some(500) && self.is_object);
        error.unexplained = is_unexplained && !self.names_cause();
        if self.is_page && self.status == Some(403) {
            error.message = format!(
                "Something in front of {}, for instance a firewall, refused the request with a web page. Ask an admin \
                 to check the way to it.",
                blame.provider
            );
        } else if error.unexplained && matches!(refusal_status(self.status, kind), Some(400 | 422)) {
            error.message = format!(
                "{} refused the request. Choose another model, or edit the message and send it again.",
                blame.provider
            );
        }
        error.code = self.code.or(self.error_type).map(|code| plain_line(&code));
        if let Some(message) = &self.message {
            error = error.with_detail(message, blame.key);
        }
        error
    }

    fn kind(&self, replayed_reasoning: bool) -> ErrorKind {
        if self.is_moderated {
            return ErrorKind::Refused;
        }
        let names = || self.names();
        let kind = names()
            .find_map(|name| kind_of_name(name))
            .or_else(|| self.says_too_long().then_some(ErrorKind::ContextTooLong))
            .or_else(|| self.kind_of_status().filter(|_| self.has_telling_status()))
            .or_else(|| names().find_map(|name| kind_of_general_name(name)))
            .or_else(|| self.kind_of_status());
        match kind {
            // a refused signature has no code of its own at most providers: such a request is tried once
            // more without reasoning, and if that was not it, the answer is the same and then final
            Some(ErrorKind::Config) | None if replayed_reasoning && self.is_bad_request(kind) => ErrorKind::BadReplay,
            Some(kind) => kind,
            None => ErrorKind::Generic,
        }
    }

    fn names(&self) -> impl Iterator<Item = &String> {
        [&self.code, &self.error_type].into_iter().flatten()
    }

    /// Whether a code or a type says what was wrong.
    fn names_cause(&self) -> bool {
        self.names().any(|name| kind_of_name(name).is_some())
    }

    /// Whether the words of a refusal are those that providers without a code use for a prompt that is too long.
    fn says_too_long(&self) -> bool {
        matches!(self.status, None | Some(400 | 422))
            && self.message.as_ref().is_some_and(|message| {
                let message = message.to_ascii_lowercase();
                TOO_LONG.iter().any(|phrase| message.contains(phrase))
            })
    }

    fn is_bad_request(&self, kind: Option<ErrorKind>) -> bool {
        let is_about_the_model = self.code.as_deref().or(self.error_type.as_deref()).is_some_and(|name| {
            matches!(name, "model_not_found" | "not_found_error" | "unsupported_parameter" | "unsupported_value")
        });
        kind.map_or(self.status, |kind| refusal_status(self.status, kind)) == Some(400) && !is_about_the_model
    }

    /// A status that says more than the general names which come with it.
    const fn has_telling_status(&self) -> bool {
        matches!(self.status, Some(401 | 402 | 403 | 408 | 413 | 429 | 502 | 503 | 504 | 529))
    }

    fn kind_of_status(&self) -> Option<ErrorKind> {
        Some(match self.status? {
            // a firewall, not the provider, refuses with a page
            403 if self.is_page => ErrorKind::Config,
            401 | 403 => ErrorKind::Auth,
            402 => ErrorKind::Quota,
            408 => ErrorKind::Timeout,
            413 => ErrorKind::ContextTooLong,
            429 => ErrorKind::RateLimit,
            502 | 504 => ErrorKind::Network,
            503 | 529 => ErrorKind::Overloaded,
            500.. => ErrorKind::Generic,
            // redirects are not followed: the base URL is wrong
            300..=499 => ErrorKind::Config,
            _ => ErrorKind::Generic,
        })
    }
}

/// The status of a refusal: one that comes in the middle of a stream has none, and counts as a 400.
const fn refusal_status(status: Option<u16>, kind: ErrorKind) -> Option<u16> {
    match (status, kind) {
        (None, ErrorKind::Config) => Some(400),
        (status, _) => status,
    }
}

/// How providers that have no code for it say that a prompt is too long, in small letters. Read 2026-12-01.
const TOO_LONG: [&str; 2] = [
    // Anthropic, type `invalid_request_error`: github.com/anthropics/claude-code/issues/12186
    "prompt is too long",
    // vLLM, type `BadRequestError`: github.com/vllm-project/vllm/issues/20409; and OpenRouter:
    // github.com/OpenRouterTeam/openrouter-examples/issues/10
    "maximum context length",
];

/// What an error type or code says, where it says more than the status.
///
/// Sources, read 2026-11-22: docs.claude.com/en/api/errors,
/// platform.openai.com/docs/guides/error-codes, openrouter.ai/docs/api-reference/errors. Codes of exhausted
/// accounts, read 2026-11-30: forum.moonshot.ai/t/api-billing-behaviour/111 (`exceeded_current_quota_error`),
/// docs.z.ai/api-reference/api-code (`1113`), alibabacloud.com/help/en/model-studio/error-code (`Arrearage`).
/// llama.cpp, read 2026-12-01: github.com/ggml-org/llama.cpp/pull/15780 (`exceed_context_size_error`). Also read
/// 2026-12-01: volcengine.com/docs/82379/1299023 (`AccountOverdueError`), the page of DashScope named above
/// (`AllocationQuota.FreeTierOnly`).
fn kind_of_name(name: &str) -> Option<ErrorKind> {
    Some(match name {
        "overloaded_error" | "overloaded" | "UNAVAILABLE" | "server_overloaded" | "engine_overloaded"
        | "model_not_ready" | "slow_down" => ErrorKind::Overloaded,
        "rate_limit_error"
        | "rate_limit_exceeded"
        | "RESOURCE_EXHAUSTED"
        | "throttling"
        | "ThrottlingException"
        | "too_many_requests" => ErrorKind::RateLimit,
        "insufficient_quota"
        | "billing_error"
        | "billing_hard_limit_reached"
        | "billing_not_active"
        | "insufficient_credits"
        | "payment_required"
        | "exceeded_current_quota_error"
        | "1113"
        | "Arrearage"
        | "AllocationQuota.FreeTierOnly"
        | "AccountOverdueError" => ErrorKind::Quota,
        "authentication_error"
        | "permission_error"
        | "invalid_api_key"
        | "invalid_authentication"
        | "account_deactivated"
        | "UNAUTHENTICATED"
        | "PERMISSION_DENIED" => ErrorKind::Auth,
        "timeout_error" | "timeout" | "DEADLINE_EXCEEDED" => ErrorKind::Timeout,
        "context_length_exceeded"
        | "context_window_exceeded"
        | "exceed_context_size_error"
        | "request_too_large"
        | "prompt_too_long" => ErrorKind::ContextTooLong,
        "invalid_encrypted_content" | "invalid_thought_signature" | "invalid_signature" => ErrorKind::BadReplay,
        "content_filter" | "content_policy_violation" | "content_policy" | "moderation_blocked" => ErrorKind::Refused,
        "model_not_found" | "not_found_error" | "unsupported_parameter" | "unsupported_value" => ErrorKind::Config,
        _ => return None,
    })
}

/// What names say that are given to errors of every sort.
fn kind_of_general_name(name: &str) -> Option<ErrorKind> {
    Some(match name {
        "invalid_request_error" | "INVALID_ARGUMENT" => ErrorKind::Config,
        "api_error" | "server_error" | "internal_server_error" | "INTERNAL" => ErrorKind::Generic,
        _ => return None,
    })
}

/// As the table of retries says; a 5xx of kind generic only where the status is known.
const fn is_retryable(kind: ErrorKind) -> bool {
    !matches!(retry::rule(kind, false), RetryRule::Never)
}

/// For people: what happened and what to do next.
fn message(kind: ErrorKind, provider: &str) -> String {
    format!("{}{}", happened(kind, provider), advice(kind))
}

fn happened(kind: ErrorKind, provider: &str) -> String {
    match kind {
        ErrorKind::Overloaded => format!("{provider} is overloaded."),
        ErrorKind::RateLimit => format!("{provider} asks to slow down."),
        ErrorKind::Quota => format!("The account at {provider} has no credit left."),
        ErrorKind::Auth => format!("{provider} refused the key."),
        ErrorKind::Network => format!("The connection to {provider} was lost."),
        ErrorKind::Timeout => format!("{provider} went silent."),
        ErrorKind::StartupTimeout => format!("{provider} did not begin to answer."),
        ErrorKind::Malformed => format!("{provider} sent an answer that cannot be used."),
        ErrorKind::Generic => format!("{provider} reported an error."),
        ErrorKind::ContextTooLong => format!("The conversation is longer than the model at {provider} can read."),
        ErrorKind::BadReplay => format!("{provider} did not accept the earlier answers of this chat."),
        ErrorKind::Config => format!("{provider} refused the request."),
        ErrorKind::Refused => format!("{provider} declined to answer."),
        ErrorKind::UsageLimit
        | ErrorKind::StepLimit
        | ErrorKind::CrashLoop
        | ErrorKind::OwnerSuspended
        | ErrorKind::Internal
        | ErrorKind::Takeover => format!("The request to {provider} did not end well."),
    }
}

/// What to do next, once nothing is tried any more.
const fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::Overloaded | ErrorKind::RateLimit | ErrorKind::StartupTimeout | ErrorKind::Generic => {
            " Send the message again later."
        }
        ErrorKind::Network | ErrorKind::Timeout | ErrorKind::Malformed => " Send the message again.",
        ErrorKind::Quota => " An admin can add credit or change the key.",
        ErrorKind::Auth => " Ask an admin to check it.",
        ErrorKind::ContextTooLong => " Start a new chat.",
        ErrorKind::BadReplay => " Try another model.",
        ErrorKind::Config => " Ask an admin to check the settings of the model.",
        ErrorKind::Refused
        | ErrorKind::UsageLimit
        | ErrorKind::StepLimit
        | ErrorKind::CrashLoop
        | ErrorKind::OwnerSuspended
        | ErrorKind::Internal
        | ErrorKind::Takeover => "",
    }
}

/// What an answer with an error status means.
pub(crate) fn from_response(
    status: u16,
    headers: &HeaderMap,
    body: &str,
    now: Timestamp,
    blame: Blame<'_>,
) -> ProviderError {
    let mut error = Reported::from_body(Some(status), body).into_error(blame);
    error.retry_after = retry_after::retry_after(headers, now);
    let wait = error.retry_after.filter(|wait| retry_after::is_believable(*wait));
    if let (ErrorKind::RateLimit, Some(wait)) = (error.kind, wait) {
        error.message =
            format!("{} asks to slow down for {}. Send the message again then.", blame.provider, for_people(wait));
    }
    error
}

/// A wait in the largest unit that says it well, rounded up.
fn for_people(wait: Duration) -> String {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds.div_ceil(60)),
        7_200..172_800 => format!("{} h", seconds.div_ceil(3_600)),
        172_800.. => format!("{} days", seconds.div_ceil(86_400)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLAME: Blame<'static> = Blame { provider: "Acme", key: None, replayed_reasoning: false };

    fn kind(status: u16, body: &str) -> ErrorKind {
        Reported::from_body(Some(status), body).into_error(BLAME).kind
    }

    fn openai(error_type: &str, code: &str) -> String {
        format!(r#"{{"error":{{"message":"m","type":"{error_type}","param":null,"code":"{code}"}}}}"#)
    }

    fn anthropic(error_type: &str) -> String {
        format!(r#"{{"type":"error","error":{{"type":"{error_type}","message":"m"}},"request_id":"r"}}"#)
    }

    #[test]
    fn the_table_of_statuses() {
        let table = [
            (529, ErrorKind::Overloaded),
            (503, ErrorKind::Overloaded),
            (429, ErrorKind::RateLimit),
            (402, ErrorKind::Quota),
            (401, ErrorKind::Auth),
            (403, ErrorKind::Auth),
            (502, ErrorKind::Network),
            (504, ErrorKind::Network),
            (408, ErrorKind::Timeout),
            (500, ErrorKind::Generic),
            (599, ErrorKind::Generic),
            (413, ErrorKind::ContextTooLong),
            (400, ErrorKind::Config),
            (404, ErrorKind::Config),
            (422, ErrorKind::Config),
            (307, ErrorKind::Config),
        ];
        for (status, expected) in table {
            for body in ["", "{}", "[]", "rate limit quota", "\"x\"", "{\"error\":{}}"] {
                assert_eq!(kind(status, body), expected, "{status} {body}");
            }
            if status != 403 {
                assert_eq!(kind(status, "<html>overloaded</html>"), expected, "{status}");
            }
        }
    }

    #[test]
    fn a_page_that_forbids_is_not_about_the_key() {
        let error = Reported::from_body(Some(403), "<html><h1>Access denied</h1></html>").into_error(BLAME);
        assert_eq!((error.kind, error.status_code), (ErrorKind::Config, Some(403)));
        assert!(error.message.contains("firewall") && !error.message.contains("key"), "{}", error.message);
    }

    #[test]
    fn a_prompt_that_is_too_long_is_known_by_code_or_documented_words() {
        let anthropic = r#"{"type":"error","error":{"type":"invalid_request_error",
            "message":"prompt is too long: 213462 tokens > 200000 maximum"}}"#;
        let vllm = r#"{"object":"error","message":"This model's maximum context length is 4096 tokens. However, you
            requested 5000.","type":"BadRequestError","param":null,"code":400}"#;
        let openrouter = r#"{"error":{"message":"This endpoint's maximum context length is 8192 tokens.","code":400}}"#;
        let llama = r#"{"error":{"code":400,"message":"m","type":"exceed_context_size_error","n_ctx":256}}"#;
        for body in [anthropic, vllm, openrouter, llama] {
            assert_eq!(kind(400, body), ErrorKind::ContextTooLong, "{body}");
        }
        // these words decide nothing beside a status that says more
        assert_eq!(kind(429, anthropic), ErrorKind::RateLimit);
        assert_eq!(kind(500, vllm), ErrorKind::Generic);
        assert!(!Reported::from_body(Some(400), vllm).into_error(BLAME).message.contains("admin"));
    }

    #[test]
    fn a_refusal_without_a_code_does_not_send_people_to_an_admin() {
        let error = |status, body: &str| Reported::from_body(Some(status), body).into_error(BLAME);
        let bare = error(400, &anthropic("invalid_request_error"));
        assert!(bare.unexplained && !bare.message.contains("admin"), "{}", bare.message);
        let streamed = Reported::from_body(None, &anthropic("invalid_request_error")).into_error(BLAME);
        assert!(streamed.unexplained && !streamed.message.contains("admin"), "{}", streamed.message);
        let explained = error(400, &openai("invalid_request_error", "model_not_found"));
        assert!(!explained.unexplained && explained.message.contains("admin"), "{}", explained.message);
        assert!(!error(429, "").unexplained);
    }

    #[test]
    fn while_a_request_is_tried_again_people_are_not_told_to_act() {
        let error = Reported::from_body(Some(500), r#"{"error":{"message":"model requires more system memory"}}"#);
        let error = error.into_error(BLAME);
        let told = error.retried_after(Duration::from_millis(7_200));
        assert_eq!(told.message, "Acme reported an error. The request is sent again in 8 s.");
        assert_eq!(told.detail.as_deref(), Some("model requires more system memory"));
        assert_eq!(error.message, "Acme reported an error. Send the message again later.");
    }

    #[test]
    fn waits_are_told_in_fitting_units_and_only_if_they_are_believable() {
        let told = |value: &'static str| {
            let headers = [(reqwest::header::RETRY_AFTER, value.parse().unwrap())].into_iter().collect();
            from_response(429, &headers, "", "2026-11-22T10:00:00Z".parse().unwrap(), BLAME).message
        };
        assert_eq!(told("20"), "Acme asks to slow down for 20 s. Send the message again then.");
        assert_eq!(told("3600"), "Acme asks to slow down for 60 min. Send the message again then.");
        assert_eq!(told("100000"), "Acme asks to slow down for 28 h. Send the message again then.");
        for value in ["0", "Thu, 01 Jan 2099 00:00:00 GMT", "1e300"] {
            assert_eq!(told(value), "Acme asks to slow down. Send the message again later.", "{value}");
        }
    }

    #[test]
    fn a_telling_status_says_more_than_a_general_type() {
        let table = [
            (401, ErrorKind::Auth),
            (402, ErrorKind::Quota),
            (403, ErrorKind::Auth),
            (408, ErrorKind::Timeout),
            (413, ErrorKind::ContextTooLong),
            (429, ErrorKind::RateLimit),
            (502, ErrorKind::Network),
            (503, ErrorKind::Overloaded),
            (504, ErrorKind::Network),
            (529, ErrorKind::Overloaded),
        ];
        for (status, expected) in table {
            for name in ["invalid_request_error", "api_error", "server_error", "unknown_error"] {
                assert_eq!(kind(status, &openai(name, name)), expected, "{status} {name}");
                assert_eq!(kind(status, &anthropic(name)), expected, "{status} {name}");
            }
        }
        assert_eq!(kind(400, &anthropic("invalid_request_error")), ErrorKind::Config);
        assert_eq!(kind(500, &anthropic("api_error")), ErrorKind::Generic);
    }

    #[test]
    fn exhausted_accounts_have_their_codes() {
        assert_eq!(kind(429, &openai("exceeded_current_quota_error", "")), ErrorKind::Quota);
        assert_eq!(kind(429, r#"{"error":{"code":"1113","message":"m"}}"#), ErrorKind::Quota);
        assert_eq!(kind(429, r#"{"error":{"code":1113,"message":"m"}}"#), ErrorKind::Quota);
        assert_eq!(kind(400, &openai("Arrearage", "Arrearage")), ErrorKind::Quota);
        assert_eq!(kind(402, &openai("unknown_error", "invalid_request_error")), ErrorKind::Quota);
        assert_eq!(kind(403, &openai("Forbidden", "AccountOverdueError")), ErrorKind::Quota);
        assert_eq!(kind(403, &openai("", "AllocationQuota.FreeTierOnly")), ErrorKind::Quota);
        assert_eq!(kind(429, r#"{"error":"You have no credit","code":"insufficient_quota"}"#), ErrorKind::Quota);
        assert_eq!(kind(429, r#"{"error":"m","error_type":"insufficient_quota"}"#), ErrorKind::Quota);
    }

    #[test]
    fn what_may_be_about_media_or_length() {
        let found = |status, body: &str| {
            let error = Reported::from_body(status, body).into_error(BLAME);
            (error.kind, error.may_be_about_media(), error.may_be_about_length())
        };
        let bare = openai("invalid_request_error", "");
        let blind = r#"{"error":{"code":500,"message":"image input is not supported","type":"server_error"}}"#;
        assert_eq!(found(Some(400), &bare), (ErrorKind::Config, true, true));
        assert_eq!(found(None, &bare), (ErrorKind::Config, true, true), "in the middle of a stream");
        assert_eq!(found(Some(404), &bare), (ErrorKind::Config, true, false));
        assert_eq!(found(Some(500), blind), (ErrorKind::Generic, true, false));
        assert_eq!(found(None, blind), (ErrorKind::Generic, true, false));
        let other = [
            (Some(500), "<html>".to_owned(), ErrorKind::Generic),
            (Some(500), "busy".to_owned(), ErrorKind::Generic),
            (Some(503), blind.to_owned(), ErrorKind::Overloaded),
            (None, anthropic("api_error"), ErrorKind::Generic),
            (None, openai("", "model_not_found"), ErrorKind::Config),
        ];
        for (status, body, kind) in other {
            assert_eq!(found(status, &body), (kind, false, false), "{status:?} {body}");
        }
    }

    #[test]
    fn types_and_codes_say_more_than_the_status() {
        assert_eq!(kind(429, &openai("insufficient_quota", "insufficient_quota")), ErrorKind::Quota);
        assert_eq!(kind(429, &openai("tokens", "rate_limit_exceeded")), ErrorKind::RateLimit);
        assert_eq!(kind(429, &openai("requests", "x")), ErrorKind::RateLimit);
        assert_eq!(kind(400, &openai("invalid_request_error", "context_length_exceeded")), ErrorKind::ContextTooLong);
        assert_eq!(kind(400, &openai("invalid_request_error", "content_policy_violation")), ErrorKind::Refused);
        assert_eq!(kind(400, &openai("invalid_request_error", "invalid_encrypted_content")), ErrorKind::BadReplay);
        assert_eq!(kind(404, &openai("invalid_request_error", "model_not_found")), ErrorKind::Config);
        assert_eq!(kind(400, &anthropic("billing_error")), ErrorKind::Quota);
        assert_eq!(kind(529, &anthropic("overloaded_error")), ErrorKind::Overloaded);
        assert_eq!(kind(500, &anthropic("api_error")), ErrorKind::Generic);
        assert_eq!(kind(413, &anthropic("request_too_large")), ErrorKind::ContextTooLong);
        assert_eq!(kind(504, &anthropic("timeout_error")), ErrorKind::Timeout);
        assert_eq!(kind(200, r#"{"error":{"code":502,"message":"upstream"}}"#), ErrorKind::Generic);
        assert_eq!(kind(400, r#"[{"error":{"code":400,"status":"RESOURCE_EXHAUSTED"}}]"#), ErrorKind::RateLimit);
        assert_eq!(kind(403, r#"{"error":{"code":403,"metadata":{"flagged_input":"x"}}}"#), ErrorKind::Refused);
    }

    #[test]
    fn words_decide_nothing() {
        let body = r#"{"error":{"message":"insufficient_quota: rate limit, context_length_exceeded","type":"odd"}}"#;
        assert_eq!(kind(400, body), ErrorKind::Config);
    }

    #[test]
    fn a_bad_request_with_old_reasoning_is_tried_without_it() {
        let replayed = Blame { replayed_reasoning: true, ..BLAME };
        let kind = |status, body: &str| Reported::from_body(Some(status), body).into_error(replayed).kind;
        assert_eq!(kind(400, &anthropic("invalid_request_error")), ErrorKind::BadReplay);
        assert_eq!(kind(400, ""), ErrorKind::BadReplay);
        let streamed = Reported::from_body(None, &anthropic("invalid_request_error")).into_error(replayed);
        assert_eq!(streamed.kind, ErrorKind::BadReplay, "in the middle of a stream");
        assert_eq!(kind(400, &openai("invalid_request_error", "model_not_found")), ErrorKind::Config);
        assert_eq!(kind(404, &anthropic("not_found_error")), ErrorKind::Config);
        assert_eq!(kind(429, &anthropic("rate_limit_error")), ErrorKind::RateLimit);
    }

    #[test]
    fn only_server_errors_of_the_generic_kind_are_retried() {
        let retryable = |status, body: &str| Reported::from_body(status, body).into_error(BLAME).retryable;
        assert!(retryable(Some(500), ""));
        assert!(retryable(None, &anthropic("api_error")));
        assert!(retryable(None, r#"{"error":{"code":1,"message":"busy"}}"#));
        assert!(!retryable(Some(418), &anthropic("api_error")));
        assert!(!retryable(Some(401), ""));
        assert!(retryable(Some(429), ""));
    }

    #[test]
    fn words_are_passed_on_short_and_without_the_key() {
        let key = Secret::new("very-secret-key").unwrap();
        let blame = Blame { key: Some(&key), ..BLAME };
        let body = format!(r#"{{"error":{{"message":"no very-secret-key here {}"}}}}"#, "é".repeat(600));
        let error = Reported::from_body(Some(401), &body).into_error(blame);
        let detail = error.detail.clone().unwrap();
        assert_eq!(detail.chars().count(), 500);
        assert!(detail.starts_with("no [redacted] here é"));
        assert!(!format!("{error:?}{:?}", error.turn_error()).contains("secret"));
        assert_eq!(Reported::from_body(Some(502), "<html>").into_error(BLAME).detail, None);
    }

    #[test]
    fn words_and_codes_steer_no_terminal() {
        let body = r#"{"error":{"message":"a\u001b]52;c;eA==\u0007\nb\u009b2J\u202e","code":"c\u001b[1m"}}"#;
        let error = Reported::from_body(Some(400), body).into_error(BLAME);
        assert_eq!(error.detail.as_deref(), Some("a]52;c;eA==\nb2J"));
        assert_eq!(error.code.as_deref(), Some("c[1m"));
        assert_eq!(ProviderError::malformed("Acme", "x\u{1b}c").detail.as_deref(), Some("xc"));
    }

    #[test]
    fn a_turn_error_says_what_to_do() {
        let error = ProviderError::new(ErrorKind::Auth, "Acme").with_code("invalid_api_key").turn_error();
        assert_eq!(error.message, "Acme refused the key. Ask an admin to check it.");
        assert_eq!((error.provider.as_deref(), error.code.as_deref()), (Some("Acme"), Some("invalid_api_key")));
    }
}
