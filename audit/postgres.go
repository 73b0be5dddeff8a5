package audit

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"io"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"github.com/attestor-gate/attestor"
)

// A postgresEngine stores decisions in a database that several instances share.
type postgresEngine struct {
	dsn   string
	conns int // at most; 0: postgresConns
}

const (
	postgresConns       = 10
	postgresIdle        = 4
	postgresConnTimeout = 5 * time.Second
)

func (e *postgresEngine) open(ctx context.Context) (read, write *sql.DB, err error) {
	db, err := e.pool(false)
	if err != nil {
		return nil, nil, err
	}

	// A pool connects lazily: the ping shows now whether the database answers.
	if err := db.PingContext(ctx); err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return db, db, nil
}

// pool makes a pool of connections, and connects to nothing yet.
func (e *postgresEngine) pool(readOnly bool) (*sql.DB, error) {
	// The parser's error is dropped: it may quote the string with its password.
	c, err := pgx.ParseConfig(e.dsn)
	if err != nil {
		return nil, &attestor.Error{
			Kind: attestor.Invalid,
			Msg:  "the PostgreSQL connection string is malformed",
			Fix:  "write it as postgres://USER@HOST/DATABASE?sslmode=verify-full",
		}
	}

	// PostgreSQL, synchronous_commit: when off, there is "a delay between when
	// success is reported to the client and when the transaction is really
	// guaranteed to be safe against a server crash". The server's default does not
	// decide that here; a value in the connection string does.
	if c.RuntimeParams["synchronous_commit"] == "" {
		c.RuntimeParams["synchronous_commit"] = "on"
	}
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "attestor"
	}

	if readOnly {
		c.RuntimeParams["default_transaction_read_only"] = "on" // a write there is an error, whatever the server is
	}

	// libpq, connect_timeout: "Zero, negative, or not specified means wait indefinitely".
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = postgresConnTimeout
	}

	db := stdlib.OpenDB(*c)
	conns := cmp.Or(e.conns, postgresConns)
	db.SetMaxOpenConns(conns)

	// Idle connections are kept, since a new one costs a TLS handshake and a login.
	db.SetMaxIdleConns(max(min(conns, postgresIdle), conns/2))
	return db, nil
}

// again is true for the two classes of errors that PostgreSQL, 13.5, says to retry.
func (e *postgresEngine) again(err error) bool {
	known, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (known.Code == stateDeadlock || known.Code == stateSerialization)
}

// ended is true where the server, or the network, closed a connection that was there. Where none could be made there is
// nothing to take in its place.
func (e *postgresEngine) ended(err error) bool {
	if _, connecting := errors.AsType[*pgconn.ConnectError](err); connecting {
		return false
	}
	if known, ok := errors.AsType[*pgconn.PgError](err); ok {
		return away(known)
	}
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func (e *postgresEngine) dialect() goose.Dialect { return goose.DialectPostgres }

func (e *postgresEngine) lost() error { return nil }

// alone is always false: PostgreSQL is for several instances, and which of them
// run is not known.
func (e *postgresEngine) alone() bool { return false }

func (e *postgresEngine) close() error { return nil }

// SQLSTATE codes of PostgreSQL's documentation, appendix A.
const (
	stateDiskFull    = "53100"
	stateTooManyConn = "53300"
	stateReadOnly    = "25006"
	stateNoPrivilege = "42501"
	stateNoDatabase  = "3D000"
	stateCanceled    = "57014" // the gate's own deadline, or statement_timeout
	classLogin       = "28"    // a user that does not exist, a wrong password, no line in pg_hba.conf
	classConnection  = "08"    // the connection failed, as a proxy reports it
	classStopping    = "57P"   // the server stops, has crashed, or starts: it ends connections, and refuses new ones

	stateDeadlock      = "40P01"
	stateSerialization = "40001"
)

// away reports whether PostgreSQL speaks of the connection alone: it ended one, or takes no new one, and judged no
// statement.
func away(known *pgconn.PgError) bool {
	return strings.HasPrefix(known.Code, classConnection) || strings.HasPrefix(known.Code, classStopping)
}

// postgresAnswer is what the database itself said of a statement or a login. There is no answer where it cannot be
// reached, even where that is said by a server that stops or starts.
func postgresAnswer(err error) (known *pgconn.PgError, answered bool) {
	known, answered = errors.AsType[*pgconn.PgError](err)
	return known, answered && !away(known)
}

func (e *postgresEngine) message(err error) (msg, fix string) {
	// A statement that is cut off fails at the server or here, whichever is first.
	known, answered := postgresAnswer(err)
	late := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
	if answered && known.Code == stateCanceled || !answered && late {
		return "the database of the decision store did not answer in time",
			"try again; if it persists, check the database's load, and the network between it and the gate"
	}

	if answered {
		switch known.Code {
		case stateDeadlock, stateSerialization:
			return "other transactions of the decision store were in the way", "try again"
		case stateDiskFull:
			return diskFull, "give the database more space, or remove old decisions with attestor decisions prune"
		case stateReadOnly:
			return "the database of the decision store is read-only", "connect to the primary, not to a replica"
		case stateTooManyConn:
			return "the database of the decision store has no free connection",
				"raise max_connections in PostgreSQL, or run fewer instances of the gate"
		case stateNoDatabase:
			return "the database of the decision store does not exist",
				"create it, or correct its name in the connection string"
		case stateNoPrivilege:
			return "the gate has no privilege to write the decision store",
				"grant its database user SELECT, INSERT, UPDATE and DELETE on the tables"
		}
		if strings.HasPrefix(known.Code, classLogin) {
			return "the database of the decision store does not accept the gate's user or its password",
				"correct the connection string, or the user's password in PostgreSQL"
		}
		return "the database of the decision store refused a statement", seeLog
	}
	return "the database of the decision store cannot be reached",
		"check that it runs and that the gate can connect to it"
}
