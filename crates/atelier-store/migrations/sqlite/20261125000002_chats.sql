-- Chats: their running state, messages, queue, tool calls, and what they cost.

CREATE TABLE chats (
    id TEXT PRIMARY KEY,
    owner_id TEXT NOT NULL REFERENCES users (id),
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    workspace_id TEXT REFERENCES workspaces (id) ON DELETE SET NULL,
    parent_chat_id TEXT REFERENCES chats (id) ON DELETE CASCADE,
    root_chat_id TEXT NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    spawn_key TEXT,
    title TEXT NOT NULL,
    title_source TEXT NOT NULL CHECK (title_source IN ('given', 'fallback', 'model', 'user')),
    mode TEXT CHECK (mode IN ('explore', 'computer_use')),
    archived INTEGER NOT NULL,
    pin_order INTEGER NOT NULL,
    -- JSON object of strings
    labels TEXT NOT NULL,
    last_model_config_id TEXT NOT NULL REFERENCES model_configs (id),
    -- JSON list of ids
    mcp_server_ids TEXT NOT NULL,
    workspace_context TEXT,
    closed_at INTEGER,
    last_read_message_id INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,

    status TEXT NOT NULL CHECK (status IN ('waiting', 'pending', 'running', 'error', 'requires_action')),
    stop_kind TEXT CHECK (stop_kind IN ('user', 'send', 'promote', 'close', 'tree', 'archive')),
    epoch INTEGER NOT NULL,
    owner_incarnation TEXT,
    parked INTEGER NOT NULL,
    pending_since INTEGER,
    started_at INTEGER,
    takeovers INTEGER NOT NULL,
    version INTEGER NOT NULL,
    queue_version INTEGER NOT NULL,
    rewind INTEGER NOT NULL,
    turn_no INTEGER NOT NULL,
    step_no INTEGER NOT NULL,
    committed_step INTEGER NOT NULL,
    step_begun_at INTEGER,
    attempt INTEGER NOT NULL,
    retry_at INTEGER,
    retry_info TEXT,
    last_error TEXT,
    context_tokens INTEGER,
    last_message_id INTEGER NOT NULL,
    -- the newest visible assistant message, for the unread mark
    last_answer_id INTEGER NOT NULL,

    CHECK ((status = 'running') = (owner_incarnation IS NOT NULL)),
    CHECK ((status = 'running') = (epoch % 2 = 1)),
    CHECK (status = 'running' OR (stop_kind IS NULL AND NOT parked)),
    CHECK ((status = 'pending') = (pending_since IS NOT NULL)),
    CHECK ((status = 'error') = (last_error IS NOT NULL)),
    CHECK (NOT (archived AND (status = 'pending' OR (status = 'running' AND stop_kind IS NULL))))
) STRICT;
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
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    chat_id TEXT NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    role TEXT NOT NULL CHECK (role IN ('system', 'user', 'assistant', 'tool')),
    -- JSON text, so that U+0000 survives; no default version
    content TEXT NOT NULL,
    content_version INTEGER NOT NULL,
    visibility TEXT NOT NULL CHECK (visibility IN ('user', 'model', 'both')),
    created_by TEXT,
    model_config_id TEXT,
    turn_no INTEGER NOT NULL,
    step_no INTEGER,
    tool_call_id TEXT,
    finish_reason TEXT,
    input_tokens INTEGER,
    output_tokens INTEGER,
    reasoning_tokens INTEGER,
    cache_read_tokens INTEGER,
    cache_creation_tokens INTEGER,
    total_tokens INTEGER,
    context_limit INTEGER,
    total_cost_micros INTEGER,
    estimated INTEGER NOT NULL,
    runtime_ms INTEGER,
    compressed INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    deleted_rewind INTEGER,
    provider_response_id TEXT,
    request_key TEXT,
    created_at INTEGER NOT NULL
) STRICT;
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
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    chat_id TEXT NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    content TEXT NOT NULL,
    content_version INTEGER NOT NULL,
    created_by TEXT,
    model_config_id TEXT,
    mcp_server_ids TEXT,
    urgent_no INTEGER,
    request_key TEXT,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX chat_queue_chat ON chat_queue (chat_id, id);

