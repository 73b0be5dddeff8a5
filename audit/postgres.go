package audit

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/attestor-gate/attestor"
)

// postgresEngine keeps the record where several instances share it.
type postgresEngine struct{ dsn string }

const (
	postgresConns       = 10
	postgresIdle        = 4
	postgresConnTimeout = 5 * time.Second
)

func (e *postgresEngine) open(ctx context.Context) (read, write *sql.DB, err error) {
	c, err := pgx.ParseConfig(e.dsn)
	if err != nil { // its text may quote the string, password and all
		return nil, nil, &attestor.Error{Kind: attestor.Invalid, Msg: "the PostgreSQL connection string is malformed", Fix: "write it as postgres://USER@HOST/DATABASE?sslmode=verify-full"}
	}
	if c.RuntimeParams["synchronous_commit"] == "" {
		c.RuntimeParams["synchronous_commit"] = "on" // whatever the server's default: an answer promises durability
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "attestor"
	}
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = postgresConnTimeout
	}
	db := stdlib.OpenDB(*c)
	db.SetMaxOpenConns(postgresConns)
	db.SetMaxIdleConns(postgresIdle)
	if err := db.PingContext(ctx); err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return db, db, nil
}

func (e *postgresEngine) dialect() goose.Dialect { return goose.DialectPostgres }

func (e *postgresEngine) lost() error { return nil }

// alone is false: other instances are why it is used.
func (e *postgresEngine) alone() bool { return false }

func (e *postgresEngine) close() error { return nil }

// SQLSTATE classes, see the PostgreSQL manual's appendix A.
const (
	stateDiskFull    = "53100"
	stateTooManyConn = "53300"
	stateReadOnly    = "25006"
	stateNoPrivilege = "42501"
)

func (e *postgresEngine) trouble(err error) (msg, fix string) {
	if known, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch known.Code {
		case stateDiskFull:
			return "the record's disk is full", "give the database more space, or let attestor decisions prune remove old decisions"
		case stateReadOnly:
			return "the record's database is read-only", "connect to the primary, not to a replica"
		case stateTooManyConn:
			return "the record's database has no connection left", "raise max_connections, or run fewer instances"
		case stateNoPrivilege:
			return "the gate may not write the record", "grant its database user the tables"
		}
		return "the record's database refused the statement", "see the log"
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return "the record's database did not answer in time", "try again"
	}
	return "the record's database cannot be reached", "check that it runs and that the gate may connect to it"
}
