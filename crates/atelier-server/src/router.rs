//! Every route, and what lies around the handlers.
//!
//! A request passes, from outside: its id and the headers of answers, the catching of panics, compression,
//! the credential, rates, the detached completion of changes, repeats. Streams and files are not compressed:
//! each frame of a stream goes out at once, and a file says how long it is.

use std::sync::atomic::Ordering;

use atelier_api as api;
use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{MethodFilter, on};
use axum::{Router, middleware};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;

use crate::error::ApiError;
use crate::openapi::{Doc, Documented, does, operation_of};
use crate::state::Shared;
use crate::{
    auth, chats, extract, files, layers, logins, logs, model_prices, models, organizations, origin, providers, repeats,
    settings, streams, templates, users, workspaces,
};

/// Prefix of the platform's routes, and of the chats'.
const PLATFORM: &str = "/api/v2";
const CHATS: &str = "/api/experimental/chats";
const PAGE: &[&str] = &["q", "limit", "offset"];

/// Routes with the same things around them.
struct Section {
    prefix: &'static str,
    is_anonymous: bool,
    router: Router<Shared>,
    documented: Vec<Documented>,
}

impl Section {
    fn new(prefix: &'static str) -> Self {
        Self { prefix, is_anonymous: false, router: Router::new(), documented: Vec::new() }
    }

    fn anonymous(prefix: &'static str) -> Self {
        Self { is_anonymous: true, ..Self::new(prefix) }
    }

    fn get<T: 'static>(&mut self, path: &str, handler: impl Handler<T, Shared>, doc: Doc) {
        self.route(MethodFilter::GET, "get", path, handler, doc);
    }

    fn post<T: 'static>(&mut self, path: &str, handler: impl Handler<T, Shared>, doc: Doc) {
        self.route(MethodFilter::POST, "post", path, handler, doc);
    }

    fn put<T: 'static>(&mut self, path: &str, handler: impl Handler<T, Shared>, doc: Doc) {
        self.route(MethodFilter::PUT, "put", path, handler, doc);
    }

    fn patch<T: 'static>(&mut self, path: &str, handler: impl Handler<T, Shared>, doc: Doc) {
        self.route(MethodFilter::PATCH, "patch", path, handler, doc);
    }

    fn delete<T: 'static>(&mut self, path: &str, handler: impl Handler<T, Shared>, doc: Doc) {
        self.route(MethodFilter::DELETE, "delete", path, handler, doc);
    }

    fn route<T: 'static>(
        &mut self,
        filter: MethodFilter,
        method: &'static str,
        path: &str,
        handler: impl Handler<T, Shared>,
        doc: Doc,
    ) {
        let path = format!("{}{path}", self.prefix);
        let mut operation = operation_of(&handler).to_owned();
        if self.documented.iter().any(|known| known.operation == operation) {
            // a second path to the same
            operation.push_str("_also");
        }
        self.router = std::mem::take(&mut self.router).route(&path, on(filter, handler));
        self.documented.push(Documented { path, method, operation, is_anonymous: self.is_anonymous, doc });
    }
}

/// What needs no credential.
fn anonymous() -> Section {
    let mut s = Section::anonymous(PLATFORM);
    s.get(
        "/workspaceagents/me/connect",
        workspaces::workspace_agent_connect,
        does("The tunnel of a workspace agent, with its own token"),
    );
    s.get("/buildinfo", logins::build_info, does("Version and address of the server").gives::<api::BuildInfo>());
    s.get("/users/first", logins::first_user_get, does("Whether there is a user").gives::<api::Response>());
    s.post(
        "/users/first",
        logins::first_user_create,
        does("Create the first user, who owns the site")
            .takes::<api::FirstUserCreate>()
            .makes::<api::FirstUserCreated>()
            .refuses(&["first_user_exists", "setup_code_required"]),
    );
    s.post(
        "/users/login",
        logins::login,
        does("Log in")
            .takes::<api::Login>()
            .makes::<api::LoggedIn>()
            .refuses(&["invalid_credentials", "account_suspended"]),
    );
    s.get("/users/authmethods", logins::auth_methods, does("Ways to log in").gives::<api::AuthMethods>());
    s
}

