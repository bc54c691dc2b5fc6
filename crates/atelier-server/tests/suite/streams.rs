//! Streams: forms, cursors, heartbeats, and how they end.

use std::time::Duration;

use atelier_domain::Timestamp;
use atelier_stream::ViewerRequest;
use atelier_test_support::{
    Actor, Chat, ChatView, DEADLINE, Engine, EventStream, Form, Frame, PausedClock, eventually,
};
use futures::{SinkExt as _, StreamExt as _};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::host::{CHATS, Host, SystemClock};

type Socket = WebSocketStream<TcpStream>;

/// A WebSocket with small buffers at this end.
async fn socket(host: &Host, actor: &Actor, path: &str) -> Socket {
    let tcp = TcpSocket::new_v4().unwrap();
    tcp.set_recv_buffer_size(8 * 1024).unwrap();
    let stream = tcp.connect(([127, 0, 0, 1], host.port).into()).await.unwrap();
    let mut request = format!("ws://127.0.0.1:{}{path}", host.port).into_client_request().unwrap();
    request.headers_mut().insert("Coder-Session-Token", actor.token().parse().unwrap());
    client_async(request, stream).await.unwrap().0
}

/// Reads to the end: the frames, and the close code.
async fn to_the_end(socket: &mut Socket) -> (Vec<Value>, Option<u16>) {
    let mut frames = Vec::new();
    loop {
        let message = tokio::time::timeout(atelier_test_support::DEADLINE, socket.next()).await.unwrap();
        match message {
            Some(Ok(Message::Text(text))) => frames.push(serde_json::from_str(&text).unwrap()),
            Some(Ok(Message::Close(frame))) => return (frames, frame.map(|frame| frame.code.into())),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return (frames, None),
        }
    }
}

async fn waiting_chat(actor: &Actor) -> Chat {
    let chat = actor.chat_create("hello").await;
    chat.wait_for_status("waiting").await;
    chat
}

fn types(frame: &Frame) -> Vec<String> {
    frame.data.as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

/// Events of the first frames, until `count` are there.
async fn first_events(stream: &mut EventStream, count: usize) -> Vec<Value> {
    let mut events = Vec::new();
    while events.len() < count {
        let frame = stream.next().await.unwrap();
        if frame.kind == "data" {
            events.extend(frame.data.as_array().unwrap().clone());
        }
    }
    events
}

#[tokio::test]
async fn b086_b099_both_forms_begin_with_the_whole_chat() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let chat = waiting_chat(&ada).await;
    for form in [Form::WebSocket, Form::ServerSentEvents] {
        let frame = chat.stream(form, Some("")).await.next().await.unwrap();
        assert_eq!(types(&frame), ["status", "message", "message", "ready"]);
        assert!(frame.cursor.as_ref().unwrap().len() <= 256);
        for event in frame.data.as_array().unwrap() {
            assert_eq!(event["chat_id"], json!(chat.id));
        }
        // behind everything there is nothing more to say
        let cursor = frame.cursor.unwrap();
        let frame = chat.stream(form, Some(&cursor)).await.next().await.unwrap();
        assert_eq!(types(&frame), ["status", "ready"]);
    }
    // without a cursor: no `ready`; SSE always has one
    let frame = chat.stream(Form::WebSocket, None).await.next().await.unwrap();
    assert_eq!(types(&frame), ["status", "message", "message"]);
    let frame = chat.stream(Form::ServerSentEvents, None).await.next().await.unwrap();
    assert_eq!(types(&frame), ["status", "message", "message", "ready"]);
    host.stop().await;
}

#[tokio::test]
async fn b087_after_id_leaves_out_what_is_known() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let chat = waiting_chat(&ada).await;
    let messages = chat.messages().await;
    let path = |query: &str| chat.path(&format!("/stream?{query}"));
    let mut known = socket(&host, &ada, &path(&format!("after_id={}", messages[0]["id"]))).await;
    let Message::Text(text) = known.next().await.unwrap().unwrap() else { panic!("a text") };
    let frame: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(frame["data"][1]["message"]["id"], messages[1]["id"]);
    assert_eq!(frame["data"].as_array().unwrap().len(), 2);
    drop(known);
    // faults before the upgrade are plain answers
    let asks_as = |actor: &Actor, path: &str| {
        actor
            .request(Method::GET, path)
            .header("Connection", "Upgrade")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Version", "13")
            .header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
    };
    let asks = |path: &str| asks_as(&ada, path);
    ada.send(asks(&path("after_id=x"))).await.expect_error(400, "validation_failed");
    ada.send(asks(&path("after_id=-1"))).await.expect_error(400, "validation_failed");
    ada.send(asks(&path("cursor=broken"))).await.expect_error(400, "invalid_cursor");
    ada.send(asks(&format!("{CHATS}/watch?cursor=broken"))).await.expect_error(400, "invalid_cursor");
    let other = waiting_chat(&ada).await;
    let cursor = other.stream(Form::WebSocket, Some("")).await.next().await.unwrap().cursor.unwrap();
    ada.send(asks(&path(&format!("cursor={cursor}")))).await.expect_error(400, "invalid_cursor");
    ada.get(&path("")).await.expect_error(426, "upgrade_required");
    ada.get(&format!("{CHATS}/watch")).await.expect_error(426, "upgrade_required");
    ada.send(asks_as(&host.anonymous(), &path(""))).await.expect(401);
    host.stop().await;
}

