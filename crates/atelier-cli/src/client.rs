//! Calls to the API. A call to a server that is away for a moment is made again.

use std::time::Duration;

use reqwest::Method;
use reqwest::header::HeaderValue;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

pub(crate) const CHATS: &str = "/api/experimental/chats";

/// How long a command waits for a server that was there and is away.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// The slowest line on which an upload still ends, in bytes a second: a poor mobile one.
const SLOWEST: u64 = 16 * 1024;
/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The server did not answer at all, or a proxy answered in its place.
#[derive(Debug, thiserror::Error)]
#[error("cannot reach the server at {0}\n  is it running? ATELIER_URL or --url says where it is")]
pub struct Unreachable(pub(crate) String);

/// The command line names something that is not there or is written wrongly.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub(crate) String);

/// The server refused, with its reason.
#[derive(Debug, thiserror::Error)]
#[error("{message} ({code})")]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) code: String,
    message: String,
    retry_after: Option<Duration>,
}

impl Refused {
    /// The server did nothing and asks to come again.
    fn is_for_now(&self) -> bool {
        self.is_from_a_proxy()
            || matches!(self.status, 502..=504)
            || matches!(self.code.as_str(), "rate_limited" | "idempotency_in_progress")
    }

    /// Written by a proxy whose server is away, with a status of its own choice: Atelier's own refusals have a code.
    fn is_from_a_proxy(&self) -> bool {
        matches!(self.status, 500..) && self.code.starts_with("HTTP ")
    }
}

/// Whether the server answers, as far as the last attempt knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Nothing was asked so far.
    Unknown,
    Here,
    Away,
}

#[derive(Clone)]
pub(crate) struct Client {
    url: String,
    token: Option<HeaderValue>,
    http: reqwest::Client,
    reach: watch::Sender<Reach>,
}

/// A body of a request.
#[derive(Clone)]
pub(crate) enum Body {
    None,
    Json(Value),
    File { bytes: Vec<u8>, media_type: &'static str, disposition: String },
}

/// One request that may be sent several times and has its effect once.
#[derive(Clone)]
pub(crate) struct Request {
    method: Method,
    path: String,
    body: Body,
    key: String,
}

impl Request {
    pub(crate) fn post(path: impl Into<String>, body: Body) -> Self {
        // a key of its own for each request, kept over its attempts
        Self { method: Method::POST, path: path.into(), body, key: format!("{:032x}", rand::random::<u128>()) }
    }
}

impl Client {
    pub(crate) fn new(url: &str, token: Option<&str>) -> anyhow::Result<Self> {
        let is_http = reqwest::Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
        if !is_http {
            return Err(Usage(format!("{url} is no URL of a server; it begins with http:// or https://")).into());
        }
        let no_token = "the token has characters that no token has; ATELIER_TOKEN or --token names it";
        let token = token.map(HeaderValue::from_str).transpose().map_err(|_| Usage(no_token.to_owned()))?;
        let http = reqwest::Client::builder().connect_timeout(Duration::from_secs(10)).build()?;
        Ok(Self { url: url.to_owned(), token, http, reach: watch::Sender::new(Reach::Unknown) })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) const fn token(&self) -> Option<&HeaderValue> {
        self.token.as_ref()
    }

    /// Changes when the server goes away and when it is back.
    pub(crate) fn reach(&self) -> watch::Receiver<Reach> {
        self.reach.subscribe()
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Request { method: Method::GET, path: path.to_owned(), body: Body::None, key: String::new() }).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> anyhow::Result<Value> {
        self.call(Request::post(path, Body::Json(body))).await
    }

    /// Makes a call, again and again while the server is away, for [`PATIENCE`] at most. With a credential the
    /// server knows a repeated request by its key; without one nothing is repeated.
    pub(crate) async fn call(&self, request: Request) -> anyhow::Result<Value> {
        let mut outage = Outage::new(self, self.token.as_ref().map_or(Some(Duration::ZERO), |_| Some(PATIENCE)));
        loop {
            match self.attempt(&request).await {
                Ok(value) => return Ok(value),
                Err(error) => outage.wait(error).await?,
            }
        }
    }

    async fn attempt(&self, request: &Request) -> anyhow::Result<Value> {
        let Request { method, path, body, key } = request;
        let bytes = match body {
            Body::None => Vec::new(),
            Body::Json(body) => body.to_string().into_bytes(),
            Body::File { bytes, .. } => bytes.clone(),
        };
        let url = format!("{}{path}", self.url);
        let mut builder = self.http.request(method.clone(), url).timeout(longest(bytes.len()));
        if let Some(token) = &self.token {
            builder = builder.header("Coder-Session-Token", token);
            if *method == Method::POST {
                builder = builder.header("Idempotency-Key", key);
            }
        }
        builder = match body {
            Body::None => builder,
            Body::Json(_) => builder.header("Content-Type", "application/json").body(bytes),
            Body::File { media_type, disposition, .. } => {
                builder.header("Content-Type", *media_type).header("Content-Disposition", disposition).body(bytes)
            }
        };
        let unreachable = |error: reqwest::Error| anyhow::Error::new(error).context(Unreachable(self.url.clone()));
        let response = builder.send().await.map_err(unreachable)?;
        let status = response.status();
        let retry_after = response.headers().get("Retry-After").and_then(|value| value.to_str().ok()?.parse().ok());
        let text = response.text().await.map_err(unreachable)?;
        let body: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if !status.is_success() {
            let refused = refused(status.as_u16(), &body);
            return Err(Refused { retry_after: retry_after.map(Duration::from_secs), ..refused }.into());
        }
        self.reach.send_replace(Reach::Here);
        Ok(body)
    }
}

/// How long a request may take: a large one needs its time on a slow line.
const fn longest(bytes: usize) -> Duration {
    PATIENCE.saturating_add(Duration::from_secs(bytes as u64 / SLOWEST))
}

/// Decides what becomes of a failed attempt, and waits before the next one.
pub(crate) struct Outage<'a> {
    client: &'a Client,
    /// None: without end.
    patience: Option<Duration>,
    begun: Option<Instant>,
    pause: Duration,
}

