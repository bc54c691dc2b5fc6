//! Runs: claimed, begun, answered, settled, and fenced.

use std::time::Duration;

use atelier_daemon::commit::{CallEnd, CommitError, Fail, RetryPlanned, Settle};
use atelier_domain::chat::{Activity, CallClass, CallState, ChatStatus, StopKind, TransitionError};
use atelier_domain::error::{ErrorKind, TurnError};
use atelier_domain::message::{FinishReason, MessagePart, Role};
use atelier_domain::{ChatId, Timestamp};
use atelier_store::{UserNew, UserStatus};

use crate::fixture::{Fixture, call, on_both, result_part};

#[tokio::test]
async fn a_claim_begins_the_first_step_and_happens_once() {
    on_both(async |fixture: &Fixture| {
        let chat = fixture.create("one").await.id;
        let other = fixture.other_replica();
        let (here, there) = tokio::join!(fixture.commits.claim(chat), other.claim(chat));
        let claimed: Vec<_> = [here.unwrap(), there.unwrap()].into_iter().flatten().collect();
        assert_eq!(claimed.len(), 1);
        let step = claimed[0].step.unwrap();
        assert_eq!((step.step_no, step.attempt), (1, 1));
        let row = fixture.row(chat).await;
        assert_eq!((row.status(), row.state.epoch), (ChatStatus::Running, 1));
        assert_eq!(claimed[0].fence.epoch, 1);
        assert!(claimed[0].open_calls.is_empty());
        assert!(fixture.commits.claim(ChatId::new()).await.unwrap().is_none());
    })
    .await;
}

#[tokio::test]
async fn a_final_answer_settles_and_books_what_it_cost() {
    on_both(async |fixture: &Fixture| {
        let claimed = fixture.running("one").await;
        let committed = fixture.answered(&claimed, 1, "done", vec![]).await;
        assert!(committed.settled && !committed.pending_again);
        let row = fixture.row(claimed.chat.id).await;
        assert_eq!(row.state.activity, Activity::Waiting);
        assert_eq!((row.state.epoch, row.state.committed_step), (2, 1));
        assert_eq!(row.context_tokens, Some(14));
        assert!(row.has_unread());
        let answer = fixture.rows(row.id).await.pop().unwrap();
        assert_eq!(answer.id, committed.message_id);
        assert_eq!(answer.usage.input_tokens, Some(10));
        assert_eq!(answer.usage.cache_read_tokens, None);
        assert_eq!((answer.cost_micros, answer.finish_reason), (Some(7), Some(FinishReason::Stop)));
        assert_eq!(fixture.store.model_calls_of_chat(row.id).await.unwrap(), (1, 7));
        assert_eq!(fixture.store.spend_of(fixture.owner).await.unwrap(), 7);
    })
    .await;
}

