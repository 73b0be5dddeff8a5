-- +goose Up
-- Sums of decisions, by policy too. They take the place of day_counts.
DROP TABLE day_counts;

-- All decisions, by UTC hour.
CREATE TABLE hour_sums (
    hour        BIGINT NOT NULL, -- since 1970
    policy      TEXT   NOT NULL, -- '' where none governed
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
    PRIMARY KEY (hour, policy, verdict)
);

-- The same of each repository, by UTC day.
CREATE TABLE day_sums (
    day         BIGINT NOT NULL, -- since 1970
    repository  TEXT   NOT NULL,
    policy      TEXT   NOT NULL,
    verdict     TEXT   NOT NULL,
    decisions   BIGINT NOT NULL,
    in_earnest  BIGINT NOT NULL,
    emulated    BIGINT NOT NULL,
    critical    BIGINT NOT NULL,
    high        BIGINT NOT NULL,
    medium      BIGINT NOT NULL,
    low         BIGINT NOT NULL,
    minimal     BIGINT NOT NULL,
    unspecified BIGINT NOT NULL,
    PRIMARY KEY (day, repository, policy, verdict)
);

-- Decisions that are in the search index and not in the sums. They are added in small
-- steps while the gate runs. Those that are in neither are in decision_queue.
CREATE TABLE sum_queue (
    id TEXT NOT NULL PRIMARY KEY
);

INSERT INTO sum_queue (id) SELECT id FROM decisions WHERE state = 'finished' AND NOT moved
    AND NOT EXISTS (SELECT 1 FROM decision_queue q WHERE q.id = decisions.id);

-- +goose Down
DROP TABLE sum_queue;
DROP TABLE day_sums;
DROP TABLE hour_sums;
CREATE TABLE day_counts (
    day         BIGINT NOT NULL,
    repository  TEXT   NOT NULL,
    verdict     TEXT   NOT NULL,
    decisions   BIGINT NOT NULL,
    in_earnest  BIGINT NOT NULL,
    emulated    BIGINT NOT NULL,
    critical    BIGINT NOT NULL,
    high        BIGINT NOT NULL,
    medium      BIGINT NOT NULL,
    low         BIGINT NOT NULL,
    minimal     BIGINT NOT NULL,
    unspecified BIGINT NOT NULL,
    PRIMARY KEY (day, repository, verdict)
);
INSERT INTO decision_queue (id) SELECT id FROM decisions WHERE state = 'finished' AND NOT moved
    ON CONFLICT DO NOTHING;
