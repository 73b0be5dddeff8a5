-- +goose Up
-- The newest checkpoints that each witness cosigned: a few, so that there is one which all of them did.
CREATE TABLE log_cosigned (
    witness TEXT   NOT NULL, -- its public key as text
    size    BIGINT NOT NULL, -- entries of the checkpoint
    note    TEXT   NOT NULL, -- signed by the log and by the witness
    PRIMARY KEY (witness, size)
);

-- +goose Down
DROP TABLE log_cosigned;
