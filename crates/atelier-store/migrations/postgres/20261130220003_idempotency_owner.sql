-- Which life of a replica carries a request out: the key of a request that died with it is free again.

ALTER TABLE idempotency_keys ADD COLUMN owner_incarnation uuid;
