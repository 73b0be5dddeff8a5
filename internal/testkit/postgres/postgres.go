// Package postgres runs a private PostgreSQL server of the machine's own
// programs: on loopback and a free port, as an unprivileged user, in a directory
// that goes with it. It is for tests, and as fast and as careless as they need it.
package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// ErrMissing is returned where PostgreSQL is not installed.
var ErrMissing = errors.New("postgresql is not installed: apt-get install postgresql")

const (
	nobody       = 65534
	startTimeout = 30 * time.Second
)

// A Server is a running server.
type Server struct {
	dir      string
	port     int
	postgres string
	durable  bool
	attr     *syscall.SysProcAttr
	cmd      *exec.Cmd
}

// Installed returns ErrMissing where New would.
func Installed() error {
	_, initdb := program("initdb")
	_, postgres := program("postgres")
	if initdb != nil {
		return initdb
	}
	return postgres
}

// New makes a server with an empty cluster, and starts it. Close ends it.
func New() (*Server, error) { return newServer(false) }

// NewDurable is New with every commit synced to disk, for measurements.
func NewDurable() (*Server, error) { return newServer(true) }

func newServer(durable bool) (*Server, error) {
	initdb, err := program("initdb")
	if err != nil {
		return nil, err
	}
	s := &Server{durable: durable, attr: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}}
	if s.postgres, err = program("postgres"); err != nil {
		return nil, err
	}

	// Chosen before it starts, so that it is the same after Stop.
	if s.port, err = freePort(); err != nil {
		return nil, err
	}
	if s.dir, err = os.MkdirTemp("", "pg"); err != nil {
		return nil, err
	}

	if os.Geteuid() == 0 { // it refuses to run as root
		if err := os.Chown(s.dir, nobody, nobody); err != nil {
			return nil, errors.Join(err, s.Close())
		}
		s.attr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}

	// Texts compare by the rules of a language, as on Cloud SQL, and not by their bytes.
	cmd := exec.Command(initdb, "-D", s.dir+"/data", "-A", "trust", "-U", "gate", "-E", "UTF8", "--locale=C",
		"--locale-provider=icu", "--icu-locale=en-US", "--no-sync") //nolint:gosec // the machine's own program
	cmd.SysProcAttr, cmd.Dir = s.attr, s.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("initdb: %w\n%s", err, out), s.Close())
	}

	if err := s.Start(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Start runs it again after Stop, on the same port, with the same data.
func (s *Server) Start() error {
	args := []string{"-D", s.dir + "/data", "-k", s.dir, "-h", "127.0.0.1", "-p", strconv.Itoa(s.port)}

	// Without a sync to disk it is faster, and a crash of the machine may lose all.
	if !s.durable {
		args = append(args, "-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off")
	}
	s.cmd = exec.Command(s.postgres, args...) //nolint:gosec // the machine's own program
	s.cmd.SysProcAttr, s.cmd.Dir = s.attr, s.dir
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("starting postgres: %w", err)
	}

	db, err := sql.Open("pgx", s.DSN("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()

	// The first start may take seconds on a busy machine.
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()

	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()

	for err = db.PingContext(ctx); err != nil; err = db.PingContext(ctx) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("postgres does not answer: %w", err)
		case <-tick.C:
		}
	}
	return nil
}

