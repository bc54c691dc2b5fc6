//! Connections, errors and time.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use atelier_domain::error::ErrorKind;
use atelier_llm::{BuildError, ModelEvent, ProviderError, ProviderKind, ProviderSettings, Secret};
use futures::StreamExt as _;
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::fake::{Fake, KEY, ManualClock, Piece, Reply, events, failure, registry, request, text, user};

/// A certificate for 127.0.0.1 that nobody trusts, and its key, made for these tests.
const SELF_SIGNED: &[u8] = include_bytes!("../tls/self-signed.der");
const SELF_SIGNED_KEY: &[u8] = include_bytes!("../tls/self-signed.key.der");
const CHAT: &str = include_str!("../streams/chat-tools.sse");
const MESSAGES: &str = include_str!("../streams/anthropic-tools.sse");

fn hello() -> atelier_llm::ModelRequest {
    request(vec![user("hi")])
}

fn bytes(text: &str) -> Piece {
    Piece::Bytes(text.as_bytes().to_vec())
}

#[tokio::test]
async fn connections_are_used_again_for_both_wires() {
    for (kind, recorded) in [(ProviderKind::OpenAi, CHAT), (ProviderKind::Anthropic, MESSAGES)] {
        const REQUESTS: usize = 100;
        let ends: Vec<_> = (0..REQUESTS).map(|_| Arc::new(Notify::new())).collect();
        let reply = |end: &Arc<Notify>| Reply::pieces(vec![bytes(recorded), Piece::Wait(Arc::clone(end))]);
        let fake = Fake::start(ends.iter().map(reply)).await;
        let provider = fake.provider(kind);
        let mut ports = HashSet::new();
        // a short task reads the rest of a body: how soon the connection is free again cannot be seen
        let is_used_again = async {
            for end in &ends {
                let mut stream = provider.stream(hello()).await.unwrap();
                // a consumer stops at `Finish` and drops the stream
                while !matches!(stream.next().await.unwrap().unwrap(), ModelEvent::Finish { .. }) {}
                drop(stream);
                end.notify_one();
                fake.all_closed().await;
                if !ports.insert(fake.received().last().unwrap().client_port) {
                    return true;
                }
            }
            false
        };
        assert!(is_used_again.await, "{kind}");
    }
}

#[tokio::test]
async fn parts_come_as_they_are_sent() {
    let (first, second) = CHAT.split_at(CHAT.find("data: {\"id\"").unwrap() + CHAT[10..].find("data: ").unwrap() + 10);
    let go = Arc::new(Notify::new());
    let fake = Fake::start([Reply::pieces(vec![bytes(first), Piece::Wait(Arc::clone(&go)), bytes(second)])]).await;
    let mut stream = fake.provider(ProviderKind::OpenAi).stream(hello()).await.unwrap();
    go.notify_one();
    let mut all = Vec::new();
    while let Some(event) = stream.next().await {
        all.push(event.unwrap());
    }
    assert_eq!(text(&all), "On it – schön");
}

#[tokio::test]
async fn dropping_the_stream_ends_the_request_at_the_provider() {
    let head = CHAT.split_inclusive("\n\n").take(2).collect::<String>();
    let fake = Fake::start([Reply::pieces(vec![bytes(&head), Piece::Hang])]).await;
    let mut stream = fake.provider(ProviderKind::OpenAi).stream(hello()).await.unwrap();
    assert!(matches!(stream.next().await, Some(Ok(ModelEvent::TextDelta { .. }))));
    drop(stream);
    fake.all_closed().await;
}

#[tokio::test]
async fn a_broken_connection_is_a_truncated_answer() {
    for (kind, recorded) in [(ProviderKind::OpenAi, CHAT), (ProviderKind::Anthropic, MESSAGES)] {
        let half = &recorded[..900];
        let fake = Fake::start([
            Reply::pieces(vec![bytes(half), Piece::Break]),
            Reply::pieces(vec![bytes(half)]),
            Reply::pieces(vec![Piece::Break]),
            Reply::pieces(vec![]),
        ])
        .await;
        let provider = fake.provider(kind);
        // a body that ends well and without an event may be none of a model's
        for expected in [ErrorKind::Network, ErrorKind::Network, ErrorKind::Network, ErrorKind::Malformed] {
            let error = failure(&provider, hello()).await;
            assert_eq!((error.kind, error.retryable), (expected, true), "{error:?}");
        }
    }
}

