-- At what share of a model's context a user's chats are compacted.

CREATE TABLE user_compaction_thresholds (
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    model_config_id uuid NOT NULL REFERENCES model_configs (id) ON DELETE CASCADE,
    threshold_percent integer NOT NULL CHECK (threshold_percent BETWEEN 0 AND 100),
    PRIMARY KEY (user_id, model_config_id)
);
CREATE INDEX user_compaction_thresholds_model ON user_compaction_thresholds (model_config_id);