#[tokio::test]
async fn a_turn_with_calls_goes_through_its_steps() {
    on_both(async |fixture: &Fixture| {
        let claimed = fixture.running("one").await;
        let (chat, fence) = (claimed.chat.id, claimed.fence);
        let calls = vec![
            call(0, "c0", CallClass::Keyed, CallState::Started),
            call(1, "c1", CallClass::Repeatable, CallState::Ready),
        ];
        let (first, second) = (calls[0].uid, calls[1].uid);
        let answer = fixture.answer(&claimed, 1, "looking", calls);
        let committed = fixture.commits.answer_stored(&fence, answer.clone()).await.unwrap();
        assert!(!committed.settled);
        assert_eq!(committed.calls.len(), 2);
        // the same write again, as after a commit whose outcome is unknown
        let again = fixture.commits.answer_stored(&fence, answer).await.unwrap();
        assert_eq!(again.message_id, committed.message_id);
        assert_eq!(fixture.store.model_calls_of_chat(chat).await.unwrap().0, 1);

        let early = fixture.commits.step_begin(&fence).await;
        assert!(matches!(early, Err(CommitError::OutOfStep(TransitionError::CallsOpen))));
        fixture.commits.call_ledger(&fence, first, "ledger".into()).await.unwrap();
        fixture.commits.call_start(&fence, second).await.unwrap();
        fixture.commits.call_start(&fence, second).await.unwrap();
        let end = |id: &str| CallEnd { parts: vec![result_part(id, "ok")], unknown: false };
        // in the order in which they end
        let result = fixture.commits.call_end(&fence, second, end("c1")).await.unwrap();
        assert_eq!(fixture.commits.call_end(&fence, second, end("c1")).await.unwrap(), result);
        fixture.commits.call_end(&fence, first, end("c0")).await.unwrap();
        let begun = fixture.commits.step_begin(&fence).await.unwrap();
        assert_eq!((begun.step_no, begun.attempt), (2, 1));
        fixture.answered(&claimed, 2, "done", vec![]).await;
        let texts: Vec<_> = fixture.transcript(chat).await.into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["one", "looking; call c0; call c1", "c1 \"ok\"", "c0 \"ok\"", "done"]);
        assert_eq!(fixture.row(chat).await.status(), ChatStatus::Waiting);
    })
    .await;
}

#[tokio::test]
async fn a_retry_counts_the_attempt_and_is_kept_for_viewers() {
    on_both(async |fixture: &Fixture| {
        let claimed = fixture.running("one").await;
        let mut failed = fixture.metering(&claimed);
        failed.outcome = atelier_store::CallOutcome::Failed;
        let planned = RetryPlanned {
            error: TurnError::new(ErrorKind::Overloaded, "busy"),
            attempt: 1,
            delay: Duration::from_millis(300),
            retrying_at: Timestamp::now() + Duration::from_millis(300),
            metering: Some(failed),
        };
        fixture.commits.retry_planned(&claimed.fence, planned).await.unwrap();
        let row = fixture.row(claimed.chat.id).await;
        assert_eq!(row.state.attempt, 2);
        let retry = row.state.retry.unwrap();
        assert_eq!((retry.attempt, retry.delay_ms, retry.error.kind), (1, 300, ErrorKind::Overloaded));
        assert_eq!(fixture.store.model_calls_of_chat(row.id).await.unwrap().0, 1);
        fixture.answered(&claimed, 1, "done", vec![]).await;
        let row = fixture.row(claimed.chat.id).await;
        assert_eq!((row.state.retry, row.state.attempt), (None, 2));
    })
    .await;
}

