//! Files: upload, download, in messages, and what a model gets of them. Numbers are those of the contract.

use atelier_test_support::{Actor, Answer, Engine};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use reqwest::Method;
use serde_json::{Value, json};

use crate::actions::idle;
use crate::host::{CHATS, Host, PLATFORM};
use crate::provider::{ModelServer, answer};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\nnot much of a picture";
const JPEG: &[u8] = b"\xff\xd8\xff\xe0 neither";

async fn organization(actor: &Actor) -> String {
    let user = actor.get(&format!("{PLATFORM}/users/me")).await.body(200);
    user["organization_ids"][0].as_str().unwrap().to_owned()
}

/// Uploads bytes of this kind under a name as browsers send it.
async fn upload(actor: &Actor, media_type: &str, name: &str, data: impl Into<Vec<u8>>) -> Answer {
    let url = reqwest::Url::parse_with_params("http://x/", [("n", name)]).unwrap();
    // form encoding, with the space as RFC 5987 has it
    let encoded = url.query().unwrap().trim_start_matches("n=").replace('+', "%20");
    let path = format!("{CHATS}/files?organization={}", organization(actor).await);
    let request = actor
        .request(Method::POST, &path)
        .header("content-type", media_type)
        .header("content-disposition", format!("attachment; filename=\"file\"; filename*=UTF-8''{encoded}"))
        .body(data.into());
    actor.send(request).await
}

pub(crate) async fn uploaded(actor: &Actor, media_type: &str, name: &str, data: &[u8]) -> String {
    upload(actor, media_type, name, data).await.body(201)["id"].as_str().unwrap().to_owned()
}

fn attached(files: &[&str]) -> Value {
    json!({"content": files.iter().map(|file| json!({"type": "file", "file_id": file})).collect::<Vec<_>>()})
}

#[tokio::test]
async fn b137_files_are_taken_by_what_they_say_and_show() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let ada = host.user("ada", &[]).await;
        let webp = b"RIFF0000WEBPVP8 ";
        for (declared, data, stored) in [
            ("image/png", PNG, "image/png"),
            ("image/jpeg", JPEG, "image/jpeg"),
            ("image/gif", b"GIF89a", "image/gif"),
            ("image/webp", webp, "image/webp"),
            ("application/pdf", b"%PDF-1.7", "application/pdf"),
            ("application/json", b"{}", "application/json"),
            ("text/csv; charset=utf-8", b"a,b", "text/csv"),
            ("text/markdown", b"# a", "text/markdown"),
            ("text/plain", b"a", "text/plain"),
            ("image/jpeg", PNG, "image/png"),
            ("application/octet-stream", PNG, "image/png"),
            ("", b"words", "text/plain"),
            ("image/svg+xml", b"<svg/>", "text/plain"),
            ("text/html", b"<p>", "text/plain"),
            ("text/x-python", b"import os", "text/plain"),
            ("text/plain", b"GIF89a is how a GIF begins", "text/plain"),
        ] {
            let file = upload(&ada, declared, "a file", data).await.body(201);
            assert_eq!(
                (&file["media_type"], &file["name"], &file["size"]),
                (&json!(stored), &json!("a file"), &json!(data.len()))
            );
        }
        for (declared, data) in
            [("video/mp2t", &b"\x47\0"[..]), ("image/png", b"words"), ("text/plain", PNG), ("text/plain", b"")]
        {
            upload(&ada, declared, "x", data).await.expect_error(400, "unsupported_file_type");
        }
        let most = vec![b'a'; 10 * 1024 * 1024];
        assert_eq!(upload(&ada, "text/plain", "x", most.clone()).await.body(201)["size"], json!(most.len()));
        upload(&ada, "text/plain", "x", [most, vec![b'a']].concat()).await.expect_error(413, "file_too_large");
        host.stop().await;
    }
}

