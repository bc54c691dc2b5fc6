//! A fresh store with a user, an organization and a model.

use std::collections::BTreeMap;

use atelier_domain::chat::ChatState;
use atelier_domain::{ChatId, ModelConfigId, OrganizationId, Timestamp, UserId};
use atelier_store::testing::{PostgresTest, postgres_store, sqlite_store};
use atelier_store::{
    ApiKeyChange, ChatNew, ChatRow, Engine, MessageNew, MessageRow, ModelConfigFields, ProviderFields, Store,
    StoreError, TitleSource, UserNew,
};

pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) owner: UserId,
    pub(crate) organization: OrganizationId,
    pub(crate) model: ModelConfigId,
    pub(crate) folder: tempfile::TempDir,
    postgres: Option<PostgresTest>,
}

/// Declares each body as a module of two tests, one an engine.
macro_rules! on_both_engines {
    ($($(#[$meta:meta])* async fn $name:ident($fixture:ident: &Fixture) $body:block)*) => {$(
        $(#[$meta])*
        mod $name {
            use super::*;

            async fn body($fixture: &Fixture) $body

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn sqlite() {
                let fixture = Fixture::new(atelier_store::Engine::Sqlite).await;
                body(&fixture).await;
                fixture.end().await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                let fixture = Fixture::new(atelier_store::Engine::Postgres).await;
                body(&fixture).await;
                fixture.end().await;
            }
        }
    )*};
}
pub(crate) use on_both_engines;

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

impl Fixture {
    pub(crate) async fn new(engine: Engine) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (store, postgres) = match engine {
            Engine::Sqlite => (sqlite_store(folder.path()).await, None),
            Engine::Postgres => {
                let test = postgres_store(folder.path()).await;
                (test.store.clone(), Some(test))
            }
        };
        let (owner, organization) = store.user_create_first(user("ada"), at(0)).await.unwrap();
        let provider = ProviderFields {
            provider: "scripted".to_owned(),
            name: "scripted".to_owned(),
            display_name: "Scripted".to_owned(),
            enabled: true,
            api_key: ApiKeyChange::Clear,
            base_url: None,
            central_api_key_enabled: true,
            allow_user_api_key: false,
            allow_central_api_key_fallback: false,
        };
        let provider = store.provider_create(provider, at(0)).await.unwrap();
        let model = ModelConfigFields {
            model: "demo".to_owned(),
            display_name: "Demo".to_owned(),
            enabled: true,
            is_default: None,
            context_limit: 100_000,
            compression_threshold: 70,
            model_config: None,
        };
        let model = store
            .model_create((Some(provider.id), provider.provider.clone(), provider.name.clone()), model, at(0))
            .await
            .unwrap();
        Self { store, owner: owner.id, organization, model: model.id, folder, postgres }
    }

    pub(crate) async fn end(self) {
        match self.postgres {
            Some(test) => test.end().await,
            None => self.store.close().await,
        }
    }

    /// The address of the PostgreSQL database.
    pub(crate) fn url(&self) -> Option<String> {
        self.postgres.as_ref().map(PostgresTest::url)
    }

    pub(crate) fn chat_new(&self) -> ChatNew {
        let id = ChatId::new();
        ChatNew {
            id,
            owner_id: self.owner,
            organization_id: self.organization,
            workspace_id: None,
            parent_chat_id: None,
            root_chat_id: id,
            spawn_key: None,
            title: "A chat".to_owned(),
            title_source: TitleSource::Fallback,
            labels: BTreeMap::new(),
            model_config_id: self.model,
            mcp_server_ids: Vec::new(),
            created_at: at(1),
        }
    }

    pub(crate) async fn insert(&self, chat: ChatNew) -> ChatId {
        let id = chat.id;
        self.store
            .write("test", move |tx| Box::pin(async move { atelier_store::chat_insert_in_tx(tx, &chat).await }))
            .await
            .unwrap();
        id
    }

    /// A new chat, pending.
    pub(crate) async fn chat(&self) -> ChatId {
        self.insert(self.chat_new()).await
    }

    pub(crate) async fn add(&self, chat: ChatId, messages: Vec<MessageNew>) -> Result<Vec<MessageRow>, StoreError> {
        self.store
            .write("add", move |tx| {
                Box::pin(async move { atelier_store::messages_insert_in_tx(tx, chat, 1, messages, at(2)).await })
            })
            .await
    }

    pub(crate) async fn row(&self, chat: ChatId) -> ChatRow {
        self.store.chat_get_for_system(chat).await.unwrap().unwrap()
    }

    /// Changes the running state under the chat's lock.
    pub(crate) async fn change(
        &self,
        chat: ChatId,
        change: impl FnOnce(&mut ChatState) + Send + 'static,
    ) -> Result<(), StoreError> {
        self.store
            .write("test", move |tx| {
                Box::pin(async move {
                    let row = atelier_store::chat_lock_in_tx(tx, chat).await?.expect("the chat exists");
                    let mut state = row.state;
                    change(&mut state);
                    atelier_store::chat_state_save_in_tx(tx, chat, &state, at(5)).await
                })
            })
            .await
    }
}

pub(crate) fn user(name: &str) -> UserNew {
    UserNew {
        id: UserId::new(),
        email: format!("{name}@example.com"),
        username: name.to_owned(),
        name: name.to_owned(),
        roles: Vec::new(),
        password_hash: String::new(),
        organization_ids: Vec::new(),
    }
}
