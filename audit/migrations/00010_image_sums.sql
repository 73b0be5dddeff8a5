-- +goose Up
-- What reports say of images, added up by the UTC day of the newest decision on each.
-- Where that decision is replaced by a newer one, its part is taken out again.
CREATE TABLE image_sums (
    day       BIGINT NOT NULL, -- since 1970
    kind      TEXT   NOT NULL,
    key       TEXT   NOT NULL, -- parts, as a list in JSON
    images    BIGINT NOT NULL,
    passed    BIGINT NOT NULL,
    refused   BIGINT NOT NULL,
    undecided BIGINT NOT NULL,
    n         BIGINT NOT NULL, -- its meaning depends on the kind
    PRIMARY KEY (day, kind, key)
);

-- -1: the image is not in image_sums yet. Such images are added in small steps while the
-- gate runs. Else what needs somebody is first: 0 overridden, 1 refused, 2 undecided,
-- 3 passed.
ALTER TABLE images ADD COLUMN rank BIGINT NOT NULL DEFAULT -1;

-- It is refused from a later day on.
ALTER TABLE images ADD COLUMN warned BOOLEAN NOT NULL DEFAULT FALSE;

CREATE INDEX images_by_rank       ON images (rank, at, decision);
CREATE INDEX images_by_repository ON images (repository, at, decision);
CREATE INDEX images_warned        ON images (at, decision) WHERE warned;

-- +goose Down
DROP INDEX images_warned;
DROP INDEX images_by_repository;
DROP INDEX images_by_rank;
ALTER TABLE images DROP COLUMN warned;
ALTER TABLE images DROP COLUMN rank;
DROP TABLE image_sums;
