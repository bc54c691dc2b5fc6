//! Chats: the running state and its rules, claiming, lists, read marks.

use std::collections::HashSet;

use atelier_domain::chat::{Activity, ChatState, RetryInfo, StopKind};
use atelier_domain::error::{ErrorKind, TurnError};
use atelier_domain::{ChatId, Incarnation, MessageId, UserId};
use atelier_store::{ChatFilter, ChatNew, MessagesSaw, StoreError, TitleSource};

use crate::chat_list::{ids, list, page};
use crate::fixture::{Fixture, at, on_both_engines, user};

fn error() -> TurnError {
    TurnError { status_code: Some(500), ..TurnError::new(ErrorKind::Generic, "no luck \u{0}") }
}

fn running(owner: Incarnation) -> impl FnOnce(&mut ChatState) + Send + 'static {
    move |state| {
        state.activity = Activity::Running { owner, started_at: at(3), parked: false };
        state.epoch += 1;
    }
}

/// Claims the chat as the daemon does, if it may.
async fn claim(fixture: &Fixture, chat: ChatId, owner: Incarnation) -> bool {
    fixture
        .store
        .write("claim", move |tx| {
            Box::pin(async move {
                let Some(row) = atelier_store::chat_lock_pending_in_tx(tx, chat).await? else { return Ok(false) };
                let mut state = row.state;
                running(owner)(&mut state);
                atelier_store::chat_state_save_in_tx(tx, chat, &state, at(4)).await?;
                Ok::<_, StoreError>(true)
            })
        })
        .await
        .unwrap()
}

