-- +goose Up
-- The transparency log of the record. log_head has the size of its tree, and the
-- hashes of the complete subtrees, base64. Whoever appends changes this row, so
-- that appends of several instances take turns.
CREATE TABLE log_head (
    one   BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    size  BIGINT NOT NULL,
    peaks TEXT   NOT NULL
);

INSERT INTO log_head (one, size, peaks) VALUES (1, 0, '');

CREATE TABLE log_leaves (
    n      BIGINT NOT NULL PRIMARY KEY, -- from 0 on, without gaps
    kind   TEXT   NOT NULL,
    id     TEXT   NOT NULL,
    entry  BYTEA  NOT NULL,             -- what the tree is made of: commitments, no content
    salt   BYTEA,                       -- opens them; NULL once the record is pruned
    hashes BYTEA  NOT NULL              -- of the entry, and of each subtree that it completes, 32 bytes each
);

CREATE UNIQUE INDEX log_leaves_by_record ON log_leaves (id, kind);

-- The newest checkpoint that was signed.
CREATE TABLE log_checkpoint (
    one  BIGINT NOT NULL PRIMARY KEY CHECK (one = 1),
    size BIGINT NOT NULL,
    note TEXT   NOT NULL                -- a signed note
);

-- +goose Down
DROP TABLE log_checkpoint;
DROP TABLE log_leaves;
DROP TABLE log_head;
