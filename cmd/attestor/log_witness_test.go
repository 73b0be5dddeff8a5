package main

import (
	"bytes"
	"context"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

// TestVerifyByWitnesses: decisions verify says what the configuration's witnesses cosigned, and demands what --witness names.
func TestVerifyByWitnesses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key := filepath.Join(dir, "log.pem")
	if err := makeLogKey(key); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	out := newOutside(t)
	configured := func(witnesses string) string {
		t.Helper()
		path, err := out.WriteConfig(dir, standin.Options{
			More: "log: {key: " + key + ", origin: gate.example/decisions, witnesses: [" + witnesses + "]}",
		})
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	path := configured("")
	runs := func(t *testing.T, code int, says string, args ...string) string {
		t.Helper()
		stdout.Reset()
		stderr.Reset()
		if got := run(args, strings.NewReader(""), &stdout, &stderr); got != code {
			t.Errorf("%q: exit code %d, want %d: %s%s", args, got, code, &stdout, &stderr)
		}
		if !strings.Contains(stdout.String()+stderr.String(), says) {
			t.Errorf("%q printed %s%s, want %q in it", args, &stdout, &stderr, says)
		}
		return stdout.String()
	}

	vkey := strings.TrimSpace(runs(t, 0, "gate.example/decisions+", "decisions", "log-key", "--config", path))
	one, other := witnessFor(t, vkey, 1), witnessFor(t, vkey, 2)
	srv := httptest.NewServer(one)
	t.Cleanup(srv.Close)
	path = configured("{url: " + srv.URL + ", key: " + one.Key() + "}")
	verify := []string{"decisions", "verify", "--config", path}
	runs(t, 0, "The witness witness.example/w1 has cosigned no checkpoint", verify...)
	gateIsWitnessed(t, path, "first", "second")

	runs(t, 0, "The witness witness.example/w1 cosigned the first 3 entries on 2026-11-", verify...)
	runs(t, 0, `"cosigned":[{"witness":"witness.example/w1","entries":3,`, append(verify, "-o", "json")...)
	runs(t, 0, "cosigned the first 3 entries", append(verify, "--witness", one.Key())...)
	runs(t, 1, "no checkpoint is cosigned by the witness witness.example/w2", append(verify, "--witness", other.Key())...)
	runs(t, 2, "is not the public key of a witness", append(verify, "--witness", vkey)...)

	proof := filepath.Join(dir, "first.tlog-proof")
	if err := os.WriteFile(proof, []byte(runs(t, 0, "", "decisions", "prove", "first", "--config", path)), 0o600); err != nil {
		t.Fatal(err)
	}
	keyFile := filepath.Join(dir, "w1.vkey")
	if err := os.WriteFile(keyFile, []byte(one.Key()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	offline := []string{"decisions", "verify", proof, "--key", vkey}
	runs(t, 0, "The witness witness.example/w1 cosigned this checkpoint on 2026-11-", append(offline, "--witness", "@"+keyFile)...)
	runs(t, 0, `"cosigned":[{"witness":"witness.example/w1"`, append(offline, "--witness", one.Key(), "-o", "json")...)
	runs(t, 1, "not cosigned by the witness witness.example/w2", append(offline, "--witness", one.Key(), "--witness", other.Key())...)
	runs(t, 2, "--witness: open ", append(offline, "--witness", "@"+keyFile+".none")...)
}

func witnessFor(t *testing.T, vkey string, n byte) *standin.Witness {
	t.Helper()
	w, err := standin.NewWitness("witness.example/w"+string('0'+rune(n)), vkey, n)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// gateIsWitnessed runs the part of a gate that keeps the record: it records decisions, and has the log cosigned.
func gateIsWitnessed(t *testing.T, path string, ids ...string) {
	t.Helper()
	conf, err := config.Load(path, os.Getenv, engine.ProfileProblem)
	if err != nil {
		t.Fatal(err)
	}
	s, err := engine.OpenStore(t.Context(), conf)
	if err != nil {
		t.Fatal(err)
	}
	decide(t, s, ids...)

	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	s.WitnessLog(ctx, func(name string, err error) {
		if err != nil && ctx.Err() == nil {
			t.Errorf("%s: %v", name, err)
		}
		stop()
	})
	if state, ok := s.LogState(); !ok || len(state.Witnesses) != 1 || state.Witnesses[0] != (audit.WitnessState{Name: "witness.example/w1", Entries: 3}) {
		t.Errorf("the state is %+v", state)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
