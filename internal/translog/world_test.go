package translog_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/attestor-gate/attestor/internal/testkit/pgtest"
	"github.com/attestor-gate/attestor/internal/testkit/postgres"
	"github.com/attestor-gate/attestor/internal/translog"
)

const origin = "gate.example/decisions"

var day = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

var (
	shared    = sync.OnceValues(postgres.New)
	databases atomic.Int64
)

func TestMain(m *testing.M) {
	code := m.Run()
	if pg, err := shared(); err == nil {
		_ = pg.Close()
	}
	os.Exit(code)
}

// A world is a log in a database of its own.
type world struct {
	*translog.Table
	db *sql.DB
}

// onBoth runs one test on a log in each database.
func onBoth(t *testing.T, f func(t *testing.T, w world)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		db := opened(t, "sqlite", "file:"+filepath.Join(t.TempDir(), "log.db")+"?_txlock=immediate&_pragma=busy_timeout(120000)")
		f(t, world{Table: &translog.Table{}, db: db})
	})

	t.Run("postgresql", func(t *testing.T) {
		pg := pgtest.Need(t, shared)
		dsn, err := pg.Database(fmt.Sprintf("log%d", databases.Add(1)))
		if err != nil {
			t.Fatal(err)
		}

		f(t, world{Table: &translog.Table{Postgres: true}, db: opened(t, "pgx", dsn)})
	})
}

// opened is a database with the record's tables of the log.
func opened(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })

	files, err := filepath.Glob("../../audit/migrations/*_log.sql")
	if err != nil || len(files) != 1 {
		t.Fatalf("migrations of the log: %v, %v", files, err)
	}

	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}

	up, _, _ := strings.Cut(string(text), "-- +goose Down")
	for _, statement := range strings.Split(up, ";\n") {
		if _, err := db.Exec(statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}

	return db
}

// leaf is the nth record's.
func leaf(n int) translog.Leaf {
	salt := sha256.Sum256(fmt.Append(nil, "salt ", n))
	return translog.Leaf{
		Salt: salt[:translog.SaltSize],
		Entry: translog.Entry{
			Kind: "decision", ID: fmt.Sprintf("0199-%06d", n), Time: day.Add(time.Duration(n) * time.Second),
			Parts: translog.CommitAll(salt[:translog.SaltSize], parts(n)),
		},
	}
}

func parts(n int) map[string][]byte {
	return map[string][]byte{"decision": fmt.Append(nil, "content ", n), "record": fmt.Append(nil, "columns ", n)}
}

func entry(t *testing.T, n int) []byte {
	t.Helper()
	b, err := leaf(n).Entry.Encode()
	if err != nil {
		t.Fatal(err)
	}

	return b
}

// add appends leaves first to last-1 in one transaction.
func (w world) add(ctx context.Context, first, last int) error {
	tx, err := w.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()

	var leaves []translog.Leaf
	for n := first; n < last; n++ {
		leaves = append(leaves, leaf(n))
	}

	_, head, err := w.Append(ctx, tx, leaves)
	if err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}

	w.Committed(head)
	return nil
}

func (w world) fill(t *testing.T, n int) {
	t.Helper()
	if err := w.add(t.Context(), 0, n); err != nil {
		t.Fatal(err)
	}
}

func (w world) head(t *testing.T) translog.Head {
	t.Helper()
	h, err := translog.ReadHead(t.Context(), w.db)
	if err != nil {
		t.Fatal(err)
	}

	return h
}

func (w world) exec(t *testing.T, text string, args ...any) {
	t.Helper()
	if _, err := w.db.Exec(text, args...); err != nil {
		t.Fatal(err)
	}
}

// key is a log's key that a seed makes.
func key(origin string, seed byte) translog.Key {
	private := ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune('a'+seed)), ed25519.SeedSize)))
	return translog.Key{
		Origin: origin, Public: private.Public().(ed25519.PublicKey), //nolint:forcetypeassert // crypto/ed25519 says so
		Sign: func(_ context.Context, msg []byte) ([]byte, error) { return ed25519.Sign(private, msg), nil },
	}
}

func vkey(t *testing.T, k translog.Key) string {
	t.Helper()
	v, err := k.Verifier()
	if err != nil {
		t.Fatal(err)
	}

	return v
}

func (w world) checkpoint(t *testing.T) []byte {
	t.Helper()
	signed, err := key(origin, 0).SignCheckpoint(t.Context(), w.head(t))
	if err != nil {
		t.Fatal(err)
	}

	return signed
}