/// What is there without rates: whoever asks has no user, or looks all the time.
fn outside() -> Section {
    let mut s = Section::anonymous("");
    s.get("/healthz", health, does("Whether the server is ready"));
    s.get("/api/openapi.json", openapi_document, does("This document"));
    s
}

fn platform() -> Section {
    let mut s = Section::new(PLATFORM);
    s.get("/experiments", logins::experiments, does("Features that are on").gives::<api::Experiments>());
    s.post("/users/logout", logins::logout, does("End this session").gives::<api::Response>());
    s.get("/users", users::user_list, does("List users").gives::<api::UserPage>().query(PAGE));
    s.post(
        "/users",
        users::user_create,
        does("Create a user").takes::<api::UserCreate>().makes::<api::User>().refuses(&["already_exists"]),
    );
    s.get("/users/roles", users::role_list, does("Site roles").lists::<api::AssignableRole>());
    s.get("/users/{user}", users::user_get, does("A user").gives::<api::User>());
    s.delete(
        "/users/{user}",
        users::user_delete,
        does("Delete a user").gives::<api::Response>().refuses(&["last_owner", "validation_failed"]),
    );
    s.put(
        "/users/{user}/profile",
        users::user_profile_set,
        does("Set username and name").takes::<api::ProfileUpdate>().gives::<api::User>(),
    );
    s.put(
        "/users/{user}/password",
        users::user_password_set,
        does("Set the password").takes::<api::PasswordUpdate>().empty(),
    );
    s.get(
        "/users/{user}/preferences",
        users::user_preferences_get,
        does("A user's preferences").gives::<api::Preferences>(),
    );
    s.put(
        "/users/{user}/preferences",
        users::user_preferences_set,
        does("Replace the preferences").takes::<api::Preferences>().gives::<api::Preferences>(),
    );
    s.get("/users/{user}/roles", users::user_roles_get, does("A user's roles").gives::<api::UserRoles>());
    s.put(
        "/users/{user}/roles",
        users::user_roles_set,
        does("Set exactly these site roles").takes::<api::RolesUpdate>().gives::<api::User>().refuses(&["last_owner"]),
    );
    s.put("/users/{user}/status/suspend", users::user_suspend, does("Suspend a user").gives::<api::User>());
    s.put("/users/{user}/status/activate", users::user_activate, does("Activate a user").gives::<api::User>());
    s.get(
        "/users/{user}/organizations",
        organizations::user_organization_list,
        does("A user's organizations").lists::<api::Organization>(),
    );
    s.get("/users/{user}/keys/tokens", logins::token_list, does("API tokens").lists::<api::Token>());
    s.post(
        "/users/{user}/keys/tokens",
        logins::token_create,
        does("Create an API token")
            .takes::<api::TokenCreate>()
            .makes::<api::TokenCreated>()
            .refuses(&["already_exists"]),
    );
    s.delete("/users/{user}/keys/{token}", logins::token_delete, does("Delete an API token").empty());
    s.post(
        "/users/{user}/workspaces",
        workspaces::workspace_create,
        does("Create a workspace")
            .takes::<api::WorkspaceCreate>()
            .makes::<api::Workspace>()
            .refuses(&["already_exists", "quota_exceeded"]),
    );
    s.get(
        "/users/{user}/workspace/{name}",
        workspaces::workspace_by_name,
        does("A workspace by its name").gives::<api::Workspace>(),
    );
    s.get("/organizations", organizations::organization_list, does("Organizations").lists::<api::Organization>());
    s.post(
        "/organizations",
        organizations::organization_create,
        does("Create an organization")
            .takes::<api::OrganizationFields>()
            .makes::<api::Organization>()
            .refuses(&["already_exists"]),
    );
    s.get(
        "/organizations/{organization}",
        organizations::organization_get,
        does("An organization").gives::<api::Organization>(),
    );
    s.patch(
        "/organizations/{organization}",
        organizations::organization_update,
        does("Change an organization").takes::<api::OrganizationFields>().gives::<api::Organization>(),
    );
    s.delete(
        "/organizations/{organization}",
        organizations::organization_delete,
        does("Delete an empty organization").gives::<api::Response>().refuses(&["in_use"]),
    );
    s.get("/organizations/{organization}/members", organizations::member_list, does("Members").lists::<api::Member>());
    s.post(
        "/organizations/{organization}/members/{user}",
        organizations::member_add,
        does("Add a member").makes::<api::Member>(),
    );
    s.delete(
        "/organizations/{organization}/members/{user}",
        organizations::member_remove,
        does("Remove a member").empty(),
    );
    s.put(
        "/organizations/{organization}/members/{user}/roles",
        organizations::member_roles_set,
        does("Set a member's roles").takes::<api::RolesUpdate>().gives::<api::Member>(),
    );
    s.post(
        "/organizations/{organization}/members/{user}/workspaces",
        workspaces::workspace_create_in_organization,
        does("Create a workspace in an organization").takes::<api::WorkspaceCreate>().makes::<api::Workspace>(),
    );
    s.get("/organizations/{organization}/groups", organizations::group_list, does("Groups").lists::<api::Group>());
    s.post(
        "/organizations/{organization}/groups",
        organizations::group_create,
        does("Create a group").takes::<api::GroupFields>().makes::<api::Group>(),
    );
    s.get(
        "/organizations/{organization}/templates",
        templates::template_list_of_organization,
        does("Templates of an organization").lists::<api::Template>(),
    );
    s.post(
        "/organizations/{organization}/templates",
        templates::template_create,
        does("Create a template").takes::<api::TemplateFields>().makes::<api::Template>().refuses(&["already_exists"]),
    );
    s.get("/groups/{group}", organizations::group_get, does("A group").gives::<api::Group>());
    s.patch(
        "/groups/{group}",
        organizations::group_update,
        does("Change a group and its members").takes::<api::GroupFields>().gives::<api::Group>(),
    );
    s.delete("/groups/{group}", organizations::group_delete, does("Delete a group").gives::<api::Response>());
    s.get("/templates", templates::template_list, does("Templates").lists::<api::Template>());
    s.get("/templates/{template}", templates::template_get, does("A template").gives::<api::Template>());
    s.patch(
        "/templates/{template}",
        templates::template_update,
        does("Change a template; a new spec is a new version").takes::<api::TemplateFields>().gives::<api::Template>(),
    );
    s.delete(
        "/templates/{template}",
        templates::template_delete,
        does("Delete a template without workspaces").gives::<api::Response>().refuses(&["in_use"]),
    );
    s.get(
        "/templates/{template}/versions",
        templates::template_version_list,
        does("Versions, newest first").lists::<api::TemplateVersion>(),
    );
    s.get("/workspaces", workspaces::workspace_list, does("Workspaces").gives::<api::WorkspacePage>().query(PAGE));
    s.get("/workspaces/{workspace}", workspaces::workspace_get, does("A workspace").gives::<api::Workspace>());
    s.get("/workspaces/{workspace}/builds", workspaces::build_list, does("Builds, newest first").lists::<api::Build>());
    s.post(
        "/workspaces/{workspace}/builds",
        workspaces::build_create,
        does("Start, stop or delete a workspace")
            .takes::<api::BuildCreate>()
            .makes::<api::Build>()
            .refuses(&["build_in_progress", "quota_exceeded"]),
    );
    s.get("/workspacebuilds/{build}", workspaces::build_get, does("A build").gives::<api::Build>());
    s.get("/workspaceagents/{agent}", workspaces::workspace_agent_get, does("A workspace agent").gives::<api::Agent>());
    s
}

