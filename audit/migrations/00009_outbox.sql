-- +goose Up
-- Events that receivers were not told yet: one row for each event and receiver. Rows
-- are written in the transaction that records what they tell, and deleted once they
-- are delivered.
CREATE TABLE outbox (
    receiver TEXT   NOT NULL, -- its name in the configuration
    event    TEXT   NOT NULL, -- the event's id
    type     TEXT   NOT NULL,
    at       BIGINT NOT NULL, -- when it was written
    body     TEXT   NOT NULL, -- the event, JSON
    state    TEXT   NOT NULL CHECK (state IN ('pending', 'dead')),
    due      BIGINT NOT NULL, -- the next attempt; while an instance makes one, when its claim ends
    attempts BIGINT NOT NULL,
    error    TEXT   NOT NULL, -- of the last attempt; '': there was none
    PRIMARY KEY (receiver, event)
);

CREATE INDEX outbox_by_due  ON outbox (receiver, state, due);
CREATE INDEX outbox_by_time ON outbox (state, at, receiver, event);

-- Counts by receiver that outlive the rows.
CREATE TABLE outbox_counts (
    receiver TEXT   NOT NULL PRIMARY KEY,
    dropped  BIGINT NOT NULL -- events that were removed and never delivered
);

-- What was told last of a state, so that it is told once.
CREATE TABLE outbox_marks (
    name  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);

-- +goose Down
DROP TABLE outbox_marks;
DROP TABLE outbox_counts;
DROP TABLE outbox;
