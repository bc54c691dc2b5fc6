-- Where bytes lie is a fact of the bytes, not of each file that has them; a bucket is a third place.

CREATE TABLE blobs_new (
    -- SHA-256 in hexadecimal
    hash TEXT PRIMARY KEY,
    place TEXT NOT NULL CHECK (place IN ('database', 'directory', 's3')),
    -- under which the bytes lie outside of the database
    object_key TEXT,
    data BLOB,
    CHECK ((data IS NULL) = (place <> 'database') AND (object_key IS NULL) = (place = 'database'))
) STRICT;
INSERT INTO blobs_new (hash, place, data) SELECT hash, 'database', data FROM blobs;
DROP TABLE blobs;
ALTER TABLE blobs_new RENAME TO blobs;

INSERT INTO blobs (hash, place, object_key)
SELECT DISTINCT hash, place, substr(hash, 1, 2) || '/' || hash FROM chat_files WHERE place = 'directory'
ON CONFLICT (hash) DO NOTHING;
ALTER TABLE chat_files DROP COLUMN place;

-- bytes outside of the database that no blob names: removed after a time
CREATE TABLE blob_removals (
    place TEXT NOT NULL CHECK (place IN ('directory', 's3')),
    object_key TEXT NOT NULL,
    due_at INTEGER NOT NULL,
    PRIMARY KEY (place, object_key)
) STRICT;
CREATE INDEX blob_removals_due ON blob_removals (due_at);