CREATE TABLE chat_tool_calls (
    -- the call's token
    uid TEXT PRIMARY KEY,
    chat_id TEXT NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    step_no INTEGER NOT NULL,
    call_index INTEGER NOT NULL,
    tool_call_id TEXT NOT NULL,
    tool_name TEXT NOT NULL,
    input_sha256 TEXT NOT NULL,
    class TEXT NOT NULL CHECK (class IN ('repeatable', 'keyed', 'opaque')),
    state TEXT NOT NULL CHECK (state IN ('ready', 'started', 'detached', 'finished', 'unknown')),
    epoch INTEGER NOT NULL,
    target TEXT,
    ledger_id TEXT,
    process_id TEXT,
    started_at INTEGER,
    finished_at INTEGER,
    result_message_id INTEGER,
    created_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX chat_tool_calls_call ON chat_tool_calls (chat_id, tool_call_id);
CREATE INDEX chat_tool_calls_open ON chat_tool_calls (chat_id) WHERE state IN ('ready', 'started', 'detached');

-- The ledger of money. Its rows outlive their chat: no foreign keys.
CREATE TABLE model_calls (
    id TEXT PRIMARY KEY,
    chat_id TEXT NOT NULL,
    root_chat_id TEXT NOT NULL,
    owner_id TEXT NOT NULL,
    organization_id TEXT NOT NULL,
    purpose TEXT NOT NULL CHECK (purpose IN ('step', 'compaction', 'title')),
    step_no INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    message_id INTEGER,
    model_config_id TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    paid_by TEXT NOT NULL CHECK (paid_by IN ('deployment', 'user')),
    input_tokens INTEGER,
    output_tokens INTEGER,
    reasoning_tokens INTEGER,
    cache_read_tokens INTEGER,
    cache_creation_tokens INTEGER,
    total_tokens INTEGER,
    cost_micros INTEGER,
    cost_partial INTEGER NOT NULL,
    estimated INTEGER NOT NULL,
    saturated INTEGER NOT NULL,
    price_source TEXT NOT NULL,
    price_version TEXT,
    runtime_ms INTEGER NOT NULL,
    outcome TEXT NOT NULL CHECK (outcome IN ('finished', 'interrupted', 'failed', 'fenced', 'lost')),
    started_at INTEGER NOT NULL,
    finished_at INTEGER NOT NULL
) STRICT;
CREATE INDEX model_calls_owner ON model_calls (owner_id, finished_at);
CREATE INDEX model_calls_chat ON model_calls (chat_id);
CREATE INDEX model_calls_root ON model_calls (root_chat_id);
CREATE INDEX model_calls_finished ON model_calls (finished_at);

CREATE TABLE spend_days (
    owner_id TEXT NOT NULL,
    organization_id TEXT NOT NULL,
    -- days since 1970-01-01, UTC
    day INTEGER NOT NULL,
    spent_micros INTEGER NOT NULL CHECK (spent_micros >= 0),
    PRIMARY KEY (owner_id, organization_id, day)
) STRICT;

CREATE TABLE spend_reservations (
    model_call_id TEXT PRIMARY KEY,
    owner_id TEXT NOT NULL,
    chat_id TEXT NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    step_no INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    incarnation TEXT NOT NULL,
    micros INTEGER NOT NULL
) STRICT;
CREATE INDEX spend_reservations_owner ON spend_reservations (owner_id);
CREATE INDEX spend_reservations_incarnation ON spend_reservations (incarnation);
CREATE INDEX spend_reservations_chat ON spend_reservations (chat_id);

CREATE TABLE replicas (
    incarnation TEXT PRIMARY KEY,
    url TEXT NOT NULL,
    build TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    lease_until INTEGER NOT NULL,
    draining INTEGER NOT NULL,
    dead INTEGER NOT NULL
) STRICT;

CREATE TABLE chat_files (
    id TEXT PRIMARY KEY,
    hash TEXT NOT NULL,
    owner_id TEXT NOT NULL REFERENCES users (id),
    organization_id TEXT NOT NULL REFERENCES organizations (id),
    name TEXT NOT NULL,
    media_type TEXT NOT NULL,
    size INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX chat_files_owner ON chat_files (owner_id);

CREATE TABLE chat_file_links (
    chat_id TEXT NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    file_id TEXT NOT NULL REFERENCES chat_files (id) ON DELETE CASCADE,
    PRIMARY KEY (chat_id, file_id)
) STRICT;
CREATE INDEX chat_file_links_file ON chat_file_links (file_id);
