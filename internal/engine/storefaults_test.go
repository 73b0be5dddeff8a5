package engine_test

import (
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/google"
	"github.com/attestor-gate/attestor/internal/samples"
	"github.com/attestor-gate/attestor/internal/testkit/pgtest"
	"github.com/attestor-gate/attestor/internal/testkit/postgres"
	"github.com/attestor-gate/attestor/internal/when"
)

// A storeFault is one way in which the record is not to be had.
type storeFault struct {
	name     string
	postgres func() (*postgres.Server, error) // nil: the record is a file
	small    bool                             // which lies on a small disk of its own
	// hurt does it; heal undoes it. Both may be called beside requests.
	hurt func(s *storeWorld) (heal func() error, err error)
	slow bool // it passes by itself, soon enough for the request to succeed
}

// TestStoreFaults takes the record away, before a request, while it signs and
// between what is written before storing and what is written after. Nobody is told that an
// image passed unless a record of that outlives the process; and when the
// record is back, so is the gate, with nothing to do for anybody.
func TestStoreFaults(t *testing.T) {
	t.Parallel()
	var shared *postgres.Server // by those that leave it running
	t.Cleanup(func() {
		if shared != nil {
			_ = shared.Close()
		}
	})

	once := sync.OnceValues(func() (*postgres.Server, error) {
		var err error
		shared, err = postgres.New()
		return shared, err
	})

	for _, f := range []storeFault{
		{name: "disk full", small: true, hurt: (*storeWorld).fillDisk},
		{name: "locked", hurt: (*storeWorld).lockFile},
		{name: "locked for a moment", hurt: (*storeWorld).lockFileBriefly, slow: true},
		{name: "removed", hurt: (*storeWorld).removeFile},
		{name: "gone", postgres: postgres.New, hurt: (*storeWorld).stopPostgres},
		{name: "read-only", postgres: once, hurt: (*storeWorld).makeReadOnly},
		{name: "slow", postgres: once, hurt: (*storeWorld).lockTables, slow: true},
	} {
		for _, when := range []string{"before", "amidst"} {
			t.Run(f.name+"/"+when, func(t *testing.T) {
				t.Parallel()
				s := newStoreWorld(t, f)
				if when == "before" {
					s.before(t)
				} else {
					s.amidst(t, "AsymmetricSign")
					s.amidst(t, "CreateOccurrence")
				}

				s.whole(t)
			})
		}
	}
}

// storeWorld is a world with a record that can be taken away.
type storeWorld struct {
	*world
	fault  storeFault
	disk   string // the small disk's
	pg     *postgres.Server
	told   []answer
	pushed int

	database string

	mu   sync.Mutex
	errs []error // of what ran beside requests; guarded by mu
}

func newStoreWorld(t *testing.T, f storeFault) *storeWorld {
	s := &storeWorld{fault: f}
	if f.postgres != nil {
		pg := pgtest.Need(t, f.postgres)

		s.pg, s.database = pg, fmt.Sprintf("gate%d", time.Now().UnixNano())
		if f.name == "gone" {
			t.Cleanup(func() { _ = pg.Close() })
		}
	}
	if f.small {
		s.disk = t.TempDir()
		if err := syscall.Mount("tmpfs", s.disk, "tmpfs", 0, "size=8m"); err != nil {
			t.Skipf("a small disk cannot be mounted: %v: run it as root", err)
		}
		t.Cleanup(func() { _ = syscall.Unmount(s.disk, syscall.MNT_DETACH) })
	}

	s.world = newWorld(t, worldOptions{quiet: true, config: func(c *config.Config) {
		switch {
		case f.postgres != nil:
			c.Store = config.Store{Postgres: s.connection(t)}
		case f.small:
			c.Store.SQLite = filepath.Join(s.disk, "decisions.db")
		}
	}})

	s.push("base/debian", "12", baseImage(t))
	return s
}

// connection is the file that holds the connection string.
func (s *storeWorld) connection(t *testing.T) string {
	t.Helper()
	dsn, err := s.pg.Database(s.database)
	if err != nil {
		t.Fatal(err)
	}

	path := filepath.Join(t.TempDir(), "dsn")
	if err := os.WriteFile(path, []byte(dsn), 0o600); err != nil {
		t.Fatal(err)
	}

	return path
}

// fresh is an image that nobody has judged.
func (s *storeWorld) fresh(user string) string {
	s.tb.Helper()
	s.pushed++
	image := s.push("app/fresh", "v1", imageOn(s.tb, baseImage(s.tb), user, entry{"app", fmt.Sprint("number ", s.pushed)}))
	s.scan(image, samples.Clean)
	return image
}

