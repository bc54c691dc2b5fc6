-- Users and how they log in.

CREATE TABLE users (
    id TEXT PRIMARY KEY,
    email TEXT NOT NULL,
    username TEXT NOT NULL,
    name TEXT NOT NULL,
    avatar_url TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('active', 'suspended')),
    -- JSON list of site roles beside the implied member
    roles TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    preferences TEXT NOT NULL,
    user_prompt TEXT NOT NULL,
    deleted INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    last_seen_at INTEGER,
    -- the email in lower case, and all that a search looks at: engines fold letters differently
    email_key TEXT NOT NULL,
    search_text TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX users_email ON users (email_key) WHERE NOT deleted;
CREATE UNIQUE INDEX users_username ON users (lower(username)) WHERE NOT deleted;

CREATE TABLE user_sessions (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- SHA-256 of the token
    token_hash BLOB NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    last_used_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX user_sessions_user ON user_sessions (user_id);

CREATE TABLE api_tokens (
    id TEXT PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    token_name TEXT NOT NULL,
    token_hash BLOB NOT NULL UNIQUE,
    created_at INTEGER NOT NULL,
    last_used_at INTEGER,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX api_tokens_name ON api_tokens (user_id, token_name);

-- Organizations and groups.

CREATE TABLE organizations (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    display_name TEXT NOT NULL,
    description TEXT NOT NULL,
    icon TEXT NOT NULL,
    is_default INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX organizations_name ON organizations (lower(name));
CREATE UNIQUE INDEX organizations_default ON organizations (is_default) WHERE is_default;

CREATE TABLE organization_members (
    organization_id TEXT NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- JSON list of organization roles beside the implied organization-member
    roles TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (organization_id, user_id)
) STRICT;
CREATE INDEX organization_members_user ON organization_members (user_id, created_at);

-- The group "Everyone" of an organization is implied and has no row.
CREATE TABLE user_groups (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    display_name TEXT NOT NULL,
    avatar_url TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX user_groups_name ON user_groups (organization_id, lower(name));

CREATE TABLE user_group_members (
    group_id TEXT NOT NULL REFERENCES user_groups (id) ON DELETE CASCADE,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    PRIMARY KEY (group_id, user_id)
) STRICT;
CREATE INDEX user_group_members_user ON user_group_members (user_id);

-- Settings, secrets, repeats, audit.

CREATE TABLE site_settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE secret_keys (
    -- first 8 bytes of the SHA-256 of the key, hex
    id TEXT PRIMARY KEY,
    state TEXT NOT NULL CHECK (state IN ('active', 'revoked')),
    canary BLOB NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE idempotency_keys (
    -- SHA-256 of user, method, path and key
    scope BLOB PRIMARY KEY,
    body_hash BLOB NOT NULL,
    -- absent while the first call runs
    status INTEGER,
    body TEXT,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);

CREATE TABLE audit_logs (
    id TEXT PRIMARY KEY,
    created_at INTEGER NOT NULL,
    user_id TEXT,
    username TEXT NOT NULL,
    actor_kind TEXT NOT NULL,
    action TEXT NOT NULL,
    resource_type TEXT NOT NULL,
    resource_id TEXT NOT NULL,
    resource_target TEXT NOT NULL,
    organization_id TEXT,
    -- the chat whose agent did it
    via_chat_id TEXT,
    outcome TEXT NOT NULL CHECK (outcome IN ('success', 'denied')),
    diff TEXT NOT NULL,
    ip TEXT NOT NULL,
    user_agent TEXT NOT NULL,
    request_id TEXT NOT NULL,
    status_code INTEGER NOT NULL
) STRICT;
CREATE INDEX audit_logs_time ON audit_logs (created_at, id);

-- Providers and models.

CREATE TABLE providers (
    id TEXT PRIMARY KEY,
    provider TEXT NOT NULL,
    name TEXT NOT NULL,
    display_name TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    -- sealed
    api_key BLOB,
    base_url TEXT,
    central_api_key_enabled INTEGER NOT NULL,
    allow_user_api_key INTEGER NOT NULL,
    allow_central_api_key_fallback INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    CHECK (central_api_key_enabled OR allow_user_api_key),
    CHECK (NOT allow_central_api_key_fallback OR (central_api_key_enabled AND allow_user_api_key))
) STRICT;
CREATE UNIQUE INDEX providers_name ON providers (name);

-- Users' own keys.
CREATE TABLE user_provider_keys (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    provider_id TEXT NOT NULL REFERENCES providers (id) ON DELETE CASCADE,
    -- sealed
    api_key BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    PRIMARY KEY (user_id, provider_id)
) STRICT;
CREATE INDEX user_provider_keys_provider ON user_provider_keys (provider_id);

CREATE TABLE model_configs (
    id TEXT PRIMARY KEY,
    provider_id TEXT REFERENCES providers (id) ON DELETE SET NULL,
    -- the provider's type and name as they were, for rows that outlive it and for presets
    provider TEXT NOT NULL,
    provider_name TEXT NOT NULL,
    model TEXT NOT NULL,
    display_name TEXT NOT NULL,
    enabled INTEGER NOT NULL,
    is_default INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    context_limit INTEGER NOT NULL CHECK (context_limit BETWEEN 1 AND 100000000),
    compression_threshold INTEGER NOT NULL CHECK (compression_threshold BETWEEN 0 AND 100),
    model_config TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    CHECK (NOT is_default OR (enabled AND NOT deleted))
) STRICT;
CREATE UNIQUE INDEX model_configs_default ON model_configs (is_default) WHERE is_default;
CREATE UNIQUE INDEX model_configs_double ON model_configs (provider_name, lower(model), display_name) WHERE NOT deleted;
CREATE INDEX model_configs_provider ON model_configs (provider_id);

-- Templates, workspaces, builds, agents.

CREATE TABLE templates (
    id TEXT PRIMARY KEY,
    organization_id TEXT NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    display_name TEXT NOT NULL,
    description TEXT NOT NULL,
    icon TEXT NOT NULL,
    readme TEXT NOT NULL,
    driver TEXT NOT NULL,
    active_version_id TEXT NOT NULL,
    require_active_version INTEGER NOT NULL,
    deprecated INTEGER NOT NULL,
    deprecation_message TEXT NOT NULL,
    created_by TEXT NOT NULL REFERENCES users (id),
    deleted INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX templates_name ON templates (organization_id, name) WHERE NOT deleted;

CREATE TABLE template_versions (
    id TEXT PRIMARY KEY,
    template_id TEXT NOT NULL REFERENCES templates (id) ON DELETE CASCADE,
    number INTEGER NOT NULL,
    -- the checked spec, JSON
    spec TEXT NOT NULL,
    created_by TEXT NOT NULL REFERENCES users (id),
    created_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX template_versions_number ON template_versions (template_id, number);

CREATE TABLE workspaces (
    id TEXT PRIMARY KEY,
    owner_id TEXT NOT NULL REFERENCES users (id),
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    template_id TEXT NOT NULL REFERENCES templates (id),
    name TEXT NOT NULL,
    -- JSON object of parameter values
    parameters TEXT NOT NULL,
    ttl_ms INTEGER,
    ttl_source TEXT NOT NULL,
    last_used_at INTEGER NOT NULL,
    -- the host that holds a local workspace
    host_id TEXT NOT NULL,
    created_by_chat TEXT,
    -- the tool call that made it: a repeat finds it
    created_by_call TEXT,
    deleted INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX workspaces_name ON workspaces (owner_id, name) WHERE NOT deleted;
CREATE UNIQUE INDEX workspaces_call ON workspaces (created_by_call);
CREATE INDEX workspaces_template ON workspaces (template_id);

CREATE TABLE workspace_builds (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    build_number INTEGER NOT NULL,
    template_version_id TEXT NOT NULL REFERENCES template_versions (id),
    transition TEXT NOT NULL CHECK (transition IN ('start', 'stop', 'delete')),
    state TEXT NOT NULL CHECK (state IN ('pending', 'running', 'succeeded', 'failed', 'canceling', 'canceled')),
    reason TEXT NOT NULL,
    initiator_id TEXT NOT NULL REFERENCES users (id),
    parameters TEXT NOT NULL,
    -- the tool call that asked for it: a repeat finds it
    call TEXT,
    deadline INTEGER,
    error TEXT,
    error_code TEXT,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX workspace_builds_number ON workspace_builds (workspace_id, build_number);
CREATE UNIQUE INDEX workspace_builds_unfinished ON workspace_builds (workspace_id)
    WHERE state IN ('pending', 'running', 'canceling');
CREATE UNIQUE INDEX workspace_builds_call ON workspace_builds (call);

CREATE TABLE workspace_agents (
    id TEXT PRIMARY KEY,
    workspace_id TEXT NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    build_id TEXT NOT NULL REFERENCES workspace_builds (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    token_hash BLOB NOT NULL UNIQUE,
    status TEXT NOT NULL CHECK (status IN ('connecting', 'connected', 'disconnected', 'timeout')),
    lifecycle_state TEXT NOT NULL CHECK (lifecycle_state IN
        ('created', 'starting', 'ready', 'start_error', 'start_timeout', 'off')),
    -- fences late writes of older links
    generation INTEGER NOT NULL,
    ledger_id TEXT NOT NULL,
    operating_system TEXT NOT NULL,
    architecture TEXT NOT NULL,
    directory TEXT NOT NULL,
    version TEXT NOT NULL,
    first_connected_at INTEGER,
    last_connected_at INTEGER,
    disconnected_at INTEGER,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX workspace_agents_build ON workspace_agents (build_id);
CREATE INDEX workspace_agents_workspace ON workspace_agents (workspace_id);

-- Lines of builds (agent_id absent) and of agents.
CREATE TABLE workspace_logs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    build_id TEXT NOT NULL REFERENCES workspace_builds (id) ON DELETE CASCADE,
    agent_id TEXT REFERENCES workspace_agents (id) ON DELETE CASCADE,
    created_at INTEGER NOT NULL,
    log_source TEXT NOT NULL,
    log_level TEXT NOT NULL,
    stage TEXT NOT NULL,
    output TEXT NOT NULL,
    -- the line that says that the rest is left out
    closes INTEGER NOT NULL
) STRICT;
CREATE INDEX workspace_logs_build ON workspace_logs (build_id, id);
CREATE INDEX workspace_logs_agent ON workspace_logs (agent_id, id);
