package main

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"net"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/client"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/google"
	"github.com/attestor-gate/attestor/internal/testkit/contract"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

// keptHere is a record of its own, and the configuration that names it, with more
// lines of it.
func keptHere(t *testing.T, outside *standin.World, more ...string) (config.Config, *audit.Store) {
	t.Helper()
	path, err := outside.WriteConfig(t.TempDir(), standin.Options{More: strings.Join(more, "\n")})
	if err != nil {
		t.Fatal(err)
	}
	conf, err := engine.LoadConfig(path, os.Getenv)
	if err != nil {
		t.Fatal(err)
	}

	s, err := engine.OpenStore(t.Context(), conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return conf, s
}

// reading is r over the record s, which the suite fills.
func reading(r records, s *audit.Store) contract.ReadRecord {
	return contract.ReadRecord{
		Records: r,
		Add: func(t *testing.T, records ...attestor.Record) {
			t.Helper()
			for _, r := range records {
				if _, err := s.Finish(t.Context(), r); err != nil {
					t.Fatal(err)
				}
			}
		},
		Change: func(t *testing.T, c attestor.PolicyChange) {
			t.Helper()
			if _, err := s.RecordPolicies(t.Context(), c); err != nil {
				t.Fatal(err)
			}
		},
		Revoke: func(t *testing.T, r attestor.RevocationRecord) {
			t.Helper()
			begun, err := s.BeginRevocation(t.Context(), r)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.FinishRevocation(t.Context(), begun); err != nil {
				t.Fatal(err)
			}
		},
	}
}

// served is the URL of a service that serves the record of conf until the test ends.
func served(t *testing.T, outside *standin.World, conf config.Config) string {
	t.Helper()
	e, err := engine.New(t.Context(), engine.Options{
		Config: conf, Emulators: google.EmulatedAt(outside.Google.Addr()), Logger: slog.New(slog.DiscardHandler), Version: "test",
	})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(errors.Join(err, e.Close()))
	}

	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- e.ServeOnly(ctx, ln) }()
	t.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, e.Close()); err != nil {
			t.Error(err)
		}
	})

	return "http://" + ln.Addr().String()
}

// asking is a client of a service.
func asking(t *testing.T, service string) *client.Client {
	t.Helper()
	c, err := client.New(client.Options{Server: service, Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // its error is always nil
	return c
}

// newOutside is Google and a registry, until the test ends.
func newOutside(t *testing.T) *standin.World {
	t.Helper()
	outside, err := standin.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := outside.Close(); err != nil {
			t.Error(err)
		}
	})
	return outside
}

// TestRecordsContract: a command that reads decisions is answered the same by the
// record itself and by a service over it.
func TestRecordsContract(t *testing.T) {
	outside := newOutside(t)
	t.Run("the record itself", func(t *testing.T) {
		contract.Records(t, func(t *testing.T) contract.ReadRecord {
			_, s := keptHere(t, outside)
			return reading(localRecords{s}, s)
		})
	})

	t.Run("a service", func(t *testing.T) {
		contract.Records(t, func(t *testing.T) contract.ReadRecord {
			conf, s := keptHere(t, outside)
			return reading(remoteRecords{asking(t, served(t, outside, conf))}, s)
		})
	})
}

// A loggedRecord is a record of three decisions with a signed log, and a service over it.
type loggedRecord struct {
	conf    config.Config
	store   *audit.Store
	key     string // public
	service string // URL
}

func newLoggedRecord(t *testing.T) loggedRecord {
	t.Helper()
	outside := newOutside(t)
	key := filepath.Join(t.TempDir(), "log.pem")
	if err := makeLogKey(key); err != nil {
		t.Fatal(err)
	}
	var l loggedRecord
	l.conf, l.store = keptHere(t, outside, "log: {key: "+key+", origin: gate.example/decisions}")

	decide(t, l.store, "first", "second", "third")

	var err error
	if l.key, err = engine.LogVerifier(t.Context(), l.conf, os.Getenv); err != nil {
		t.Fatal(err)
	}
	l.service = served(t, outside, l.conf)
	return l
}

