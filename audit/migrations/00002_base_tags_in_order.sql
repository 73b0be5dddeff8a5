-- +goose Up
-- Versions before this one read a tag's history in the wrong order after a
-- restart, and several instances each recorded a move at the time of their own
-- look-up. Both left stretches of one tag that overlap. A tag names one digest
-- at a time, so each stretch is taken to end where the next one begins. That is
-- an inference: the ends that were recorded are overwritten where they are later.
UPDATE base_tags
SET seen_until = (
    SELECT MIN(n.seen_from) FROM base_tags n
    WHERE n.repository = base_tags.repository AND n.tag = base_tags.tag AND n.seen_from > base_tags.seen_from
)
WHERE EXISTS (
    SELECT 1 FROM base_tags n
    WHERE n.repository = base_tags.repository AND n.tag = base_tags.tag AND n.seen_from > base_tags.seen_from
      AND (base_tags.seen_until IS NULL OR base_tags.seen_until > n.seen_from)
);

-- The last look-up that found the digest under the tag. NULL: not recorded.
ALTER TABLE base_tags ADD COLUMN seen_last BIGINT;

-- +goose Down
ALTER TABLE base_tags DROP COLUMN seen_last;