#[tokio::test]
async fn a_run_that_has_lost_its_chat_writes_nothing_but_its_bill() {
    on_both(async |fixture: &Fixture| {
        let lost = fixture.running("one").await;
        let chat = lost.chat.id;
        fixture.commits.lease_ended(chat, fixture.commits.incarnation()).await.unwrap();
        let owner = fixture.other_replica();
        let claimed = owner.claim(chat).await.unwrap().unwrap();
        assert_eq!(claimed.step.unwrap().attempt, 2);
        let before = fixture.row(chat).await;

        let token = atelier_domain::CallToken::new();
        let commits = &fixture.commits;
        let error = || TurnError::new(ErrorKind::Generic, "x");
        let stale = fixture.answer(&lost, 1, "late", vec![]);
        let metered = stale.metering.clone();
        let refusals = [
            commits.answer_stored(&lost.fence, stale.clone()).await.map(|_| ()),
            // the bill comes once
            commits.answer_stored(&lost.fence, stale).await.map(|_| ()),
            commits.step_begin(&lost.fence).await.map(|_| ()),
            commits.call_start(&lost.fence, token).await,
            commits.call_ledger(&lost.fence, token, "x".into()).await,
            commits
                .call_end(&lost.fence, token, CallEnd { parts: vec![result_part("c", "x")], unknown: false })
                .await
                .map(|_| ()),
            commits.settle(&lost.fence, Settle::Done).await.map(|_| ()),
            commits.fail(&lost.fence, Fail { error: error(), answer: None, metering: Some(metered) }).await.map(|_| ()),
            commits.release(&lost.fence, None).await,
        ];
        for refusal in refusals {
            assert!(matches!(refusal, Err(CommitError::Lost)), "{refusal:?}");
        }
        let after = fixture.row(chat).await;
        assert_eq!(after.state, before.state);
        assert_eq!(fixture.transcript(chat).await, [(Role::User, "one".to_owned())]);
        assert_eq!(fixture.store.model_calls_of_chat(chat).await.unwrap(), (1, 7));

        let answer = fixture.answer(&claimed, 1, "in time", vec![]);
        owner.answer_stored(&claimed.fence, answer).await.unwrap();
        assert_eq!(fixture.transcript(chat).await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_meets_a_stop_is_kept_whole_and_its_calls_do_not_run() {
    on_both(async |fixture: &Fixture| {
        let claimed = fixture.running("one").await;
        let chat = claimed.chat.id;
        fixture.send(chat, "now", atelier_domain::chat::BusyBehavior::Interrupt).await.unwrap();
        let calls = vec![call(0, "c0", CallClass::Keyed, CallState::Started)];
        let token = calls[0].uid;
        let committed = fixture.answered(&claimed, 1, "whole", calls).await;
        assert!(committed.settled && committed.pending_again);
        let texts: Vec<_> = fixture.transcript(chat).await.into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["one", "whole; call c0", "c0 interrupted", "now"]);
        let started = fixture.commits.call_start(&claimed.fence, token).await;
        assert!(matches!(started, Err(CommitError::Lost)));
    })
    .await;
}

#[tokio::test]
async fn nobody_settles_as_stopped_who_was_not_asked_to() {
    on_both(async |fixture: &Fixture| {
        let claimed = fixture.running("one").await;
        let settle = Settle::Stopped { partial: None, results: vec![], metering: None };
        let refused = fixture.commits.settle(&claimed.fence, settle).await;
        assert!(matches!(refused, Err(CommitError::NotAsked)));
        assert_eq!(fixture.row(claimed.chat.id).await.status(), ChatStatus::Running);
    })
    .await;
}

#[tokio::test]
async fn a_refusal_of_the_model_is_kept_beside_the_error() {
    on_both(async |fixture: &Fixture| {
        let claimed = fixture.running("one").await;
        let mut answer = fixture.partial(1, vec![MessagePart::text("I will not")]);
        answer.finish_reason = FinishReason::Refused;
        let error = TurnError::new(ErrorKind::Refused, "declined");
        let fail = Fail { error, answer: Some(answer), metering: Some(fixture.metering(&claimed)) };
        fixture.commits.fail(&claimed.fence, fail).await.unwrap();
        let chat = claimed.chat.id;
        assert_eq!(fixture.row(chat).await.status(), ChatStatus::Error);
        assert_eq!(fixture.transcript(chat).await[1], (Role::Assistant, "I will not".to_owned()));
        // any other failure drops what came
        fixture.queue(chat, "two").await.unwrap();
        let claimed = fixture.commits.claim(chat).await.unwrap().unwrap();
        let answer = Some(fixture.partial(2, vec![MessagePart::text("half")]));
        let fail = Fail { error: TurnError::new(ErrorKind::Network, "cut"), answer, metering: None };
        fixture.commits.fail(&claimed.fence, fail).await.unwrap();
        assert_eq!(fixture.transcript(chat).await.len(), 3);
    })
    .await;
}

#[tokio::test]
async fn a_hand_over_keeps_the_turn_and_a_stopped_one_settles() {
    on_both(async |fixture: &Fixture| {
        let claimed = fixture.running("one").await;
        let chat = claimed.chat.id;
        let calls = vec![call(0, "c0", CallClass::Keyed, CallState::Started)];
        fixture.answered(&claimed, 1, "working", calls).await;
        fixture.commits.release(&claimed.fence, None).await.unwrap();
        let row = fixture.row(chat).await;
        assert_eq!((row.status(), row.state.epoch, row.state.takeovers), (ChatStatus::Pending, 2, 0));
        let claimed = fixture.commits.claim(chat).await.unwrap().unwrap();
        assert_eq!(claimed.step, None);
        let call = &claimed.open_calls[0];
        assert_eq!((call.row.state, call.was_cut), (CallState::Detached, false));
        assert_eq!(call.part.as_ref().unwrap().tool_call_id, "c0");
        assert_eq!(claimed.chat.state.attempt, 2);

        fixture.send(chat, "now", atelier_domain::chat::BusyBehavior::Interrupt).await.unwrap();
        let stop = fixture.row(chat).await.state.activity.stop_kind();
        assert_eq!(stop, Some(StopKind::Send));
        fixture.commits.release(&claimed.fence, None).await.unwrap();
        let texts: Vec<_> = fixture.transcript(chat).await.into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["one", "working; call c0", "c0 interrupted", "now"]);
    })
    .await;
}

#[tokio::test]
async fn a_suspended_owner_gets_no_turn_and_no_step() {
    on_both(async |fixture: &Fixture| {
        let second = UserNew {
            id: atelier_domain::UserId::new(),
            email: "root@example.com".into(),
            username: "root".into(),
            name: "Root".into(),
            roles: vec!["owner".into()],
            password_hash: "none".into(),
            organization_ids: Vec::new(),
        };
        fixture.store.user_create(second, Timestamp::now()).await.unwrap();
        let claimed = fixture.running("one").await;
        let pending = fixture.create("two").await.id;
        let calls = vec![call(0, "c0", CallClass::Keyed, CallState::Started)];
        let token = calls[0].uid;
        fixture.answered(&claimed, 1, "working", calls).await;
        fixture.store.user_status_set(fixture.owner, UserStatus::Suspended, Timestamp::now()).await.unwrap();
        let end = CallEnd { parts: vec![result_part("c0", "ok")], unknown: false };
        fixture.commits.call_end(&claimed.fence, token, end).await.unwrap();
        assert!(matches!(fixture.commits.step_begin(&claimed.fence).await, Err(CommitError::Lost)));
        assert!(fixture.commits.claim(pending).await.unwrap().is_none());
        for chat in [claimed.chat.id, pending] {
            match fixture.row(chat).await.state.activity {
                Activity::Error(error) => assert_eq!(error.kind, ErrorKind::OwnerSuspended),
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
}

#[tokio::test]
async fn waiting_for_a_place_is_told_while_the_chat_is_pending() {
    on_both(async |fixture: &Fixture| {
        let chat = fixture.create("one").await.id;
        fixture.commits.queued_for_capacity(chat).await.unwrap();
        let row = fixture.row(chat).await;
        assert_eq!((row.status(), row.state.version), (ChatStatus::Pending, 2));
        fixture.commits.claim(chat).await.unwrap().unwrap();
        fixture.commits.queued_for_capacity(chat).await.unwrap();
        assert_eq!(fixture.row(chat).await.state.version, 3);
    })
    .await;
}

#[tokio::test]
async fn parking_is_written_and_shows_nobody() {
    on_both(async |fixture: &Fixture| {
        let claimed = fixture.running("one").await;
        let chat = claimed.chat.id;
        let version = fixture.row(chat).await.state.version;
        fixture.commits.park(&claimed.fence).await.unwrap();
        assert!(matches!(fixture.row(chat).await.state.activity, Activity::Running { parked: true, .. }));
        fixture.commits.unpark(&claimed.fence).await.unwrap();
        let row = fixture.row(chat).await;
        assert!(matches!(row.state.activity, Activity::Running { parked: false, .. }));
        assert_eq!(row.state.version, version);
    })
    .await;
}