#[tokio::test]
async fn a_break_behind_the_reason_loses_nothing() {
    let whole = CHAT.split("data: [DONE]").next().unwrap();
    let fake = Fake::start([
        Reply::pieces(vec![bytes(whole), Piece::Break]),
        // the end mark is there, the rest never comes
        Reply::pieces(vec![bytes(CHAT), Piece::Hang]),
    ])
    .await;
    let provider = fake.provider(ProviderKind::OpenAi);
    for _ in 0..2 {
        let (events, error) = events(&provider, hello()).await;
        assert_eq!(error, None);
        assert!(matches!(events.last(), Some(ModelEvent::Finish { .. })));
    }
}

#[tokio::test]
async fn statuses_headers_and_words_become_a_typed_error() {
    let body =
        json!({"error": {"message": format!("slow down, {KEY}"), "type": "tokens", "code": "rate_limit_exceeded"}});
    let fake = Fake::start([
        Reply::json(429, &body).with_header("retry-after", "20"),
        Reply::json(429, &body).with_header("retry-after", "Sun, 22 Nov 2026 12:00:00 GMT"),
        Reply::json(401, &json!({"error": {"code": "invalid_api_key"}})),
        Reply::json(529, &json!({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})),
        Reply::json(307, &json!({})).with_header("location", "http://127.0.0.1:1/"),
    ])
    .await;
    let provider = fake.provider(ProviderKind::OpenAi);
    let error = failure(&provider, hello()).await;
    assert_eq!((error.kind, error.retry_after), (ErrorKind::RateLimit, Some(Duration::from_secs(20))));
    assert_eq!(error.message, "Acme asks to slow down for 20 s. Send the message again then.");
    assert_eq!(error.detail.as_deref(), Some("slow down, [redacted]"));
    assert_eq!((error.status_code, error.code.as_deref()), (Some(429), Some("rate_limit_exceeded")));
    assert_eq!(failure(&provider, hello()).await.retry_after, Some(Duration::from_secs(7200)));
    assert_eq!(failure(&provider, hello()).await.kind, ErrorKind::Auth);
    assert_eq!(failure(&provider, hello()).await.kind, ErrorKind::Overloaded);
    assert_eq!(failure(&provider, hello()).await.kind, ErrorKind::Config);
}

#[tokio::test]
async fn garbage_is_malformed() {
    let fake = Fake::start([
        Reply::stream("data: {\"id\": nope}\n\n"),
        Reply::stream("<html>hello</html>\n\n"),
        Reply::json(200, &json!({"id": "x", "object": "chat.completion", "choices": []})),
        Reply::json(200, &json!({"error": {"message": "upstream", "code": 429}})),
        Reply::stream("data: {\"error\":{\"message\":\"gone\",\"code\":503}}\n\n"),
        Reply::stream("data: [1,2]\n\n"),
    ])
    .await;
    let provider = fake.provider(ProviderKind::OpenAiCompat);
    let mut kinds = Vec::new();
    for _ in 0..6 {
        kinds.push(failure(&provider, hello()).await.kind);
    }
    assert_eq!(
        kinds,
        [
            ErrorKind::Malformed,
            ErrorKind::Malformed,
            ErrorKind::Malformed,
            ErrorKind::RateLimit,
            ErrorKind::Overloaded,
            ErrorKind::Malformed,
        ]
    );
}

#[tokio::test]
async fn an_answer_without_an_event_is_told_by_its_type_and_its_beginning() {
    let typed = |content_type: &str, body: &str| Reply {
        headers: vec![("content-type", content_type.to_owned())],
        ..Reply::stream(body)
    };
    let table = [
        (typed("text/html", "<!doctype html><p>Welcome"), "text/html: <!doctype html><p>Welcome"),
        (Reply { headers: Vec::new(), ..Reply::stream("hello") }, "no content type: hello"),
        (Reply::stream("\u{0}\u{1}garbage\n\n"), "text/event-stream: "),
        (Reply::stream(""), "text/event-stream: an empty answer"),
        (Reply::stream(": a comment\n\n"), "text/event-stream: : a comment"),
    ];
    for (reply, detail) in table {
        let fake = Fake::start([reply]).await;
        let error = failure(&fake.provider(ProviderKind::OpenAiCompat), hello()).await;
        assert_eq!(error.kind, ErrorKind::Malformed, "{error:?}");
        assert!(error.detail.as_deref().unwrap().starts_with(detail), "{error:?}");
    }
    // an error object is that error, whatever its type
    let fake = Fake::start([typed("text/plain", "{\"error\": {\"code\": 429, \"message\": \"slow\"}}")]).await;
    assert_eq!(failure(&fake.provider(ProviderKind::OpenAiCompat), hello()).await.kind, ErrorKind::RateLimit);
    // events count, whatever the type
    let event = json!({"choices": [{"delta": {"content": "Hi"}, "finish_reason": "stop"}]});
    let fake = Fake::start([typed("text/plain", &format!("data: {event}\n\ndata: [DONE]\n\n"))]).await;
    let (_, error) = events(&fake.provider(ProviderKind::OpenAiCompat), hello()).await;
    assert_eq!(error, None);
    // behind an event it is a lost connection
    let event = json!({"choices": [{"delta": {"content": "Hi"}}]});
    let fake = Fake::start([Reply::stream(&format!("data: {event}\n\n"))]).await;
    assert_eq!(failure(&fake.provider(ProviderKind::OpenAiCompat), hello()).await.kind, ErrorKind::Network);
}

