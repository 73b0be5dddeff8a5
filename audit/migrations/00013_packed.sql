-- +goose Up
-- Decisions take a fifth of the space when they are compressed. The columns of earlier
-- builds have what these recorded, and are empty where the new ones have a value. What a
-- table has is not rewritten: adding a column that may be NULL takes no time.

ALTER TABLE decisions ADD COLUMN packed BYTEA; -- body and evidence, zstd; NULL: in their columns
ALTER TABLE images    ADD COLUMN packed BYTEA; -- line, zstd; NULL: in its column

-- +goose Down
-- What was compressed cannot be read without them.
ALTER TABLE images    DROP COLUMN packed;
ALTER TABLE decisions DROP COLUMN packed;
