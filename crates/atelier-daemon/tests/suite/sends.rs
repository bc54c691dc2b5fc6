//! Creating, sending, queueing and interrupting.

use atelier_daemon::chats::{Promoted, Sent};
use atelier_daemon::commit::{CommitError, Fail, Settle};
use atelier_domain::chat::{BusyBehavior, CallClass, CallState, ChatStatus, StopKind};
use atelier_domain::error::{ErrorKind, TurnError};
use atelier_domain::message::{MessagePart, Role};
use atelier_domain::{ChatId, QueueEntryId};

use crate::fixture::{Fixture, call, call_part, on_both, result_part};

fn stored(sent: Sent) -> String {
    match sent {
        Sent::Stored(row) => match row.decode().unwrap().pop().unwrap() {
            MessagePart::Text(part) => part.text,
            other => panic!("{other:?}"),
        },
        Sent::Queued(entry) => panic!("queued as {}", entry.id),
    }
}

fn is_queued(sent: &Sent) -> bool {
    matches!(sent, Sent::Queued(_))
}

#[tokio::test]
async fn a_new_chat_is_pending_with_its_message_and_wakes_the_executor() {
    on_both(async |fixture: &Fixture| {
        let chat = fixture.create("fix the build that broke this very morning").await;
        assert_eq!((chat.status(), chat.state.version, chat.state.epoch), (ChatStatus::Pending, 1, 0));
        assert_eq!(chat.title, "fix the build that broke this…");
        assert_eq!(fixture.signals.woken.lock().unwrap().as_slice(), [chat.id]);
        let row = fixture.row(chat.id).await;
        assert_eq!(row.state, chat.state);
        assert_eq!(row.last_message_id, chat.last_message_id);
        let expected = [(Role::User, "fix the build that broke this very morning".to_owned())];
        assert_eq!(fixture.transcript(chat.id).await, expected);
        let sources = fixture.store.prompt_sources(chat.id, fixture.owner, chat.last_model_config_id).await.unwrap();
        assert!(sources.deployment.unwrap().contains("Atelier"));
    })
    .await;
}