#[tokio::test]
async fn an_error_body_that_trickles_keeps_its_status() {
    let pieces = vec![bytes("{\"error\": "), Piece::Hang];
    let reply = Reply { status: 400, ..Reply::pieces(pieces) };
    let fake = Fake::start([reply]).await;
    let clock = Arc::new(ManualClock::default());
    let provider = fake.provider_with(ProviderKind::OpenAiCompat, &clock);
    let asked = tokio::spawn(async move { failure(&provider, hello()).await });
    let error = tokio::time::timeout(Duration::from_secs(60), async {
        // the wait for a first event, and within it that for the body of an error, which is far shorter
        clock.slept_on_by(2).await;
        clock.advance(Duration::from_secs(5));
        asked.await.unwrap()
    })
    .await
    .unwrap();
    assert_eq!((error.kind, error.status_code), (ErrorKind::Config, Some(400)), "{error:?}");
}

/// What a request to an address with TLS says.
async fn over_tls(port: u16) -> ProviderError {
    let clock = Arc::new(ManualClock::default());
    let settings = settings(ProviderKind::OpenAiCompat, Some(&format!("https://127.0.0.1:{port}/v1")));
    failure(&registry("loopback", &clock).build(settings).unwrap(), hello()).await
}

#[tokio::test]
async fn tls_against_a_plain_port_is_a_matter_of_the_settings() {
    let fake = Fake::start([]).await;
    let error = over_tls(fake.port).await;
    assert_eq!((error.kind, error.retryable), (ErrorKind::Config, false), "{error:?}");
    assert_eq!(error.code.as_deref(), Some("not_tls"));
}

#[tokio::test]
async fn an_untrusted_certificate_is_a_matter_of_the_settings() {
    let key = rustls::pki_types::PrivateKeyDer::try_from(SELF_SIGNED_KEY).unwrap();
    let config =
        rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![SELF_SIGNED.into()], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let _ = acceptor.accept(socket).await;
        }
    });
    let error = over_tls(port).await;
    assert_eq!((error.kind, error.retryable), (ErrorKind::Config, false), "{error:?}");
    assert_eq!(error.code.as_deref(), Some("untrusted_certificate"));
}

#[tokio::test]
async fn a_handshake_that_is_cut_is_a_lost_connection() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    assert_eq!(over_tls(port).await.kind, ErrorKind::Network);
}

#[tokio::test]
async fn nothing_listens() {
    // bound, so that nobody else can listen there meanwhile
    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    bound.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = bound.local_addr().unwrap().port();
    let clock = Arc::new(ManualClock::default());
    let settings = settings(ProviderKind::OpenAiCompat, Some(&format!("http://127.0.0.1:{port}")));
    let provider = registry("loopback", &clock).build(settings).unwrap();
    let error = failure(&provider, hello()).await;
    assert_eq!((error.kind, error.status_code), (ErrorKind::Network, None));
    assert!(!provider.check().await.reachable);
}

fn settings(kind: ProviderKind, base_url: Option<&str>) -> ProviderSettings {
    ProviderSettings {
        kind,
        display_name: "Acme".to_owned(),
        base_url: base_url.map(str::to_owned),
        api_key: Secret::new(KEY),
    }
}

