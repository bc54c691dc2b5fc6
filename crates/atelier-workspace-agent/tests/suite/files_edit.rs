//! Editing files.

use std::os::unix::fs::symlink;

use serde_json::{Value, json};

use crate::files::{fault, ok};
use crate::support::Workspace;

fn edit(path: &str, old: &str, new: &str) -> Value {
    json!({"path": path, "old_text": old, "new_text": new})
}

fn text(workspace: &Workspace, name: &str) -> String {
    std::fs::read_to_string(workspace.path(name)).unwrap()
}

#[tokio::test]
async fn w25_edits_apply_in_order_and_say_how() {
    let workspace = Workspace::new();
    std::fs::write(workspace.path("a"), "one\ntwo  \nif x {\n    y\n    z\n}\n").unwrap();
    symlink("a", workspace.path("link")).unwrap();
    std::fs::write(workspace.path("b"), "x x x\n").unwrap();
    let client = workspace.client();
    let mut all = edit("b", "x", "y");
    all["replace_all"] = json!(true);
    let edits = [edit("a", "one", "1"), edit("link", "1\ntwo\n", "1\n2\n"), edit("a", "y\nz\n", "y\n\nzz\n"), all];
    let answer = ok(&client, "edit", json!({ "edits": edits })).await;
    assert_eq!(text(&workspace, "a"), "1\n2\nif x {\n    y\n\n    zz\n}\n");
    assert_eq!(text(&workspace, "b"), "y y y\n");
    let files = answer["files"].as_array().unwrap();
    assert_eq!(files.len(), 2);
    assert_eq!((&files[0]["replacements"], &files[0]["pass"]), (&json!(3), &json!("indentation")));
    assert_eq!((&files[0]["additions"], &files[0]["deletions"]), (&json!(4), &json!(3)));
    assert_eq!((&files[1]["replacements"], &files[1]["pass"]), (&json!(3), &json!("exact")));
    assert!(files[1]["diff"].as_str().unwrap().ends_with("-x x x\n+y y y\n"));
    assert!(files[0].get("indentation").is_none() && answer.get("diff_truncated").is_none());
}

#[tokio::test]
async fn w26_line_ends_and_byte_order_mark_stay() {
    let workspace = Workspace::new();
    std::fs::write(workspace.path("a"), "\u{feff}a\r\nb\r\nc\nd\r\n").unwrap();
    ok(&workspace.client(), "edit", json!({"edits": [edit("a", "a\nb\n", "x\ny\nz\n")]})).await;
    assert_eq!(text(&workspace, "a"), "\u{feff}x\r\ny\r\nz\r\nc\nd\r\n");
}

#[tokio::test]
async fn w27_indentation_that_fits_no_rule_is_told() {
    let workspace = Workspace::new();
    std::fs::write(workspace.path("a"), "  a\n      b\n").unwrap();
    let answer = ok(&workspace.client(), "edit", json!({"edits": [edit("a", "a\nb\n", "c\n")]})).await;
    assert_eq!(
        (&answer["files"][0]["pass"], &answer["files"][0]["indentation"]),
        (&json!("indentation"), &json!("as_given"))
    );
    assert_eq!(text(&workspace, "a"), "c\n");
}