#[tokio::test]
async fn a_message_to_an_idle_chat_starts_a_turn() {
    on_both(async |fixture: &Fixture| {
        let claimed = fixture.running("one").await;
        fixture.answered(&claimed, 1, "done", vec![]).await;
        let chat = claimed.chat.id;
        assert_eq!(stored(fixture.queue(chat, "two").await.unwrap()), "two");
        let row = fixture.row(chat).await;
        assert_eq!((row.status(), row.state.turn_no), (ChatStatus::Pending, 2));
        // created, answered and sent: each moved the version once, the claim too
        assert_eq!(row.state.version, 4);
        assert_eq!(fixture.signals.woken.lock().unwrap().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn messages_to_a_busy_chat_queue_up_to_twenty() {
    on_both(async |fixture: &Fixture| {
        let claimed = fixture.running("one").await;
        let chat = claimed.chat.id;
        for number in 0..20 {
            assert!(is_queued(&fixture.queue(chat, &format!("entry {number}")).await.unwrap()));
        }
        assert!(matches!(fixture.queue(chat, "too much").await, Err(CommitError::QueueFull)));
        let now = fixture.send(chat, "too much", BusyBehavior::Interrupt).await;
        assert!(matches!(now, Err(CommitError::QueueFull)));
        assert_eq!(fixture.queued(chat).await.len(), 20);
        // a refusal changes nothing: nobody asked the run to stop
        assert_eq!(fixture.row(chat).await.state.activity.stop_kind(), None);
    })
    .await;
}

#[tokio::test]
async fn entries_run_one_turn_each_first_in_first_out() {
    on_both(async |fixture: &Fixture| {
        let claimed = fixture.running("one").await;
        let chat = claimed.chat.id;
        fixture.queue(chat, "two").await.unwrap();
        fixture.queue(chat, "three").await.unwrap();
        let committed = fixture.answered(&claimed, 1, "first", vec![]).await;
        assert!(committed.settled && committed.pending_again);
        let claimed = fixture.commits.claim(chat).await.unwrap().unwrap();
        fixture.answered(&claimed, 2, "second", vec![]).await;
        let texts: Vec<_> = fixture.transcript(chat).await.into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["one", "first", "two", "second", "three"]);
        assert!(fixture.queued(chat).await.is_empty());
        let turns: Vec<_> = fixture.rows(chat).await.iter().map(|row| row.turn_no).collect();
        assert_eq!(turns, [1, 1, 2, 2, 3]);
    })
    .await;
}

#[tokio::test]
async fn concurrent_sends_are_all_kept_in_commit_order() {
    on_both(async |fixture: &Fixture| {
        let claimed = fixture.running("one").await;
        let chat = claimed.chat.id;
        let texts: Vec<String> = (0..10).map(|number| number.to_string()).collect();
        let sends = texts.iter().map(|text| fixture.queue(chat, text));
        for sent in futures::future::join_all(sends).await {
            assert!(is_queued(&sent.unwrap()));
        }
        let mut queued = fixture.queued(chat).await;
        queued.sort();
        assert_eq!(queued, texts);
        assert_eq!(fixture.row(chat).await.state.version, 12);
    })
    .await;
}

#[tokio::test]
async fn after_an_error_the_next_message_starts_the_oldest_entry() {
    on_both(async |fixture: &Fixture| {
        let claimed = fixture.running("one").await;
        let chat = claimed.chat.id;
        fixture.queue(chat, "two").await.unwrap();
        let error = TurnError::new(ErrorKind::Auth, "key refused");
        let fail = Fail { error: error.clone(), answer: None, metering: None };
        fixture.commits.fail(&claimed.fence, fail).await.unwrap();
        let row = fixture.row(chat).await;
        assert_eq!(row.status(), ChatStatus::Error);
        assert_eq!(row.state.activity, atelier_domain::chat::Activity::Error(error));
        assert!(fixture.commits.claim(chat).await.unwrap().is_none());
        assert!(is_queued(&fixture.queue(chat, "three").await.unwrap()));
        assert_eq!(fixture.row(chat).await.status(), ChatStatus::Pending);
        let texts: Vec<_> = fixture.transcript(chat).await.into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["one", "two"]);
        assert_eq!(fixture.queued(chat).await, ["three"]);
    })
    .await;
}

#[tokio::test]
async fn a_message_sent_now_comes_behind_the_partial_answer_and_before_the_backlog() {
    on_both(async |fixture: &Fixture| {
        let claimed = fixture.running("one").await;
        let chat = claimed.chat.id;
        fixture.queue(chat, "later").await.unwrap();
        assert!(is_queued(&fixture.send(chat, "now", BusyBehavior::Interrupt).await.unwrap()));
        assert_eq!(fixture.row(chat).await.state.activity.stop_kind(), Some(StopKind::Send));
        assert_eq!(fixture.signals.stopped.lock().unwrap().as_slice(), [chat]);
        // nothing begins any more
        let begun = fixture.commits.step_begin(&claimed.fence).await;
        assert!(matches!(begun, Err(CommitError::Stopping(StopKind::Send))));
        let parts = vec![MessagePart::text("I was about"), call_part("c1", "execute")];
        let settle = Settle::Stopped {
            partial: Some(fixture.partial(1, parts)),
            results: vec![],
            metering: Some(fixture.metering(&claimed)),
        };
        assert!(fixture.commits.settle(&claimed.fence, settle).await.unwrap().pending_again);
        let texts: Vec<_> = fixture.transcript(chat).await.into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["one", "I was about; call c1", "c1 interrupted", "now"]);
        assert_eq!(fixture.queued(chat).await, ["later"]);
        assert_eq!(fixture.store.model_calls_of_chat(chat).await.unwrap(), (1, 7));
    })
    .await;
}

#[tokio::test]
async fn an_interrupt_waits_until_the_run_has_settled() {
    on_both(async |fixture: &Fixture| {
        let claimed = fixture.running("one").await;
        let chat = claimed.chat.id;
        let calls = vec![
            call(0, "c0", CallClass::Keyed, CallState::Started),
            call(1, "c1", CallClass::Keyed, CallState::Ready),
        ];
        let token = calls[0].uid;
        fixture.answered(&claimed, 1, "working", calls).await;
        let settle = async {
            // the run hears of the stop
            while fixture.signals.stopped.lock().unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
            let results = vec![(token, vec![result_part("c0", "half of the output")])];
            let settle = Settle::Stopped { partial: None, results, metering: None };
            fixture.commits.settle(&claimed.fence, settle).await.unwrap();
        };
        let (interrupted, ()) = tokio::join!(fixture.chats.chat_interrupt(chat), settle);
        assert_eq!(interrupted.unwrap().status(), ChatStatus::Waiting);
        let texts: Vec<_> = fixture.transcript(chat).await.into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["one", "working; call c0; call c1", "c0 \"half of the output\"", "c1 interrupted"]);
    })
    .await;
}