#[tokio::test]
async fn what_cannot_be_built_says_why() {
    let clock = Arc::new(ManualClock::default());
    let registry = registry("", &clock);
    let refused = |kind, base_url| registry.build(settings(kind, base_url)).err().unwrap();
    assert_eq!(refused(ProviderKind::Google, None), BuildError::NoAdapter(ProviderKind::Google));
    assert_eq!(refused(ProviderKind::OpenAiCompat, Some(" ")), BuildError::MissingBaseUrl(ProviderKind::OpenAiCompat));
    assert!(matches!(refused(ProviderKind::OpenAi, Some("nonsense")), BuildError::InvalidBaseUrl(_)));
    assert!(matches!(refused(ProviderKind::OpenAi, Some("http://127.0.0.1/v1")), BuildError::EgressDenied(_)));
    assert!(registry.build(settings(ProviderKind::Anthropic, None)).is_ok());
    assert_eq!(registry.kinds().count(), 6);
}

#[tokio::test]
async fn a_name_with_a_denied_address_ends_the_call_for_good() {
    let clock = Arc::new(ManualClock::default());
    let provider =
        registry("", &clock).build(settings(ProviderKind::OpenAiCompat, Some("http://localhost:1/v1"))).unwrap();
    let error = failure(&provider, hello()).await;
    assert_eq!((error.kind, error.code.as_deref(), error.retryable), (ErrorKind::Config, Some("egress_denied"), false));
}

#[tokio::test]
async fn an_answer_that_never_begins_is_given_up() {
    // silent before the head, and silent behind it
    let silent_head = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut kept = Vec::new();
            while let Ok(socket) = listener.accept().await {
                kept.push(socket);
            }
        });
        port
    };
    let clock = Arc::new(ManualClock::default());
    let head = registry("loopback", &clock)
        .build(settings(ProviderKind::OpenAi, Some(&format!("http://127.0.0.1:{silent_head}"))))
        .unwrap();
    let fake = Fake::start([Reply::pieces(vec![Piece::Hang])]).await;
    for provider in [head, fake.provider_with(ProviderKind::OpenAi, &clock)] {
        let asked = tokio::spawn({
            let provider = Arc::clone(&provider);
            async move { failure(&provider, hello()).await }
        });
        clock.slept_on_by(1).await;
        clock.advance(Duration::from_secs(59));
        tokio::task::yield_now().await;
        assert!(!asked.is_finished());
        clock.advance(Duration::from_secs(1));
        assert_eq!(asked.await.unwrap().kind, ErrorKind::StartupTimeout);
    }
    fake.all_closed().await;
}

/// Plays `first`, then lets `time` pass in steps of five minutes, with `beat` sent before each.
async fn outlast(first: &str, beat: &str, steps: usize) -> Option<ErrorKind> {
    let go = Arc::new(Notify::new());
    let mut pieces = vec![bytes(first)];
    for _ in 0..steps {
        pieces.extend([Piece::Wait(Arc::clone(&go)), bytes(beat)]);
    }
    pieces.push(Piece::Hang);
    let fake = Fake::start([Reply::pieces(pieces)]).await;
    let clock = Arc::new(ManualClock::default());
    let provider = fake.provider_with(ProviderKind::Anthropic, &clock);
    let mut stream = provider.stream(hello()).await.unwrap();
    // all of `first` has been read once its text is here
    while !matches!(stream.next().await, Some(Ok(ModelEvent::TextDelta { .. }))) {}
    for _ in 0..steps {
        clock.advance(Duration::from_secs(5 * 60));
        match futures::poll!(stream.next()) {
            std::task::Poll::Ready(Some(Err(error))) => return Some(error.kind),
            std::task::Poll::Ready(other) => panic!("{other:?}"),
            std::task::Poll::Pending => {}
        }
        if !beat.is_empty() {
            go.notify_one();
            match stream.next().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Some(error.kind),
                None => panic!("the stream ended"),
            }
        }
    }
    None
}

#[tokio::test]
async fn silence_pings_and_long_answers_have_their_limits() {
    let first = MESSAGES.split_inclusive("\n\n").take(11).collect::<String>();
    let ping = "event: ping\ndata: {\"type\":\"ping\"}\n\n";
    let word =
        "data: {\"type\":\"content_block_delta\",\"index\":2,\"delta\":{\"type\":\"text_delta\",\"text\":\"x\"}}\n\n";
    assert_eq!(outlast(&first, "", 1).await, None);
    assert_eq!(outlast(&first, "", 2).await, Some(ErrorKind::Timeout), "ten minutes without a byte");
    assert_eq!(outlast(&first, ping, 5).await, None, "pings for 25 minutes");
    assert_eq!(outlast(&first, ": comment\n\n", 5).await, None, "comments for 25 minutes");
    assert_eq!(outlast(&first, ping, 6).await, Some(ErrorKind::Timeout), "pings for 30 minutes");
    assert_eq!(outlast(&first, word, 11).await, None, "words for 55 minutes");
    assert_eq!(outlast(&first, word, 12).await, Some(ErrorKind::Timeout), "words for an hour");
}

