package audit_test

import (
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// A postgres is a private server, which refuses to run as root.
type postgres struct {
	dir  string
	port int
	attr *syscall.SysProcAttr
	cmd  *exec.Cmd
}

const nobody = 65534

// startPostgres starts a server that ends with the test. Where there is none,
// the test is skipped, unless GATE_REQUIRE_PARTS=1.
func startPostgres(tb testing.TB) *postgres {
	tb.Helper()
	dir, err := os.MkdirTemp("", "pg") // tb.TempDir is closed to other users
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	p := &postgres{dir: dir, port: freePort(tb), attr: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}}
	if os.Geteuid() == 0 {
		if err := os.Chown(dir, nobody, nobody); err != nil {
			tb.Fatal(err)
		}
		p.attr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
	}
	initdb := exec.Command(program(tb, "initdb"), "-D", dir+"/data", "-A", "trust", "-U", "gate", "-E", "UTF8", "--locale=C", "--no-sync")
	initdb.SysProcAttr, initdb.Dir = p.attr, dir
	if out, err := initdb.CombinedOutput(); err != nil {
		tb.Fatalf("initdb: %v\n%s", err, out)
	}
	p.start(tb)
	tb.Cleanup(p.stop)
	return p
}

func (p *postgres) start(tb testing.TB) {
	tb.Helper()
	p.cmd = exec.Command(program(tb, "postgres"), "-D", p.dir+"/data", "-k", p.dir, "-h", "127.0.0.1", "-p", strconv.Itoa(p.port),
		"-c", "fsync=off", "-c", "full_page_writes=off", "-c", "synchronous_commit=off")
	p.cmd.SysProcAttr, p.cmd.Dir = p.attr, p.dir
	if err := p.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	db, err := sql.Open("pgx", p.dsn("postgres"))
	if err != nil {
		tb.Fatal(err)
	}
	defer db.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for err = db.PingContext(ctx); err != nil; err = db.PingContext(ctx) {
		select {
		case <-ctx.Done():
			tb.Fatalf("postgres does not answer: %v", err)
		case <-tick.C:
		}
	}
}

func (p *postgres) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGQUIT) // immediate shutdown
	_ = p.cmd.Wait()
}

// database makes an empty one.
func (p *postgres) database(tb testing.TB, name string) string {
	tb.Helper()
	db, err := sql.Open("pgx", p.dsn("postgres"))
	if err != nil {
		tb.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE DATABASE " + name); err != nil {
		tb.Fatal(err)
	}
	return p.dsn(name)
}

func (p *postgres) dsn(database string) string {
	return fmt.Sprintf("postgres://gate@127.0.0.1:%d/%s?sslmode=disable", p.port, database)
}

func program(tb testing.TB, name string) string {
	tb.Helper()
	if found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name); len(found) > 0 {
		return found[len(found)-1]
	}
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	if os.Getenv("GATE_REQUIRE_PARTS") == "1" {
		tb.Fatalf("%s is not installed, and GATE_REQUIRE_PARTS=1: apt-get install postgresql", name)
	}
	tb.Skipf("%s is not installed: apt-get install postgresql", name)
	return ""
}

func freePort(tb testing.TB) int {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