// Replica makes and starts a server that follows this one, with all its databases, by
// streaming replication. It answers reads only. Close ends it.
func (s *Server) Replica() (*Server, error) {
	backup, err := program("pg_basebackup")
	if err != nil {
		return nil, err
	}
	r := &Server{postgres: s.postgres, attr: s.attr}
	if r.port, err = freePort(); err != nil {
		return nil, err
	}
	if r.dir, err = os.MkdirTemp("", "pg"); err != nil {
		return nil, err
	}

	// As whoever runs the first one.
	if r.attr.Credential != nil {
		if err := os.Chown(r.dir, nobody, nobody); err != nil {
			return nil, errors.Join(err, r.Close())
		}
	}

	//nolint:gosec // the machine's own program
	cmd := exec.Command(backup, "-D", r.dir+"/data", "-R", "-X", "stream", "--checkpoint=fast", "--no-sync",
		"-h", "127.0.0.1", "-p", strconv.Itoa(s.port), "-U", "gate")
	cmd.SysProcAttr, cmd.Dir = r.attr, r.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("pg_basebackup: %w\n%s", err, out), r.Close())
	}
	if err := r.Start(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Synchronous makes every commit that asks for durability wait until the replica has it, and
// returns when that is in force.
func (s *Server) Synchronous(ctx context.Context) error {
	return s.change(ctx, "ALTER SYSTEM SET synchronous_standby_names = '*'",
		"SELECT count(*) = 1 FROM pg_stat_replication WHERE sync_state = 'sync' AND current_setting('synchronous_standby_names') = '*'")
}

// Cut ends what a replica gets, as a network that fails would: it goes on answering reads. It returns when the
// replica's receiver is gone.
func (s *Server) Cut(ctx context.Context) error {
	return s.change(ctx, "ALTER SYSTEM SET primary_conninfo = ''", "SELECT count(*) = 0 FROM pg_stat_wal_receiver")
}

// Promote makes a replica a server of its own, and returns when it takes writes.
func (s *Server) Promote(ctx context.Context) error {
	return s.change(ctx, "SELECT pg_promote(wait => false)", "SELECT NOT pg_is_in_recovery()")
}

// Followed returns when a replica has what the server has now.
func (s *Server) Followed(ctx context.Context, replica *Server) error {
	db, err := sql.Open("pgx", s.DSN("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	var at string
	if err := db.QueryRowContext(ctx, "SELECT pg_current_wal_insert_lsn()::text").Scan(&at); err != nil {
		return err
	}
	return replica.change(ctx, "SELECT 1", "SELECT pg_last_wal_replay_lsn() >= '"+at+"'::pg_lsn")
}

// change runs a statement, has the configuration read, and returns when a condition holds.
func (s *Server) change(ctx context.Context, statement, holds string) error {
	db, err := sql.Open("pgx", s.DSN("postgres"))
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}

	// Some of the statements change the configuration.
	if _, err := db.ExecContext(ctx, "SELECT pg_reload_conf()"); err != nil {
		return err
	}

	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		var done bool
		if err := db.QueryRowContext(ctx, holds).Scan(&done); err != nil {
			return fmt.Errorf("%s: %w", holds, err)
		}
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", holds, ctx.Err())
		case <-tick.C:
		}
	}
}

// Address is where it listens.
func (s *Server) Address() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Stop ends it at once, as a crash would.
func (s *Server) Stop() {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGQUIT) // immediate shutdown
	_ = s.cmd.Wait()
	s.cmd = nil
}

// Close stops it and removes what it stored.
func (s *Server) Close() error {
	s.Stop()
	return os.RemoveAll(s.dir)
}

// Database makes an empty database and returns how to connect to it.
func (s *Server) Database(name string) (dsn string, err error) { return s.Copy(name, "template1") }

// Copy makes a database with the content of another one, to which nobody is connected.
func (s *Server) Copy(name, of string) (dsn string, err error) {
	db, err := sql.Open("pgx", s.DSN("postgres"))
	if err != nil {
		return "", err
	}
	defer func() { _ = db.Close() }()

	// A template must have no connections.
	if _, err := db.Exec("CREATE DATABASE " + name + " TEMPLATE " + of); err != nil {
		return "", fmt.Errorf("making the database %s: %w", name, err)
	}
	return s.DSN(name), nil
}

// DSN is how to connect to a database of it.
func (s *Server) DSN(database string) string {
	return fmt.Sprintf("postgres://gate@127.0.0.1:%d/%s?sslmode=disable", s.port, database)
}

// program finds what Debian keeps out of the path.
func program(name string) (string, error) {
	// Of several versions the last one by name.
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name); len(found) > 0 {
		return found[len(found)-1], nil
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", ErrMissing
	}
	return path, nil
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}