#[tokio::test]
async fn a_check_tells_reachable_from_accepted() {
    let fake = Fake::start([
        Reply::json(200, &json!({"data": [{"id": "b"}, {"id": "a"}]})),
        Reply::json(401, &json!({"error": {"message": "no"}})),
        Reply::json(404, &json!({})),
    ])
    .await;
    let provider = fake.provider(ProviderKind::OpenAi);
    let found = provider.check().await;
    assert_eq!((found.reachable, found.key_accepted, found.models), (true, Some(true), vec!["b".into(), "a".into()]));
    let refused = provider.check().await;
    assert_eq!((refused.reachable, refused.key_accepted), (true, Some(false)));
    assert_eq!(refused.error.as_deref(), Some("Acme refused the key."));
    assert_eq!(provider.check().await.key_accepted, None);
    assert_eq!(fake.received()[0].path, "/v1/models");
}

#[tokio::test]
async fn a_check_of_a_gateway_whose_list_is_open_asks_for_something_that_needs_the_key() {
    let list = json!({"data": [{"id": "openai/gpt-5.1"}]});
    for (kind, path) in [(ProviderKind::OpenRouter, "/v1/key"), (ProviderKind::Vercel, "/v1/credits")] {
        let fake = Fake::start([
            Reply::json(200, &json!({"data": {"label": "mine"}})),
            Reply::json(200, &list),
            Reply::json(401, &json!({"error": {"message": "no", "code": 401}})),
            // a server of somebody's own
            Reply::json(404, &json!({})),
            Reply::json(200, &list),
        ])
        .await;
        let provider = fake.provider(kind);
        let found = provider.check().await;
        assert_eq!((found.reachable, found.key_accepted, found.error), (true, Some(true), None), "{kind}");
        assert_eq!(found.models, ["openai/gpt-5.1"]);
        let refused = provider.check().await;
        assert_eq!((refused.reachable, refused.key_accepted), (true, Some(false)), "{kind}");
        let own = provider.check().await;
        assert_eq!((own.reachable, own.key_accepted, own.models.len()), (true, None, 1), "{kind}");
        let paths: Vec<String> = fake.received().into_iter().map(|received| received.path).collect();
        assert_eq!(paths, [path, "/v1/models", path, path, "/v1/models"]);
    }
}

#[tokio::test]
async fn a_check_reads_long_lists_and_refuses_what_is_none() {
    let words = "x".repeat(1000);
    let many: Vec<Value> = (0..500).map(|at| json!({"id": format!("m{at}"), "description": words})).collect();
    let fake = Fake::start([Reply::json(200, &json!({ "data": many })), Reply::stream("<html>Sign in</html>")]).await;
    let provider = fake.provider(ProviderKind::Anthropic);
    assert_eq!(provider.check().await.models.len(), 500);
    assert_eq!(fake.received()[0].query.as_deref(), Some("limit=1000"));
    let found = provider.check().await;
    assert_eq!((found.reachable, found.key_accepted, found.models.len()), (true, None, 0));
    assert_eq!(found.error.as_deref(), Some("Acme sent an answer that cannot be used."));
}

#[tokio::test]
async fn a_check_without_a_key_does_not_say_that_one_is_accepted() {
    let fake = Fake::start([Reply::json(200, &json!({"data": [{"id": "m"}]}))]).await;
    let base_url = format!("http://127.0.0.1:{}/v1", fake.port);
    let settings = ProviderSettings { api_key: None, ..settings(ProviderKind::OpenAiCompat, Some(&base_url)) };
    let found = registry("loopback", &Arc::default()).build(settings).unwrap().check().await;
    assert_eq!((found.reachable, found.key_accepted, found.error), (true, None, None));
}

#[tokio::test]
async fn a_check_ends_after_fifteen_seconds() {
    let fake = Fake::start([Reply::pieces(vec![Piece::Hang])]).await;
    let clock = Arc::new(ManualClock::default());
    let check = fake.provider_with(ProviderKind::OpenAi, &clock).check();
    let moved = async {
        clock.slept_on_by(1).await;
        clock.advance(Duration::from_secs(15));
    };
    let (found, ()) = tokio::join!(check, moved);
    assert_eq!((found.key_accepted, found.models.len()), (None, 0));
    assert_eq!(found.error.as_deref(), Some("Acme did not begin to answer."));
}
