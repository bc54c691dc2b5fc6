//! Which model a chat gets and with which key, and how keys are kept.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;

use atelier_domain::provider_keys::KeyMissing;
use atelier_domain::{ModelConfigId, WorkspaceId};
use atelier_store::{
    ApiKeyChange, Database, Engine, ModelConfigFields, ModelResolveError, ModelWanted, PaidBy, ProviderFields,
    ProviderPreset, ProviderPresets, ProviderRow, ResolvedModel, SecretString, SecretsConfig, Store, StoreConfig,
    StoreError,
};

use crate::fixture::{Fixture, at, on_both_engines, user};
use crate::models::{model, provider};

const ONE: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";
const TWO: &str = "AgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgI=";

fn key(text: &str) -> SecretString {
    SecretString::new(text)
}

fn with_key(kind: &str, name: &str, text: &str) -> ProviderFields {
    ProviderFields { api_key: ApiKeyChange::Set(key(text)), ..provider(kind, name) }
}

fn presets() -> Arc<ProviderPresets> {
    Arc::new(ProviderPresets {
        presets: vec![ProviderPreset {
            provider: "openai".to_owned(),
            api_key: Some(key("preset-key")),
            base_url: Some("https://preset.example/v1".to_owned()),
        }],
        keyless: BTreeSet::from(["scripted".to_owned(), "openai-compat".to_owned()]),
    })
}

impl Fixture {
    async fn resolve(&self, wanted: ModelWanted) -> Result<ResolvedModel, ModelResolveError> {
        self.store.model_resolve_for_chat(self.owner, wanted, presets()).await
    }

    async fn explicit(&self, model: ModelConfigId) -> Result<ResolvedModel, ModelResolveError> {
        self.resolve(ModelWanted::Explicit(model)).await
    }

    async fn last(&self, model: ModelConfigId) -> Result<ResolvedModel, ModelResolveError> {
        self.resolve(ModelWanted::LastOrDefault(Some(model))).await
    }

    pub(crate) fn database(&self) -> Database {
        match self.url() {
            Some(url) => Database::Postgres { url },
            None => Database::Sqlite { file: self.folder.path().join("atelier.db") },
        }
    }

    fn key_file(&self) -> PathBuf {
        self.folder.path().join("secret.keys")
    }

    async fn reopen(&self, secrets: SecretsConfig) -> Result<Store, StoreError> {
        self.store.close().await;
        // the lock of the store before goes with its last connection
        let blobs = atelier_store::testing::blobs(self.folder.path());
        Store::open(StoreConfig { database: self.database(), secrets, blobs }).await
    }

    /// All that the database holds, as text and bytes.
    async fn dump(&self) -> Vec<u8> {
        if self.store.engine() == Engine::Sqlite {
            let mut dump = Vec::new();
            for entry in std::fs::read_dir(self.folder.path()).unwrap() {
                let path = entry.unwrap().path();
                if path.file_name().unwrap().to_str().unwrap().starts_with("atelier.db") {
                    dump.extend(std::fs::read(path).unwrap());
                }
            }
            return dump;
        }
        let tables = self.strings("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'").await;
        let mut dump = String::new();
        for table in tables {
            for row in self.strings(&format!("SELECT t::text FROM {} t", table[0])).await {
                dump.push_str(&row[0]);
            }
        }
        dump.into_bytes()
    }
}

fn holds(dump: &[u8], text: &str) -> bool {
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    [text.as_bytes(), hex.as_bytes()].iter().any(|part| dump.windows(part.len()).any(|window| window == *part))
}

fn api_key(resolved: &ResolvedModel) -> Option<&str> {
    resolved.provider.api_key.as_ref().map(SecretString::expose)
}