on_both_engines! {
    async fn every_state_is_stored_as_it_is(fixture: &Fixture) {
        let chat = fixture.chat().await;
        let fresh = fixture.row(chat).await;
        assert_eq!(fresh.state.activity, Activity::Pending { since: at(1) });
        assert_eq!((fresh.state.version, fresh.state.turn_no, fresh.state.epoch), (1, 1, 0));
        let (owner, started_at) = (Incarnation::new(), at(7));
        let activities = [
            (Activity::Waiting, 2),
            (Activity::Running { owner, started_at, parked: true }, 3),
            (Activity::Stopping { owner, started_at, parked: false, kind: StopKind::Tree }, 3),
            (Activity::Error(error()), 4),
            (Activity::RequiresAction, 4),
            (Activity::Pending { since: at(8) }, 4),
        ];
        for (activity, epoch) in activities {
            let wanted = activity.clone();
            fixture
                .change(chat, move |state| {
                    *state = ChatState {
                        activity,
                        archived: false,
                        is_root: true,
                        root_archived: false,
                        epoch,
                        version: 11,
                        queue_version: 12,
                        rewind: 13,
                        turn_no: 14,
                        step_no: 15,
                        committed_step: 16,
                        attempt: 17,
                        takeovers: 2,
                        step_begun_at: Some(at(18)),
                        retry: Some(RetryInfo { attempt: 1, delay_ms: 5, retrying_at: at(19), error: error() }),
                        closed_at: Some(at(20)),
                        pin_order: 3,
                        updated_at: at(21),
                        queue: Vec::new(),
                        open_calls: Vec::new(),
                    };
                })
                .await
                .unwrap();
            let row = fixture.row(chat).await;
            assert_eq!(row.state.activity, wanted);
            assert_eq!(row.status(), wanted.status());
            let numbers = (row.state.version, row.state.queue_version, row.state.rewind, row.state.turn_no);
            assert_eq!(numbers, (11, 12, 13, 14));
            assert_eq!((row.state.step_no, row.state.committed_step, row.state.attempt), (15, 16, 17));
            assert_eq!((row.state.step_begun_at, row.state.closed_at), (Some(at(18)), Some(at(20))));
            assert_eq!(row.state.retry.as_ref().unwrap().retrying_at, at(19));
            assert_eq!((row.state.updated_at, row.changed_at, row.created_at), (at(21), at(5), at(1)));
        }
    }

    /// I2, I4 and the other rules that the row itself keeps.
    async fn states_that_cannot_be_are_refused(fixture: &Fixture) {
        let owner = Incarnation::new();
        type Change = fn(&mut ChatState, Incarnation);
        let bad: [(&str, Change); 7] = [
            ("running with an even epoch", |state, owner| {
                state.activity = Activity::Running { owner, started_at: at(1), parked: false };
            }),
            ("waiting with an odd epoch", |state, _| {
                state.activity = Activity::Waiting;
                state.epoch = 1;
            }),
            ("archived and pending", |state, _| state.archived = true),
            ("archived and running", |state, owner| {
                state.activity = Activity::Running { owner, started_at: at(1), parked: false };
                state.epoch = 1;
                state.archived = true;
            }),
            ("an epoch that is odd while pending", |state, _| state.epoch = 5),
            ("an epoch that is odd in an error", |state, _| {
                state.activity = Activity::Error(error());
                state.epoch = 3;
            }),
            ("stopping with an even epoch", |state, owner| {
                state.activity =
                    Activity::Stopping { owner, started_at: at(1), parked: false, kind: StopKind::User };
                state.epoch = 2;
            }),
        ];
        for (name, change) in bad {
            let chat = fixture.chat().await;
            let refused = fixture.change(chat, move |state| change(state, owner)).await;
            assert!(matches!(refused, Err(StoreError::Database(_))), "{name}: {refused:?}");
            assert_eq!(fixture.row(chat).await.state.activity, Activity::Pending { since: at(1) }, "{name}");
        }
        let chat = fixture.chat().await;
        let archived_and_stopping = fixture
            .change(chat, move |state| {
                state.activity =
                    Activity::Stopping { owner, started_at: at(1), parked: false, kind: StopKind::Archive };
                state.epoch = 1;
                state.archived = true;
            })
            .await;
        assert!(archived_and_stopping.is_ok());
    }

    /// I2: eight replicas race for fifty chats.
    async fn a_chat_is_claimed_once(fixture: &Fixture) {
        let mut chats = Vec::new();
        for _ in 0..50 {
            chats.push(fixture.chat().await);
        }
        let replicas: Vec<Incarnation> = (0..8).map(|_| Incarnation::new()).collect();
        let race = replicas.iter().map(|replica| {
            let chats = &chats;
            async move {
                let mut mine = Vec::new();
                for chat in chats {
                    if claim(fixture, *chat, *replica).await {
                        mine.push(*chat);
                    }
                }
                (*replica, mine)
            }
        });
        let claims = futures::future::join_all(race).await;
        let distinct: HashSet<ChatId> = claims.iter().flat_map(|(_, mine)| mine.iter().copied()).collect();
        let total: usize = claims.iter().map(|(_, mine)| mine.len()).sum();
        // a row that was locked by another claimer is left to it
        assert_eq!((distinct.len(), total), (50, 50));
        for (replica, mine) in claims {
            for chat in mine {
                let state = fixture.row(chat).await.state;
                assert_eq!((state.activity.owner(), state.epoch), (Some(replica), 1));
            }
        }
        assert!(fixture.store.chats_pending_for_system(10).await.unwrap().is_empty());
    }

    async fn what_cannot_be_claimed_is_not_offered(fixture: &Fixture) {
        let (pending, waiting, taken) = (fixture.chat().await, fixture.chat().await, fixture.chat().await);
        fixture.change(waiting, |state| state.activity = Activity::Waiting).await.unwrap();
        let owner = Incarnation::new();
        assert!(claim(fixture, taken, owner).await);
        assert!(!claim(fixture, waiting, owner).await);
        assert!(!claim(fixture, taken, owner).await);
        assert!(!claim(fixture, ChatId::new(), owner).await);
        let offered = fixture.store.chats_pending_for_system(10).await.unwrap();
        assert_eq!(offered, [(pending, fixture.owner, at(1))]);
        let mine = fixture.store.chats_running_of(owner).await.unwrap();
        assert_eq!(mine.iter().map(|run| (run.chat_id, run.epoch, run.is_stopping)).collect::<Vec<_>>(), [(taken, 1, false)]);
        let runs = |owner: UserId| {
            fixture.store.read("runs", move |tx| {
                Box::pin(async move { atelier_store::chats_running_unparked_in_tx(tx, owner).await })
            })
        };
        assert_eq!(runs(fixture.owner).await.unwrap(), 1);
        assert_eq!(runs(UserId::new()).await.unwrap(), 0);
    }

    async fn pending_chats_are_offered_oldest_first_and_not_all(fixture: &Fixture) {
        let mut chats = Vec::new();
        for n in 0..70 {
            let chat = fixture.chat().await;
            fixture.change(chat, move |state| state.activity = Activity::Pending { since: at(1_000 - n) }).await.unwrap();
            chats.push(chat);
        }
        chats.reverse();
        let offered: Vec<_> = fixture.store.chats_pending_for_system(64).await.unwrap().into_iter().map(|(id, ..)| id).collect();
        assert_eq!(offered, chats[..64]);
    }

    async fn nobody_lists_or_marks_chats_of_others(fixture: &Fixture) {
        let chat = fixture.chat().await;
        let eve = fixture.store.user_create(user("eve"), at(0)).await.unwrap().id;
        let hers = fixture.insert(ChatNew { owner_id: eve, ..fixture.chat_new() }).await;
        assert_eq!(list(fixture, eve, &ChatFilter::default(), page(None, 50, 0)).await, [hers]);
        assert!(list(fixture, eve, &ChatFilter::default(), page(Some(chat), 50, 0)).await.is_empty());
        assert!(!fixture.store.chat_read_set(chat, eve, MessageId(9), at(9)).await.unwrap());
        assert!(!fixture.store.chat_read_up_to(chat, eve, MessageId(9), at(9)).await.unwrap());
        assert!(fixture.store.chats_changed(eve, at(0), 9).await.unwrap().iter().all(|row| row.id == hers));
    }

    async fn an_answer_above_the_read_mark_is_unread(fixture: &Fixture) {
        let chat = fixture.chat().await;
        assert!(!fixture.row(chat).await.has_unread());
        let before = fixture.row(chat).await.state.version;
        let saw = MessagesSaw {
            last_message_id: MessageId(12),
            last_answer_id: MessageId(10),
            model_config_id: None,
            mcp_server_ids: None,
            context_tokens: Some(77),
        };
        fixture
            .store
            .write("save", move |tx| {
                Box::pin(async move {
                    let row = atelier_store::chat_lock_in_tx(tx, chat).await?.unwrap();
                    atelier_store::chat_save_in_tx(tx, chat, &row.state, at(6), &saw).await
                })
            })
            .await
            .unwrap();
        let row = fixture.row(chat).await;
        assert_eq!((row.last_message_id, row.last_answer_id, row.context_tokens), (MessageId(12), MessageId(10), Some(77)));
        assert_eq!(row.last_model_config_id, fixture.model, "absent keeps what is there");
        assert!(row.has_unread());
        assert!(fixture.store.chat_read_up_to(chat, fixture.owner, MessageId(10), at(9)).await.unwrap());
        assert!(!fixture.store.chat_read_up_to(chat, fixture.owner, MessageId(4), at(10)).await.unwrap(), "only forward");
        assert!(!fixture.row(chat).await.has_unread());
        assert!(fixture.store.chat_read_set(chat, fixture.owner, MessageId(0), at(11)).await.unwrap());
        let row = fixture.row(chat).await;
        assert!(row.has_unread());
        assert_eq!((row.state.version, row.changed_at), (before, at(11)), "a read mark moves no version");
        assert_eq!(ids(&fixture.store.chats_changed(fixture.owner, at(11), 9).await.unwrap()), [chat]);
        assert_eq!(fixture.store.chats_versions_for_system(&[chat, ChatId::new()]).await.unwrap(), [(chat, before)]);
    }

    async fn children_know_their_root(fixture: &Fixture) {
        let root = fixture.chat().await;
        let spawn_key = Some(atelier_domain::CallToken::new());
        let new = || ChatNew { parent_chat_id: Some(root), root_chat_id: root, spawn_key, ..fixture.chat_new() };
        let child = fixture.insert(new()).await;
        let again = new();
        let refused = fixture
            .store
            .write("again", move |tx| Box::pin(async move { atelier_store::chat_insert_in_tx(tx, &again).await }))
            .await;
        assert!(matches!(refused, Err(StoreError::Conflict { .. })), "a spawn happens once: {refused:?}");
        let locked = |chat: ChatId| {
            fixture.store.write("lock", move |tx| {
                Box::pin(async move {
                    let row = atelier_store::chat_lock_in_tx(tx, chat).await?.unwrap();
                    let unfinished = atelier_store::chats_unfinished_of_root_in_tx(tx, root).await?;
                    Ok::<_, StoreError>((row.state.is_root, row.state.root_archived, unfinished))
                })
            })
        };
        assert_eq!(locked(root).await.unwrap(), (true, false, vec![child]));
        for chat in [root, child] {
            fixture.change(chat, |state| state.activity = Activity::Waiting).await.unwrap();
        }
        fixture.change(root, |state| state.archived = true).await.unwrap();
        assert_eq!(locked(child).await.unwrap(), (false, true, Vec::new()));
        assert_eq!(locked(root).await.unwrap(), (true, false, Vec::new()));
    }

    async fn what_people_set_is_kept(fixture: &Fixture) {
        let chat = fixture.chat().await;
        fixture
            .store
            .write("title", move |tx| {
                Box::pin(async move {
                    let mut row = atelier_store::chat_lock_in_tx(tx, chat).await?.unwrap();
                    (row.title, row.title_source) = ("Better".to_owned(), TitleSource::User);
                    row.labels.insert("team".to_owned(), "a".to_owned());
                    atelier_store::chat_marks_set_in_tx(tx, &row).await
                })
            })
            .await
            .unwrap();
        let row = fixture.row(chat).await;
        assert_eq!((row.title.as_str(), row.title_source, row.labels.len()), ("Better", TitleSource::User, 1));
    }
}