impl<'a> Outage<'a> {
    pub(crate) fn new(client: &'a Client, patience: Option<Duration>) -> Self {
        Self { client, patience, begun: None, pause: Duration::from_millis(100) }
    }

    /// The server answers.
    pub(crate) fn over(&mut self) {
        self.client.reach.send_replace(Reach::Here);
        *self = Self::new(self.client, self.patience);
    }

    /// Waits after a failure that may pass, with full jitter from 0.1 to 5 s; gives other failures back.
    pub(crate) async fn wait(&mut self, error: anyhow::Error) -> anyhow::Result<()> {
        let refused = error.downcast_ref::<Refused>();
        let may_pass = match refused {
            Some(refused) => refused.is_for_now(),
            // an address where there never was a server is more likely wrong than away
            None => error.is::<Unreachable>() && *self.client.reach.borrow() != Reach::Unknown,
        };
        let asked_for = refused.and_then(|refused| refused.retry_after).unwrap_or_default();
        let is_from_a_proxy = refused.is_some_and(Refused::is_from_a_proxy);
        let is_first = self.begun.is_none();
        let begun = *self.begun.get_or_insert_with(Instant::now);
        let is_over = self.patience.is_some_and(|patience| begun.elapsed() + asked_for >= patience);
        if !may_pass || is_over {
            let is_away = is_from_a_proxy && may_pass;
            return Err(if is_away { error.context(Unreachable(self.client.url.clone())) } else { error });
        }
        // a connection that is only moved to another server is back at the first attempt
        if !is_first || refused.is_some() {
            self.client.reach.send_replace(Reach::Away);
        }
        tokio::time::sleep(self.pause.mul_f64(rand::random()).max(asked_for)).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}

/// Runs a command to its end and says on standard error when the server goes away and comes back.
pub(crate) async fn telling<T>(client: &Client, work: impl Future<Output = T>) -> T {
    let mut reach = client.reach();
    let mut was_away = false;
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            changed = reach.changed() => {
                let is_away = changed.is_ok() && *reach.borrow_and_update() == Reach::Away;
                if is_away && !was_away {
                    crate::output::note("(the server does not answer; trying again for up to a minute)");
                }
                if !is_away && was_away {
                    crate::output::note("(connected again)");
                }
                was_away = is_away;
            }
        }
    }
}

pub(crate) fn refused(status: u16, body: &Value) -> Refused {
    let mut message = body["message"].as_str().unwrap_or("the server refused the request").to_owned();
    for fault in body["validations"].as_array().into_iter().flatten() {
        message = format!(
            "{message}\n  {}: {}",
            fault["field"].as_str().unwrap_or(""),
            fault["detail"].as_str().unwrap_or("")
        );
    }
    if status == 401 {
        message.push_str("\n  `atelier login` logs in; ATELIER_TOKEN or --token names a token");
    }
    let code = body["code"].as_str().map_or_else(|| format!("HTTP {status}"), str::to_owned);
    Refused { status, code, message, retry_after: None }
}

/// A list in an answer.
pub(crate) fn list(value: Value) -> anyhow::Result<Vec<Value>> {
    match value {
        Value::Array(items) => Ok(items),
        _ => anyhow::bail!("the answer is not a list; is this an Atelier server?"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_error_of_a_server_that_is_not_ours_is_a_proxys() {
        for status in [500, 502, 504, 520, 522, 530, 599] {
            let by_a_proxy = refused(status, &Value::Null);
            assert!(by_a_proxy.is_from_a_proxy() && by_a_proxy.is_for_now(), "{status}");
        }
        let ours = refused(500, &json!({"code": "internal", "message": "Something failed."}));
        assert!(!ours.is_from_a_proxy() && !ours.is_for_now());
        let ours = refused(503, &json!({"code": "unavailable", "message": "The server stops."}));
        assert!(!ours.is_from_a_proxy() && ours.is_for_now());
        let refusal = refused(404, &Value::Null);
        assert!(!refusal.is_from_a_proxy() && !refusal.is_for_now());
    }

    #[test]
    fn a_large_upload_has_time_on_a_slow_line() {
        assert_eq!(longest(1000), PATIENCE);
        // 10 MiB at 256 kbit a second take 328 s
        assert!(longest(10 * 1024 * 1024) > PATIENCE + Duration::from_secs(328));
    }
}
