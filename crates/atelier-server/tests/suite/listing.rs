//! Lists of chats: order, pages, filters, full-text search. Numbers are those of the contract.

use atelier_test_support::{Actor, Chat, Engine};
use serde_json::{Value, json};

use crate::actions::{idle, patch};
use crate::host::{CHATS, Host};

/// A query string of these parameters.
fn query(pairs: &[(&str, &str)]) -> String {
    let url = reqwest::Url::parse_with_params("http://localhost/", pairs).unwrap();
    url.query().unwrap_or_default().to_owned()
}

async fn chats(actor: &Actor, pairs: &[(&str, &str)]) -> Vec<Value> {
    let list = actor.get(&format!("{CHATS}?{}", query(pairs))).await.body(200);
    list.as_array().unwrap().clone()
}

async fn titles(actor: &Actor, pairs: &[(&str, &str)]) -> Vec<String> {
    chats(actor, pairs).await.iter().map(|chat| chat["title"].as_str().unwrap().to_owned()).collect()
}

/// Chats with these titles, the last one newest.
async fn several(actor: &Actor, titles: &[&str]) -> Vec<Chat> {
    let mut made = Vec::new();
    for title in titles {
        made.push(idle(actor, title).await);
    }
    made
}

#[tokio::test]
async fn b038_lists_hold_own_chats_newest_update_first() {
    let host = Host::start().await;
    let (admin, ada) = (host.admin().await, host.user("ada", &[]).await);
    idle(&admin, "Of the owner").await;
    let made = several(&ada, &["One", "Two", "Three"]).await;
    assert_eq!(titles(&ada, &[]).await, ["Three", "Two", "One"]);
    made[0].send("again").await;
    made[0].wait_for_status("waiting").await;
    let list = chats(&ada, &[]).await;
    assert_eq!(list[0]["title"], "One");
    assert!(list.iter().all(|chat| chat["root_chat_id"] == chat["id"] && chat.get("diff_status").is_none()));
    assert!(list.iter().all(|chat| chat.get("children").is_none() && chat.get("search_match").is_none()));
    assert_eq!(titles(&admin, &[]).await, ["Of the owner"]);
}

#[tokio::test]
async fn b039_b046_pages_show_every_chat_once_also_across_pins() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let ada = host.user("ada", &[]).await;
        let made = several(&ada, &["A", "B", "C", "D", "E"]).await;
        for chat in [&made[1], &made[3]] {
            assert_eq!(patch(&ada, chat, json!({"pin_order": 1})).await, 204);
        }
        let wanted = ["B", "D", "E", "C", "A"];
        assert_eq!(titles(&ada, &[]).await, wanted);
        let mut seen: Vec<String> = Vec::new();
        let mut after = None::<String>;
        for size in [2, 2, 1] {
            let mut pairs = vec![("limit", "2")];
            pairs.extend(after.as_deref().map(|after| ("after_id", after)));
            let page = chats(&ada, &pairs).await;
            assert_eq!(page.len(), size);
            seen.extend(page.iter().map(|chat| chat["title"].as_str().unwrap().to_owned()));
            after = Some(page.last().unwrap()["id"].as_str().unwrap().to_owned());
        }
        assert_eq!(seen, wanted);
        assert!(chats(&ada, &[("after_id", &after.unwrap())]).await.is_empty());
        assert_eq!(titles(&ada, &[("limit", "2"), ("offset", "3")]).await, wanted[3..]);
        host.stop().await;
    }
}

#[tokio::test]
async fn b040_bad_pages_are_refused_with_every_fault() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    idle(&ada, "One").await;
    for bad in [("limit", "201"), ("limit", "-1"), ("offset", "-1"), ("after_id", "x"), ("include", "all")] {
        let refused = ada.get(&format!("{CHATS}?{}", query(&[bad]))).await.body(400);
        assert_eq!(refused["validations"][0]["field"], bad.0);
    }
    let refused = ada.get(&format!("{CHATS}?limit=x&offset=x&after_id=x&label=x&q=y:1")).await.body(400);
    assert_eq!(refused["validations"].as_array().unwrap().len(), 5);
    assert!(chats(&ada, &[("after_id", "01890000-0000-7000-8000-000000000000")]).await.is_empty());
}

#[tokio::test]
async fn b041_archived_chats_are_listed_when_asked_for() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let made = several(&ada, &["Kept", "Archived"]).await;
    ada.post(&made[1].path("/archive"), json!({})).await.expect(204);
    for pairs in [&[][..], &[("q", "archived:false")], &[("archived", "true"), ("q", "archived:false")]] {
        assert_eq!(titles(&ada, pairs).await, ["Kept"], "{pairs:?}");
    }
    for pairs in [&[("q", "ARCHIVED:true")][..], &[("archived", "true")]] {
        assert_eq!(titles(&ada, pairs).await, ["Archived"], "{pairs:?}");
    }
}

