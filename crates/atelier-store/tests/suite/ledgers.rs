//! The ledger of tool calls and the ledger of money.

use atelier_domain::chat::{CallClass, CallState};
use atelier_domain::message::Usage;
use atelier_domain::{CallToken, ChatId, Incarnation, MessageId, ModelCallId};
use atelier_store::{CallOutcome, CallPurpose, ModelCallNew, PaidBy, ReservationNew, StoreError, ToolCallNew};

use crate::fixture::{Fixture, at, on_both_engines};

fn call(index: i32, state: CallState) -> ToolCallNew {
    ToolCallNew {
        uid: CallToken::new(),
        call_index: index,
        tool_call_id: format!("call_{index}"),
        tool_name: "execute".to_owned(),
        input_sha256: "00".to_owned(),
        class: CallClass::Keyed,
        state,
        ledger_id: None,
    }
}

impl Fixture {
    async fn enter(&self, chat: ChatId, step_no: i64, calls: Vec<ToolCallNew>) -> Result<(), StoreError> {
        self.store
            .write("enter", move |tx| {
                Box::pin(
                    async move { atelier_store::tool_calls_insert_in_tx(tx, chat, step_no, 1, &calls, at(3)).await },
                )
            })
            .await
    }

    async fn open(&self, chat: ChatId) -> Vec<atelier_store::ToolCallRow> {
        self.store
            .read("open", move |tx| Box::pin(async move { atelier_store::tool_calls_open_in_tx(tx, chat).await }))
            .await
            .unwrap()
    }

    fn model_call(&self, chat: ChatId, cost_micros: Option<i64>) -> ModelCallNew {
        ModelCallNew {
            id: ModelCallId::new(),
            chat_id: chat,
            root_chat_id: chat,
            owner_id: self.owner,
            organization_id: self.organization,
            purpose: CallPurpose::Step,
            step_no: 1,
            attempt: 1,
            model_config_id: self.model,
            provider: "scripted".to_owned(),
            model: "demo".to_owned(),
            paid_by: PaidBy::Deployment,
            usage: Usage { output_tokens: Some(3), ..Usage::default() },
            cost_micros,
            cost_partial: false,
            estimated: false,
            saturated: false,
            price_source: "model".to_owned(),
            price_version: None,
            runtime_ms: 5,
            outcome: CallOutcome::Finished,
            started_at: at(2),
        }
    }

    async fn book(&self, call: &ModelCallNew, second: i64) {
        let call = call.clone();
        self.store
            .write("book", move |tx| {
                Box::pin(async move { atelier_store::model_call_insert_in_tx(tx, &call, None, at(second)).await })
            })
            .await
            .unwrap();
    }
}