#[tokio::test]
async fn a_token_in_the_query_opens_a_socket_but_a_cookie_from_elsewhere_does_not() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let chat = waiting_chat(&ada).await;
    let open = async |path: String, headers: &[(&'static str, String)]| {
        let mut request = format!("ws://127.0.0.1:{}{path}", host.port).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let stream = TcpStream::connect(("127.0.0.1", host.port)).await.unwrap();
        match client_async(request, stream).await {
            Ok(_) => 101,
            Err(Error::Http(response)) => response.status().as_u16(),
            Err(error) => panic!("{error}"),
        }
    };
    let cookie = ("cookie", format!("coder_session_token={}", ada.token()));
    let with_query = chat.path(&format!("/stream?coder_session_token={}", ada.token()));
    assert_eq!(open(with_query, &[]).await, 101);
    assert_eq!(open(chat.path("/stream?coder_session_token=x"), std::slice::from_ref(&cookie)).await, 401);
    assert_eq!(open(chat.path("/stream"), std::slice::from_ref(&cookie)).await, 101);
    let foreign = [cookie, ("origin", "http://evil.example".to_owned())];
    assert_eq!(open(chat.path("/stream"), &foreign).await, 403);
    host.stop().await;
}

#[tokio::test]
async fn b091_a_cut_stream_goes_on_in_the_middle_of_a_word() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    for form in [Form::WebSocket, Form::ServerSentEvents] {
        let chat = ada.chat_create("tally").await;
        let answer = "0123456789".repeat(20);
        let mut view = ChatView::default();
        let mut cuts = 0;
        while cuts < 6 || view.live.values().next_back() != Some(&answer) {
            let mut stream = chat.stream(form, Some(&view.cursor.clone())).await;
            // the view checks that no part is missing or comes twice
            view.apply(&stream.next().await.unwrap());
            cuts += 1;
        }
        chat.interrupt().await.expect(200);
        let mut stream = chat.stream(form, Some(&view.cursor.clone())).await;
        while !(view.status == "waiting" && view.messages.len() == 2) {
            view.apply(&stream.next().await.unwrap());
        }
        assert_eq!(view.last_answer(), answer);
    }
    host.stop().await;
}

#[tokio::test]
async fn last_event_id_resumes_server_sent_events() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let chat = waiting_chat(&ada).await;
    let cursor = chat.stream(Form::ServerSentEvents, None).await.next().await.unwrap().cursor.unwrap();
    let request = ada
        .request(Method::GET, &chat.path("/stream"))
        .header("Accept", "text/event-stream")
        .header("Last-Event-ID", &cursor);
    let mut response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let mut text = String::new();
    while !text.contains("\n\nevent: data") || !text.ends_with("\n\n") {
        text.push_str(std::str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap());
    }
    assert!(text.starts_with("retry: 1000\n"), "{text}");
    assert!(text.contains("\"ready\"") && !text.contains("\"message\""), "{text}");
    drop(response);
    host.stop().await;
}

