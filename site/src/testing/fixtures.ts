/** Values of the API's types for stories and tests: usual ones, to be changed where it matters. */
import type { Schemas } from "../api/client";
import { initialChatState, reduceAction, reduceFrame } from "../features/chat/model/chat-stream-reducer";
import type { ChatMessage, ChatState, ChatStreamEvent, MessagePart } from "../features/chat/model/types";

export const ORGANIZATION = "01940000-0000-7000-8000-0000000000d1";
export const USER = "01940000-0000-7000-8000-000000000001";
export const CHAT = "01940000-0000-7000-8000-0000000000c1";
export const MODEL = "01940000-0000-7000-8000-0000000000a1";
const AT = "2026-11-25T09:30:00.000000Z";

export function chat(changed: Partial<Schemas["Chat"]> = {}): Schemas["Chat"] {
  return {
    id: CHAT,
    owner_id: USER,
    organization_id: ORGANIZATION,
    title: "Make the tests pass",
    status: "waiting",
    archived: false,
    pin_order: 0,
    labels: {},
    last_model_config_id: MODEL,
    mcp_server_ids: [],
    root_chat_id: CHAT,
    has_unread: false,
    queued_for_capacity: false,
    last_error: null,
    created_at: AT,
    updated_at: AT,
    ...changed,
  };
}

export const user = (changed: Partial<Schemas["User"]> = {}): Schemas["User"] => ({
  id: USER,
  username: "ada",
  name: "Ada",
  email: "ada@example.com",
  avatar_url: "",
  status: "active",
  roles: [{ name: "owner", display_name: "Owner" }],
  organization_ids: [ORGANIZATION],
  last_seen_at: AT,
  created_at: AT,
  updated_at: AT,
  ...changed,
});

let lastId = 0;

export function message(role: ChatMessage["role"], content: MessagePart[], changed: Partial<ChatMessage> = {}) {
  lastId += 1;
  return { id: lastId, chat_id: CHAT, role, content, created_at: AT, ...changed } satisfies ChatMessage;
}

export const text = (words: string): MessagePart => ({ type: "text", text: words });

/** A state of the reducer behind these events. */
export function stateAfter(events: readonly Record<string, unknown>[], now = 0): ChatState {
  const begun = reduceAction(initialChatState(CHAT, now), { type: "snapshot_begins" });
  const all = events.map((event) => ({ chat_id: CHAT, ...event })) as unknown as ChatStreamEvent[];
  return reduceFrame(begun, all, now).state;
}

export const model = (changed: Partial<Schemas["ModelConfig"]> = {}): Schemas["ModelConfig"] => ({
  id: MODEL,
  provider: "anthropic",
  provider_name: "anthropic",
  warnings: [],
  provider_id: "01940000-0000-7000-8000-0000000000b1",
  model: "claude-fable-4",
  display_name: "Fable 4",
  enabled: true,
  is_default: true,
  context_limit: 200_000,
  compression_threshold: 80,
  model_config: { cost: { input_price_per_million_tokens: "3", output_price_per_million_tokens: "15" } },
  effective_cost: { input_price_per_million_tokens: "3", output_price_per_million_tokens: "15" },
  created_at: AT,
  updated_at: AT,
  ...changed,
});

/** What a caller may use of a provider. */
export const modelsOf = (changed: Partial<Schemas["ModelsOfProvider"]> = {}): Schemas["ModelsOfProvider"] => ({
  provider: "anthropic",
  name: "anthropic",
  display_name: "Anthropic",
  available: true,
  models: [{ id: "anthropic:claude-fable-4", provider: "anthropic", model: "claude-fable-4", display_name: "Fable 4" }],
  ...changed,
});

export const provider = (changed: Partial<Schemas["Provider"]> = {}): Schemas["Provider"] => ({
  id: "01940000-0000-7000-8000-0000000000b1",
  provider: "anthropic",
  name: "anthropic",
  display_name: "Anthropic",
  enabled: true,
  has_api_key: true,
  central_api_key_enabled: true,
  allow_user_api_key: false,
  allow_central_api_key_fallback: false,
  warnings: [],
  source: "database",
  ...changed,
});

export const workspace = (changed: Partial<Schemas["Workspace"]> = {}): Schemas["Workspace"] => {
  const id = "01940000-0000-7000-8000-0000000000e1";
  return {
    id,
    name: "calm-fox",
    owner_id: USER,
    owner_name: "ada",
    owner_avatar_url: "",
    organization_id: ORGANIZATION,
    organization_name: "default",
    template_id: "01940000-0000-7000-8000-0000000000f1",
    template_name: "demo",
    template_display_name: "Demo",
    template_icon: "",
    outdated: false,
    latest_build: {
      id: "01940000-0000-7000-8000-0000000000e2",
      workspace_id: id,
      build_number: 1,
      transition: "start",
      status: "running",
      reason: "initiator",
      initiator_id: USER,
      initiator_name: "ada",
      template_version_id: "01940000-0000-7000-8000-0000000000f2",
      agents: [],
      resources: [],
      created_at: AT,
      updated_at: AT,
    },
    last_used_at: AT,
    created_at: AT,
    updated_at: AT,
    ...changed,
  };
};
