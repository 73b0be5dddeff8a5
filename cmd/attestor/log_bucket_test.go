package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/objects"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

// TestVerifyByTheBucket: decisions verify compares the record with the checkpoint in the configuration's bucket, or in
// another place of Cloud Storage that is named. A bucket that does not answer is no proof that all is well.
func TestVerifyByTheBucket(t *testing.T) {
	bucket := standin.NewBucket("gate-log")
	srv := httptest.NewServer(bucket)
	t.Cleanup(srv.Close)
	t.Setenv(objects.EnvEmulator, srv.Listener.Addr().String())

	dir := t.TempDir()
	key := filepath.Join(dir, "log.pem")
	if err := makeLogKey(key); err != nil {
		t.Fatal(err)
	}
	path, err := newOutside(t).WriteConfig(dir, standin.Options{
		More: "log: {key: " + key + ", origin: gate.example/decisions, bucket: gs://gate-log/copies}",
	})
	if err != nil {
		t.Fatal(err)
	}
	gateCopies(t, path, "first", "second")
	backup, err := os.ReadFile(filepath.Join(dir, "decisions.db"))
	if err != nil {
		t.Fatal(err)
	}
	const at = "copies/gate.example/decisions/checkpoint"
	early := bucket.Object(at)
	gateCopies(t, path, "third")
	late := bucket.Object(at)
	bucket.Set("early", early)

	verifies := func(t *testing.T, code int, says string, args ...string) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		args = append([]string{"decisions", "verify", "--config", path}, args...)
		if got := run(args, strings.NewReader(""), &stdout, &stderr); got != code {
			t.Errorf("exit code %d, want %d: %s%s", got, code, &stdout, &stderr)
		}
		if !strings.Contains(stdout.String()+stderr.String(), says) {
			t.Errorf("printed %s%s, want %q in it", &stdout, &stderr, says)
		}
	}
	verifies(t, 0, "Compared with a signed checkpoint: 4 entries")
	bucket.Set(at, []byte("no checkpoint"))
	verifies(t, 1, "cannot be relied on")
	bucket.Set(at, late)

	bucket.Fail(func(*http.Request) int { return http.StatusForbidden })
	verifies(t, 3, "gs://gate-log/"+at)
	verifies(t, 3, "gs://gate-log/early", "--checkpoint", "gs://gate-log/early")
	bucket.Fail(nil)

	// The database is put back while nobody looks: by the bucket, not by the database's own checkpoint.
	if err := os.WriteFile(filepath.Join(dir, "decisions.db"), backup, 0o600); err != nil {
		t.Fatal(err)
	}
	verifies(t, 1, "put back to an earlier state")
	verifies(t, 0, "All is as it was recorded", "--checkpoint", "gs://gate-log/early")
	verifies(t, 2, "gs://BUCKET/NAME", "--checkpoint", "gs://gate-log")
}

// gateCopies runs the part of a gate that keeps the record: it records decisions, signs the log and copies it.
func gateCopies(t *testing.T, path string, ids ...string) {
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
	for _, work := range []func(*audit.Store, context.Context, func(error)){(*audit.Store).KeepLog, (*audit.Store).CopyLog} {
		ctx, stop := context.WithCancel(ctx)
		work(s, ctx, func(err error) {
			if err != nil && ctx.Err() == nil {
				t.Error(err)
			}
			stop()
		})
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
