-- Users and how they log in. Names that lists are sorted by have the collation of SQLite.

CREATE TABLE users (
    id uuid PRIMARY KEY,
    email text NOT NULL,
    username text COLLATE "C" NOT NULL,
    name text NOT NULL,
    avatar_url text NOT NULL,
    status text NOT NULL CHECK (status IN ('active', 'suspended')),
    -- JSON list of site roles beside the implied member
    roles text NOT NULL,
    password_hash text NOT NULL,
    preferences text NOT NULL,
    user_prompt text NOT NULL,
    deleted boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    last_seen_at timestamptz,
    -- the email in lower case, and all that a search looks at: engines fold letters differently
    email_key text NOT NULL,
    search_text text NOT NULL
);
CREATE UNIQUE INDEX users_email ON users (email_key) WHERE NOT deleted;
CREATE UNIQUE INDEX users_username ON users (lower(username)) WHERE NOT deleted;

CREATE TABLE user_sessions (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- SHA-256 of the token
    token_hash bytea NOT NULL UNIQUE,
    created_at timestamptz NOT NULL,
    last_used_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL
);
CREATE INDEX user_sessions_user ON user_sessions (user_id);

CREATE TABLE api_tokens (
    id uuid PRIMARY KEY,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    token_name text NOT NULL,
    token_hash bytea NOT NULL UNIQUE,
    created_at timestamptz NOT NULL,
    last_used_at timestamptz,
    expires_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX api_tokens_name ON api_tokens (user_id, token_name);

-- Organizations and groups.

CREATE TABLE organizations (
    id uuid PRIMARY KEY,
    name text COLLATE "C" NOT NULL,
    display_name text NOT NULL,
    description text NOT NULL,
    icon text NOT NULL,
    is_default boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX organizations_name ON organizations (lower(name));
CREATE UNIQUE INDEX organizations_default ON organizations (is_default) WHERE is_default;

CREATE TABLE organization_members (
    organization_id uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- JSON list of organization roles beside the implied organization-member
    roles text NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (organization_id, user_id)
);
CREATE INDEX organization_members_user ON organization_members (user_id, created_at);

-- The group "Everyone" of an organization is implied and has no row.
CREATE TABLE user_groups (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    name text COLLATE "C" NOT NULL,
    display_name text NOT NULL,
    avatar_url text NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX user_groups_name ON user_groups (organization_id, lower(name));

CREATE TABLE user_group_members (
    group_id uuid NOT NULL REFERENCES user_groups (id) ON DELETE CASCADE,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    PRIMARY KEY (group_id, user_id)
);
CREATE INDEX user_group_members_user ON user_group_members (user_id);

-- Settings, secrets, repeats, audit.

CREATE TABLE site_settings (
    name text PRIMARY KEY,
    value text NOT NULL,
    updated_at timestamptz NOT NULL
);

CREATE TABLE secret_keys (
    -- first 8 bytes of the SHA-256 of the key, hex
    id text PRIMARY KEY,
    state text NOT NULL CHECK (state IN ('active', 'revoked')),
    canary bytea NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE idempotency_keys (
    -- SHA-256 of user, method, path and key
    scope bytea PRIMARY KEY,
    body_hash bytea NOT NULL,
    -- absent while the first call runs
    status integer,
    body text,
    created_at timestamptz NOT NULL
);
CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);

CREATE TABLE audit_logs (
    id uuid PRIMARY KEY,
    created_at timestamptz NOT NULL,
    user_id uuid,
    username text NOT NULL,
    actor_kind text NOT NULL,
    action text NOT NULL,
    resource_type text NOT NULL,
    resource_id text NOT NULL,
    resource_target text NOT NULL,
    organization_id uuid,
    -- the chat whose agent did it
    via_chat_id uuid,
    outcome text NOT NULL CHECK (outcome IN ('success', 'denied')),
    diff text NOT NULL,
    ip text NOT NULL,
    user_agent text NOT NULL,
    request_id text NOT NULL,
    status_code integer NOT NULL
);
CREATE INDEX audit_logs_time ON audit_logs (created_at, id);

-- Providers and models.

CREATE TABLE providers (
    id uuid PRIMARY KEY,
    provider text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    display_name text NOT NULL,
    enabled boolean NOT NULL,
    -- sealed
    api_key bytea,
    base_url text,
    central_api_key_enabled boolean NOT NULL,
    allow_user_api_key boolean NOT NULL,
    allow_central_api_key_fallback boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CHECK (central_api_key_enabled OR allow_user_api_key),
    CHECK (NOT allow_central_api_key_fallback OR (central_api_key_enabled AND allow_user_api_key))
);
CREATE UNIQUE INDEX providers_name ON providers (name);

-- Users' own keys.
CREATE TABLE user_provider_keys (
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    provider_id uuid NOT NULL REFERENCES providers (id) ON DELETE CASCADE,
    -- sealed
    api_key bytea NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, provider_id)
);
CREATE INDEX user_provider_keys_provider ON user_provider_keys (provider_id);

CREATE TABLE model_configs (
    id uuid PRIMARY KEY,
    provider_id uuid REFERENCES providers (id) ON DELETE SET NULL,
    -- the provider's type and name as they were, for rows that outlive it and for presets
    provider text NOT NULL,
    provider_name text NOT NULL,
    model text NOT NULL,
    display_name text NOT NULL,
    enabled boolean NOT NULL,
    is_default boolean NOT NULL,
    deleted boolean NOT NULL,
    context_limit bigint NOT NULL CHECK (context_limit BETWEEN 1 AND 100000000),
    compression_threshold integer NOT NULL CHECK (compression_threshold BETWEEN 0 AND 100),
    model_config text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CHECK (NOT is_default OR (enabled AND NOT deleted))
);
CREATE UNIQUE INDEX model_configs_default ON model_configs (is_default) WHERE is_default;
CREATE UNIQUE INDEX model_configs_double ON model_configs (provider_name, lower(model), display_name) WHERE NOT deleted;
CREATE INDEX model_configs_provider ON model_configs (provider_id);

-- Templates, workspaces, builds, agents.

CREATE TABLE templates (
    id uuid PRIMARY KEY,
    organization_id uuid NOT NULL REFERENCES organizations (id) ON DELETE CASCADE,
    name text COLLATE "C" NOT NULL,
    display_name text NOT NULL,
    description text NOT NULL,
    icon text NOT NULL,
    readme text NOT NULL,
    driver text NOT NULL,
    active_version_id uuid NOT NULL,
    require_active_version boolean NOT NULL,
    deprecated boolean NOT NULL,
    deprecation_message text NOT NULL,
    created_by uuid NOT NULL REFERENCES users (id),
    deleted boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX templates_name ON templates (organization_id, name) WHERE NOT deleted;

CREATE TABLE template_versions (
    id uuid PRIMARY KEY,
    template_id uuid NOT NULL REFERENCES templates (id) ON DELETE CASCADE,
    number integer NOT NULL,
    -- the checked spec, JSON
    spec text NOT NULL,
    created_by uuid NOT NULL REFERENCES users (id),
    created_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX template_versions_number ON template_versions (template_id, number);

CREATE TABLE workspaces (
    id uuid PRIMARY KEY,
    owner_id uuid NOT NULL REFERENCES users (id),
    organization_id uuid NOT NULL REFERENCES organizations (id),
    template_id uuid NOT NULL REFERENCES templates (id),
    name text COLLATE "C" NOT NULL,
    -- JSON object of parameter values
    parameters text NOT NULL,
    ttl_ms bigint,
    ttl_source text NOT NULL,
    last_used_at timestamptz NOT NULL,
    -- the host that holds a local workspace
    host_id text NOT NULL,
    created_by_chat uuid,
    -- the tool call that made it: a repeat finds it
    created_by_call uuid,
    deleted boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX workspaces_name ON workspaces (owner_id, name) WHERE NOT deleted;
CREATE UNIQUE INDEX workspaces_call ON workspaces (created_by_call);
CREATE INDEX workspaces_template ON workspaces (template_id);

CREATE TABLE workspace_builds (
    id uuid PRIMARY KEY,
    workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    build_number integer NOT NULL,
    template_version_id uuid NOT NULL REFERENCES template_versions (id),
    transition text NOT NULL CHECK (transition IN ('start', 'stop', 'delete')),
    state text NOT NULL CHECK (state IN ('pending', 'running', 'succeeded', 'failed', 'canceling', 'canceled')),
    reason text NOT NULL,
    initiator_id uuid NOT NULL REFERENCES users (id),
    parameters text NOT NULL,
    -- the tool call that asked for it: a repeat finds it
    call uuid,
    deadline timestamptz,
    error text,
    error_code text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX workspace_builds_number ON workspace_builds (workspace_id, build_number);
CREATE UNIQUE INDEX workspace_builds_unfinished ON workspace_builds (workspace_id)
    WHERE state IN ('pending', 'running', 'canceling');
CREATE UNIQUE INDEX workspace_builds_call ON workspace_builds (call);

CREATE TABLE workspace_agents (
    id uuid PRIMARY KEY,
    workspace_id uuid NOT NULL REFERENCES workspaces (id) ON DELETE CASCADE,
    build_id uuid NOT NULL REFERENCES workspace_builds (id) ON DELETE CASCADE,
    name text NOT NULL,
    token_hash bytea NOT NULL UNIQUE,
    status text NOT NULL CHECK (status IN ('connecting', 'connected', 'disconnected', 'timeout')),
    lifecycle_state text NOT NULL CHECK (lifecycle_state IN
        ('created', 'starting', 'ready', 'start_error', 'start_timeout', 'off')),
    -- fences late writes of older links
    generation bigint NOT NULL,
    ledger_id text NOT NULL,
    operating_system text NOT NULL,
    architecture text NOT NULL,
    directory text NOT NULL,
    version text NOT NULL,
    first_connected_at timestamptz,
    last_connected_at timestamptz,
    disconnected_at timestamptz,
    created_at timestamptz NOT NULL
);
CREATE INDEX workspace_agents_build ON workspace_agents (build_id);
CREATE INDEX workspace_agents_workspace ON workspace_agents (workspace_id);

-- Lines of builds (agent_id absent) and of agents.
CREATE TABLE workspace_logs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    build_id uuid NOT NULL REFERENCES workspace_builds (id) ON DELETE CASCADE,
    agent_id uuid REFERENCES workspace_agents (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL,
    log_source text NOT NULL,
    log_level text NOT NULL,
    stage text NOT NULL,
    output text NOT NULL,
    -- the line that says that the rest is left out
    closes boolean NOT NULL
);
CREATE INDEX workspace_logs_build ON workspace_logs (build_id, id);
CREATE INDEX workspace_logs_agent ON workspace_logs (agent_id, id);