fn chat_routes() -> Section {
    let mut s = Section::new(CHATS);
    s.get(
        "",
        chats::chat_list,
        does("The caller's chats")
            .lists::<api::Chat>()
            .query(&["q", "archived", "label", "include", "after_id", "limit", "offset"]),
    );
    s.post(
        "",
        chats::chat_create,
        does("Create a chat with its first message").takes::<api::ChatCreate>().makes::<api::Chat>().refuses(&[
            "invalid_content",
            "workspace_unavailable",
            "no_default_model",
            "model_unavailable",
            "unknown_mcp_servers",
            "usage_limit_reached",
        ]),
    );
    s.get(
        "/by-workspace",
        chats::chats_by_workspace_get,
        does("The newest chat of each workspace").gives::<api::ChatsByWorkspace>().query(&["workspace_ids"]),
    );
    s.post(
        "/by-workspace",
        chats::chats_by_workspace_post,
        does("The newest chat of each workspace").takes::<api::WorkspaceIds>().gives::<api::ChatsByWorkspace>(),
    );
    s.post(
        "/files",
        files::file_upload,
        does("Upload a file: the body is its bytes")
            .takes_bytes(files::MEDIA_TYPES)
            .makes::<api::ChatFile>()
            .query(&["organization"])
            .refuses(&["unsupported_file_type", "file_too_large", "not_found"]),
    );
    s.get("/models", models::model_list, does("Models a chat may use").gives::<api::Models>());
    s.get("/providers", providers::provider_list, does("Providers").lists::<api::Provider>());
    s.post(
        "/providers",
        providers::provider_create,
        does("Add a provider")
            .takes::<api::ProviderFields>()
            .makes::<api::Provider>()
            .refuses(&["already_exists", "egress_denied"]),
    );
    s.patch(
        "/providers/{provider}",
        providers::provider_update,
        does("Change a provider").takes::<api::ProviderFields>().gives::<api::Provider>().refuses(&[
            "already_exists",
            "egress_denied",
            "api_key_required",
        ]),
    );
    s.delete(
        "/providers/{provider}",
        providers::provider_delete,
        does("Delete a provider and its models").empty().refuses(&["in_use"]),
    );
    s.post(
        "/providers/{provider}/check",
        providers::provider_check,
        does("Call a provider with its key; nothing is stored").gives::<api::ProviderCheck>(),
    );
    s.get(
        "/model-prices",
        model_prices::model_price_list,
        does("The shipped list prices").gives::<api::ModelPrices>().query(&["provider", "model"]),
    );
    s.get("/model-configs", models::model_config_list, does("Model configs").lists::<api::ModelConfig>());
    s.post(
        "/model-configs",
        models::model_config_create,
        does("Add a model").takes::<api::ModelConfigFields>().makes::<api::ModelConfig>().refuses(&["already_exists"]),
    );
    s.patch(
        "/model-configs/{model}",
        models::model_config_update,
        does("Change a model").takes::<api::ModelConfigFields>().gives::<api::ModelConfig>(),
    );
    s.delete("/model-configs/{model}", models::model_config_delete, does("Delete a model; its costs stay").empty());
    for path in ["/config/system-prompt", "/system-prompt"] {
        s.get(path, settings::system_prompt_get, does("The deployment's prompt").gives::<api::SystemPrompt>());
        s.put(
            path,
            settings::system_prompt_set,
            does("Set the deployment's prompt").takes::<api::SystemPromptUpdate>().empty(),
        );
    }
    s.get(
        "/config/desktop-enabled",
        settings::desktop_enabled_get,
        does("Whether agents may use a desktop").gives::<api::DesktopEnabled>(),
    );
    s.put(
        "/config/desktop-enabled",
        settings::desktop_enabled_set,
        does("Set whether agents may use a desktop").takes::<api::DesktopEnabled>().empty(),
    );
    s.get(
        "/config/user-compaction-thresholds",
        settings::compaction_threshold_list,
        does("The caller's own compaction thresholds").gives::<api::CompactionThresholds>(),
    );
    s.put(
        "/config/user-compaction-thresholds/{model}",
        settings::compaction_threshold_set,
        does("Set the caller's threshold of a model")
            .takes::<api::CompactionThresholdUpdate>()
            .gives::<api::CompactionThreshold>()
            .refuses(&["model_unavailable"]),
    );
    s.delete(
        "/config/user-compaction-thresholds/{model}",
        settings::compaction_threshold_delete,
        does("Back to the model's own threshold").empty(),
    );
    s.get(
        "/config/workspace-ttl",
        settings::workspace_ttl_get,
        does("Time to live of workspaces made by chats").gives::<api::WorkspaceTtl>(),
    );
    s.put(
        "/config/workspace-ttl",
        settings::workspace_ttl_set,
        does("Set that time").takes::<api::WorkspaceTtl>().empty(),
    );
    s.get("/config/user-prompt", settings::user_prompt_get, does("The caller's own prompt").gives::<api::UserPrompt>());
    s.put(
        "/config/user-prompt",
        settings::user_prompt_set,
        does("Set the caller's own prompt").takes::<api::UserPrompt>().gives::<api::UserPrompt>(),
    );
    s.get("/{chat}", chats::chat_get, does("A chat").gives::<api::Chat>().query(&["include"]));
    s.get(
        "/{chat}/messages",
        chats::message_list,
        does("Messages, newest first").gives::<api::ChatMessagePage>().query(&["before_id", "after_id", "limit"]),
    );
    s.post(
        "/{chat}/messages",
        chats::message_send,
        does("Send a message").takes::<api::ChatMessageCreate>().gives::<api::ChatMessageCreated>().refuses(&[
            "invalid_content",
            "no_default_model",
            "model_unavailable",
            "unknown_mcp_servers",
            "not_chat_owner",
            "chat_archived",
            "usage_limit_reached",
            "queue_full",
        ]),
    );
    s.patch(
        "/{chat}",
        chats::chat_update,
        does("Set title, labels, pin, workspace or archive: all or none").takes::<api::ChatUpdate>().empty().refuses(
            &["already_archived", "not_archived", "parent_archived", "workspace_unavailable", "not_chat_owner"],
        ),
    );
    s.post("/{chat}/archive", chats::chat_archive, does("Archive a chat and all below it").empty());
    s.post(
        "/{chat}/unarchive",
        chats::chat_unarchive,
        does("Bring a chat and all below it back").empty().refuses(&["parent_archived"]),
    );
    s.patch(
        "/{chat}/messages/{message}",
        chats::message_edit,
        does("Replace a message and all behind it")
            .takes::<api::ChatMessageEdit>()
            .gives::<api::ChatMessage>()
            .refuses(&[
                "invalid_content",
                "model_unavailable",
                "not_a_user_message",
                "not_chat_owner",
                "chat_archived",
                "usage_limit_reached",
                "idempotency_in_progress",
                "idempotency_key_reused",
            ]),
    );
    s.delete(
        "/{chat}/queue/{queued}",
        chats::queue_delete,
        does("Take a message out of the queue").empty().refuses(&["not_chat_owner"]),
    );
    s.post(
        "/{chat}/queue/{queued}/promote",
        chats::queue_promote,
        does("Send a waiting message now").gives::<api::ChatMessage>().refuses(&["not_chat_owner", "chat_archived"]),
    );
    s.post("/{chat}/interrupt", chats::chat_interrupt, does("Interrupt the turn").gives::<api::Chat>());
    s.post(
        "/{chat}/retry",
        chats::chat_retry,
        does("Go on with the turn that failed").takes::<api::ChatRetryCreate>().gives::<api::Chat>().refuses(&[
            "model_unavailable",
            "not_chat_owner",
            "chat_archived",
            "nothing_to_retry",
        ]),
    );
    s.put(
        "/{chat}/read",
        chats::chat_read_set,
        does("Move the read mark").takes::<api::ChatReadMark>().empty().refuses(&["not_chat_owner"]),
    );
    s
}