#[tokio::test]
async fn an_interrupt_of_a_chat_without_a_run_is_done_at_once() {
    on_both(async |fixture: &Fixture| {
        let chat = fixture.create("one").await.id;
        assert_eq!(fixture.chats.chat_interrupt(chat).await.unwrap().status(), ChatStatus::Waiting);
        assert!(fixture.commits.claim(chat).await.unwrap().is_none());
        let version = fixture.row(chat).await.state.version;
        assert_eq!(fixture.chats.chat_interrupt(chat).await.unwrap().state.version, version);

        let claimed = fixture.running("two").await;
        let chat = claimed.chat.id;
        fixture.queue(chat, "stays").await.unwrap();
        let error = TurnError::new(ErrorKind::Generic, "failed");
        fixture.commits.fail(&claimed.fence, Fail { error, answer: None, metering: None }).await.unwrap();
        assert_eq!(fixture.chats.chat_interrupt(chat).await.unwrap().status(), ChatStatus::Waiting);
        assert_eq!(fixture.queued(chat).await, ["stays"]);

        let unknown = fixture.chats.chat_interrupt(ChatId::new()).await;
        assert!(matches!(unknown, Err(CommitError::NotFound)));
    })
    .await;
}

#[tokio::test]
async fn b166_a_promotion_that_waits_too_long_leaves_its_message_to_be_sent_first() {
    on_both(async |fixture: &Fixture| {
        // a run that does not end
        let chat = fixture.running("one").await.chat.id;
        for text in ["first", "second"] {
            fixture.queue(chat, text).await.unwrap();
        }
        let second = fixture.store.queue_list(chat).await.unwrap()[1].id;
        match fixture.impatient().queue_promote(chat, second).await.unwrap() {
            Promoted::Waiting(row) => assert_eq!(row.id, second),
            Promoted::Stored(row) => panic!("stored as {}", row.id),
        }
        let urgent: Vec<bool> =
            fixture.store.queue_list(chat).await.unwrap().iter().map(|row| row.urgent_no.is_some()).collect();
        assert_eq!((urgent, fixture.row(chat).await.status()), (vec![false, true], ChatStatus::Running));
        let unknown = fixture.impatient().queue_promote(chat, QueueEntryId(9_999)).await;
        assert!(matches!(unknown, Err(CommitError::EntryNotFound)));
    })
    .await;
}

#[tokio::test]
async fn any_text_survives_the_store() {
    on_both(async |fixture: &Fixture| {
        let text = "nul \0, replaced \u{fffd}, astral \u{1f600}, \"quoted\" \\u0000 'single'; -- $1 ?";
        let claimed = fixture.running(text).await;
        fixture.queue(claimed.chat.id, text).await.unwrap();
        fixture.answered(&claimed, 1, text, vec![]).await;
        let transcript = fixture.transcript(claimed.chat.id).await;
        assert_eq!(transcript.len(), 3);
        assert!(transcript.iter().all(|(_, shown)| shown == text), "{transcript:?}");
        assert!(!claimed.chat.title.contains('\0'));
    })
    .await;
}

#[tokio::test]
async fn what_is_written_beside_an_operation_lives_and_dies_with_it() {
    on_both(async |fixture: &Fixture| {
        use atelier_store::StoreError;
        let chat = fixture.create("one").await.id;
        let send = |text: &str| atelier_daemon::chats::MessageSend {
            chat_id: chat,
            author_id: fixture.owner,
            parts: vec![MessagePart::text(text)],
            model_config_id: None,
            mcp_server_ids: None,
            busy_behavior: BusyBehavior::Queue,
        };
        let refused = fixture
            .chats
            .message_send(send("no"), Some(Box::new(|_, _| Box::pin(async { Err(StoreError::Closed) }))))
            .await;
        assert!(matches!(refused, Err(CommitError::Store(StoreError::Closed))));
        assert!(fixture.queued(chat).await.is_empty());
        let sent = fixture
            .chats
            .message_send(
                send("yes"),
                Some(Box::new(|_, sent| {
                    assert!(is_queued(sent));
                    Box::pin(async { Ok(()) })
                })),
            )
            .await;
        assert!(is_queued(&sent.unwrap()));
        assert_eq!(fixture.queued(chat).await, ["yes"]);
    })
    .await;
}
