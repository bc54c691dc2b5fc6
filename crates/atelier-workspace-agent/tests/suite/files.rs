//! Reading, and what all routes of files have in common.

use std::os::unix::fs::symlink;

use atelier_workspace_protocol::header;
use axum::http::StatusCode;
use base64::Engine as _;
use serde_json::{Value, json};

use crate::support::{Client, Workspace};

pub(crate) async fn ok(client: &Client, route: &str, body: Value) -> Value {
    let (status, answer) = client.send("POST", &format!("/v1/files/{route}"), Some(body)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer
}

pub(crate) async fn fault(client: &Client, route: &str, body: Value) -> (u16, String, Value) {
    let (status, answer) = client.send("POST", &format!("/v1/files/{route}"), Some(body)).await;
    assert!(!status.is_success(), "{answer}");
    assert!(!answer["message"].as_str().unwrap().is_empty());
    (status.as_u16(), answer["code"].as_str().unwrap().to_owned(), answer["detail"].clone())
}

/// Text of a page without the numbers, which must be those that follow `start_line`.
fn page_text(page: &Value) -> Vec<String> {
    let content = page["content"].as_str().unwrap();
    let mut lines = Vec::new();
    let numbers = page["start_line"].as_u64().unwrap()..;
    for (number, line) in numbers.zip(content.split('\n').filter(|_| !content.is_empty())) {
        let (shown, text) = line.split_once('\t').unwrap();
        assert_eq!(shown, number.to_string());
        lines.push(text.to_owned());
    }
    assert_eq!(lines.len() as u64, page["lines_read"].as_u64().unwrap());
    lines
}

#[tokio::test]
async fn w19_pages_joined_are_the_file() {
    let workspace = Workspace::new();
    let lines: Vec<String> = (1..=10_000).map(|line| format!("line {line} é \"{}\"", "x".repeat(line % 40))).collect();
    std::fs::write(workspace.path("long.txt"), lines.join("\n") + "\n").unwrap();
    let client = workspace.client();
    let (mut joined, mut offset) = (Vec::new(), 1);
    loop {
        let page = ok(&client, "read", json!({"path": "long.txt", "offset": offset})).await;
        assert_eq!(page["path"], workspace.path("long.txt").display().to_string());
        assert_eq!(page["kind"], "text");
        assert_eq!(page["total_lines"], 10_000);
        assert_eq!(page["start_line"], offset);
        assert!(page["content"].as_str().unwrap().len() <= 32 * 1024);
        assert!(page.to_string().len() <= 48 * 1024);
        joined.extend(page_text(&page));
        match page["next_offset"].as_u64() {
            Some(next) => offset = next,
            None => break,
        }
    }
    assert_eq!(joined, lines);
}

#[tokio::test]
async fn offsets_and_limits() {
    let workspace = Workspace::new();
    std::fs::write(workspace.path("a"), "one\ntwo\r\nthree").unwrap();
    std::fs::write(workspace.path("empty"), "").unwrap();
    let client = workspace.client();
    let page = ok(&client, "read", json!({"path": "a", "offset": 2, "limit": 1})).await;
    assert_eq!(
        (&page["content"], &page["next_offset"], &page["total_lines"]),
        (&json!("2\ttwo"), &json!(3), &json!(3))
    );
    assert_eq!(page["file_size"], 14);
    assert_eq!(page["sha256"].as_str().unwrap().len(), 64);
    let page = ok(&client, "read", json!({"path": "a", "offset": -1})).await;
    assert_eq!((&page["content"], &page["next_offset"]), (&json!("3\tthree"), &Value::Null));
    let page = ok(&client, "read", json!({"path": "a", "offset": -99})).await;
    assert_eq!(page["content"], "1\tone\n2\ttwo\n3\tthree");
    let page = ok(&client, "read", json!({"path": "a", "offset": 4})).await;
    assert_eq!((&page["content"], &page["lines_read"], &page["next_offset"]), (&json!(""), &json!(0), &Value::Null));
    let page = ok(&client, "read", json!({"path": "empty"})).await;
    assert_eq!((&page["content"], &page["total_lines"], &page["next_offset"]), (&json!(""), &json!(0), &Value::Null));
    for body in [json!({"path": "a", "offset": 0}), json!({"path": "a", "limit": 0}), json!({"path": ""})] {
        let (status, code, detail) = fault(&client, "read", body).await;
        assert_eq!((status, code.as_str()), (400, "invalid_arguments"));
        assert!(detail["validations"][0]["field"].is_string());
    }
    let limited = Workspace::with_limits(|limits| limits.read_lines = 2);
    std::fs::write(limited.path("a"), "1\n2\n3\n").unwrap();
    assert_eq!(ok(&limited.client(), "read", json!({"path": "a", "limit": 2000})).await["next_offset"], 3);
}

#[tokio::test]
async fn w20_one_line_of_five_mebibytes_is_read_with_column() {
    let workspace = Workspace::new();
    let line: String = "äbc€😀\"\\".chars().cycle().take(3_000_000).collect();
    assert!(line.len() > 5 * 1024 * 1024);
    std::fs::write(workspace.path("line"), format!("{line}\r\nlast\n")).unwrap();
    let client = workspace.client();

    let page = ok(&client, "read", json!({"path": "line"})).await;
    assert_eq!(page["truncated_lines"], json!([1]));
    let shown = page_text(&page);
    let (head, marker) = shown[0].split_once("[... ").unwrap();
    assert!(line.starts_with(head) && head.len() <= 1024);
    assert!(marker.starts_with(&format!("{} bytes left out", line.len() - head.len())), "{marker}");
    assert_eq!(shown[1], "last");

    let (mut joined, mut column) = (String::new(), 0);
    loop {
        let page = ok(&client, "read", json!({"path": "line", "column": column, "limit": 1})).await;
        let text = page["content"].as_str().unwrap();
        assert!(text.len() <= 32 * 1024);
        joined.push_str(text.strip_prefix("1\t").unwrap());
        match page["next_column"].as_u64() {
            Some(next) => column = next,
            None => {
                assert_eq!(page["next_offset"], 2);
                break;
            }
        }
        assert_eq!(page["next_offset"], 1);
    }
    assert!(joined == line, "{} of {} bytes", joined.len(), line.len());
}

#[tokio::test]
async fn a_file_that_is_too_long_to_scan_goes_on_from_where_it_was() {
    let workspace = Workspace::with_limits(|limits| limits.scan_bytes = 1024 * 1024);
    let line = "x".repeat(1023) + "\n";
    // Over 64 MiB nothing is counted or hashed.
    std::fs::write(workspace.path("huge"), line.repeat(66 * 1024)).unwrap();
    let client = Client::of(&workspace.agent());
    let page = ok(&client, "read", json!({"path": "huge", "limit": 1})).await;
    assert_eq!((&page["total_lines"], &page["next_offset"]), (&Value::Null, &json!(2)));
    assert!(page.get("sha256").is_none());
    let request = json!({"path": "huge", "offset": 3000, "limit": 1});
    for _ in 0..2 {
        assert_eq!(fault(&client, "read", request.clone()).await.1, "too_large");
    }
    let page = ok(&client, "read", request).await;
    assert_eq!((&page["start_line"], &page["next_offset"]), (&json!(3000), &json!(3001)));
}

#[tokio::test]
async fn w21_pipes_and_devices_answer_at_once() {
    let workspace = Workspace::new();
    rustix::fs::mkfifoat(rustix::fs::CWD, workspace.path("pipe"), rustix::fs::Mode::RWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(workspace.path("socket")).unwrap();
    symlink("pipe", workspace.path("link")).unwrap();
    let client = workspace.client();
    for path in ["pipe", "link", "socket", "/dev/zero", "/dev/tty"] {
        let (status, code, _) = fault(&client, "read", json!({"path": path})).await;
        assert_eq!((status, code.as_str()), (400, "not_regular_file"), "{path}");
        let (status, body) = client.send("GET", &format!("/v1/files/raw?path={path}"), None).await;
        assert_eq!((status.as_u16(), &body["code"]), (400, &json!("not_regular_file")));
        let write = fault(&client, "write", json!({"path": path, "content": "x"})).await;
        assert_eq!(write.1, "not_regular_file", "{path}");
        let edit = json!({"edits": [{"path": path, "old_text": "a", "new_text": "b"}]});
        assert_eq!(fault(&client, "edit", edit).await.2["failures"][0]["reason"], "not_regular_file");
    }
    assert_eq!(fault(&client, "write", json!({"path": "~", "content": "x"})).await.1, "not_regular_file");
    let (status, code, _) = fault(&client, "read", json!({"path": "missing/file"})).await;
    assert_eq!((status, code.as_str()), (404, "file_not_found"));
}

#[tokio::test]
async fn w22_pictures_are_told_by_their_content() {
    let workspace = Workspace::new();
    let picture = image::DynamicImage::ImageLuma8(image::ImageBuffer::from_pixel(8000, 6000, image::Luma([9])));
    picture.save_with_format(workspace.path("photo"), image::ImageFormat::Png).unwrap();
    std::fs::write(workspace.path("text.png"), "just text").unwrap();
    std::fs::write(workspace.path("signatures"), "GIF89a begins a picture").unwrap();
    std::fs::write(workspace.path("a.svg"), "<svg xmlns=\"http://www.w3.org/2000/svg\"/>").unwrap();
    std::fs::write(workspace.path("data"), b"%PDF-1.7\0\0").unwrap();
    std::fs::write(workspace.path("broken.png"), b"\x89PNG\r\n\x1a\nnothing").unwrap();
    let client = workspace.client();

    let read = ok(&client, "read", json!({"path": "photo"})).await;
    assert_eq!(
        (&read["kind"], &read["content"], &read["media_type"]),
        (&json!("image"), &json!(""), &json!("image/png"))
    );
    let shown = &read["image"];
    let facts = ["width", "height", "original_width", "original_height"].map(|name| shown[name].as_u64().unwrap());
    assert_eq!(facts, [1568, 1176, 8000, 6000]);
    let bytes = base64::engine::general_purpose::STANDARD.decode(shown["data"].as_str().unwrap()).unwrap();
    assert_eq!(image::load_from_memory(&bytes).unwrap().width(), 1568);

    assert_eq!(ok(&client, "read", json!({"path": "text.png"})).await["content"], "1\tjust text");
    assert_eq!(ok(&client, "read", json!({"path": "signatures"})).await["content"], "1\tGIF89a begins a picture");
    assert_eq!(ok(&client, "read", json!({"path": "a.svg"})).await["kind"], "text");
    for (path, media_type) in [("data", "application/pdf"), ("broken.png", "image/png")] {
        let read = ok(&client, "read", json!({"path": path})).await;
        assert_eq!(
            (&read["kind"], &read["content"], &read["media_type"]),
            (&json!("binary"), &json!(""), &json!(media_type))
        );
        assert!(read["hint"].is_string() && read.get("image").is_none());
    }
}

#[tokio::test]
async fn folders_are_listed_by_name() {
    let workspace = Workspace::new();
    for number in 0..1010 {
        std::fs::write(workspace.path("").join(format!("f{number:04}")), "xy").unwrap();
    }
    std::fs::create_dir(workspace.path("a_folder")).unwrap();
    symlink("nowhere", workspace.path("b_link")).unwrap();
    let client = workspace.client();
    let listed = ok(&client, "list", json!({"path": "."})).await;
    let entries = listed["entries"].as_array().unwrap();
    assert_eq!((entries.len(), &listed["entries_truncated"]), (1000, &json!(true)));
    assert_eq!((&entries[0]["name"], &entries[0]["type"]), (&json!("a_folder"), &json!("directory")));
    assert_eq!((&entries[1]["name"], &entries[1]["type"]), (&json!("b_link"), &json!("link")));
    assert_eq!(entries[2], json!({"name": "f0000", "type": "file", "size": 2}));
    let read = ok(&client, "read", json!({"path": "~"})).await;
    assert_eq!((&read["kind"], &read["entries_truncated"]), (&json!("directory"), &json!(true)));
    assert!(read.to_string().len() <= 48 * 1024);
    assert_eq!(fault(&client, "list", json!({"path": "f0000"})).await.0, 400);
    assert_eq!(fault(&client, "list", json!({"path": "f"})).await.0, 404);
}

#[tokio::test]
async fn raw_bytes_by_range() {
    let workspace = Workspace::new();
    std::fs::write(workspace.path("a b"), "0123456789").unwrap();
    let client = workspace.client();
    assert_eq!(client.get("/v1/files/raw?path=a%20b&offset=2&limit=3").await, 234);
    assert_eq!(client.get("/v1/files/raw?path=a%20b&offset=8&limit=99").await, 89);
    let (status, body) = client.send("GET", "/v1/files/raw?path=a%20b&mode=1", None).await;
    assert_eq!((status.as_u16(), &body["code"]), (400, &json!("invalid_arguments")));
}

#[tokio::test]
async fn a_read_only_chat_writes_nothing() {
    let workspace = Workspace::new();
    std::fs::write(workspace.path("a"), "x").unwrap();
    let client = workspace.client().with(header::ACCESS, "read_only");
    let edit = json!({"edits": [{"path": "a", "old_text": "x", "new_text": "y"}]});
    for (route, body) in [("write", json!({"path": "a", "content": "y"})), ("edit", edit)] {
        let (status, code, _) = fault(&client, route, body).await;
        assert_eq!((status, code.as_str()), (403, "read_only"));
    }
    assert_eq!(ok(&client, "read", json!({"path": "a"})).await["content"], "1\tx");
}

#[tokio::test]
async fn a_file_that_says_it_is_empty_is_read_to_its_end() {
    let client = Workspace::new().client();
    let page = ok(&client, "read", json!({"path": "/proc/self/status", "limit": 2})).await;
    assert!(page["content"].as_str().unwrap().starts_with("1\tName:\t"), "{page}");
    assert!(page["total_lines"].as_u64().unwrap() > 10 && page["file_size"].as_u64().unwrap() > 100, "{page}");
    assert_eq!(page["next_offset"], 3);
    let last = ok(&client, "read", json!({"path": "/proc/self/status", "offset": -1})).await;
    assert_eq!(last["start_line"], page["total_lines"]);
}