/// What goes out as it is, without compression: streams, and files.
fn stream_routes() -> Section {
    let mut s = Section::new("");
    s.get(
        "/api/experimental/chats/files/{file}",
        files::file_download,
        does("The bytes of a file").gives_bytes(files::MEDIA_TYPES),
    );
    s.get(
        "/api/experimental/chats/watch",
        streams::chat_watch,
        does("Changes of the caller's chats")
            .streams::<api::ChatWatchEvent>()
            .query(&["cursor"])
            .refuses(&["invalid_cursor", "upgrade_required"]),
    );
    s.get(
        "/api/experimental/chats/{chat}/stream",
        streams::chat_stream,
        does("Everything that happens in a chat").streams::<api::ChatStreamEvent>().query(&[
            "cursor",
            "after_id",
            "mark_read",
        ]),
    );
    s.get(
        "/api/v2/workspacebuilds/{build}/logs",
        logs::build_log_list,
        does("Log of a build").lists::<api::LogLine>().query(&["after", "follow"]),
    );
    s.get(
        "/api/v2/workspaceagents/{agent}/logs",
        logs::workspace_agent_log_list,
        does("Log of clone and scripts").lists::<api::LogLine>().query(&["after", "follow"]),
    );
    s
}

/// All routes, for the document.
pub(crate) fn documented() -> Vec<Documented> {
    let sections = [outside(), anonymous(), platform(), chat_routes(), stream_routes()];
    sections.into_iter().flat_map(|section| section.documented).collect()
}

