-- Bytes of files: in this table, or where the setting says.

CREATE TABLE blobs (
    -- SHA-256 in hexadecimal
    hash TEXT PRIMARY KEY,
    data BLOB NOT NULL
) STRICT;

-- a new file lies where the setting says; an old one stays where it was put
ALTER TABLE chat_files ADD COLUMN place TEXT NOT NULL DEFAULT 'database' CHECK (place IN ('database', 'directory'));
CREATE INDEX chat_files_hash ON chat_files (hash);
CREATE INDEX chat_files_created ON chat_files (created_at);
