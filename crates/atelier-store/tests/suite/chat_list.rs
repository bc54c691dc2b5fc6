//! Lists of chats: order, pages, filters, full-text search.

use std::collections::BTreeMap;

use atelier_domain::chat::Activity;
use atelier_domain::message::{MessagePart, Role, Visibility};
use atelier_domain::search::Phrase;
use atelier_domain::{ChatId, UserId};
use atelier_store::{ChatFilter, ChatNew, ChatPage, ChatRow, MessageNew};

use crate::fixture::{Fixture, at, on_both_engines, user};

pub(crate) fn page(after: Option<ChatId>, limit: i64, offset: i64) -> ChatPage {
    ChatPage { after, limit, offset }
}

pub(crate) async fn list(fixture: &Fixture, owner: UserId, filter: &ChatFilter, page: ChatPage) -> Vec<ChatId> {
    ids(&fixture.store.chat_list(owner, filter, page).await.unwrap())
}

pub(crate) fn ids(rows: &[ChatRow]) -> Vec<ChatId> {
    rows.iter().map(|row| row.id).collect()
}

impl Fixture {
    async fn listed(&self, filter: &ChatFilter) -> Vec<ChatId> {
        list(self, self.owner, filter, page(None, 50, 0)).await
    }

    async fn titled(&self, title: &str) -> ChatId {
        self.insert(ChatNew { title: title.to_owned(), ..self.chat_new() }).await
    }

    async fn said(&self, chat: ChatId, role: Role, text: &str) -> atelier_domain::MessageId {
        self.add(chat, vec![MessageNew::new(role, vec![MessagePart::text(text)])]).await.unwrap()[0].id
    }

    /// Chats found by these phrases, oldest first.
    async fn found(&self, phrases: &[&str]) -> Vec<ChatId> {
        let mut found = self.listed(&search(phrases)).await;
        found.reverse();
        found
    }
}

fn search(phrases: &[&str]) -> ChatFilter {
    ChatFilter { phrases: phrases.iter().map(|phrase| Phrase::new(phrase).unwrap()).collect(), ..ChatFilter::default() }
}

