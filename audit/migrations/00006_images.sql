-- +goose Up
-- What reports over a period that ends now are made of. Both are derived from
-- decisions, and kept with the search index.

-- The newest decision on each image.
CREATE TABLE images (
    name       TEXT   NOT NULL PRIMARY KEY, -- by digest, or as requested where it was never resolved
    repository TEXT   NOT NULL,
    at         BIGINT NOT NULL,
    decision   TEXT   NOT NULL,
    line       TEXT   NOT NULL -- what a report needs of it, JSON
);

CREATE INDEX images_by_time     ON images (at, decision);
CREATE INDEX images_by_decision ON images (decision);

-- Decisions by UTC day.
CREATE TABLE day_counts (
    day         BIGINT NOT NULL, -- days since 1970
    repository  TEXT   NOT NULL,
    verdict     TEXT   NOT NULL,
    decisions   BIGINT NOT NULL,
    in_earnest  BIGINT NOT NULL, -- refusals that took effect
    emulated    BIGINT NOT NULL,
    critical    BIGINT NOT NULL, -- findings
    high        BIGINT NOT NULL,
    medium      BIGINT NOT NULL,
    low         BIGINT NOT NULL,
    minimal     BIGINT NOT NULL,
    unspecified BIGINT NOT NULL,
    PRIMARY KEY (day, repository, verdict)
);

-- Decisions that were indexed without these are indexed again.
INSERT INTO decision_queue (id) SELECT id FROM decisions WHERE state = 'finished' AND NOT moved
    ON CONFLICT DO NOTHING;

-- +goose Down
DROP TABLE day_counts;
DROP TABLE images;
