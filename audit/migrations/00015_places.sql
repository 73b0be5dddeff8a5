-- +goose Up
-- Where findings were, as pairs of numbers: the two texts of finding_terms are in millions of
-- rows each. Nothing is rewritten here: rows of finding_terms are moved in small steps while
-- the gate is at work, and are found meanwhile where they are.
--
-- From this version on the log's entries are stored in a short form, which earlier versions
-- do not read.

-- Numbers of texts: "cve:…", "package:…" and "repository:…".
CREATE TABLE numbers (
    n    BIGINT NOT NULL PRIMARY KEY, -- from 1 on
    name TEXT   NOT NULL UNIQUE
);

-- In which repositories a finding was.
CREATE TABLE finding_places (
    term       BIGINT NOT NULL, -- its number
    repository BIGINT NOT NULL, -- its number
    PRIMARY KEY (term, repository)
);

-- Blobs of findings that were read for a repository.
CREATE TABLE finding_blobs (
    hash       BYTEA  NOT NULL, -- blobs.hash, 32 bytes
    repository BIGINT NOT NULL, -- its number
    PRIMARY KEY (hash, repository)
);

-- +goose Down
-- Entries of the log that are in the short form cannot be read without this version.
INSERT INTO finding_terms (term, repository)
    SELECT t.name, SUBSTR(r.name, LENGTH('repository:') + 1)
    FROM finding_places f JOIN numbers t ON t.n = f.term JOIN numbers r ON r.n = f.repository WHERE TRUE
    ON CONFLICT (term, repository) DO NOTHING;
DROP TABLE finding_blobs;
DROP TABLE finding_places;
DROP TABLE numbers;
DELETE FROM fills WHERE name = 'short';
