//! Providers and model configs: the default, doubles, what is in use.

use atelier_domain::{ModelConfigId, ProviderId};
use atelier_store::{
    ApiKeyChange, DefaultMove, ModelConfigFields, ModelConfigRow, ModelError, ProviderFields, ProviderRow, Store,
    StoreError, model_create_in_tx, model_delete_in_tx, model_update_in_tx, provider_delete_in_tx,
    provider_update_in_tx,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::fixture::{Fixture, at, on_both_engines};

pub(crate) fn provider(kind: &str, name: &str) -> ProviderFields {
    ProviderFields {
        provider: kind.to_owned(),
        name: name.to_owned(),
        display_name: String::new(),
        enabled: true,
        api_key: ApiKeyChange::Keep,
        base_url: None,
        central_api_key_enabled: true,
        allow_user_api_key: false,
        allow_central_api_key_fallback: false,
    }
}

pub(crate) fn model(name: &str) -> ModelConfigFields {
    ModelConfigFields {
        model: name.to_owned(),
        display_name: String::new(),
        enabled: true,
        is_default: None,
        context_limit: 1000,
        compression_threshold: 70,
        model_config: None,
    }
}

pub(crate) fn of(provider: &ProviderRow) -> (Option<ProviderId>, String, String) {
    (Some(provider.id), provider.provider.clone(), provider.name.clone())
}

fn preset(name: &str) -> (Option<ProviderId>, String, String) {
    (None, name.to_owned(), name.to_owned())
}

impl Fixture {
    pub(crate) async fn provider(&self, fields: ProviderFields) -> ProviderRow {
        self.store.provider_create(fields, at(1)).await.unwrap()
    }

    pub(crate) async fn model_of(&self, provider: &ProviderRow, fields: ModelConfigFields) -> ModelConfigRow {
        self.store.model_create(of(provider), fields, at(2)).await.unwrap()
    }

    async fn default(&self) -> Option<ModelConfigId> {
        self.store.model_default().await.unwrap().map(|model| model.id)
    }
}

#[derive(Clone, Debug)]
enum Change {
    ProviderCreate,
    ProviderSet { at: usize, enabled: bool },
    ProviderDelete { at: usize },
    ModelCreate { at: usize, enabled: bool, is_default: Option<bool> },
    ModelSet { at: usize, enabled: bool, is_default: Option<bool> },
    ModelDelete { at: usize },
}

fn change() -> impl Strategy<Value = Change> {
    let at = 0_usize..6;
    prop_oneof![
        1 => Just(Change::ProviderCreate),
        3 => (at.clone(), any::<bool>()).prop_map(|(at, enabled)| Change::ProviderSet { at, enabled }),
        1 => at.clone().prop_map(|at| Change::ProviderDelete { at }),
        4 => (at.clone(), any::<bool>(), any::<Option<bool>>())
            .prop_map(|(at, enabled, is_default)| Change::ModelCreate { at, enabled, is_default }),
        5 => (at.clone(), any::<bool>(), any::<Option<bool>>())
            .prop_map(|(at, enabled, is_default)| Change::ModelSet { at, enabled, is_default }),
        1 => at.prop_map(|at| Change::ModelDelete { at }),
    ]
}

/// Carries a change out; absent: it was refused, or there is nothing to change.
async fn carry_out(store: &Store, change: Change, number: usize) -> Option<(DefaultMove, Option<ModelConfigId>)> {
    let now = at(100 + i64::try_from(number).unwrap());
    let providers = store.provider_list().await.unwrap();
    let models = store.model_list().await.unwrap();
    let provider_at = |at: usize| (!providers.is_empty()).then(|| providers[at % providers.len()].clone());
    let model_at = |at: usize| (!models.is_empty()).then(|| models[at % models.len()].clone());
    let secrets = store.secrets().clone();
    let done: Result<(DefaultMove, Option<ModelConfigId>), ModelError> = match change {
        Change::ProviderCreate => {
            let fields = provider("scripted", &format!("p{number}"));
            store.provider_create(fields, now).await.unwrap();
            return None;
        }
        Change::ProviderSet { at, enabled } => {
            let row = provider_at(at)?;
            let fields = ProviderFields { enabled, ..provider("scripted", &row.name) };
            store
                .write("test", move |tx| {
                    Box::pin(async move {
                        let (_, moved) = provider_update_in_tx(tx, &secrets, row.id, &fields, now).await?;
                        Ok((moved, None))
                    })
                })
                .await
        }
        Change::ProviderDelete { at } => {
            let row = provider_at(at)?;
            store
                .write("test", move |tx| {
                    Box::pin(async move { Ok((provider_delete_in_tx(tx, row.id, now).await?, None)) })
                })
                .await
        }
        Change::ModelCreate { at, enabled, is_default } => {
            let row = provider_at(at)?;
            let fields = ModelConfigFields { enabled, is_default, ..model(&format!("m{number}")) };
            store
                .write("test", move |tx| {
                    Box::pin(async move {
                        let (row, moved) = model_create_in_tx(tx, of(&row), &fields, now).await?;
                        Ok((moved, (is_default == Some(true)).then_some(row.id)))
                    })
                })
                .await
        }
        Change::ModelSet { at, enabled, is_default } => {
            let row = model_at(at)?;
            let fields = ModelConfigFields { enabled, is_default, ..model(&row.model) };
            store
                .write("test", move |tx| {
                    Box::pin(async move {
                        let (row, moved) = model_update_in_tx(tx, row.id, &fields, now).await?;
                        Ok((moved, (is_default == Some(true)).then_some(row.id)))
                    })
                })
                .await
        }
        Change::ModelDelete { at } => {
            let row = model_at(at)?;
            store
                .write("test", move |tx| {
                    Box::pin(async move { Ok((model_delete_in_tx(tx, row.id, now).await?, None)) })
                })
                .await
        }
    };
    match done {
        Ok(done) => Some(done),
        Err(ModelError::UnfitDefault) => None,
        Err(error) => panic!("{error:?}"),
    }
}

on_both_engines! {
    /// G13
    async fn there_is_a_default_as_long_as_a_model_is_fit_to_be_one(fixture: &Fixture) {
        let store = &fixture.store;
        let config = Config { cases: 24, failure_persistence: None, ..Config::default() };
        let wipe = "DELETE FROM model_configs; DELETE FROM providers";
        let run = |changes: Vec<Change>| async move {
            fixture.execute(wipe).await;
            let mut before = None;
            for (number, change) in changes.into_iter().enumerate() {
                let asked = carry_out(store, change.clone(), number).await;
                let models = store.model_list().await.unwrap();
                let defaults: Vec<_> = models.iter().filter(|model| model.is_default).collect();
                let fit: Vec<_> = models.iter().filter(|model| model.is_usable()).collect();
                assert_eq!(defaults.len(), usize::from(!fit.is_empty()), "{change:?}");
                assert!(defaults.iter().all(|model| model.is_usable()), "{change:?}");
                let after = defaults.first().map(|model| model.id);
                if let Some((moved, wanted)) = asked {
                    assert_eq!(moved, DefaultMove { before, after }, "{change:?}");
                    assert!(wanted.is_none() || after == wanted, "{change:?}");
                    // what is promoted is the oldest but the one that was just unset
                    let unset = models.iter().any(|model| Some(model.id) == before && model.is_usable());
                    if after != before && wanted.is_none() {
                        let skip = if unset { before } else { None };
                        let oldest = fit.iter().map(|model| model.id).find(|id| Some(*id) != skip);
                        assert_eq!(after, oldest, "{change:?}");
                    }
                } else {
                    assert_eq!(after, before, "{change:?}");
                }
                before = after;
            }
        };
        tokio::task::block_in_place(|| {
            TestRunner::new(config)
                .run(&proptest::collection::vec(change(), 1..24), |changes| {
                    tokio::runtime::Handle::current().block_on(run(changes));
                    Ok(())
                })
                .unwrap();
        });
    }

    /// G14
    async fn defaults_set_at_once_leave_one(fixture: &Fixture) {
        let row = fixture.provider(provider("openai", "openai")).await;
        let mut models = Vec::new();
        for number in 0..8 {
            models.push(fixture.model_of(&row, model(&format!("m{number}"))).await);
        }
        for _ in 0..4 {
            let racers = models.iter().map(|row| {
                let (store, row) = (fixture.store.clone(), row.clone());
                tokio::spawn(async move {
                    let fields = ModelConfigFields { is_default: Some(true), ..model(&row.model) };
                    store.model_update(row.id, fields, at(9)).await
                })
            });
            for racer in futures::future::join_all(racers).await {
                assert!(racer.unwrap().unwrap().is_default);
            }
            let defaults = fixture.store.model_list().await.unwrap().iter().filter(|model| model.is_default).count();
            assert_eq!(defaults, 1);
        }
    }

    async fn the_only_model_stays_default_when_it_is_merely_unset(fixture: &Fixture) {
        let store = &fixture.store;
        let unset = |name: &str| ModelConfigFields { is_default: Some(false), ..model(name) };
        assert!(store.model_update(fixture.model, unset("demo"), at(3)).await.unwrap().is_default);
        let row = fixture.provider(provider("openai", "openai")).await;
        let second = fixture.model_of(&row, model("b")).await;
        assert!(!store.model_update(fixture.model, unset("demo"), at(3)).await.unwrap().is_default);
        assert_eq!(fixture.default().await, Some(second.id));
        let disabled = ModelConfigFields { enabled: false, is_default: Some(true), ..model("c") };
        let refused = store.model_create(of(&row), disabled, at(4)).await;
        assert!(matches!(refused, Err(ModelError::UnfitDefault)));
        store.provider_update(row.id, ProviderFields { enabled: false, ..provider("openai", "openai") }, at(5)).await.unwrap();
        assert_eq!(fixture.default().await, Some(fixture.model));
        let of_disabled = ModelConfigFields { is_default: Some(true), ..model("b") };
        let refused = store.model_update(second.id, of_disabled, at(6)).await;
        assert!(matches!(refused, Err(ModelError::UnfitDefault)));
        assert_eq!(fixture.default().await, Some(fixture.model), "a refused change changes nothing");
        store.model_delete(fixture.model, at(7)).await.unwrap();
        assert_eq!(fixture.default().await, None);
        assert!(matches!(store.model_delete(fixture.model, at(7)).await, Err(ModelError::NotFound)));
    }

    async fn doubles_are_refused(fixture: &Fixture) {
        let store = &fixture.store;
        let first = fixture.provider(provider("openai", "openai")).await;
        let second = fixture.provider(provider("openai", "work")).await;
        let again = store.provider_create(provider("openai", "work"), at(2)).await;
        assert!(matches!(again, Err(ModelError::Store(StoreError::Conflict { .. }))));
        let row = fixture.model_of(&first, model("GPT-x")).await;
        fixture.model_of(&second, model("gpt-X")).await;
        let double = store.model_create(of(&first), model("gpt-X"), at(3)).await;
        assert!(matches!(double, Err(ModelError::Double)));
        let named = ModelConfigFields { display_name: "Mini".to_owned(), ..model("gpt-x") };
        let named = fixture.model_of(&first, named).await;
        assert!(matches!(store.model_update(named.id, model("GPT-X"), at(3)).await, Err(ModelError::Double)));
        assert!(store.model_update(row.id, model("gpt-x"), at(3)).await.is_ok(), "itself is no double");
        store.model_delete(row.id, at(4)).await.unwrap();
        assert!(store.model_update(named.id, model("gpt-x"), at(5)).await.is_ok());
        assert!(matches!(store.model_update(row.id, model("y"), at(5)).await, Err(ModelError::NotFound)));
        let renamed = store.provider_update(second.id, provider("openai", "openai"), at(6)).await;
        assert!(matches!(renamed, Err(ModelError::Store(StoreError::Conflict { .. }))));
        let gone = (Some(ProviderId::new()), "openai".to_owned(), "gone".to_owned());
        assert!(matches!(store.model_create(gone, model("z"), at(7)).await, Err(ModelError::UnknownProvider)));
    }

    async fn a_provider_in_use_stays(fixture: &Fixture) {
        let store = &fixture.store;
        let provider_id = store.model_get(fixture.model).await.unwrap().unwrap().provider_id.unwrap();
        let unused = fixture.provider(provider("openai", "openai")).await;
        let dropped = fixture.model_of(&unused, model("a")).await;
        store.provider_delete(unused.id, at(3)).await.unwrap();
        let dropped = store.model_get(dropped.id).await.unwrap().unwrap();
        assert!(dropped.deleted && dropped.provider_id.is_none() && dropped.provider_name == "openai");
        fixture.chat().await;
        assert!(matches!(store.provider_delete(provider_id, at(3)).await, Err(ModelError::InUse)));
        // a deleted model keeps its chats, and no provider
        store.model_delete(fixture.model, at(4)).await.unwrap();
        store.provider_delete(provider_id, at(5)).await.unwrap();
        assert!(matches!(store.provider_delete(provider_id, at(5)).await, Err(ModelError::NotFound)));
    }

    async fn models_of_a_preset_follow_the_row_that_takes_its_name(fixture: &Fixture) {
        let store = &fixture.store;
        let made = store.model_create(preset("openai"), model("a"), at(2)).await.unwrap();
        assert!(made.provider_id.is_none() && made.is_usable());
        let row = fixture.provider(provider("openai", "openai")).await;
        assert_eq!(store.model_get(made.id).await.unwrap().unwrap().provider_id, Some(row.id));
        let second = store.model_create(preset("openai"), model("b"), at(3)).await.unwrap();
        assert_eq!(second.provider_id, Some(row.id), "the row is there by now");
        store.provider_update(row.id, provider("openai", "work"), at(4)).await.unwrap();
        assert_eq!(store.model_get(made.id).await.unwrap().unwrap().provider_name, "work");
    }

    async fn flags_that_contradict_each_other_are_refused(fixture: &Fixture) {
        for (central, own, fallback) in [(false, false, false), (true, false, true), (false, true, true)] {
            let fields = ProviderFields {
                central_api_key_enabled: central,
                allow_user_api_key: own,
                allow_central_api_key_fallback: fallback,
                ..provider("openai", "openai")
            };
            let refused = fixture.store.provider_create(fields, at(1)).await;
            assert!(matches!(refused, Err(ModelError::Store(StoreError::Database(_)))), "{central} {own} {fallback}");
        }
    }

    /// G2, as far as rows go
    async fn providers_come_in_the_order_of_their_types(fixture: &Fixture) {
        for (kind, name) in [
            ("vercel", "vercel"), ("openai", "openai"), ("openai", "aaa"), ("openai-compat", "local-2"),
            ("openai-compat", "local"), ("openrouter", "openrouter"), ("anthropic", "zzz"),
        ] {
            fixture.provider(provider(kind, name)).await;
        }
        let names: Vec<_> = fixture.store.provider_list().await.unwrap().into_iter().map(|row| row.name).collect();
        assert_eq!(names, ["zzz", "aaa", "openai", "local", "local-2", "openrouter", "vercel", "scripted"]);
    }
}