#[tokio::test]
async fn b088_an_idle_stream_has_a_heartbeat_and_a_dead_client_is_let_go() {
    let clock = std::sync::Arc::new(PausedClock::new(Timestamp::now()));
    let host = Host::builder().clock(clock.clone()).start().await;
    let ada = host.user("ada", &[]).await;
    let chat = waiting_chat(&ada).await;
    let mut web_socket = socket(&host, &ada, &chat.path("/stream?cursor=")).await;
    let mut events = chat.stream(Form::ServerSentEvents, None).await;
    web_socket.next().await.unwrap().unwrap();
    events.next().await.unwrap();
    let silent = socket(&host, &ada, &chat.path("/stream")).await;
    for _ in 0..3 {
        clock.advance(Duration::from_secs(15));
        let mut seen = Vec::new();
        while seen.len() < 2 {
            match web_socket.next().await.unwrap().unwrap() {
                Message::Text(text) => seen.push(text.to_string()),
                Message::Ping(_) => seen.push("websocket".to_owned()),
                other => panic!("{other:?}"),
            }
        }
        seen.sort();
        assert_eq!(seen, ["websocket", "{\"type\":\"ping\"}"]);
        // the pong has to be on its way before the clock moves on
        web_socket.flush().await.unwrap();
        assert_eq!(events.next().await.unwrap().kind, "ping");
    }
    // the third reads nothing, so it answers no ping
    drop((web_socket, events));
    eventually("the silent client to be let go", || async {
        clock.advance(Duration::from_secs(5));
        (host.viewers(&chat.id) == 0).then_some(())
    })
    .await;
    drop(silent);
    host.stop().await;
}

#[tokio::test]
async fn b101_a_client_that_talks_is_told_off() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let chat = waiting_chat(&ada).await;
    for (path, message) in
        [(chat.path("/stream"), Message::text("hi")), (format!("{CHATS}/watch"), Message::binary(vec![1, 2, 3]))]
    {
        let mut socket = socket(&host, &ada, &path).await;
        socket.next().await.unwrap().unwrap();
        socket.send(message).await.unwrap();
        let (frames, code) = to_the_end(&mut socket).await;
        assert_eq!((frames.last().unwrap()["type"].as_str(), code), (Some("error"), Some(1002)));
    }
    host.stop().await;
}

#[tokio::test]
async fn b101_a_server_that_stops_says_so() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let chat = waiting_chat(&ada).await;
    let mut web_socket = socket(&host, &ada, &chat.path("/stream?cursor=")).await;
    let mut watch = socket(&host, &ada, &format!("{CHATS}/watch")).await;
    let mut events = chat.stream(Form::ServerSentEvents, None).await;
    web_socket.next().await.unwrap().unwrap();
    watch.next().await.unwrap().unwrap();
    events.next().await.unwrap();
    let stopping = tokio::spawn(host.stop());
    for socket in [&mut web_socket, &mut watch] {
        let (frames, code) = to_the_end(socket).await;
        assert_eq!((&frames.last().unwrap()["data"]["code"], code), (&json!("unavailable"), Some(1001)));
    }
    assert_eq!(events.next().await.unwrap().kind, "error");
    assert!(events.next().await.is_none());
    stopping.await.unwrap();
}

