-- +goose Up
-- What is claimed: a few admissions at a time. A run that starts looks for claims that a clock
-- which was ahead left behind, and would else read all admissions.
CREATE INDEX admissions_claimed ON admissions (claimed_until) WHERE claimed_until > 0;

-- +goose Down
DROP INDEX admissions_claimed;