// ask keeps what was told.
func (s *storeWorld) ask(image string) answer {
	s.tb.Helper()
	a := s.post(image, false)
	s.told = append(s.told, a)
	return a
}

func (s *storeWorld) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.errs = append(s.errs, err)
	}
}

// before hurts the record while nothing happens. A file that has room left may
// bear some decisions more.
func (s *storeWorld) before(t *testing.T) {
	good, root := s.fresh("65532:65532"), s.fresh("")
	if a := s.ask(s.fresh("65532:65532")); a.decision.Verdict != attestor.Pass {
		t.Fatalf("before: %d %s", a.status, a.body)
	}

	heal, err := s.fault.hurt(s)
	s.ok(err)
	refused := 0

	for n := 0; n < 40 && refused == 0; n++ {
		for image, want := range map[string]int{good: http.StatusOK, root: http.StatusUnprocessableEntity} {
			if refused > 0 {
				break
			}
			switch a := s.ask(image); {
			case a.status == http.StatusServiceUnavailable && a.decision.ID == "":
				refused++
			case a.status != want:
				t.Errorf("%d %s", a.status, a.body)
			}
		}
		if s.fault.slow {
			break
		}
	}

	if s.fault.slow != (refused == 0) {
		t.Errorf("%d of %d requests were refused", refused, len(s.told)-1)
	}
	if r := s.do(http.MethodGet, "/ready", ""); !s.fault.slow && !s.fault.small && r.status != http.StatusServiceUnavailable {
		t.Errorf("ready: %d %s", r.status, r.body)
	}

	s.ok(heal())
	s.right(t, good, attestor.Pass)
	s.right(t, root, attestor.Deny)
}

// right asks until the answer is right: a pool notices in its own time that a
// server is back.
func (s *storeWorld) right(t *testing.T, image string, want attestor.Outcome) {
	t.Helper()
	for until := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		a := s.ask(image)
		if a.decision.Verdict == want {
			return
		}
		if a.status != http.StatusServiceUnavailable || time.Now().After(until) {
			t.Fatalf("the record is back, and the answer is %d %s", a.status, a.body)
		}
	}
}

// amidst hurts the record when a call is made: while it signs, what is about to
// be attested is being recorded; when it is stored, that is recorded, and the
// decision is not.
func (s *storeWorld) amidst(t *testing.T, method string) {
	const tries = 10 // a file that has room left may bear some
	for range tries {
		image := s.fresh("65532:65532")
		var heal func() error
		var once sync.Once
		s.emulator().Inject(emulator.Fault{Method: method, Mutate: func(_, _ proto.Message) {
			once.Do(func() {
				var err error
				heal, err = s.fault.hurt(s)
				s.note(err)
			})
		}})

		a := s.ask(image)
		s.emulator().ClearFaults()
		if heal == nil {
			t.Fatalf("%s was not called: %d %s", method, a.status, a.body)
		}

		s.ok(heal())
		s.right(t, image, attestor.Pass)
		if valid := s.standing(image); len(valid) != 1 {
			t.Errorf("%d attestations stand, want one", len(valid))
		}

		switch {
		case a.status == http.StatusOK && s.fault.slow:
			return
		case a.status == http.StatusServiceUnavailable && a.decision.ID == "" && !s.fault.slow:
			return
		case a.status != http.StatusOK:
			t.Fatalf("%d %s", a.status, a.body)
		}
	}

	if !s.fault.slow {
		t.Errorf("the record was taken away %d times, and every decision was recorded", tries)
	}
}

// whole starts the service anew, lets it complete what was begun, and holds the
// record to all that was told, and what it says to what stands.
func (s *storeWorld) whole(t *testing.T) {
	t.Helper()
	for _, err := range s.errs {
		t.Error(err)
	}

	if s.fault.postgres != nil { // there may be other instances: what was begun is theirs for minutes
		s.config.Limits.MaxWait, s.config.Limits.Deadline, s.config.Limits.Settle = 1, when.Duration(time.Second), when.Duration(time.Second)
	}

	s.restart()
	for until := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		s.ok(s.engine.Recover(t.Context()))
		left, err := collected(s.engine.Store.Pending(t.Context(), 0))
		s.ok(err)
		if len(left) == 0 {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("%d decisions are begun and were never completed", len(left))
		}
	}

	for _, a := range s.told {
		if a.decision.ID == "" {
			continue
		}
		if got := s.do(http.MethodGet, "/v1/decisions/"+a.decision.ID, ""); !sameDecision(got.body, a.body) {
			t.Errorf("told %s\nrecorded (%d) %s", a.body, got.status, got.body)
		}
	}

	s.checkRecordStands(t)
}