on_both_engines! {
    async fn calls_are_open_until_they_have_a_result(fixture: &Fixture) {
        let chat = fixture.chat().await;
        let (ready, started, later) = (call(1, CallState::Ready), call(0, CallState::Started), call(5, CallState::Ready));
        let (one, two) = (ready.uid, started.uid);
        fixture.enter(chat, 2, vec![later]).await.unwrap();
        fixture.enter(chat, 1, vec![ready, started]).await.unwrap();
        let open = fixture.open(chat).await;
        let order: Vec<_> = open.iter().map(|call| (call.step_no, call.call_index, call.state)).collect();
        assert_eq!(order, [(1, 0, CallState::Started), (1, 1, CallState::Ready), (2, 5, CallState::Ready)]);
        assert_eq!((open[0].started_at, open[1].started_at), (Some(at(3)), None));
        fixture
            .store
            .write("on", move |tx| {
                Box::pin(async move {
                    atelier_store::tool_call_start_in_tx(tx, chat, one, 3, at(9)).await?;
                    atelier_store::tool_call_start_in_tx(tx, chat, two, 3, at(9)).await?;
                    atelier_store::tool_call_ledger_in_tx(tx, chat, one, "ledger").await?;
                    atelier_store::tool_call_detach_in_tx(tx, chat, one).await
                })
            })
            .await
            .unwrap();
        let open = fixture.open(chat).await;
        assert_eq!((open[0].state, open[0].started_at), (CallState::Started, Some(at(3))), "it began once");
        assert_eq!((open[1].state, open[1].started_at), (CallState::Detached, Some(at(9))));
        assert_eq!(open[1].ledger_id.as_deref(), Some("ledger"));
        fixture
            .store
            .write("end", move |tx| {
                Box::pin(async move {
                    let result = Some(MessageId(44));
                    atelier_store::tool_call_end_in_tx(tx, chat, one, CallState::Finished, result, at(9)).await?;
                    atelier_store::tool_call_end_in_tx(tx, chat, two, CallState::Unknown, None, at(9)).await?;
                    assert_eq!(atelier_store::tool_call_result_in_tx(tx, chat, one).await?, result);
                    Ok::<_, StoreError>(())
                })
            })
            .await
            .unwrap();
        assert_eq!(fixture.open(chat).await.len(), 1);
    }

    async fn a_call_is_entered_once(fixture: &Fixture) {
        let chat = fixture.chat().await;
        fixture.enter(chat, 1, vec![call(0, CallState::Ready)]).await.unwrap();
        let again = fixture.enter(chat, 2, vec![call(0, CallState::Ready)]).await;
        assert!(matches!(again, Err(StoreError::Conflict { .. })), "{again:?}");
        fixture.enter(fixture.chat().await, 1, vec![call(0, CallState::Ready)]).await.unwrap();
        fixture.enter(chat, 3, Vec::new()).await.unwrap();
    }

    /// I19.
    async fn the_spend_is_the_sum_of_what_the_deployment_paid(fixture: &Fixture) {
        let chat = fixture.chat().await;
        let spent = || async { fixture.store.spend_of(fixture.owner).await.unwrap() };
        let paid = fixture.model_call(chat, Some(40));
        fixture.book(&paid, 10).await;
        fixture.book(&paid, 11).await;
        assert_eq!(spent().await, 40, "booking twice changes nothing");
        fixture.book(&fixture.model_call(chat, Some(2)), 12).await;
        fixture.book(&fixture.model_call(chat, Some(3)), 12 + 86_400).await;
        fixture.book(&fixture.model_call(chat, Some(0)), 12).await;
        fixture.book(&fixture.model_call(chat, None), 12).await;
        let own_key = ModelCallNew { paid_by: PaidBy::User, ..fixture.model_call(chat, Some(1_000)) };
        fixture.book(&own_key, 12).await;
        assert_eq!(spent().await, 45);
        assert_eq!(fixture.store.model_calls_of_chat(chat).await.unwrap(), (6, 1_045));
        fixture.book(&fixture.model_call(chat, Some(i64::MAX)), 12).await;
        fixture.book(&fixture.model_call(chat, Some(i64::MAX)), 12 + 3 * 86_400).await;
        let day = at(12).as_second() / 86_400;
        assert_eq!(fixture.one(&format!("SELECT spent_micros FROM spend_days WHERE day = {day}")).await, i64::MAX);
    }

    async fn bills_outlive_their_chat_and_nothing_else_does(fixture: &Fixture) {
        let chat = fixture.chat().await;
        fixture.book(&fixture.model_call(chat, Some(7)), 10).await;
        fixture.enter(chat, 1, vec![call(0, CallState::Ready)]).await.unwrap();
        let reserved = ReservationNew {
            model_call_id: ModelCallId::new(),
            owner_id: fixture.owner,
            chat_id: chat,
            step_no: 1,
            attempt: 1,
            incarnation: Incarnation::new(),
            micros: 5,
        };
        let held = fixture
            .store
            .write("reserve", move |tx| {
                Box::pin(async move {
                    atelier_store::spend_reservation_insert_in_tx(tx, &reserved).await?;
                    atelier_store::spend_reserved_in_tx(tx, reserved.owner_id).await
                })
            })
            .await
            .unwrap();
        assert_eq!(held, 5);
        fixture.execute(&format!("DELETE FROM chats WHERE id = '{chat}'")).await;
        assert_eq!(fixture.store.model_calls_of_chat(chat).await.unwrap(), (1, 7));
        for table in ["chat_tool_calls", "spend_reservations", "chat_messages", "chat_queue"] {
            assert_eq!(fixture.one(&format!("SELECT COUNT(*) FROM {table}")).await, 0, "{table}");
        }
    }

    async fn a_reservation_ends_with_its_booking(fixture: &Fixture) {
        let chat = fixture.chat().await;
        let (owner, call) = (fixture.owner, ModelCallId::new());
        let left = fixture
            .store
            .write("reserve", move |tx| {
                Box::pin(async move {
                    let reserved = ReservationNew {
                        model_call_id: call,
                        owner_id: owner,
                        chat_id: chat,
                        step_no: 1,
                        attempt: 1,
                        incarnation: Incarnation::new(),
                        micros: i64::MAX,
                    };
                    atelier_store::spend_reservation_insert_in_tx(tx, &reserved).await?;
                    atelier_store::spend_reservation_delete_in_tx(tx, call).await?;
                    atelier_store::spend_reserved_in_tx(tx, owner).await
                })
            })
            .await
            .unwrap();
        assert_eq!(left, 0);
    }
}