#[tokio::test]
async fn b138_an_upload_names_an_organization_of_the_caller() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    for query in ["", "?organization=x"] {
        let refused = ada.post(&format!("{CHATS}/files{query}"), json!({})).await.body(400);
        assert_eq!(refused["validations"][0]["field"], "organization");
    }
    let unknown = format!("{CHATS}/files?organization=01890000-0000-7000-8000-000000000000");
    ada.post(&unknown, json!({})).await.expect_error(404, "not_found");
    host.anonymous().post(&unknown, json!({})).await.expect_error(401, "unauthenticated");
}

#[tokio::test]
async fn b139_a_download_is_the_file_and_may_be_kept() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let (ada, eve) = (host.user("ada", &[]).await, host.user("eve", &[]).await);
        for (name, kept) in [
            ("日本語 のファイル.png", "日本語 のファイル.png".to_owned()),
            ("🎉 été.png", "🎉 été.png".to_owned()),
            ("../../secret.png", "secret.png".to_owned()),
            (&"n".repeat(300), "n".repeat(255)),
        ] {
            let file = upload(&ada, "image/png", name, PNG).await.body(201);
            assert_eq!(file["name"], json!(kept));
        }
        let file = uploaded(&ada, "image/png", "日本 1.png", PNG).await;
        let path = format!("{CHATS}/files/{file}");
        let answer = ada.request(Method::GET, &path).header("accept-encoding", "gzip").send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let header = |name: &str| answer.headers()[name].to_str().unwrap().to_owned();
        assert_eq!(header("content-type"), "image/png");
        assert_eq!(header("content-length"), PNG.len().to_string());
        assert_eq!(
            header("content-disposition"),
            "inline; filename=\"file\"; filename*=UTF-8''%E6%97%A5%E6%9C%AC%201.png"
        );
        assert_eq!(header("cache-control"), "private, max-age=31536000, immutable");
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(header("content-security-policy"), "sandbox");
        let etag = header("etag");
        assert_eq!(answer.bytes().await.unwrap(), PNG);
        let again = ada.request(Method::GET, &path).header("if-none-match", &etag).send().await.unwrap();
        assert_eq!((again.status().as_u16(), again.headers()["etag"].to_str().unwrap()), (304, etag.as_str()));
        assert!(again.bytes().await.unwrap().is_empty());
        eve.get(&path).await.expect_error(404, "not_found");
        ada.get(&format!("{CHATS}/files/01890000-0000-7000-8000-000000000000")).await.expect_error(404, "not_found");
        ada.get(&format!("{CHATS}/files/x")).await.expect_error(400, "invalid_id");
        // readers of a chat that uses it: the site owner reads every chat
        let admin = host.admin().await;
        admin.get(&path).await.expect_error(404, "not_found");
        ada.chat_create_with(attached(&[&file])).await;
        assert_eq!(admin.get(&path).await.status, 200);
        eve.get(&path).await.expect_error(404, "not_found");
        host.stop().await;
    }
}

#[tokio::test]
async fn b070_files_come_back_by_id_and_foreign_ones_are_refused() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let (ada, eve) = (host.user("ada", &[]).await, host.user("eve", &[]).await);
        let file = uploaded(&ada, "text/plain", "notes.txt", b"remember").await;
        let chat = ada.chat_create_with(attached(&[&file])).await;
        assert_eq!(chat.get().await["title"], "New Chat");
        chat.wait_for_status("waiting").await;
        let both = json!({"content": [
            {"type": "text", "text": "look"}, {"type": "FILE", "file_id": file}, {"type": "text", "text": "there"}
        ]});
        chat.send_with(both).await.expect(200);
        chat.wait_for_status("waiting").await;
        let part = json!({"type": "file", "file_id": file, "name": "notes.txt", "media_type": "text/plain"});
        let said: Vec<Value> = chat
            .messages()
            .await
            .into_iter()
            .filter(|message| message["role"] == "user")
            .map(|m| m["content"].clone())
            .collect();
        assert!(said.contains(&json!([part])));
        assert!(said.contains(&json!([{"type": "text", "text": "look"}, part, {"type": "text", "text": "there"}])));
        let hers = uploaded(&eve, "text/plain", "x", b"x").await;
        for files in [&["01890000-0000-7000-8000-000000000000"][..], &[&hers], &[file.as_str(); 21]] {
            chat.send_with(attached(files)).await.expect_error(400, "invalid_content");
        }
        chat.send_with(attached(&[file.as_str(); 20])).await.expect(200);
        host.stop().await;
    }
}