#[tokio::test]
async fn b100_a_client_that_reads_nothing_is_closed_and_others_see_no_delay() {
    let clock = std::sync::Arc::new(PausedClock::new(Timestamp::now()));
    let host = Host::builder().clock(clock.clone()).start().await;
    let ada = host.user("ada", &[]).await;
    let chat = waiting_chat(&ada).await;
    // more than the buffers of a connection take
    for at in 0..12 {
        chat.send(&format!("{at} {}", "x".repeat(1000 * 1000))).await;
        chat.wait_for_status("waiting").await;
    }
    let mut slow = socket(&host, &ada, &chat.path("/stream?cursor=")).await;
    let mut view = ChatView::default();
    let mut quick = chat.stream(Form::WebSocket, Some("")).await;
    while !view.ready {
        view.apply(&quick.next().await.unwrap());
    }
    assert_eq!(view.messages.len(), 26);
    let reader = tokio::spawn(async move { while quick.next().await.is_some() {} });
    // the server notices by its own clock
    let mover = tokio::spawn({
        let clock = clock.clone();
        async move {
            loop {
                clock.advance(Duration::from_secs(5));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    let viewers_left = eventually("the slow viewer to be let go", || async {
        // its socket is still there, its place among the viewers is not
        (host.viewers(&chat.id) == 1).then_some(1)
    })
    .await;
    assert_eq!(viewers_left, 1);
    for task in [mover, reader] {
        task.abort();
        let _ = task.await;
    }
    let (frames, code) = to_the_end(&mut slow).await;
    assert_eq!((&frames.last().unwrap()["type"], code), (&json!("error"), Some(1013)));
    // nothing is lost: it goes on from its cursor
    let mut resumed = ChatView::default();
    for frame in &frames {
        let kind = frame["type"].as_str().unwrap().to_owned();
        let cursor = frame["cursor"].as_str().map(str::to_owned);
        resumed.apply(&Frame { kind, data: frame["data"].clone(), cursor });
    }
    let mut stream = chat.stream(Form::WebSocket, Some(&resumed.cursor.clone())).await;
    while !resumed.ready {
        resumed.apply(&stream.next().await.unwrap());
    }
    assert_eq!(resumed.messages.keys().collect::<Vec<_>>(), view.messages.keys().collect::<Vec<_>>());
    host.stop().await;
}

#[tokio::test]
async fn b106_b108_the_watch_tells_of_own_chats_and_resumes() {
    let host = Host::start().await;
    let (ada, ben) = (host.user("ada", &[]).await, host.user("ben", &[]).await);
    let mut watch = socket(&host, &ada, &format!("{CHATS}/watch")).await;
    let Message::Text(first) = watch.next().await.unwrap().unwrap() else { panic!("a text") };
    assert_eq!(first.as_str(), "{\"type\":\"ping\"}");
    ben.chat_create("his").await;
    let chat = ada.chat_create("hers").await;
    let mut kinds = Vec::new();
    let mut cursor = String::new();
    while kinds.last().is_none_or(|(_, status)| status != "waiting") {
        let Message::Text(text) = watch.next().await.unwrap().unwrap() else { continue };
        let frame: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(frame["data"]["chat"]["id"], json!(chat.id));
        frame["cursor"].as_str().unwrap().clone_into(&mut cursor);
        let kind = frame["data"]["kind"].as_str().unwrap().to_owned();
        kinds.push((kind, frame["data"]["chat"]["status"].as_str().unwrap().to_owned()));
    }
    assert_eq!(kinds[0].0, "created");
    assert!(kinds[1..].iter().all(|(kind, _)| kind == "status_change"), "{kinds:?}");
    drop(watch);
    chat.send("more").await;
    let now = chat.wait_for_status("waiting").await;
    let mut watch = socket(&host, &ada, &format!("{CHATS}/watch?cursor={cursor}")).await;
    let mut seen = Vec::new();
    while seen.is_empty() {
        let Message::Text(text) = watch.next().await.unwrap().unwrap() else { continue };
        let frame: Value = serde_json::from_str(&text).unwrap();
        if frame["type"] == "data" {
            seen.push(frame["data"]["chat"].clone());
        }
    }
    assert_eq!((&seen[0]["id"], &seen[0]["updated_at"]), (&now["id"], &now["updated_at"]));
    host.stop().await;
}

#[tokio::test]
async fn a_watch_cursor_of_the_future_asks_the_client_to_read_again() {
    let clock = std::sync::Arc::new(SystemClock::default());
    let host = Host::builder().clock(clock.clone()).start().await;
    let ada = host.user("ada", &[]).await;
    let mut watch = ada.watch().await;
    let chat = waiting_chat(&ada).await;
    let cursor = loop {
        let frame = watch.next().await.unwrap();
        if frame.kind == "data" && frame.data["chat"]["status"] == "waiting" {
            break frame.cursor.unwrap();
        }
    };
    clock.set_back(2);
    assert_eq!(ada.patch(&chat.path(""), json!({"title": "Later"})).await.status, 204);
    let mut watch = socket(&host, &ada, &format!("{CHATS}/watch?cursor={cursor}")).await;
    let told = async {
        loop {
            let Message::Text(text) = watch.next().await.unwrap().unwrap() else { continue };
            let frame: Value = serde_json::from_str(&text).unwrap();
            if frame["type"] == "data" {
                break frame;
            }
        }
    };
    let told = tokio::time::timeout(DEADLINE, told).await.expect("a first event");
    assert_eq!(told["data"]["kind"], "resync");
    host.stop().await;
}

/// Reads a stream up to its end of the backlog: all frames, each checked for its size.
async fn backlog(host: &Host, actor: &Actor, path: &str) -> Vec<Value> {
    let mut stream = socket(host, actor, path).await;
    let mut frames: Vec<Value> = Vec::new();
    loop {
        let message = tokio::time::timeout(DEADLINE, stream.next()).await.unwrap();
        let Message::Text(text) = message.unwrap().unwrap() else { continue };
        let frame: Value = serde_json::from_str(&text).unwrap();
        let Some(events) = frame["data"].as_array() else { continue };
        let kinds: Vec<&Value> = events.iter().map(|event| &event["type"]).collect();
        assert!(events.len() == 1 || text.len() <= 1024 * 1024, "{kinds:?} in {} bytes", text.len());
        let is_last = kinds.iter().any(|kind| *kind == "ready");
        frames.push(frame);
        if is_last {
            return frames;
        }
    }
}

fn view_of(frames: &[Value]) -> ChatView {
    let mut view = ChatView::default();
    for frame in frames {
        let cursor = frame["cursor"].as_str().map(str::to_owned);
        view.apply(&Frame { kind: "data".into(), data: frame["data"].clone(), cursor });
    }
    view
}

#[tokio::test]
async fn a_frame_of_the_backlog_is_over_a_mebibyte_only_with_a_single_event() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let ada = host.user("ada", &[]).await;
        let chat = waiting_chat(&ada).await;
        for at in 0..3 {
            chat.send(&format!("{at} {}", "x".repeat(480 * 1024))).await;
            chat.wait_for_status("waiting").await;
        }
        chat.send("flood").await;
        // both blocks are there once the second one has come whole
        let whole = 700 * 1024;
        let frames = eventually("all of the live text", async || {
            let frames = backlog(&host, &ada, &chat.path("/stream?cursor=")).await;
            let live: usize = view_of(&frames).live.values().map(String::len).sum();
            (live == 2 * whole).then_some(frames)
        })
        .await;
        let all = view_of(&frames);
        assert!(frames.len() >= 4, "{} frames", frames.len());
        // the cursor of each frame stands for exactly what came until then
        for at in 0..frames.len() - 1 {
            let cursor = frames[at]["cursor"].as_str().unwrap();
            let rest = backlog(&host, &ada, &chat.path(&format!("/stream?cursor={cursor}"))).await;
            let joined = view_of(&[&frames[..=at], &rest[..]].concat());
            assert_eq!(joined.messages.len(), all.messages.len(), "from frame {at} on");
            assert_eq!(joined.live, all.live, "from frame {at} on");
        }
        host.stop().await;
    }
}

#[tokio::test]
async fn b089_b090_frames_are_bounded_and_parts_counted() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let chat = waiting_chat(&ada).await;
    let mut stream = chat.stream(Form::WebSocket, None).await;
    let first = first_events(&mut stream, 3).await;
    assert_eq!(first[0]["type"], "status");
    let mut view = ChatView::default();
    view.apply(&Frame { kind: "data".into(), data: Value::Array(first), cursor: None });
    chat.send("count").await;
    while view.messages.len() < 4 {
        let frame = stream.next().await.unwrap();
        if frame.kind == "data" {
            assert!((1..=256).contains(&frame.data.as_array().unwrap().len()));
        }
        view.apply(&frame);
    }
    assert!(view.live_parts > 1);
    assert_eq!(view.last_answer(), "0123456789".repeat(20));
    host.stop().await;
}

/// A viewer that does not read holds on to its frame: it must not be one of its own.
#[tokio::test]
async fn late_viewers_of_a_long_chat_share_its_frames() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let chat = ada.chat_create(&"long ".repeat(40_000)).await;
    chat.wait_for_status("waiting").await;
    let id = chat.id.parse().unwrap();
    let request = ViewerRequest::Resume { cursor: String::new() };
    let mut viewers = [host.hubs.open_viewer(id, &request).unwrap(), host.hubs.open_viewer(id, &request).unwrap()];
    let mut frames = Vec::new();
    for viewer in &mut viewers {
        let frame = loop {
            let frame = viewer.next().await.unwrap();
            if frame.data.len() > 200_000 {
                break frame;
            }
        };
        frames.push(frame);
    }
    assert_eq!(frames[0].data, frames[1].data);
    assert_eq!(frames[0].data.as_ptr(), frames[1].data.as_ptr());
    // and both forms carry it whole
    let stored = chat.messages().await;
    for form in [Form::WebSocket, Form::ServerSentEvents] {
        let mut stream = chat.stream(form, Some("")).await;
        let mut view = ChatView::default();
        while !view.ready {
            view.apply(&stream.next().await.unwrap());
        }
        assert_eq!(view.messages.values().next().unwrap(), &stored[0]);
    }
    host.stop().await;
}

#[tokio::test]
async fn no_proxy_holds_events_back() {
    let host = Host::builder().start().await;
    let ada = host.user("ada", &[]).await;
    let chat = waiting_chat(&ada).await;
    for path in [chat.path("/stream"), format!("{CHATS}/watch")] {
        let response = ada.request(Method::GET, &path).header("Accept", "text/event-stream").send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["x-accel-buffering"], "no", "{path}");
    }
    host.stop().await;
}