pub(crate) fn router(app: Shared) -> Router {
    let for_users = |router: Router<Shared>| {
        router
            .route_layer(middleware::from_fn_with_state(app.clone(), repeats::repeats))
            .route_layer(middleware::from_fn_with_state(app.clone(), layers::completion))
            .route_layer(middleware::from_fn(layers::without_nul))
            .route_layer(middleware::from_fn_with_state(app.clone(), layers::limit_user))
            .route_layer(middleware::from_fn_with_state(app.clone(), auth::authenticate))
    };
    let for_anybody =
        |router: Router<Shared>| router.route_layer(middleware::from_fn_with_state(app.clone(), origin::own_origin));
    let anonymous = for_anybody(anonymous().router)
        .route_layer(middleware::from_fn_with_state(app.clone(), layers::completion))
        .route_layer(middleware::from_fn(extract::small_body))
        .route_layer(middleware::from_fn_with_state(app.clone(), layers::limit_address));
    let answers = for_users(platform().router.merge(chat_routes().router))
        .merge(anonymous)
        .merge(for_anybody(outside().router))
        .layer(CompressionLayer::new());
    answers
        .merge(for_users(stream_routes().router))
        .fallback(not_routed)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| ApiError::failed().into_response()))
        .layer(middleware::from_fn(layers::one_host))
        .layer(middleware::from_fn_with_state(app.clone(), layers::client))
        .layer(middleware::from_fn(layers::frame))
        .with_state(app)
}

