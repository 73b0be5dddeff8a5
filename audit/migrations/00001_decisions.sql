-- +goose Up
-- One schema for SQLite and PostgreSQL: TEXT, BIGINT, BOOLEAN and BYTEA mean
-- the same in both. Times are microseconds since 1970, UTC.

CREATE TABLE decisions (
    id            TEXT    NOT NULL PRIMARY KEY,
    at            BIGINT  NOT NULL,
    state         TEXT    NOT NULL CHECK (state IN ('begun', 'finished')),
    requested     TEXT    NOT NULL, -- the caller's text
    repository    TEXT    NOT NULL, -- canonical
    digest        TEXT    NOT NULL, -- '' where the image was never resolved
    verdict       TEXT    NOT NULL CHECK (verdict IN ('pass', 'deny', 'error')),
    policy        TEXT    NOT NULL, -- '' where none governs
    policy_digest TEXT    NOT NULL,
    break_glass   BOOLEAN NOT NULL,
    body          TEXT    NOT NULL, -- the Decision, JSON
    evidence      TEXT    NOT NULL  -- the Evidence, JSON, whose large parts are in blobs
);

CREATE INDEX decisions_by_time       ON decisions (at, id);
CREATE INDEX decisions_by_repository ON decisions (repository, at, id);
CREATE INDEX decisions_by_requested  ON decisions (requested, at, id);
CREATE INDEX decisions_by_verdict    ON decisions (verdict, at, id);
CREATE INDEX decisions_by_policy     ON decisions (policy, at, id);
CREATE INDEX decisions_by_override   ON decisions (at, id) WHERE break_glass;
CREATE INDEX decisions_unfinished    ON decisions (at, id) WHERE state = 'begun';

-- Each digest that a decision is about: an image's or index's own, and those of
-- its children, so that the digest that runs finds its decision.
CREATE TABLE decision_digests (
    digest   TEXT   NOT NULL,
    at       BIGINT NOT NULL,
    decision TEXT   NOT NULL REFERENCES decisions (id) ON DELETE CASCADE,
    PRIMARY KEY (digest, at, decision)
);

CREATE INDEX decision_digests_by_decision ON decision_digests (decision);

-- Findings, evidence of platforms and policy texts, each stored once. "used"
-- never lies more than a day behind the last decision that refers to the blob.
CREATE TABLE blobs (
    hash TEXT   NOT NULL PRIMARY KEY, -- sha256:… of the content
    used BIGINT NOT NULL,
    data BYTEA  NOT NULL              -- zstd
);

CREATE INDEX blobs_by_use ON blobs (used);

CREATE TABLE base_tags (
    repository TEXT   NOT NULL,
    tag        TEXT   NOT NULL,
    digest     TEXT   NOT NULL,
    seen_from  BIGINT NOT NULL,
    seen_until BIGINT,              -- NULL: it names this now
    PRIMARY KEY (repository, tag, seen_from)
);

CREATE UNIQUE INDEX base_tags_now ON base_tags (repository, tag) WHERE seen_until IS NULL;

CREATE TABLE intents (
    id   TEXT   NOT NULL PRIMARY KEY,
    at   BIGINT NOT NULL,
    data BYTEA  NOT NULL
);

-- +goose Down
DROP TABLE intents;
DROP TABLE base_tags;
DROP TABLE blobs;
DROP TABLE decision_digests;
DROP TABLE decisions;
