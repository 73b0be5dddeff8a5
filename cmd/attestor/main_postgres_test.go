package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/attestor-gate/attestor/internal/testkit/postgres"
)

type postgresSlot struct{}

// postgresql is `postgresql start FILE`, which writes how to connect to FILE,
// or `postgresql stop`, at once, as a crash would, or `postgresql again`.
func postgresql(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) == 2 && args[0] == "start" {
		pg, err := postgres.New()
		ts.Check(err)
		ts.Defer(func() { _ = pg.Close() })
		e := ts.Value(postgresSlot{}).(*postgresState)
		e.pg = pg
		dsn, err := pg.Database("gate")
		ts.Check(err)
		ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(dsn+"\n"), 0o600))
		return
	}

	pg := ts.Value(postgresSlot{}).(*postgresState).pg
	switch {
	case pg == nil || len(args) != 1:
		ts.Fatalf("usage: postgresql start FILE|stop|again")

	case args[0] == "stop":
		pg.Stop()

	case args[0] == "again":
		ts.Check(pg.Start())

	default:
		ts.Fatalf("unknown: %q", args)
	}
}

// postgresState is where a script's commands find its server.
type postgresState struct{ pg *postgres.Server }

// havePart answers [postgresql]. A part that must be there fails the script
// rather than skip it.
func havePart(name string) (bool, error) {
	if name == "userns" { // whether this user may mount file systems in a namespace
		return exec.Command("unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt").Run() == nil, nil
	}
	if name != "postgresql" {
		return false, fmt.Errorf("unknown condition %q", name)
	}

	err := postgres.Installed()
	if errors.Is(err, postgres.ErrMissing) && os.Getenv("GATE_REQUIRE_PARTS") != "1" {
		return false, nil
	}

	return true, err
}
