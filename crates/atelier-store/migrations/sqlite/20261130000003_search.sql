-- Full-text search over titles and messages. Words are folded by the program (atelier-domain::search).

ALTER TABLE chats ADD COLUMN title_folded TEXT NOT NULL DEFAULT '';
ALTER TABLE chats ADD COLUMN title_words TEXT NOT NULL DEFAULT '';

-- Only the index, no text. Row id: the message's id times 65536, plus the number of its piece.
-- `ascii` splits at spaces and keeps everything else as it is.
CREATE VIRTUAL TABLE chat_search USING fts5 (words, content = '', contentless_delete = 1, tokenize = 'ascii');
