-- +goose Up
-- Which policies were put in force, one row for each change.
CREATE TABLE policy_changes (
    n    BIGINT NOT NULL PRIMARY KEY, -- from 1 on, without gaps
    id   TEXT   NOT NULL UNIQUE,
    at   BIGINT NOT NULL,             -- when an instance put them in force
    body TEXT   NOT NULL              -- the PolicyChange, JSON
);

-- +goose Down
DROP TABLE policy_changes;
