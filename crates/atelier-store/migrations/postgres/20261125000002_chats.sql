-- Chats: their running state, messages, queue, tool calls, and what they cost.

CREATE TYPE chat_status AS ENUM ('waiting', 'pending', 'running', 'error', 'requires_action');
CREATE TYPE message_role AS ENUM ('system', 'user', 'assistant', 'tool');
CREATE TYPE message_visibility AS ENUM ('user', 'model', 'both');

CREATE TABLE chats (
    id uuid PRIMARY KEY,
    owner_id uuid NOT NULL REFERENCES users (id),
    organization_id uuid NOT NULL REFERENCES organizations (id),
    workspace_id uuid REFERENCES workspaces (id) ON DELETE SET NULL,
    parent_chat_id uuid REFERENCES chats (id) ON DELETE CASCADE,
    root_chat_id uuid NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    spawn_key uuid,
    title text NOT NULL,
    title_source text NOT NULL CHECK (title_source IN ('given', 'fallback', 'model', 'user')),
    mode text CHECK (mode IN ('explore', 'computer_use')),
    archived boolean NOT NULL,
    pin_order integer NOT NULL,
    -- JSON object of strings
    labels text NOT NULL,
    last_model_config_id uuid NOT NULL REFERENCES model_configs (id),
    -- JSON list of ids
    mcp_server_ids text NOT NULL,
    workspace_context text,
    closed_at timestamptz,
    last_read_message_id bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    changed_at timestamptz NOT NULL,

    status chat_status NOT NULL,
    stop_kind text CHECK (stop_kind IN ('user', 'send', 'promote', 'close', 'tree', 'archive')),
    epoch bigint NOT NULL,
    owner_incarnation uuid,
    parked boolean NOT NULL,
    pending_since timestamptz,
    started_at timestamptz,
    takeovers integer NOT NULL,
    version bigint NOT NULL,
    queue_version bigint NOT NULL,
    rewind bigint NOT NULL,
    turn_no bigint NOT NULL,
    step_no bigint NOT NULL,
    committed_step bigint NOT NULL,
    step_begun_at timestamptz,
    attempt integer NOT NULL,
    retry_at timestamptz,
    retry_info text,
    last_error text,
    context_tokens bigint,
    last_message_id bigint NOT NULL,
    -- the newest visible assistant message, for the unread mark
    last_answer_id bigint NOT NULL,

    CHECK ((status = 'running') = (owner_incarnation IS NOT NULL)),
    CHECK ((status = 'running') = (epoch % 2 = 1)),
    CHECK (status = 'running' OR (stop_kind IS NULL AND NOT parked)),
    CHECK ((status = 'pending') = (pending_since IS NOT NULL)),
    CHECK ((status = 'error') = (last_error IS NOT NULL)),
    CHECK (NOT (archived AND (status = 'pending' OR (status = 'running' AND stop_kind IS NULL))))
);
CREATE INDEX chats_list ON chats (owner_id, updated_at DESC, id DESC);
-- the order of the list: pinned chats by their place, then the others
CREATE INDEX chats_order ON chats
    (owner_id, archived, (CASE WHEN pin_order > 0 THEN pin_order ELSE 2147483647 END), updated_at DESC, id DESC);
CREATE INDEX chats_changed ON chats (owner_id, changed_at);
CREATE INDEX chats_parent ON chats (parent_chat_id);
CREATE INDEX chats_root ON chats (root_chat_id);
CREATE INDEX chats_workspace ON chats (workspace_id);
CREATE INDEX chats_model ON chats (last_model_config_id);
CREATE UNIQUE INDEX chats_spawn ON chats (spawn_key);
CREATE INDEX chats_pending ON chats (pending_since, id) WHERE status = 'pending';
CREATE INDEX chats_running ON chats (owner_incarnation) WHERE status = 'running';
CREATE INDEX chats_running_user ON chats (owner_id) WHERE status = 'running' AND NOT parked;

