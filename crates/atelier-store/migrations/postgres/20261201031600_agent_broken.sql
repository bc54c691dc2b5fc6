-- Why a connected workspace agent cannot do its work, in its own words; null while it can.

ALTER TABLE workspace_agents ADD COLUMN broken text;