#[tokio::test]
async fn b042_each_key_filters_and_bad_ones_are_named() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let ada = host.user("ada", &[]).await;
        let made = several(&ada, &["Fix the Parser", "Write docs"]).await;
        ada.put(&made[1].path("/read"), json!({})).await.expect(204);
        assert_eq!(patch(&ada, &made[0], json!({"labels": {"team": "core", "odd": "a b"}})).await, 204);
        for (q, wanted) in [
            (r#"title:"the pars""#, &["Fix the Parser"][..]),
            ("title:PARSER", &["Fix the Parser"]),
            ("has_unread:true", &["Fix the Parser"]),
            ("has_unread:false", &["Write docs"]),
            ("label:team", &["Fix the Parser"]),
            (r#"label:team=core label:"odd=a b""#, &["Fix the Parser"]),
            ("label:team=other", &[]),
            ("model:TES", &["Write docs", "Fix the Parser"]),
            ("model:none", &[]),
            ("workspace:none", &[]),
            ("pr_status:open,draft", &[]),
            ("has_unread:true parser", &["Fix the Parser"]),
            ("has_unread:false parser", &[]),
        ] {
            assert_eq!(titles(&ada, &[("q", q)]).await, wanted, "{q}");
        }
        for (q, field) in [
            ("a:b:c", "q"),
            (":x", "q"),
            ("x:", "q"),
            ("colour:red", "colour"),
            ("title:a title:b", "title"),
            ("archived:maybe", "archived"),
            ("has_unread:1", "has_unread"),
            ("pr_status:open,lost", "pr_status"),
        ] {
            let refused = ada.get(&format!("{CHATS}?{}", query(&[("q", q)]))).await.body(400);
            assert_eq!(
                (&refused["code"], &refused["validations"][0]["field"]),
                (&json!("validation_failed"), &json!(field))
            );
        }
        host.stop().await;
    }
}

#[tokio::test]
async fn b043_words_of_an_answer_find_its_chat_until_they_are_edited_away() {
    for engine in Engine::ALL {
        let host = Host::builder().engine(engine).start().await;
        let ada = host.user("ada", &[]).await;
        let chat = idle(&ada, "Où est la bibliothèque?").await;
        idle(&ada, "count").await;
        let found = chats(&ada, &[("q", "THÈRE")]).await;
        assert_eq!(found.len(), 1);
        let messages = chat.messages().await;
        let answer = messages.iter().find(|message| message["role"] == "assistant").unwrap();
        let matched = &found[0]["search_match"];
        assert_eq!(matched, &json!({"message_id": answer["id"], "snippet": "Hello there.", "ranges": [[6, 11]]}));
        // the title has no id
        assert_eq!(patch(&ada, &chat, json!({"title": "Étagère neuve"})).await, 204);
        let matched = &chats(&ada, &[("q", "etag")]).await[0]["search_match"];
        assert_eq!(matched, &json!({"snippet": "Étagère neuve", "ranges": [[0, 7]]}));
        // both words, one in the title, one in the question
        assert_eq!(titles(&ada, &[("q", "neuve bibliotheque")]).await, ["Étagère neuve"]);
        assert_eq!(titles(&ada, &[("q", r#""est la bib""#)]).await, ["Étagère neuve"]);
        assert!(titles(&ada, &[("q", r#""la est""#)]).await.is_empty());
        let question = messages.iter().find(|message| message["role"] == "user").unwrap();
        let edit = json!({"content": [{"type": "text", "text": "fail"}]});
        ada.patch(&chat.path(&format!("/messages/{}", question["id"])), edit).await.expect(200);
        assert!(chats(&ada, &[("q", "there")]).await.is_empty());
        assert!(chats(&ada, &[("q", "bibliotheque")]).await.is_empty());
        // nobody else finds it
        assert!(chats(&host.admin().await, &[("q", "neuve")]).await.is_empty());
        host.stop().await;
    }
}

#[tokio::test]
async fn b044_all_labels_must_hold() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let made = several(&ada, &["One", "Both"]).await;
    assert_eq!(patch(&ada, &made[0], json!({"labels": {"a": "1"}})).await, 204);
    assert_eq!(patch(&ada, &made[1], json!({"labels": {"a": "1", "b": "2:3"}})).await, 204);
    assert_eq!(titles(&ada, &[("label", "a:1")]).await, ["Both", "One"]);
    assert_eq!(titles(&ada, &[("label", "a:1"), ("label", "b:2:3")]).await, ["Both"]);
    assert_eq!(titles(&ada, &[("label", "a:1"), ("q", "label:b")]).await, ["Both"]);
}

#[tokio::test]
async fn b045_roots_are_listed_with_their_children() {
    let host = Host::start().await;
    let ada = host.user("ada", &[]).await;
    let made = several(&ada, &["One", "Two"]).await;
    let list = chats(&ada, &[("include", "children")]).await;
    assert_eq!(list.len(), 2);
    assert!(list.iter().all(|chat| chat["children"] == json!([])));
    let one = ada.get(&made[0].path("?include=children")).await.body(200);
    assert_eq!(one["children"], json!([]));
}
