-- +goose Up
-- The search index. It is derived from decisions and their evidence, and is kept
-- after a decision is recorded, so that recording does not wait for it.

-- Finished decisions that the index does not have yet. A decision enters it in the
-- transaction that finishes it.
CREATE TABLE decision_queue (
    id TEXT NOT NULL PRIMARY KEY
);

-- What a decision is found by: "caller:…", "reason:…", "tag:…".
CREATE TABLE decision_terms (
    term     TEXT   NOT NULL,
    at       BIGINT NOT NULL,
    decision TEXT   NOT NULL,
    PRIMARY KEY (term, at, decision)
);

CREATE TABLE repositories (
    repository TEXT NOT NULL PRIMARY KEY,
    name       TEXT NOT NULL -- its last segment
);

CREATE INDEX repositories_by_name ON repositories (name);

-- In which repositories a finding was: "cve:…", "package:…", and "findings:…" for
-- the blobs of findings that were read.
CREATE TABLE finding_terms (
    term       TEXT NOT NULL,
    repository TEXT NOT NULL,
    PRIMARY KEY (term, repository)
);

-- Earlier decisions are entered one batch after the other while the gate runs.
INSERT INTO decision_queue (id) SELECT id FROM decisions WHERE state = 'finished' AND NOT moved;

-- +goose Down
DROP TABLE finding_terms;
DROP TABLE repositories;
DROP TABLE decision_terms;
DROP TABLE decision_queue;
