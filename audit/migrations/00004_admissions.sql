-- +goose Up
-- What was admitted, what was overridden and what was revoked. Records of the
-- versions before are read into these tables by Fill, in small steps, while the
-- gate is at work.

-- One row for each admitted image.
CREATE TABLE admissions (
    repository    TEXT    NOT NULL,
    digest        TEXT    NOT NULL,
    decision      TEXT    NOT NULL, -- that admitted it last
    at            BIGINT  NOT NULL, -- of that decision
    break_glass   BOOLEAN NOT NULL, -- an override is its only ground
    looked_at     BIGINT  NOT NULL, -- last found to pass or to be refused
    tried_at      BIGINT  NOT NULL, -- last judged, with or without an answer
    claimed_until BIGINT  NOT NULL, -- an instance is judging it; 0: none
    verdict       TEXT    NOT NULL CHECK (verdict IN ('pass', 'deny', 'error')), -- of that look
    cause         TEXT    NOT NULL, -- of a refusal by re-judging; '': none
    changed       TEXT    NOT NULL, -- the decision that recorded the last change
    changed_at    BIGINT  NOT NULL,
    PRIMARY KEY (repository, digest)
);

CREATE INDEX admissions_by_try      ON admissions (tried_at, repository, digest);
CREATE INDEX admissions_by_look     ON admissions (looked_at);
CREATE INDEX admissions_by_decision ON admissions (decision);
CREATE INDEX admissions_by_change   ON admissions (changed);

-- The digests that an admission's attestations are of: the image's own, and
-- those of an index's children.
CREATE TABLE admission_digests (
    repository TEXT NOT NULL,
    digest     TEXT NOT NULL,
    image      TEXT NOT NULL, -- admissions.digest
    PRIMARY KEY (repository, digest, image)
);

CREATE INDEX admission_digests_by_image ON admission_digests (repository, image);

-- One row for each override that was granted and attested.
CREATE TABLE overrides (
    decision   TEXT   NOT NULL PRIMARY KEY,
    repository TEXT   NOT NULL,
    digest     TEXT   NOT NULL,
    at         BIGINT NOT NULL,
    granted_to TEXT   NOT NULL,
    reason     TEXT   NOT NULL,
    attestors  TEXT   NOT NULL, -- that attested, JSON
    expires    BIGINT,          -- NULL: it stands until it is revoked
    closed_at  BIGINT,          -- NULL: it is open
    closed     TEXT   NOT NULL CHECK (closed IN ('', 'passed', 'overridden', 'expired', 'revoked')),
    closed_by  TEXT   NOT NULL, -- the decision or revocation that closed it
    revocation TEXT   NOT NULL  -- the revocation that is ending it; '': none
);

CREATE INDEX overrides_open     ON overrides (expires, decision) WHERE closed_at IS NULL;
CREATE INDEX overrides_by_image ON overrides (repository, digest, at);
CREATE INDEX overrides_by_time  ON overrides (at, decision);

-- The digests that an override's attestations are of.
CREATE TABLE override_digests (
    repository TEXT NOT NULL,
    digest     TEXT NOT NULL,
    override   TEXT NOT NULL REFERENCES overrides (decision) ON DELETE CASCADE,
    PRIMARY KEY (repository, digest, override)
);

CREATE INDEX override_digests_by_override ON override_digests (override);

-- Passes that were begun while an override was open, and have not finished.
CREATE TABLE override_passes (
    override TEXT NOT NULL,
    decision TEXT NOT NULL,
    PRIMARY KEY (override, decision)
);

CREATE INDEX override_passes_by_decision ON override_passes (decision);

CREATE TABLE revocations (
    id         TEXT   NOT NULL PRIMARY KEY,
    at         BIGINT NOT NULL,
    state      TEXT   NOT NULL CHECK (state IN ('begun', 'finished')),
    kind       TEXT   NOT NULL CHECK (kind IN ('person', 'expired', 'rejudged')),
    repository TEXT   NOT NULL,
    digest     TEXT   NOT NULL,
    body       TEXT   NOT NULL -- the RevocationRecord, JSON
);

CREATE INDEX revocations_by_time    ON revocations (at, id);
CREATE INDEX revocations_by_image   ON revocations (repository, digest, at, id);
CREATE INDEX revocations_unfinished ON revocations (at, id) WHERE state = 'begun';

-- The decisions that had admitted what a revocation is about.
CREATE TABLE revocation_decisions (
    decision   TEXT NOT NULL,
    revocation TEXT NOT NULL REFERENCES revocations (id) ON DELETE CASCADE,
    PRIMARY KEY (decision, revocation)
);

CREATE INDEX revocation_decisions_by_revocation ON revocation_decisions (revocation);

-- Runs over all admissions, and over all overrides that are past their end.
CREATE TABLE runs (
    id      TEXT    NOT NULL PRIMARY KEY,
    kind    TEXT    NOT NULL CHECK (kind IN ('rejudge', 'expire')),
    caller  TEXT    NOT NULL, -- issuer and subject
    started BIGINT  NOT NULL,
    ended   BIGINT,           -- NULL: it goes on
    covered BIGINT  NOT NULL,
    changed BIGINT  NOT NULL,
    failed  BIGINT  NOT NULL,
    revoked BIGINT  NOT NULL,
    stopped BOOLEAN NOT NULL  -- at the cap
);

CREATE INDEX runs_by_time ON runs (kind, started);

-- A revocation that a version before wrote as a decision. It is told as what it is,
-- from the table revocations, and is not among the decisions any more.
ALTER TABLE decisions ADD COLUMN moved BOOLEAN NOT NULL DEFAULT FALSE;

-- How far Fill has read the records of the versions before.
CREATE TABLE fills (
    name    TEXT    NOT NULL PRIMARY KEY,
    started BIGINT  NOT NULL, -- when the schema was changed
    at      BIGINT  NOT NULL, -- of the last decision that was read
    id      TEXT    NOT NULL,
    done    BOOLEAN NOT NULL
);

-- +goose Down
DROP TABLE fills;
ALTER TABLE decisions DROP COLUMN moved;
DROP TABLE runs;
DROP TABLE revocation_decisions;
DROP TABLE revocations;
DROP TABLE override_passes;
DROP TABLE override_digests;
DROP TABLE overrides;
DROP TABLE admission_digests;
DROP TABLE admissions;