on_both_engines! {
    /// G4 and G99
    async fn each_row_is_called_with_its_own_key(fixture: &Fixture) {
        let first = fixture.provider(with_key("openai", "openai", "first-key")).await;
        let mut fields = with_key("openai", "work", "second-key");
        fields.base_url = Some("https://work.example/v1".to_owned());
        let second = fixture.provider(fields).await;
        let (one, two) = (fixture.model_of(&first, model("m")).await, fixture.model_of(&second, model("m")).await);
        let found = fixture.explicit(one.id).await.unwrap();
        assert_eq!(api_key(&found), Some("first-key"));
        assert_eq!((found.provider.id, found.provider.paid_by), (Some(first.id), PaidBy::Deployment));
        let found = fixture.explicit(two.id).await.unwrap();
        assert_eq!(api_key(&found), Some("second-key"));
        assert_eq!(found.provider.base_url.as_deref(), Some("https://work.example/v1"));
        // without a key of its own only the row that is named like its type gets the preset's
        let store = &fixture.store;
        let cleared = |name: &str| ProviderFields { api_key: ApiKeyChange::Clear, ..provider("openai", name) };
        store.provider_update(first.id, cleared("openai"), at(3)).await.unwrap();
        store.provider_update(second.id, cleared("work"), at(3)).await.unwrap();
        let found = fixture.explicit(one.id).await.unwrap();
        assert_eq!(api_key(&found), Some("preset-key"));
        assert_eq!(found.provider.base_url.as_deref(), Some("https://preset.example/v1"));
        let missing = fixture.explicit(two.id).await;
        assert!(matches!(missing, Err(ModelResolveError::KeyMissing(KeyMissing::Central))), "{missing:?}");
        // a preset without a row works, a disabled row does not
        let of_preset = store.model_create((None, "openai".to_owned(), "other".to_owned()), model("q"), at(4)).await.unwrap();
        assert!(matches!(fixture.explicit(of_preset.id).await, Err(ModelResolveError::Unavailable)));
        store.provider_update(first.id, ProviderFields { enabled: false, ..cleared("openai") }, at(5)).await.unwrap();
        assert!(matches!(fixture.explicit(one.id).await, Err(ModelResolveError::Unavailable)));
        store.provider_delete(first.id, at(6)).await.unwrap();
        let of_preset = store.model_create((None, "openai".to_owned(), "openai".to_owned()), model("p"), at(7)).await.unwrap();
        let found = fixture.explicit(of_preset.id).await.unwrap();
        assert_eq!((api_key(&found), found.provider.id), (Some("preset-key"), None));
    }

    /// G5, from the database
    async fn users_may_bring_their_keys(fixture: &Fixture) {
        let store = &fixture.store;
        let flags = |central, own, fallback| ProviderFields {
            api_key: ApiKeyChange::Keep,
            central_api_key_enabled: central,
            allow_user_api_key: own,
            allow_central_api_key_fallback: fallback,
            ..provider("anthropic", "anthropic")
        };
        let row = fixture.provider(with_key("anthropic", "anthropic", "central")).await;
        let made = fixture.model_of(&row, model("m")).await;
        let outcome = async || match fixture.explicit(made.id).await {
            Ok(found) => Ok((api_key(&found).unwrap().to_owned(), found.provider.paid_by)),
            Err(ModelResolveError::KeyMissing(missing)) => Err(missing),
            Err(error) => panic!("{error:?}"),
        };
        let central = || Ok(("central".to_owned(), PaidBy::Deployment));
        let own = || Ok(("own".to_owned(), PaidBy::User));
        for (policy, without, with) in [
            ((true, false, false), central(), central()),
            ((false, true, false), Err(KeyMissing::User), own()),
            ((true, true, false), Err(KeyMissing::User), own()),
            ((true, true, true), central(), own()),
        ] {
            store.provider_update(row.id, flags(policy.0, policy.1, policy.2), at(3)).await.unwrap();
            assert_eq!(outcome().await, without, "{policy:?}");
            store.user_provider_key_set(fixture.owner, row.id, key("old"), at(4)).await.unwrap();
            store.user_provider_key_set(fixture.owner, row.id, key("own"), at(5)).await.unwrap();
            assert_eq!(outcome().await, with, "{policy:?}");
            let state = store.provider_get(row.id).await.unwrap().unwrap();
            let state = store.provider_key_state(fixture.owner, state, presets()).await.unwrap();
            assert_eq!(state, with.map(|(_, paid_by)| paid_by), "{policy:?}");
            assert_eq!(store.user_provider_keys(fixture.owner).await.unwrap(), [row.id]);
            assert!(store.user_provider_key_delete(fixture.owner, row.id).await.unwrap());
            assert!(!store.user_provider_key_delete(fixture.owner, row.id).await.unwrap());
        }
        // keys go with their provider and with their user
        let bob = store.user_create(user("bob"), at(6)).await.unwrap().id;
        store.user_provider_key_set(bob, row.id, key("bobs"), at(6)).await.unwrap();
        store.user_delete(bob, at(7)).await.unwrap();
        assert!(store.user_provider_keys(bob).await.unwrap().is_empty());
        store.user_provider_key_set(fixture.owner, row.id, key("own"), at(8)).await.unwrap();
        store.provider_delete(row.id, at(9)).await.unwrap();
        assert!(store.user_provider_keys(fixture.owner).await.unwrap().is_empty());
        let gone = store.user_provider_key_set(fixture.owner, row.id, key("own"), at(9)).await;
        assert!(matches!(gone, Err(StoreError::Reference { .. })));
    }

    /// G12 and G18
    async fn a_chat_falls_back_to_the_default(fixture: &Fixture) {
        let store = &fixture.store;
        let row = fixture.provider(with_key("anthropic", "anthropic", "k")).await;
        let made = fixture.model_of(&row, model("m")).await;
        let demo = fixture.model;
        let id = |resolved: Result<ResolvedModel, ModelResolveError>| resolved.unwrap().model.id;
        assert_eq!(id(fixture.last(made.id).await), made.id);
        assert_eq!(id(fixture.resolve(ModelWanted::LastOrDefault(None)).await), demo);
        assert_eq!(api_key(&fixture.explicit(demo).await.unwrap()), None, "scripted needs none");
        for unknown in [ModelConfigId::nil(), ModelConfigId::new()] {
            assert!(matches!(fixture.explicit(unknown).await, Err(ModelResolveError::Unavailable)));
            assert_eq!(id(fixture.last(unknown).await), demo);
        }
        let off = |enabled| ModelConfigFields { enabled, ..model("m") };
        store.model_update(made.id, off(false), at(3)).await.unwrap();
        assert!(matches!(fixture.explicit(made.id).await, Err(ModelResolveError::Unavailable)));
        assert_eq!(id(fixture.last(made.id).await), demo);
        store.model_update(made.id, off(true), at(4)).await.unwrap();
        let cleared = ProviderFields { api_key: ApiKeyChange::Clear, ..provider("anthropic", "anthropic") };
        store.provider_update(row.id, cleared, at(5)).await.unwrap();
        assert!(matches!(fixture.explicit(made.id).await, Err(ModelResolveError::KeyMissing(KeyMissing::Central))));
        assert_eq!(id(fixture.last(made.id).await), demo, "one without a key is not usable");
        store.model_delete(made.id, at(6)).await.unwrap();
        assert!(matches!(fixture.explicit(made.id).await, Err(ModelResolveError::Unavailable)));
        store.model_delete(demo, at(7)).await.unwrap();
        assert!(matches!(fixture.last(demo).await, Err(ModelResolveError::NoDefault)));
    }

    /// A change that was decided on an old view of the row does not bring an old key back.
    async fn keys_are_kept_replaced_and_cleared(fixture: &Fixture) {
        let store = &fixture.store;
        let row = fixture.provider(with_key("openai", "work", "one")).await;
        let opened = |row: &ProviderRow| store.provider_api_key(row).unwrap().map(|key| key.expose().to_owned());
        assert_eq!((opened(&row).as_deref(), row.has_api_key), (Some("one"), true));
        let kept = store.provider_update(row.id, provider("openai", "work"), at(2)).await.unwrap();
        assert_eq!(opened(&kept).as_deref(), Some("one"));
        let set = store.provider_update(row.id, with_key("openai", "work", "two"), at(3)).await.unwrap();
        assert_eq!(opened(&set).as_deref(), Some("two"));
        assert!(!format!("{set:?}").contains("two"));
        let fields = ProviderFields { api_key: ApiKeyChange::Clear, ..provider("openai", "work") };
        let cleared = store.provider_update(row.id, fields, at(4)).await.unwrap();
        assert!(opened(&cleared).is_none() && !cleared.has_api_key);
    }

    /// G75
    async fn a_dump_holds_no_secret_in_clear(fixture: &Fixture) {
        let store = &fixture.store;
        let row = fixture.provider(with_key("openai", "openai", "sk-central-0123456789")).await;
        store.user_provider_key_set(fixture.owner, row.id, key("sk-own-0123456789"), at(2)).await.unwrap();
        let sealed = store.parameter_seal(WorkspaceId::new(), "token", "sk-parameter-0123456789");
        store.user_prompt_set(fixture.owner, format!("seen {sealed}")).await.unwrap();
        let dump = fixture.dump().await;
        assert!(holds(&dump, "seen "), "the dump is one");
        for secret in ["sk-central-0123456789", "sk-own-0123456789", "sk-parameter-0123456789"] {
            assert!(!holds(&dump, secret), "{secret}");
        }
    }

    /// G76
    async fn a_copied_value_does_not_open(fixture: &Fixture) {
        let store = &fixture.store;
        let one = fixture.provider(with_key("openai", "one", "sk-one")).await;
        let two = fixture.provider(with_key("openai", "two", "sk-two")).await;
        store.user_provider_key_set(fixture.owner, two.id, key("sk-own"), at(2)).await.unwrap();
        let opens = async |row: &ProviderRow| {
            let row = store.provider_get(row.id).await.unwrap().unwrap();
            store.provider_api_key(&row).is_ok()
        };
        assert!(opens(&two).await);
        let to = |column: &str| format!("UPDATE providers SET api_key = ({column}) WHERE name = 'two'");
        fixture.execute(&to("SELECT p.api_key FROM providers p WHERE p.name = 'one'")).await;
        assert!(!opens(&two).await && opens(&one).await, "from another row");
        fixture.execute(&to("SELECT api_key FROM user_provider_keys")).await;
        assert!(!opens(&two).await, "from another column");
        let (here, there) = (WorkspaceId::new(), WorkspaceId::new());
        let sealed = store.parameter_seal(here, "a", "v");
        assert_eq!(store.parameter_open(here, "a", &sealed).unwrap().expose(), "v");
        assert!(store.parameter_open(there, "a", &sealed).is_err());
        assert!(store.parameter_open(here, "b", &sealed).is_err());
    }

    /// G77 and G79
    async fn a_server_with_other_keys_does_not_start(fixture: &Fixture) {
        let row = fixture.provider(with_key("openai", "one", "sk-one")).await;
        let file = fixture.key_file();
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let mine = std::fs::read_to_string(&file).unwrap().trim().to_owned();
        let refused = async |secrets: SecretsConfig| {
            let error = fixture.reopen(secrets).await.err().expect("it is refused").to_string();
            for shown in [ONE, TWO, mine.as_str()] {
                assert!(!error.contains(shown), "{error}");
            }
            error
        };
        assert!(refused(SecretsConfig::Keys(key(ONE))).await.contains("does not have"));
        assert!(refused(SecretsConfig::Keys(key("c2hvcnQ="))).await.contains("32 bytes"));
        assert!(refused(SecretsConfig::Plaintext).await.contains("does not have"));
        // the file is lost: no new one takes its place
        std::fs::rename(&file, fixture.folder.path().join("elsewhere")).unwrap();
        assert!(refused(SecretsConfig::File(file.clone())).await.contains("restore that file"));
        assert!(!file.exists());
        std::fs::rename(fixture.folder.path().join("elsewhere"), &file).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(refused(SecretsConfig::File(file.clone())).await.contains("chmod 600"));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        // a new key in front seals, the old one still opens
        let both = SecretsConfig::Keys(key(&format!("{TWO},{mine}")));
        let store = fixture.reopen(both.clone()).await.unwrap();
        let row = store.provider_get(row.id).await.unwrap().unwrap();
        assert_eq!(store.provider_api_key(&row).unwrap().unwrap().expose(), "sk-one");
        store.provider_create(with_key("openai", "two", "sk-two"), at(3)).await.unwrap();
        store.close().await;
        assert!(refused(SecretsConfig::File(file)).await.contains("does not have"));
        // rows that name a key are enough, and so is a canary that does not open
        fixture.execute("DELETE FROM secret_keys").await;
        assert!(refused(SecretsConfig::Keys(key(TWO))).await.contains("does not have"));
        fixture.reopen(both.clone()).await.unwrap().close().await;
        fixture.execute("UPDATE secret_keys SET canary = (SELECT api_key FROM providers WHERE name = 'one')").await;
        assert!(refused(both).await.contains("does not have"));
    }

    async fn of_two_first_starts_with_different_keys_one_is_refused(fixture: &Fixture) {
        if fixture.store.engine() == Engine::Sqlite {
            return; // one process only
        }
        fixture.execute("DELETE FROM secret_keys").await;
        let open = |keys: &str| {
            let blobs = atelier_store::testing::blobs(fixture.folder.path());
            Store::open(StoreConfig { database: fixture.database(), secrets: SecretsConfig::Keys(key(keys)), blobs })
        };
        let (one, two) = tokio::join!(open(ONE), open(TWO));
        assert_ne!(one.is_ok(), two.is_ok());
        for store in [one, two].into_iter().flatten() {
            store.close().await;
        }
    }

    async fn without_encryption_values_are_plain(fixture: &Fixture) {
        fixture.execute("DELETE FROM secret_keys").await;
        let store = fixture.reopen(SecretsConfig::Plaintext).await.unwrap();
        let row = store.provider_create(with_key("openai", "one", "sk-plain"), at(1)).await.unwrap();
        assert_eq!(store.provider_api_key(&row).unwrap().unwrap().expose(), "sk-plain");
        store.close().await;
        // encryption that is switched on later still reads them
        let store = fixture.reopen(SecretsConfig::Keys(key(ONE))).await.unwrap();
        let row = store.provider_get(row.id).await.unwrap().unwrap();
        assert_eq!(store.provider_api_key(&row).unwrap().unwrap().expose(), "sk-plain");
        store.close().await;
    }
}
