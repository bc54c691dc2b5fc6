//! Runs whose process is gone.

use std::time::Duration;

use atelier_domain::chat::{Activity, CallClass, CallState, ChatStatus};
use atelier_domain::error::ErrorKind;
use atelier_domain::{Incarnation, MessageId};
use atelier_store::Replica;

use crate::fixture::{Fixture, call, on_both};

#[tokio::test]
async fn a_dead_run_is_taken_over_with_its_calls() {
    on_both(async |fixture: &Fixture| {
        let claimed = fixture.running("one").await;
        let chat = claimed.chat.id;
        let calls = vec![
            call(0, "keyed", CallClass::Keyed, CallState::Started),
            call(1, "opaque", CallClass::Opaque, CallState::Started),
            call(2, "ready", CallClass::Keyed, CallState::Ready),
        ];
        fixture.answered(&claimed, 1, "working", calls).await;
        // somebody else's end is none of this chat's business
        fixture.commits.lease_ended(chat, Incarnation::new()).await.unwrap();
        assert_eq!(fixture.row(chat).await.status(), ChatStatus::Running);
        fixture.commits.lease_ended(chat, fixture.commits.incarnation()).await.unwrap();
        let row = fixture.row(chat).await;
        assert_eq!((row.status(), row.state.epoch, row.state.takeovers), (ChatStatus::Pending, 2, 1));
        assert_eq!(row.state.retry.unwrap().error.kind, ErrorKind::Takeover);
        let claimed = fixture.other_replica().claim(chat).await.unwrap().unwrap();
        let states: Vec<_> = claimed.open_calls.iter().map(|call| call.row.state).collect();
        assert_eq!(states, [CallState::Detached, CallState::Started, CallState::Ready]);
        assert!(claimed.open_calls.iter().all(|call| call.part.is_some()));
    })
    .await;
}

#[tokio::test]
async fn the_fourth_takeover_of_a_step_ends_the_turn() {
    on_both(async |fixture: &Fixture| {
        let chat = fixture.create("one").await.id;
        for round in 1..=4 {
            let claimed = fixture.commits.claim(chat).await.unwrap().unwrap();
            assert_eq!(claimed.step.unwrap().attempt, round);
            fixture.commits.lease_ended(chat, fixture.commits.incarnation()).await.unwrap();
        }
        match fixture.row(chat).await.state.activity {
            Activity::Error(error) => assert_eq!(error.kind, ErrorKind::CrashLoop),
            other => panic!("{other:?}"),
        }
        assert!(fixture.commits.claim(chat).await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn a_committed_stop_survives_the_crash_of_its_run() {
    on_both(async |fixture: &Fixture| {
        let claimed = fixture.running("one").await;
        let chat = claimed.chat.id;
        fixture.queue(chat, "next").await.unwrap();
        fixture.send(chat, "now", atelier_domain::chat::BusyBehavior::Interrupt).await.unwrap();
        fixture.commits.lease_ended(chat, fixture.commits.incarnation()).await.unwrap();
        let texts: Vec<_> = fixture.transcript(chat).await.into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["one", "now"]);
        assert_eq!(fixture.row(chat).await.state.takeovers, 0);
        assert_eq!(fixture.queued(chat).await, ["next"]);
    })
    .await;
}

#[tokio::test]
async fn a_restart_takes_over_everything_that_ran() {
    on_both(async |fixture: &Fixture| {
        let mut chats = Vec::new();
        for number in 0..5 {
            chats.push(fixture.running(&format!("chat {number}")).await.chat.id);
        }
        let after_restart = fixture.other_replica();
        let coordination = fixture.store.coordination();
        if coordination.has_leases() {
            let replica = |incarnation| Replica { incarnation, url: String::new(), build: String::new() };
            let hour = Duration::from_secs(3600);
            coordination.join(replica(fixture.commits.incarnation()), hour).await.unwrap();
            assert_eq!(after_restart.leases_ended().await.unwrap(), 0, "it lives");
            coordination.renew(fixture.commits.incarnation(), Duration::ZERO).await.unwrap();
        }
        assert_eq!(after_restart.leases_ended().await.unwrap(), 5);
        assert_eq!(after_restart.leases_ended().await.unwrap(), 0);
        for chat in chats {
            assert_eq!(fixture.row(chat).await.status(), ChatStatus::Pending);
            let claimed = after_restart.claim(chat).await.unwrap().unwrap();
            assert_eq!(claimed.step.unwrap().attempt, 2);
            assert!(claimed.chat.last_message_id > MessageId(0));
        }
        // its own runs are nobody's to take
        assert_eq!(after_restart.leases_ended().await.unwrap(), 0);
    })
    .await;
}