// decide records decisions that could not be made, by their ids.
func decide(t *testing.T, s *audit.Store, ids ...string) {
	t.Helper()
	for _, id := range ids {
		d := attestor.Decision{
			ID: id, Time: time.Now(), Verdict: attestor.Undecided,
			Image: attestor.DecidedImage{Requested: "registry.example/app:v1", Reference: "registry.example/app:v1"},
		}
		if _, err := s.Finish(t.Context(), attestor.Record{Decision: d}); err != nil {
			t.Fatal(err)
		}
	}
}

// remove deletes a decision as whoever may write to the database can.
func (l loggedRecord) remove(t *testing.T, id string) {
	t.Helper()
	l.write(t, `DELETE FROM decisions WHERE id = $1`, id)
}

// write runs a statement in the database, as whoever may write to it can.
func (l loggedRecord) write(t *testing.T, text string, args ...any) {
	t.Helper()
	db, err := sql.Open("sqlite", l.conf.Store.SQLite)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), text, args...); err != nil {
		t.Fatal(err)
	}
}

// hiding is the service, which answers about one decision as it does to a caller who may
// not read it: as about one that does not exist.
func (l loggedRecord) hiding(t *testing.T, id string) string {
	t.Helper()
	to, err := url.Parse(l.service)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(to)
		r.Out.URL.Path = strings.Replace(r.Out.URL.Path, "/"+id+"/", "/no-such-decision/", 1)
	}}
	srv := httptest.NewServer(proxy)
	t.Cleanup(srv.Close)
	return srv.URL
}

// TestVerifyThroughAService: a decision that was deleted from the database is found
// through a service as it is found in the record itself. One that the service does not
// show is not called removed, and nobody is told that all is well.
func TestVerifyThroughAService(t *testing.T) {
	for _, tt := range []struct {
		name, removed, hidden string
		code                  int
		found, err            []string // on stdout, on stderr
	}{
		{name: "all is there", code: 0, found: []string{"All is as it was recorded", "3 records compared"}},
		{name: "one was removed", removed: "second", code: 1, found: []string{"second", "it was removed", "NOT as it was recorded", "2 records compared"}},
		{name: "one is not shown", hidden: "second", code: 3, err: []string{"1 decision of the log", "second", "may read every repository"}},
		{
			name: "one was removed after one that is not shown", removed: "third", hidden: "first", code: 1,
			found: []string{"third", "it was removed"}, err: []string{"1 decision of the log", "first"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLoggedRecord(t)
			service := l.service
			if tt.removed != "" {
				l.remove(t, tt.removed)
			}
			if tt.hidden != "" {
				service = l.hiding(t, tt.hidden)
			}

			var stdout, stderr bytes.Buffer
			code := run([]string{"decisions", "verify", "--server", service, "--key", l.key}, strings.NewReader(""), &stdout, &stderr)
			if code != tt.code {
				t.Errorf("exit code %d, want %d: %s%s", code, tt.code, &stdout, &stderr)
			}
			for _, part := range tt.found {
				if !strings.Contains(stdout.String(), part) {
					t.Errorf("stdout is %q, want %q in it", &stdout, part)
				}
			}
			for _, part := range tt.err {
				if !strings.Contains(stderr.String(), part) {
					t.Errorf("stderr is %q, want %q in it", &stderr, part)
				}
			}

			if tt.code != 0 && strings.Contains(stdout.String(), "All is as it was recorded") {
				t.Errorf("printed %s", &stdout)
			}
			if tt.hidden != "" && strings.Contains(stdout.String(), tt.hidden) {
				t.Errorf("a decision that is not shown is called a fault: %s", &stdout)
			}
		})
	}
}