#[tokio::test]
async fn uploads_repeat_and_have_a_rate() {
    let host = Host::builder().file_rate(3).start().await;
    let ada = host.user("ada", &[]).await;
    let path = format!("{CHATS}/files?organization={}", organization(&ada).await);
    let send = async |key: &str, body: &'static str| {
        let request =
            ada.request(Method::POST, &path).header("idempotency-key", key).header("content-type", "text/plain");
        ada.send(request.body(body)).await
    };
    let first = send("k", "one").await.body(201);
    assert_eq!(send("k", "one").await.body(201), first);
    send("k", "two").await.expect_error(422, "idempotency_key_reused");
    let refused = send("l", "one").await;
    assert!(refused.headers.contains_key("retry-after"));
    refused.expect_error(429, "rate_limited");
    // another user has a rate of their own
    assert_eq!(upload(&host.user("eve", &[]).await, "text/plain", "x", "x").await.status, 201);
}

#[tokio::test]
async fn a_model_gets_the_bytes_of_files() {
    let host = Host::builder().without_model().start().await;
    let server = ModelServer::start(answer("Seen.", "stop")).await;
    server.add(&host.admin().await, "openai-compat", "local").await;
    let ada = host.user("ada", &[]).await;
    let (picture, notes) =
        (uploaded(&ada, "image/png", "p.png", PNG).await, uploaded(&ada, "text/plain", "n.txt", b"remember").await);
    let chat = ada.chat_create_with(attached(&[&picture, &notes])).await;
    chat.wait_for_status("waiting").await;
    let sent = server.seen()[0].body["messages"].as_array().unwrap().last().unwrap()["content"].to_string();
    assert!(sent.contains(&format!("data:image/png;base64,{}", BASE64_STANDARD.encode(PNG))), "{sent}");
    assert!(sent.contains("File n.txt:\\nremember"), "{sent}");
    // what is stored has no bytes
    let stored = chat.messages().await;
    assert!(
        stored.iter().flat_map(|message| message["content"].as_array().unwrap()).all(|part| part.get("data").is_none())
    );
}

#[tokio::test]
async fn an_edit_keeps_the_file() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let file = uploaded(&ada, "text/plain", "notes.txt", b"remember").await;
    let chat = idle(&ada, "hello").await;
    let sent = chat.send_with(attached(&[&file])).await.body(200);
    chat.wait_for_status("waiting").await;
    let id = &sent["message"]["id"];
    let edited = ada.patch(&chat.path(&format!("/messages/{id}")), attached(&[&file])).await.body(200);
    assert_eq!(edited["content"][0]["file_id"], json!(file));
}

#[tokio::test]
async fn text_is_served_with_its_charset() {
    let host = Host::builder().start().await;
    let ada = host.user("ada", &[]).await;
    for (declared, data, served) in [
        ("text/plain", "café 日本".as_bytes(), "text/plain; charset=utf-8"),
        ("text/csv", b"a,b", "text/csv; charset=utf-8"),
        ("application/json", b"{}", "application/json"),
        ("image/png", PNG, "image/png"),
    ] {
        let file = uploaded(&ada, declared, "file", data).await;
        let response = ada.request(Method::GET, &format!("{CHATS}/files/{file}")).send().await.unwrap();
        assert_eq!(response.headers()["content-type"], served);
        assert_eq!(response.bytes().await.unwrap(), data);
    }
    host.stop().await;
}