on_both_engines! {
    async fn lists_are_in_order_and_pages_neither_overlap_nor_skip(fixture: &Fixture) {
        let mut chats = Vec::new();
        for n in 0..7 {
            let chat = fixture.chat().await;
            // pairs with the same moment, so that ids decide
            fixture.change(chat, move |state| state.updated_at = at(100 + n / 2)).await.unwrap();
            chats.push(chat);
        }
        for (chat, place) in [(chats[2], 2), (chats[0], 1)] {
            fixture.change(chat, move |state| state.pin_order = place).await.unwrap();
        }
        let wanted = [chats[0], chats[2], chats[6], chats[5], chats[4], chats[3], chats[1]];
        assert_eq!(fixture.listed(&ChatFilter::default()).await, wanted);
        let plain = ChatFilter::default();
        let mut walked = Vec::new();
        loop {
            let rows = list(fixture, fixture.owner, &plain, page(walked.last().copied(), 2, 0)).await;
            if rows.is_empty() {
                break;
            }
            walked.extend(rows);
        }
        assert_eq!(walked, wanted);
        assert_eq!(list(fixture, fixture.owner, &plain, page(None, 2, 3)).await, wanted[3..5]);
        assert_eq!(list(fixture, fixture.owner, &plain, page(Some(chats[0]), 2, 1)).await, wanted[2..4]);
        assert!(list(fixture, fixture.owner, &plain, page(Some(ChatId::new()), 9, 0)).await.is_empty());
        fixture
            .change(chats[6], |state| {
                state.activity = Activity::Waiting;
                state.archived = true;
            })
            .await
            .unwrap();
        assert_eq!(fixture.listed(&plain).await.len(), 6);
        assert_eq!(fixture.listed(&ChatFilter { archived: true, ..plain }).await, [chats[6]]);
    }

    async fn each_filter_leaves_out_what_does_not_fit(fixture: &Fixture) {
        let labels = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>()
        };
        let plain = fixture.titled("Fix 100% of Café_bugs").await;
        let labelled = fixture
            .insert(ChatNew { labels: labels(&[("team/a.b", "x"), ("odd", "a\"b")]), ..fixture.chat_new() })
            .await;
        fixture.said(labelled, Role::Assistant, "unread").await;
        let filter = ChatFilter::default;
        let title = |text: &str| ChatFilter { title: Some(text.to_owned()), ..filter() };
        for text in ["fix", "100% OF", "cafe_", "CAFÉ"] {
            assert_eq!(fixture.listed(&title(text)).await, [plain], "{text}");
        }
        for text in ["100_", "%of", "fix of"] {
            assert!(fixture.listed(&title(text)).await.is_empty(), "{text}");
        }
        let wants = |pairs: &[(&str, Option<&str>)]| ChatFilter {
            labels: pairs.iter().map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned))).collect(),
            ..filter()
        };
        for pairs in [&[("team/a.b", None)][..], &[("odd", Some("a\"b")), ("team/a.b", Some("x"))]] {
            assert_eq!(fixture.listed(&wants(pairs)).await, [labelled], "{pairs:?}");
        }
        for pairs in [&[("team", None)][..], &[("team/a.b", Some("y"))], &[("odd", None), ("other", None)]] {
            assert!(fixture.listed(&wants(pairs)).await.is_empty(), "{pairs:?}");
        }
        let model = |text: &str| ChatFilter { model: Some(text.to_owned()), ..filter() };
        assert_eq!(fixture.listed(&model("DEM")).await.len(), 2);
        assert_eq!(fixture.listed(&model(&fixture.model.uuid().to_string())).await.len(), 2);
        assert!(fixture.listed(&model("gpt")).await.is_empty());
        let workspace = ChatFilter { workspace: Some("none".to_owned()), ..filter() };
        assert!(fixture.listed(&workspace).await.is_empty());
        assert!(fixture.listed(&ChatFilter { has_unread: Some(true), ..filter() }).await.is_empty());
        assert_eq!(fixture.listed(&ChatFilter { has_unread: Some(false), ..filter() }).await.len(), 2);
    }

    async fn words_are_found_in_messages_and_titles_as_people_type_them(fixture: &Fixture) {
        let french = fixture.titled("Déployer la Crème").await;
        let japanese = fixture.titled("日本語のテスト").await;
        let answer = fixture.titled("Plain").await;
        fixture.said(answer, Role::User, "please look at the PARSER").await;
        fixture.said(answer, Role::Assistant, "The tokenizer don't split 'snake_case' words; see 東京タワー.").await;
        fixture.said(answer, Role::Tool, "toolonly").await;
        let hidden = MessageNew {
            visibility: Visibility::Model,
            ..MessageNew::new(Role::User, vec![MessagePart::text("hiddenword")])
        };
        fixture.add(answer, vec![hidden]).await.unwrap();
        for (phrases, chat) in [
            (&["creme"][..], french),
            (&["DÉPLOY"], french),
            (&["日本"], japanese),
            (&["parser"], answer),
            (&["pars", "token"], answer),
            (&["Plain", "snake"], answer),
            (&["don't spl"], answer),
            (&["東京"], answer),
        ] {
            assert_eq!(fixture.found(phrases).await, [chat], "{phrases:?}");
        }
        for phrases in [&["arser"][..], &["本日"], &["toolonly"], &["hiddenword"], &["parser", "creme"], &["split tokenizer"]] {
            assert!(fixture.found(phrases).await.is_empty(), "{phrases:?}");
        }
        let eve = fixture.store.user_create(user("eve"), at(0)).await.unwrap().id;
        assert!(list(fixture, eve, &search(&["parser"]), page(None, 50, 0)).await.is_empty());
    }

    async fn the_hit_is_the_newest_message_that_holds_most(fixture: &Fixture) {
        let (chat, other) = (fixture.chat().await, fixture.chat().await);
        let both = fixture.said(chat, Role::User, "alpha and beta").await;
        fixture.said(chat, Role::Assistant, "only alpha").await;
        let phrases = search(&["alpha", "beta"]).phrases;
        let hits = fixture.store.search_hits_for_system(&[chat, other], &phrases).await.unwrap();
        let hits: Vec<_> = hits.into_iter().map(|hit| (hit.chat_id, hit.message_id, hit.text)).collect();
        assert_eq!(hits, [(chat, both, "alpha and beta".to_owned())]);
        let newest = fixture.said(chat, Role::Assistant, "beta, then alpha").await;
        let hits = fixture.store.search_hits_for_system(&[chat], &phrases).await.unwrap();
        assert_eq!(hits[0].message_id, newest);
    }

    async fn text_that_is_edited_away_is_not_found(fixture: &Fixture) {
        let (chat, other) = (fixture.chat().await, fixture.chat().await);
        fixture.said(chat, Role::User, "first").await;
        let second = fixture.said(chat, Role::User, "second").await;
        fixture.said(other, Role::User, "second elsewhere").await;
        fixture.said(chat, Role::Assistant, "third").await;
        fixture
            .store
            .write("delete", move |tx| {
                Box::pin(async move { atelier_store::messages_delete_from_in_tx(tx, chat, second, 1).await })
            })
            .await
            .unwrap();
        assert_eq!(fixture.found(&["first"]).await, [chat]);
        assert_eq!(fixture.found(&["second"]).await, [other]);
        assert!(fixture.found(&["third"]).await.is_empty());
    }

    async fn long_messages_are_found_to_their_end(fixture: &Fixture) {
        let chat = fixture.chat().await;
        let numbers: Vec<String> = (0..20_000).map(|n| format!("n{n}")).collect();
        let text = format!("{} {} {} end", numbers.join(" "), "again ".repeat(2_000), "x".repeat(10_000));
        let message = fixture.said(chat, Role::User, &text).await;
        // across the border of two rows of the index
        for phrase in ["n3999 n4000 n4001", "n19999 again", "again again", "end"] {
            assert_eq!(fixture.found(&[phrase]).await, [chat], "{phrase}");
        }
        assert_eq!(fixture.found(&[&"x".repeat(100)]).await, [chat]);
        fixture
            .store
            .write("delete", move |tx| {
                Box::pin(async move { atelier_store::messages_delete_from_in_tx(tx, chat, message, 1).await })
            })
            .await
            .unwrap();
        assert!(fixture.found(&["end"]).await.is_empty());
    }

    /// B45, as far as it is possible without sub-agents.
    async fn roots_are_listed_for_their_children(fixture: &Fixture) {
        let (root, other) = (fixture.titled("Root").await, fixture.titled("Other").await);
        let child = ChatNew { parent_chat_id: Some(root), root_chat_id: root, ..fixture.chat_new() };
        let child = fixture.insert(ChatNew { title: "Child".to_owned(), ..child }).await;
        let roots = async |filter: &ChatFilter, limit| {
            ids(&fixture.store.chat_list_roots(fixture.owner, filter, page(None, limit, 0)).await.unwrap())
        };
        assert_eq!(fixture.listed(&ChatFilter::default()).await, [child, other, root]);
        assert_eq!(roots(&ChatFilter::default(), 50).await, [other, root]);
        assert_eq!(roots(&ChatFilter::default(), 1).await, [other]);
        assert_eq!(roots(&search(&["child"]), 50).await, [root]);
        let children = fixture.store.chat_children_for_system(&[root, other], false).await.unwrap();
        assert_eq!(ids(&children), [child]);
        assert!(fixture.store.chat_children_for_system(&[root], true).await.unwrap().is_empty());
    }
}
