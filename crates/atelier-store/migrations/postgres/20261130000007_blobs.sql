-- Where bytes lie is a fact of the bytes, not of each file that has them; a bucket is a third place.

ALTER TABLE blobs ALTER COLUMN data DROP NOT NULL;
ALTER TABLE blobs ADD COLUMN place text NOT NULL DEFAULT 'database' CHECK (place IN ('database', 'directory', 's3'));
-- under which the bytes lie outside of the database
ALTER TABLE blobs ADD COLUMN object_key text;
ALTER TABLE blobs ADD CHECK ((data IS NULL) = (place <> 'database') AND (object_key IS NULL) = (place = 'database'));

INSERT INTO blobs (hash, place, object_key)
SELECT DISTINCT hash, place, substr(hash, 1, 2) || '/' || hash FROM chat_files WHERE place = 'directory'
ON CONFLICT (hash) DO NOTHING;
ALTER TABLE chat_files DROP COLUMN place;

-- bytes outside of the database that no blob names: removed after a time
CREATE TABLE blob_removals (
    place text NOT NULL CHECK (place IN ('directory', 's3')),
    object_key text NOT NULL,
    due_at timestamptz NOT NULL,
    PRIMARY KEY (place, object_key)
);
CREATE INDEX blob_removals_due ON blob_removals (due_at);