CREATE TABLE chat_messages (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    chat_id uuid NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    role message_role NOT NULL,
    -- JSON text, so that U+0000 survives; no default version
    content text NOT NULL,
    content_version integer NOT NULL,
    visibility message_visibility NOT NULL,
    created_by uuid,
    model_config_id uuid,
    turn_no bigint NOT NULL,
    step_no bigint,
    tool_call_id text,
    finish_reason text,
    input_tokens bigint,
    output_tokens bigint,
    reasoning_tokens bigint,
    cache_read_tokens bigint,
    cache_creation_tokens bigint,
    total_tokens bigint,
    context_limit bigint,
    total_cost_micros bigint,
    estimated boolean NOT NULL,
    runtime_ms bigint,
    compressed boolean NOT NULL,
    deleted boolean NOT NULL,
    deleted_rewind bigint,
    provider_response_id text,
    request_key text,
    created_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX chat_messages_chat ON chat_messages (chat_id, id);
CREATE INDEX chat_messages_visible ON chat_messages (chat_id, id)
    WHERE NOT deleted AND visibility <> 'model' AND role <> 'system';
-- a chat's prompt looks for the one system row, which is its oldest
CREATE INDEX chat_messages_system ON chat_messages (chat_id, id DESC) WHERE NOT deleted AND role = 'system';
CREATE INDEX chat_messages_summary ON chat_messages (chat_id, id DESC)
    WHERE NOT deleted AND compressed AND role = 'user' AND visibility = 'model';
CREATE UNIQUE INDEX chat_messages_answer ON chat_messages (chat_id, step_no)
    WHERE role = 'assistant' AND NOT deleted AND NOT compressed;
CREATE UNIQUE INDEX chat_messages_result ON chat_messages (chat_id, tool_call_id)
    WHERE role = 'tool' AND NOT deleted;
CREATE UNIQUE INDEX chat_messages_request ON chat_messages (chat_id, request_key);

CREATE TABLE chat_queue (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    chat_id uuid NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    content text NOT NULL,
    content_version integer NOT NULL,
    created_by uuid,
    model_config_id uuid,
    mcp_server_ids text,
    urgent_no bigint,
    request_key text,
    created_at timestamptz NOT NULL
);
CREATE INDEX chat_queue_chat ON chat_queue (chat_id, id);

CREATE TABLE chat_tool_calls (
    -- the call's token
    uid uuid PRIMARY KEY,
    chat_id uuid NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    step_no bigint NOT NULL,
    call_index integer NOT NULL,
    tool_call_id text NOT NULL,
    tool_name text NOT NULL,
    input_sha256 text NOT NULL,
    class text NOT NULL CHECK (class IN ('repeatable', 'keyed', 'opaque')),
    state text NOT NULL CHECK (state IN ('ready', 'started', 'detached', 'finished', 'unknown')),
    epoch bigint NOT NULL,
    target text,
    ledger_id text,
    process_id text,
    started_at timestamptz,
    finished_at timestamptz,
    result_message_id bigint,
    created_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX chat_tool_calls_call ON chat_tool_calls (chat_id, tool_call_id);
CREATE INDEX chat_tool_calls_open ON chat_tool_calls (chat_id) WHERE state IN ('ready', 'started', 'detached');

-- The ledger of money. Its rows outlive their chat: no foreign keys.
CREATE TABLE model_calls (
    id uuid PRIMARY KEY,
    chat_id uuid NOT NULL,
    root_chat_id uuid NOT NULL,
    owner_id uuid NOT NULL,
    organization_id uuid NOT NULL,
    purpose text NOT NULL CHECK (purpose IN ('step', 'compaction', 'title')),
    step_no bigint NOT NULL,
    attempt integer NOT NULL,
    message_id bigint,
    model_config_id uuid NOT NULL,
    provider text NOT NULL,
    model text NOT NULL,
    paid_by text NOT NULL CHECK (paid_by IN ('deployment', 'user')),
    input_tokens bigint,
    output_tokens bigint,
    reasoning_tokens bigint,
    cache_read_tokens bigint,
    cache_creation_tokens bigint,
    total_tokens bigint,
    cost_micros bigint,
    cost_partial boolean NOT NULL,
    estimated boolean NOT NULL,
    saturated boolean NOT NULL,
    price_source text NOT NULL,
    price_version text,
    runtime_ms bigint NOT NULL,
    outcome text NOT NULL CHECK (outcome IN ('finished', 'interrupted', 'failed', 'fenced', 'lost')),
    started_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL
);
CREATE INDEX model_calls_owner ON model_calls (owner_id, finished_at);
CREATE INDEX model_calls_chat ON model_calls (chat_id);
CREATE INDEX model_calls_root ON model_calls (root_chat_id);
CREATE INDEX model_calls_finished ON model_calls (finished_at);

CREATE TABLE spend_days (
    owner_id uuid NOT NULL,
    organization_id uuid NOT NULL,
    -- days since 1970-01-01, UTC
    day integer NOT NULL,
    spent_micros bigint NOT NULL CHECK (spent_micros >= 0),
    PRIMARY KEY (owner_id, organization_id, day)
);

CREATE TABLE spend_reservations (
    model_call_id uuid PRIMARY KEY,
    owner_id uuid NOT NULL,
    chat_id uuid NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    step_no bigint NOT NULL,
    attempt integer NOT NULL,
    incarnation uuid NOT NULL,
    micros bigint NOT NULL
);
CREATE INDEX spend_reservations_owner ON spend_reservations (owner_id);
CREATE INDEX spend_reservations_incarnation ON spend_reservations (incarnation);
CREATE INDEX spend_reservations_chat ON spend_reservations (chat_id);

CREATE TABLE replicas (
    incarnation uuid PRIMARY KEY,
    url text NOT NULL,
    build text NOT NULL,
    started_at timestamptz NOT NULL,
    lease_until timestamptz NOT NULL,
    draining boolean NOT NULL,
    dead boolean NOT NULL
);

CREATE TABLE chat_files (
    id uuid PRIMARY KEY,
    hash text NOT NULL,
    owner_id uuid NOT NULL REFERENCES users (id),
    organization_id uuid NOT NULL REFERENCES organizations (id),
    name text NOT NULL,
    media_type text NOT NULL,
    size bigint NOT NULL,
    created_at timestamptz NOT NULL
);
CREATE INDEX chat_files_owner ON chat_files (owner_id);

CREATE TABLE chat_file_links (
    chat_id uuid NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    file_id uuid NOT NULL REFERENCES chat_files (id) ON DELETE CASCADE,
    PRIMARY KEY (chat_id, file_id)
);
CREATE INDEX chat_file_links_file ON chat_file_links (file_id);
