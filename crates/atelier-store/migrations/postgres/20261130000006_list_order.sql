-- The order of the list in one direction, so that a page deep in it is found as fast as the first.

DROP INDEX chats_order;
CREATE INDEX chats_place ON chats
    (owner_id, archived, (CASE WHEN pin_order > 0 THEN -pin_order ELSE -2147483647 END) DESC, updated_at DESC, id DESC);