// checkRecordStands holds every pass in the record to what stands, and all that
// stands to the record.
func (w *world) checkRecordStands(t *testing.T) (passes int) {
	t.Helper()
	recorded := map[string]bool{}

	for d, err := range w.engine.Store.Decisions(t.Context(), audit.Filter{}) {
		w.ok(err)
		if d.Verdict != attestor.Pass || d.DryRun {
			continue
		}

		passes++
		image := d.Image.Reference
		if !recorded[image] && len(w.standing(image)) != 1 {
			t.Errorf("%s is recorded as a pass of %s, and %d attestations stand", d.ID, image, len(w.standing(image)))
		}

		recorded[image] = true
	}

	for _, o := range w.attested() {
		if !recorded[o] {
			t.Errorf("%s is attested to, and no record says why", o)
		}
	}
	return passes
}

// fillDisk leaves not a byte.
func (s *storeWorld) fillDisk() (func() error, error) {
	path := filepath.Join(s.disk, "filler")
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}

	for size := 64 << 10; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
	return func() error { return os.Remove(path) }, f.Close()
}

// lockFile is another program that writes and does not end.
func (s *storeWorld) lockFile() (func() error, error) {
	db, err := sql.Open("sqlite", "file:"+s.config.Store.SQLite+"?_pragma=busy_timeout(60000)&_txlock=immediate")
	if err != nil {
		return nil, err
	}

	tx, err := db.Begin()
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}

	return func() error { return errors.Join(tx.Rollback(), db.Close()) }, nil
}

func (s *storeWorld) lockFileBriefly() (func() error, error) {
	unlock, err := s.lockFile()
	return s.later(unlock), err
}

// later heals by itself, soon.
func (s *storeWorld) later(heal func() error) func() error {
	if heal == nil {
		return nil
	}

	done := make(chan error, 1)
	time.AfterFunc(300*time.Millisecond, func() { done <- heal() })
	return func() error { return <-done }
}

func (s *storeWorld) removeFile() (func() error, error) {
	path := s.config.Store.SQLite
	return func() error { return os.Rename(path+".away", path) }, os.Rename(path, path+".away")
}

func (s *storeWorld) stopPostgres() (func() error, error) {
	s.pg.Stop()
	return s.pg.Start, nil
}

// exec runs statements as the database's owner, on a connection of its own.
func (s *storeWorld) exec(statements ...string) error {
	db, err := sql.Open("pgx", s.pg.DSN("postgres"))
	if err != nil {
		return err
	}
	defer db.Close()

	for _, statement := range statements {
		if _, err := db.Exec(statement); err != nil {
			return fmt.Errorf("%s: %w", statement, err)
		}
	}
	return nil
}

// makeReadOnly is a failover to a replica.
func (s *storeWorld) makeReadOnly() (func() error, error) {
	set := func(how string) error {
		return s.exec("ALTER DATABASE "+s.database+" SET default_transaction_read_only = "+how,
			"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '"+s.database+"'")
	}
	return func() error { return set("off") }, set("on")
}

// lockTables is somebody's maintenance.
func (s *storeWorld) lockTables() (func() error, error) {
	db, err := sql.Open("pgx", s.pg.DSN(s.database))
	if err != nil {
		return nil, err
	}

	tx, err := db.Begin()
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	if _, err := tx.Exec("LOCK TABLE decisions IN ACCESS EXCLUSIVE MODE"); err != nil {
		return nil, errors.Join(err, tx.Rollback(), db.Close())
	}

	return s.later(func() error { return errors.Join(tx.Rollback(), db.Close()) }), nil
}

// TestReadOnlyFileIsNoStart: a service that could record nothing would be found
// out by the first build.
func TestReadOnlyFileIsNoStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_RDONLY, "size=1m"); err != nil {
		t.Skipf("a read-only disk cannot be mounted: %v: run it as root", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	w := newWorld(t, worldOptions{unstarted: true})
	w.config.Store.SQLite = filepath.Join(dir, "decisions.db")
	e, err := w.newEngine(t.Context(), google.EmulatedAt(w.google.Addr()), slog.New(slog.DiscardHandler))
	if attestor.KindOf(err) != attestor.Unavailable {
		t.Errorf("it starts: %v", err)
	}
	if err == nil {
		_ = e.Close()
	}
}
