-- Full-text search over titles and messages. Words are folded by the program (atelier-domain::search).

ALTER TABLE chats ADD COLUMN title_folded text NOT NULL DEFAULT '';
ALTER TABLE chats ADD COLUMN title_words text NOT NULL DEFAULT '';

-- A message has as many rows as it needs for the limits of a tsvector.
CREATE TABLE chat_search (
    chat_id uuid NOT NULL REFERENCES chats (id) ON DELETE CASCADE,
    message_id bigint NOT NULL,
    piece integer NOT NULL,
    words tsvector NOT NULL,
    PRIMARY KEY (chat_id, message_id, piece)
);
CREATE INDEX chat_search_words ON chat_search USING gin (words);