async fn health(State(app): State<Shared>) -> Result<&'static str, ApiError> {
    let refusal = match app.daemon.stuck_loop() {
        _ if !app.ready.load(Ordering::Acquire) => "The server is not ready.".to_owned(),
        Some(name) => format!("The {name} of this server is stuck."),
        None if app.store.ping().await.is_err() => "The database does not answer.".to_owned(),
        None => return Ok("OK"),
    };
    let mut error = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", refusal);
    error.retry_after = Some(1);
    Err(error)
}

/// The committed file: a test keeps it equal to what the routes say.
async fn openapi_document() -> Response {
    let json = HeaderValue::from_static("application/json");
    ([(header::CONTENT_TYPE, json)], include_str!("../../../openapi/atelier.json")).into_response()
}

/// What no route takes: a file or page of the site, else nothing.
async fn not_routed(State(app): State<Shared>, request: Request) -> Result<Response, ApiError> {
    let path = request.uri().path();
    if let Some(page) = app.site.answer(request.method(), path, request.headers()) {
        return Ok(page);
    }
    let error = ApiError::new(StatusCode::NOT_FOUND, "route_not_found", format!("There is no route {path}."));
    Err(told_to_callers(&app, request, error).await)
}

async fn method_not_allowed(State(app): State<Shared>, request: Request) -> ApiError {
    let message = format!("{} is not possible here; the Allow header says what is.", request.method());
    let error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message);
    told_to_callers(&app, request, error).await
}

/// The error; below `/api` a credential comes first, as on every route there.
async fn told_to_callers(app: &Shared, request: Request, error: ApiError) -> ApiError {
    if !is_of_api(request.uri().path()) {
        return error;
    }
    match auth::caller(app, &request).await {
        Ok(_) => error,
        Err(refusal) => refusal,
    }
}

pub(crate) fn is_of_api(path: &str) -> bool {
    path == "/api" || path.starts_with("/api/")
}
