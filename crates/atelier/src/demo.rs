//! The demo: a user, a template and a model that need no key.

use std::time::Duration;

use anyhow::{Context as _, bail};
use atelier_domain::{SharedClock, UserId};
use atelier_store::{ApiKeyChange, ModelConfigFields, ProviderFields, Store, UserNew, UserStatus};
use atelier_workspaces::WorkspaceService;

const EMAIL: &str = "demo@example.com";
const USERNAME: &str = "demo";
const PROVIDER: &str = "scripted";
const MODEL: &str = "demo";
const CONTEXT_LIMIT: i64 = 200_000;
/// Of the names of printed tokens.
const TOKEN_PREFIX: &str = "demo ";

/// What the demo's greeting tells.
pub(crate) struct Demo {
    password: String,
    token: String,
}

impl Demo {
    pub(crate) fn greeting(&self, url: &str) -> anyhow::Result<String> {
        let program = std::env::current_exe().context("the program does not know where it lies")?;
        // what stands behind # stays in the browser
        Ok(format!(
            "\nThe demo is ready.\n\
             \x20 sign in   {url}/login#email={EMAIL}&password={password}\n\
             \x20 URL       {url}\n\
             \x20 login     {EMAIL}\n\
             \x20 password  {password}\n\n\
             Try it in another shell:\n\
             \x20 ATELIER_URL={url} ATELIER_TOKEN={} {} chat -p \"make the tests pass\"\n",
            self.token,
            program.display(),
            password = self.password,
        ))
    }
}

/// Makes what of the demo is not there yet, a new password, and a new token for the printed command; tokens of
/// earlier starts end.
///
/// # Errors
/// The data are those of a real server.
pub(crate) async fn set_up(store: &Store, workspaces: &WorkspaceService, clock: &SharedClock) -> anyhow::Result<Demo> {
    let now = atelier_domain::clock::to_micros(clock.now());
    let password = atelier_server::new_code();
    let password_hash = atelier_server::hash_password(&password)?;
    let user = match store.user_by_email(EMAIL).await? {
        Some(user) => {
            store.user_password_replace(user.id, password_hash, now).await?;
            user.id
        }
        None => {
            if store.user_exists().await? {
                bail!(
                    "this server has users already, and a demo would add an owner to them; \
                     start the demo on a data folder of its own (ATELIER_DATA_DIR)"
                );
            }
            let new = UserNew {
                id: UserId::new(),
                email: EMAIL.to_owned(),
                username: USERNAME.to_owned(),
                name: "Demo".to_owned(),
                roles: vec!["owner".to_owned()],
                password_hash,
                organization_ids: Vec::new(),
            };
            store.user_create_first(new, now).await?.0.id
        }
    };
    let organization = store.organization_default().await?.context("there is no default organization")?;
    workspaces.demo_template_ensure(organization.id, user).await?;
    let provider = match store.provider_list().await?.into_iter().find(|provider| provider.name == PROVIDER) {
        Some(provider) => provider,
        None => {
            let fields = ProviderFields {
                provider: PROVIDER.to_owned(),
                name: PROVIDER.to_owned(),
                display_name: String::new(),
                enabled: true,
                api_key: ApiKeyChange::Clear,
                base_url: None,
                central_api_key_enabled: true,
                allow_user_api_key: false,
                allow_central_api_key_fallback: false,
            };
            store.provider_create(fields, now).await?
        }
    };
    let has_model =
        store.model_list().await?.iter().any(|model| model.provider_name == PROVIDER && model.model == MODEL);
    if !has_model {
        let fields = ModelConfigFields {
            model: MODEL.to_owned(),
            display_name: "Demo model (offline)".to_owned(),
            enabled: true,
            is_default: None,
            context_limit: CONTEXT_LIMIT,
            compression_threshold: 70,
            model_config: Some(
                r#"{"cost":{"input_price_per_million_tokens":"0","output_price_per_million_tokens":"0","cache_read_price_per_million_tokens":"0","cache_write_price_per_million_tokens":"0"}}"#
                    .to_owned(),
            ),
        };
        store.model_create((Some(provider.id), PROVIDER.to_owned(), PROVIDER.to_owned()), fields, now).await?;
    }
    let (token, hash) = atelier_server::new_token();
    let expires_at = now.checked_add(Duration::from_secs(30 * 86_400)).unwrap_or(now);
    end_tokens(store, user).await?;
    store.api_token_create(user, format!("{TOKEN_PREFIX}{now}"), hash, now, expires_at).await?;
    Ok(Demo { password, token })
}

/// What a start without the demo says on the data of one: its owner is still there. The tokens that were printed end.
pub(crate) async fn left_behind(store: &Store) -> anyhow::Result<Option<String>> {
    let Some(user) = store.user_by_email(EMAIL).await?.filter(|user| user.status != UserStatus::Suspended) else {
        return Ok(None);
    };
    end_tokens(store, user.id).await?;
    Ok(Some(format!(
        "\nThese are the data of a demo. {EMAIL} owns them, with the password that the last demo printed, and the\n\
         demo's model is switched off. For real use start on another data folder (ATELIER_DATA_DIR), or sign in,\n\
         create an owner of your own and suspend {EMAIL}. With --demo the demo goes on.\n"
    )))
}

/// Ends the tokens that earlier starts have printed.
async fn end_tokens(store: &Store, user: UserId) -> anyhow::Result<()> {
    for token in store.api_token_list(user).await? {
        if token.token_name.starts_with(TOKEN_PREFIX) {
            store.api_token_delete(user, token.id).await?;
        }
    }
    Ok(())
}
