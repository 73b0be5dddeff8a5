package main

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
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

// served is a client of a service that serves the record of conf until the test ends.
func served(t *testing.T, outside *standin.World, conf config.Config) *client.Client {
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

	c, err := client.New(client.Options{Server: "http://" + ln.Addr().String(), Version: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // its error is always nil
	return c
}

// TestRecordsContract: a command that reads decisions is answered the same by the
// record itself and by a service over it.
func TestRecordsContract(t *testing.T) {
	outside, err := standin.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := outside.Close(); err != nil {
			t.Error(err)
		}
	})

	t.Run("the record itself", func(t *testing.T) {
		contract.Records(t, func(t *testing.T) contract.ReadRecord {
			_, s := keptHere(t, outside)
			return reading(localRecords{s}, s)
		})
	})

	t.Run("a service", func(t *testing.T) {
		contract.Records(t, func(t *testing.T) contract.ReadRecord {
			conf, s := keptHere(t, outside)
			return reading(remoteRecords{served(t, outside, conf)}, s)
		})
	})
}

// TestVerifyThroughAService: a decision that was deleted from the database is found
// through a service as it is found in the record itself, and the rest is compared.
func TestVerifyThroughAService(t *testing.T) {
	outside, err := standin.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := outside.Close(); err != nil {
			t.Error(err)
		}
	})

	key := filepath.Join(t.TempDir(), "log.pem")
	if err := makeLogKey(key); err != nil {
		t.Fatal(err)
	}
	conf, s := keptHere(t, outside, "log: {key: "+key+", origin: gate.example/decisions}")
	for _, id := range []string{"first", "second", "third"} {
		d := attestor.Decision{ID: id, Time: time.Now(), Verdict: attestor.Undecided, Image: attestor.DecidedImage{Requested: "registry.example/app:v1"}}
		if _, err := s.Finish(t.Context(), attestor.Record{Decision: d}); err != nil {
			t.Fatal(err)
		}
	}
	verifier, err := engine.LogVerifier(t.Context(), conf, os.Getenv)
	if err != nil {
		t.Fatal(err)
	}

	c := served(t, outside, conf)
	verified := func() (through, itself audit.Verification, found []string) {
		t.Helper()
		r := audit.VerifyRequest{Key: verifier, Fault: func(f audit.Fault) { found = append(found, f.ID) }}
		through, err := audit.VerifyServed(t.Context(), audit.ServedLog{Checkpoint: c.Checkpoint, Tile: c.LogTile, Proof: c.Proof}, r)
		if err != nil {
			t.Fatal(err)
		}
		if itself, err = s.Verify(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		return through, itself, found
	}
	if through, itself, found := verified(); through.Records != 3 || itself.Records != 3 || len(found) != 0 {
		t.Fatalf("through the service %+v, in the record %+v, found %q; want 3 records and no fault", through, itself, found)
	}

	db, err := sql.Open("sqlite", conf.Store.SQLite)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), `DELETE FROM decisions WHERE id = 'second'`); err != nil {
		t.Fatal(err)
	}

	through, itself, found := verified()
	if through.Records != 2 || through.Faults != 1 || itself.Records != 2 || itself.Faults != 1 || !slices.Equal(found, []string{"second", "second"}) {
		t.Errorf("through the service %+v, in the record %+v, found %q; want 2 records, and a fault of the second decision", through, itself, found)
	}
}
