-- Models that have refused the pictures and PDFs of a chat: these are left out of what they are sent.

CREATE TABLE chat_media_refusals (
    chat_id uuid NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    model_config_id uuid NOT NULL REFERENCES model_configs (id) ON DELETE CASCADE,
    PRIMARY KEY (chat_id, model_config_id)
);
CREATE INDEX chat_media_refusals_model ON chat_media_refusals (model_config_id);