#[tokio::test]
async fn w28_one_failure_and_nothing_changes_and_all_are_named() {
    let workspace = Workspace::with_limits(|limits| limits.edit_file_bytes = 100);
    for (name, content) in
        [("a", &b"fn main() {}\n"[..]), ("b", b"x x"), ("c", b"c"), ("bytes", b"\xff"), ("big", &[b'x'; 101])]
    {
        std::fs::write(workspace.path(name), content).unwrap();
    }
    let client = workspace.client();
    let edits = [
        edit("a", "fn main() { }", "y"),
        edit("b", "x", "y"),
        edit("c", "c", "c"),
        edit("c", "", "c"),
        edit("bytes", "x", "y"),
        edit("big", "x", "y"),
        edit("missing", "x", "y"),
        edit("c", "c", "good"),
    ];
    let (status, code, detail) = fault(&client, "edit", json!({ "edits": edits })).await;
    assert_eq!((status, code.as_str()), (422, "edit_failed"));
    let failures = detail["failures"].as_array().unwrap();
    let reasons: Vec<_> = failures.iter().map(|failure| failure["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["not_found", "ambiguous", "same_text", "empty", "not_utf8", "too_large", "file_not_found"]);
    assert_eq!(failures[0]["nearest"], json!({"start_line": 1, "text": "fn main() {}"}));
    assert_eq!((&failures[1]["matches"], &failures[1]["edit_index"]), (&json!(2), &json!(1)));
    assert_eq!((text(&workspace, "a"), text(&workspace, "c")), ("fn main() {}\n".into(), "c".into()));

    let (status, code, detail) = fault(&client, "edit", json!({"edits": []})).await;
    assert_eq!(
        (status, code.as_str(), &detail["validations"][0]["field"]),
        (400, "invalid_arguments", &json!("edits"))
    );
    let bad = json!({"edits": [edit("", "a", "b"), edit("a\0", "a", "b")]});
    assert_eq!(fault(&client, "edit", bad).await.2["validations"][1]["field"], "edits[1].path");
}

#[tokio::test]
async fn diffs_are_bounded_together() {
    let workspace = Workspace::new();
    let long: String = (0..4000).map(|line| format!("line {line}\n")).collect();
    let names: Vec<String> = (0..5).map(|number| format!("f{number}")).collect();
    for name in &names {
        std::fs::write(workspace.path(name), &long).unwrap();
    }
    let mut edits: Vec<Value> = names.iter().map(|name| edit(name, "line", "LINE")).collect();
    for edit in &mut edits {
        edit["replace_all"] = json!(true);
    }
    let answer = ok(&workspace.client(), "edit", json!({ "edits": edits })).await;
    assert_eq!(answer["diff_truncated"], true);
    assert_eq!(answer["files"][4]["additions"], 4000);
    assert!(answer["files"][0]["diff"].as_str().unwrap().len() <= 16 * 1024);
    assert!(answer.to_string().len() <= 40 * 1024, "{}", answer.to_string().len());
}

#[tokio::test]
async fn an_edit_is_carried_out_once_for_a_token_and_a_failure_may_be_tried_again() {
    let workspace = Workspace::new();
    let client = workspace.client().keyed("t", "d");
    let body = json!({"edits": [edit("a", "x", "xx")]});
    assert_eq!(fault(&client, "edit", body.clone()).await.1, "edit_failed");
    std::fs::write(workspace.path("a"), "x").unwrap();
    let first = ok(&client, "edit", body.clone()).await;
    assert_eq!(ok(&client, "edit", body).await, first);
    assert_eq!(text(&workspace, "a"), "xx");
}

#[tokio::test]
async fn edits_of_one_file_at_once_wait_for_each_other() {
    let workspace = Workspace::new();
    let content: String = (0..20).map(|number| format!("[{number}]\n")).collect();
    std::fs::write(workspace.path("a"), content).unwrap();
    let client = workspace.client();
    let edits = (0..20).map(|number| {
        let client = client.clone();
        tokio::spawn(async move {
            ok(&client, "edit", json!({"edits": [edit("a", &format!("[{number}]"), &format!("done {number}"))]})).await
        })
    });
    for edit in edits.collect::<Vec<_>>() {
        edit.await.unwrap();
    }
    assert_eq!(text(&workspace, "a"), (0..20).map(|number| format!("done {number}\n")).collect::<String>());
}

#[tokio::test]
async fn a_byte_order_mark_is_not_shown_not_needed_and_kept() {
    let workspace = Workspace::new();
    let client = workspace.client();
    for (old, new) in [("using System;\n", "using Other;\n"), ("\u{feff}using System;\n", "\u{feff}using Other;\n")] {
        std::fs::write(workspace.path("a.cs"), "\u{feff}using System;\r\nclass A {}\r\n").unwrap();
        let page = ok(&client, "read", json!({"path": "a.cs"})).await;
        assert_eq!(page["content"], "1\tusing System;\n2\tclass A {}");
        ok(&client, "edit", json!({"edits": [edit("a.cs", old, new)]})).await;
        assert_eq!(text(&workspace, "a.cs"), "\u{feff}using Other;\r\nclass A {}\r\n");
    }
    // Columns count in what is shown.
    let piece = ok(&client, "read", json!({"path": "a.cs", "column": 6})).await;
    assert_eq!(piece["content"], "1\tOther;\n2\tclass A {}");
    // In a file without a mark it is a character like any other.
    std::fs::write(workspace.path("b"), "a").unwrap();
    ok(&client, "edit", json!({"edits": [edit("b", "a", "\u{feff}b")]})).await;
    assert_eq!(text(&workspace, "b"), "\u{feff}b");
}

#[tokio::test]
async fn all_names_of_a_file_stay_names_of_the_same_file() {
    let workspace = Workspace::new();
    let client = workspace.client();
    std::fs::write(workspace.path("one"), "old text\n").unwrap();
    std::fs::hard_link(workspace.path("one"), workspace.path("two")).unwrap();
    ok(&client, "edit", json!({"edits": [edit("one", "old", "a new and longer")]})).await;
    assert_eq!(text(&workspace, "two"), "a new and longer text\n");
    ok(&client, "write", json!({"path": "two", "content": "short"})).await;
    assert_eq!(text(&workspace, "one"), "short");
    let names = std::fs::read_dir(workspace.home()).unwrap().flatten().map(|entry| entry.file_name());
    assert_eq!(names.filter(|name| name.to_string_lossy().contains(".atelier-")).count(), 0);
}
