//! Messages: batches, pages, deletion, what one row excludes.

use atelier_domain::message::{FinishReason, MessagePart, Role, Usage, Visibility};
use atelier_domain::{ChatId, MessageId, ModelConfigId, QueueEntryId, UserId};
use atelier_store::{MessageNew, MessageRange, MessageRow, QueueNew, StoreError, queue_entry_key};

use crate::fixture::{Fixture, at, on_both_engines};

fn text(role: Role, text: &str) -> MessageNew {
    MessageNew::new(role, vec![MessagePart::text(text)])
}

fn said(row: &MessageRow) -> String {
    match row.decode().unwrap().remove(0) {
        MessagePart::Text(part) => part.text,
        other => panic!("{other:?}"),
    }
}

impl Fixture {
    async fn newest(&self, chat: ChatId, range: MessageRange) -> (Vec<i64>, bool) {
        let page = self.store.messages_page_newest(chat, range).await.unwrap();
        (page.messages.iter().map(|message| message.id.0).collect(), page.has_more)
    }
}

fn range(limit: i64, max_bytes: i64) -> MessageRange {
    MessageRange { after: MessageId(0), before: MessageId(i64::MAX), limit, max_bytes }
}

on_both_engines! {
    /// I28.
    async fn a_batch_keeps_order_roles_and_absent_values(fixture: &Fixture) {
        let chat = fixture.chat().await;
        let usage = Usage { input_tokens: Some(0), output_tokens: Some(7), ..Usage::default() };
        let full = MessageNew {
            visibility: Visibility::User,
            created_by: Some(fixture.owner),
            model_config_id: Some(fixture.model),
            step_no: Some(3),
            tool_call_id: Some("call_1".to_owned()),
            finish_reason: Some(FinishReason::Length),
            usage,
            estimated: true,
            context_limit: Some(9),
            cost_micros: Some(0),
            runtime_ms: Some(0),
            compressed: true,
            provider_response_id: Some("r".to_owned()),
            request_key: Some("k".to_owned()),
            ..text(Role::Assistant, "whole \u{0} é \u{1f600} \"quoted\"")
        };
        let nil = MessageNew {
            created_by: Some(UserId::nil()),
            model_config_id: Some(ModelConfigId::nil()),
            ..text(Role::User, "nil")
        };
        let batch = vec![text(Role::System, "first"), full, nil, text(Role::Tool, "last")];
        let returned = fixture.add(chat, batch).await.unwrap();
        assert!(returned.is_sorted_by(|a, b| a.id < b.id));
        for row in &returned {
            let id = row.id;
            let stored = fixture
                .store
                .read("get", move |tx| Box::pin(async move { atelier_store::message_get_in_tx(tx, chat, id).await }))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(format!("{stored:?}"), format!("{row:?}"), "what is returned is what is stored");
        }
        let roles: Vec<_> = returned.iter().map(|row| row.role).collect();
        assert_eq!(roles, [Role::System, Role::Assistant, Role::User, Role::Tool]);
        let whole = &returned[1];
        assert_eq!(said(whole), "whole \u{0} é \u{1f600} \"quoted\"");
        assert_eq!(whole.usage, usage, "0 stays 0, absent stays absent");
        assert_eq!((whole.cost_micros, whole.runtime_ms, whole.context_limit), (Some(0), Some(0), Some(9)));
        assert_eq!((returned[2].created_by, returned[2].model_config_id), (None, None), "nil names nobody");
        assert_eq!(returned[3].usage, Usage::default());
    }

    async fn long_batches_are_one_statement_too(fixture: &Fixture) {
        let chat = fixture.chat().await;
        let batch = (0..130).map(|n| text(Role::User, &n.to_string())).collect();
        let rows = fixture.add(chat, batch).await.unwrap();
        let texts: Vec<_> = rows.iter().map(said).collect();
        assert_eq!(texts, (0..130).map(|n| n.to_string()).collect::<Vec<_>>());
        assert!(fixture.add(chat, Vec::new()).await.unwrap().is_empty());
    }

    async fn one_answer_a_step_one_result_a_call_one_message_a_request(fixture: &Fixture) {
        let chat = fixture.chat().await;
        let answer = || MessageNew { step_no: Some(1), ..text(Role::Assistant, "a") };
        let result = || MessageNew { step_no: Some(1), tool_call_id: Some("c".to_owned()), ..text(Role::Tool, "r") };
        let asked = || MessageNew { request_key: Some(queue_entry_key(QueueEntryId(7))), ..text(Role::User, "u") };
        let first = fixture.add(chat, vec![asked(), answer(), result()]).await.unwrap();
        for (again, index) in [(answer(), "step"), (result(), "call"), (asked(), "request")] {
            match fixture.add(chat, vec![again]).await {
                Err(error @ StoreError::Conflict { .. }) => {
                    assert!(error.is_conflict_on(index) || index != "request", "{error}");
                }
                other => panic!("{index}: {other:?}"),
            }
        }
        let other = fixture.chat().await;
        fixture.add(other, vec![asked(), answer(), result()]).await.unwrap();
        // a deleted answer makes room, a used request key stays used
        let from = first[0].id;
        fixture
            .store
            .write("delete", move |tx| {
                Box::pin(async move { atelier_store::messages_delete_from_in_tx(tx, chat, from, 1).await })
            })
            .await
            .unwrap();
        fixture.add(chat, vec![answer(), result()]).await.unwrap();
        assert!(fixture.add(chat, vec![asked()]).await.is_err());
        let of_entry = async |entry| {
            fixture.store.message_of_queue_entry(chat, QueueEntryId(entry)).await.unwrap().map(|row| row.id)
        };
        assert_eq!((of_entry(7).await, of_entry(8).await), (Some(first[0].id), None));
    }

    async fn pages_leave_out_what_people_do_not_see(fixture: &Fixture) {
        let chat = fixture.chat().await;
        let hidden = MessageNew { visibility: Visibility::Model, ..text(Role::User, "hidden") };
        let shown = MessageNew { visibility: Visibility::User, ..text(Role::Assistant, "shown") };
        let batch = vec![text(Role::System, "system"), text(Role::User, "both"), hidden, shown, text(Role::User, "last")];
        let ids: Vec<_> = fixture.add(chat, batch).await.unwrap().iter().map(|row| row.id.0).collect();
        assert_eq!(fixture.newest(chat, range(10, i64::MAX)).await, (vec![ids[4], ids[3], ids[1]], false));
        let prompt = fixture.store.messages_for_prompt(chat, MessageId(0)).await.unwrap();
        assert_eq!(prompt.iter().map(said).collect::<Vec<_>>(), ["both", "hidden", "last"]);
        let (last, answer) = fixture
            .store
            .read("last", move |tx| Box::pin(async move { atelier_store::messages_last_in_tx(tx, chat).await }))
            .await
            .unwrap();
        assert_eq!((last.0, answer.0), (ids[4], ids[3]));
    }

    async fn pages_are_bounded_in_number_and_bytes(fixture: &Fixture) {
        let chat = fixture.chat().await;
        let batch = (0..6).map(|_| text(Role::User, &"é".repeat(500))).collect();
        let rows = fixture.add(chat, batch).await.unwrap();
        let size = i64::try_from(rows[0].content.len()).unwrap();
        let ids: Vec<_> = rows.iter().map(|row| row.id.0).collect();
        let down: Vec<_> = ids.iter().rev().copied().collect();
        assert_eq!(fixture.newest(chat, range(6, i64::MAX)).await, (down.clone(), false));
        assert_eq!(fixture.newest(chat, range(4, i64::MAX)).await, (down[..4].to_vec(), true));
        assert_eq!(fixture.newest(chat, range(6, 1)).await, (down[..1].to_vec(), true), "at least one");
        assert_eq!(fixture.newest(chat, range(6, size * 2)).await, (down[..2].to_vec(), true), "bytes, not characters");
        assert_eq!(fixture.newest(chat, range(6, size * 2 + 1)).await, (down[..3].to_vec(), true));
        let before = MessageRange { before: MessageId(ids[2]), ..range(6, i64::MAX) };
        assert_eq!(fixture.newest(chat, before).await, (vec![ids[1], ids[0]], false));
        let after = MessageRange { after: MessageId(ids[2]), ..range(2, i64::MAX) };
        let page = fixture.store.messages_page_ascending(chat, after).await.unwrap();
        assert_eq!(page.messages.iter().map(|row| row.id.0).collect::<Vec<_>>(), ids[3..5]);
        assert!(page.has_more);
        let cut = MessageRange { after: MessageId(ids[2]), ..range(10, size + 1) };
        let page = fixture
            .store
            .read("page", move |tx| Box::pin(async move { atelier_store::messages_page_in_tx(tx, chat, cut).await }))
            .await
            .unwrap();
        assert_eq!(page.messages.iter().map(|row| row.id.0).collect::<Vec<_>>(), ids[3..5]);
    }

    /// I21.
    async fn deletion_keeps_rows_and_system_messages(fixture: &Fixture) {
        let chat = fixture.chat().await;
        let rows = fixture
            .add(chat, vec![text(Role::User, "1"), text(Role::Assistant, "2"), text(Role::System, "s"), text(Role::User, "3")])
            .await
            .unwrap();
        let from = rows[1].id;
        let (deleted, kept) = fixture
            .store
            .write("delete", move |tx| {
                Box::pin(async move {
                    let deleted = atelier_store::messages_delete_from_in_tx(tx, chat, from, 1).await?;
                    let system = atelier_store::message_get_in_tx(tx, chat, MessageId(from.0 + 1)).await?;
                    Ok::<_, StoreError>((deleted, system.unwrap().deleted))
                })
            })
            .await
            .unwrap();
        assert_eq!((deleted, kept), (2, false));
        assert_eq!(fixture.newest(chat, range(10, i64::MAX)).await, (vec![rows[0].id.0], false));
        let last = fixture
            .store
            .read("rewind", move |tx| {
                Box::pin(async move { atelier_store::last_message_before_rewind_in_tx(tx, chat, 0).await })
            })
            .await
            .unwrap();
        assert_eq!(last, rows[0].id);
    }

    async fn a_queue_is_kept_in_order_of_its_ids(fixture: &Fixture) {
        let chat = fixture.chat().await;
        let entry = |name: &str, key: Option<&str>| QueueNew {
            parts: vec![MessagePart::text(name)],
            created_by: fixture.owner,
            model_config_id: Some(fixture.model),
            mcp_server_ids: None,
            urgent_no: None,
            request_key: key.map(str::to_owned),
        };
        let (one, two) = (entry("one", Some("k")), entry("two", None));
        let queue = fixture
            .store
            .write("queue", move |tx| {
                Box::pin(async move {
                    let one = atelier_store::queue_insert_in_tx(tx, chat, one, at(3)).await?;
                    let two = atelier_store::queue_insert_in_tx(tx, chat, two, at(3)).await?;
                    atelier_store::queue_make_urgent_in_tx(tx, chat, two.id, 1).await?;
                    assert_eq!(atelier_store::queue_of_request_in_tx(tx, chat, "k").await?, Some(one.id));
                    let all = atelier_store::queue_list_in_tx(tx, chat).await?;
                    assert_eq!(format!("{:?}", all[0]), format!("{one:?}"));
                    atelier_store::queue_delete_in_tx(tx, chat, one.id).await?;
                    assert_eq!(atelier_store::queue_of_request_in_tx(tx, chat, "k").await?, None);
                    Ok::<_, StoreError>(all)
                })
            })
            .await
            .unwrap();
        assert_eq!(queue.iter().map(|entry| entry.urgent_no).collect::<Vec<_>>(), [None, Some(1)]);
        assert_eq!(fixture.store.queue_list(chat).await.unwrap().len(), 1);
    }

    async fn content_of_an_older_version_is_read_by_its_role_and_an_unknown_one_never(fixture: &Fixture) {
        let chat = fixture.chat().await;
        let batch = vec![text(Role::User, "x"), text(Role::Assistant, "x"), text(Role::Tool, "x")];
        fixture.add(chat, batch).await.unwrap();
        for (role, content) in [
            ("user", r#""Hello""#),
            ("assistant", r#"[{"type":"text","data":{"text":"Hi"}}]"#),
            ("tool", r#"{"tool_call_id":"c","tool_name":"execute","result":"done"}"#),
        ] {
            let update = format!("UPDATE chat_messages SET content_version = 0, content = '{content}' WHERE role = '{role}'");
            fixture.execute(&update).await;
        }
        let rows = fixture.store.messages_newest(chat, MessageId(i64::MAX), 9).await.unwrap();
        assert!(matches!(&rows[0].decode().unwrap()[0], MessagePart::ToolResult(result) if result.result == "done"));
        assert_eq!((said(&rows[1]), said(&rows[2])), ("Hi".to_owned(), "Hello".to_owned()));
        fixture.execute("UPDATE chat_messages SET content_version = 2").await;
        for row in fixture.store.messages_newest(chat, MessageId(i64::MAX), 9).await.unwrap() {
            assert!(row.decode().is_err());
        }
    }
}
