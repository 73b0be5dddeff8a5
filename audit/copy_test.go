package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/objects"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
	"github.com/attestor-gate/attestor/internal/translog"
)

// keptOutside is a bucket that is stood in for.
func keptOutside(t *testing.T) (*standin.Bucket, *objects.Bucket) {
	t.Helper()
	bucket := standin.NewBucket("gate-log")
	srv := httptest.NewServer(bucket)
	t.Cleanup(srv.Close)
	at, err := objects.New("gs://gate-log", func(name string) string {
		return map[string]string{objects.EnvEmulator: srv.Listener.Addr().String()}[name]
	})
	if err != nil {
		t.Fatal(err)
	}
	return bucket, at
}

// onBothCopied runs one test on a store of each engine whose log is copied to a bucket.
func onBothCopied(t *testing.T, f func(t *testing.T, s *audit.Store, bucket *standin.Bucket)) {
	t.Helper()
	c := func(t *testing.T) (audit.Config, *standin.Bucket) {
		bucket, at := keptOutside(t)
		l := signedLog(0)
		l.Kept = at
		return audit.Config{Now: clockAt(day).now, Log: l}, bucket
	}
	t.Run("sqlite", func(t *testing.T) {
		conf, bucket := c(t)
		conf.SQLite = filepath.Join(t.TempDir(), "record.db")
		f(t, open(t, conf), bucket)
	})
	t.Run("postgresql", func(t *testing.T) {
		conf, bucket := c(t)
		conf.PostgreSQL = shared.database(t)
		f(t, open(t, conf), bucket)
	})
}

// grow appends entries to the log: changes of policies, which are the smallest records.
func grow(t *testing.T, s *audit.Store, from, to int) {
	t.Helper()
	for n := from; n < to; n++ {
		recorded, err := s.RecordPolicies(t.Context(), inForce(fmt.Sprintf("p%d", n), attestor.PoliciesReloaded, fmt.Sprintf("web=%d", n)))
		if err != nil || !recorded {
			t.Fatalf("%d: %v, %v", n, recorded, err)
		}
	}
}

// copied signs the log and copies all of it.
func copied(t *testing.T, s *audit.Store) {
	t.Helper()
	sign(t, s)
	for more := true; more; {
		var err error
		if more, err = s.CopyRound(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

func sign(t *testing.T, s *audit.Store) []byte {
	t.Helper()
	if err := s.SignRound(t.Context()); err != nil {
		t.Fatal(err)
	}
	return checkpoint(t, s)
}

// copiedTree reads a copy as an auditor does who has nothing but the bucket and the public key: its checkpoint, and its
// tiles as golang.org/x/mod/sumdb/tlog verifies them.
func copiedTree(t *testing.T, bucket *standin.Bucket) (size int64) {
	t.Helper()
	c, err := translog.OpenCheckpoint(bucket.Object(logOrigin+"/checkpoint"), logVerifier(t))
	if err != nil {
		t.Fatalf("the copy's checkpoint: %v", err)
	}
	for tile := range translog.EntryTiles(c.Size) {
		entries, err := translog.SplitEntries(bucket.Object(logOrigin + "/tile/" + tile.Path()))
		if err != nil || len(entries) != tile.Width {
			t.Fatalf("the copy's bundle %s has %d entries, %v; there are %q", tile.Path(), len(entries), err, bucket.Objects())
		}
		var indexes []int64
		for i := range entries {
			indexes = append(indexes, tlog.StoredHashIndex(0, tile.N*256+int64(i)))
		}
		hashes, err := tlog.TileHashReader(tlog.Tree{N: c.Size, Hash: c.Root}, bucketTiles{bucket}).ReadHashes(indexes)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range entries {
			if tlog.RecordHash(e) != hashes[i] {
				t.Errorf("the copy's entry %d does not have its hash", tile.N*256+int64(i))
			}
		}
	}
	return c.Size
}

// bucketTiles reads the tiles of a copy.
type bucketTiles struct{ *standin.Bucket }

func (b bucketTiles) Height() int                     { return 8 }
func (b bucketTiles) SaveTiles([]tlog.Tile, [][]byte) {}
func (b bucketTiles) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var out [][]byte
	for _, t := range tiles {
		data := b.Object(logOrigin + "/" + strings.TrimPrefix(strings.Replace(t.Path(), "tile/8/", "tile/", 1), "/"))
		if data == nil {
			return nil, errors.New("no tile " + t.Path())
		}
		out = append(out, data)
	}
	return out, nil
}

// The copy has all tiles of its checkpoint's tree, whatever its size, and grows with the log.
func TestLogIsCopied(t *testing.T) {
	t.Parallel()
	onBothCopied(t, func(t *testing.T, s *audit.Store, bucket *standin.Bucket) {
		size := 1 // the log's first entry
		for _, next := range []int{1, 2, 255, 256, 257, 300, 511, 512, 513, 600} {
			grow(t, s, size, next)
			size = next
			copied(t, s)
			if got := copiedTree(t, bucket); got != int64(next) {
				t.Errorf("the copy has %d entries of %d", got, next)
			}
		}

		// What is copied is not copied again: there is one look at the checkpoint.
		before := bucket.Calls()
		copied(t, s)
		if calls := bucket.Calls() - before; calls != 1 {
			t.Errorf("%d calls where nothing is new, want 1", calls)
		}
		if state, _ := s.LogState(); state.Kept != 600 || state.Unkept != 0 || state.Forked || !state.Copied {
			t.Errorf("the state is %+v", state)
		}
	})
}

// A copy that is interrupted at any call goes on there, and its checkpoint never claims what is not there. Decisions and
// signatures go on meanwhile.
func TestCopyIsResumed(t *testing.T) {
	t.Parallel()
	onBothCopied(t, func(t *testing.T, s *audit.Store, bucket *standin.Bucket) {
		grow(t, s, 1, 1300)
		sign(t, s)
		for left := 0; ; left++ {
			calls := 0
			bucket.Fail(func(*http.Request) int {
				if calls++; calls > left {
					return http.StatusServiceUnavailable
				}
				return 0
			})
			more, err := s.CopyRound(t.Context())
			if bucket.Object(logOrigin+"/checkpoint") != nil {
				copiedTree(t, bucket)
			}
			if err == nil && !more {
				break
			}
			if left > 40 {
				t.Fatalf("not copied after %d interruptions: %v, there are %q", left, err, bucket.Objects())
			}

			finish(t, s, record(left, attestor.Pass))
			if _, err := s.Prove(t.Context(), fmt.Sprintf("0199-%06d", left)); left > 0 && err != nil {
				t.Errorf("a decision is not proven while the copy fails: %v", err)
			}
		}
		bucket.Fail(nil)
		copied(t, s)
		copiedTree(t, bucket)
	})
}

// A log that was put back, rewritten, or is written by a second gate beside the first one is told as forked at the next
// round, and nothing is signed or copied any more. Decisions are recorded.
func TestForkIsTold(t *testing.T) {
	t.Parallel()
	onBothCopied(t, func(t *testing.T, s *audit.Store, bucket *standin.Bucket) {
		grow(t, s, 1, 300)
		copied(t, s)
		was := bucket.Object(logOrigin + "/checkpoint")

		for name, there := range map[string]struct {
			entries int
			second  bool // another gate's history, which writes to the same place
		}{"more entries than the log": {400, false}, "another history, shorter": {250, true}, "another history, longer": {350, true}} {
			other := open(t, audit.Config{
				SQLite: filepath.Join(t.TempDir(), "other.db"), Now: clockAt(day).now, Log: signedLog(0),
			})
			from := 1
			if there.second {
				from = 1000
			}
			grow(t, other, from, from+there.entries-1)
			bucket.Set(logOrigin+"/checkpoint", sign(t, other))
			objectsBefore := bucket.Objects()

			if _, err := s.CopyRound(t.Context()); err == nil || !strings.Contains(err.Error(), "the log is forked") {
				t.Errorf("%s: %v", name, err)
			}
			if state, _ := s.LogState(); !state.Forked {
				t.Errorf("%s: the state is %+v", name, state)
			}
			signedBefore, err := s.Checkpoint(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			finish(t, s, record(there.entries, attestor.Pass))
			if err := s.SignRound(t.Context()); err == nil {
				t.Errorf("%s: a forked log is signed", name)
			}
			if now, err := s.Checkpoint(t.Context()); err != nil || !bytes.Equal(now, signedBefore) {
				t.Errorf("%s: the checkpoint is now %q, %v", name, now, err)
			}
			if !slices.Equal(bucket.Objects(), objectsBefore) {
				t.Errorf("%s: a forked log is copied", name)
			}
		}

		// What is kept is this log's again: it goes on by itself.
		bucket.Set(logOrigin+"/checkpoint", was)
		if _, err := s.CopyRound(t.Context()); err != nil {
			t.Fatal(err)
		}
		copied(t, s)
		if state, _ := s.LogState(); state.Forked || state.Kept != state.Signed {
			t.Errorf("the state is %+v", state)
		}
		copiedTree(t, bucket)
	})
}

// What would keep the log from being signed and copied is found before a gate starts.
func TestCheckLog(t *testing.T) {
	t.Parallel()
	onBothCopied(t, func(t *testing.T, s *audit.Store, bucket *standin.Bucket) {
		check := func(wrong bool, says string) {
			t.Helper()
			err := s.CheckLog(t.Context())
			if (err != nil) != wrong || wrong && (attestor.KindOf(err) != attestor.Unavailable || !strings.Contains(err.Error(), says)) {
				t.Errorf("%v, want an error that says %q: %v", err, says, wrong)
			}
		}

		check(false, "")
		bucket.Fail(func(*http.Request) int { return http.StatusForbidden })
		check(true, "403")
		bucket.Fail(nil)
		bucket.Set(logOrigin+"/checkpoint", []byte("no checkpoint"))
		check(true, "kept outside of the database")

		other := open(t, audit.Config{SQLite: filepath.Join(t.TempDir(), "other.db"), Now: clockAt(day).now, Log: signedLog(0)})
		grow(t, other, 1, 20)
		bucket.Set(logOrigin+"/checkpoint", sign(t, other))
		check(true, "the log is forked")
		if got := bucket.Objects(); len(got) != 1 {
			t.Errorf("a check wrote %q", got)
		}
	})

	l := signedLog(0)
	l.Key = func(context.Context) (translog.Key, error) { return translog.Key{}, errors.New("the key is disabled") }
	s := open(t, audit.Config{SQLite: filepath.Join(t.TempDir(), "record.db"), Now: clockAt(day).now, Log: l})
	if err := s.CheckLog(t.Context()); attestor.KindOf(err) != attestor.Unavailable || !strings.Contains(err.Error(), "the key is disabled") {
		t.Errorf("a key that cannot be read: %v", err)
	}
}

// Rows that were changed are not copied, and a tile of the copy that was changed is told.
func TestCopyIsOfTheSignedTree(t *testing.T) {
	t.Parallel()
	for name, tamper := range map[string]func(t *testing.T, s *audit.Store, bucket *standin.Bucket){
		"an entry": func(t *testing.T, s *audit.Store, _ *standin.Bucket) {
			run(t, s.Writer(), `UPDATE log_leaves SET entry = (SELECT entry FROM log_leaves WHERE n = 8) WHERE n = 7`)
		},
		"a hash": func(t *testing.T, s *audit.Store, _ *standin.Bucket) {
			run(t, s.Writer(), `UPDATE log_leaves SET hashes = (SELECT hashes FROM log_leaves WHERE n = 8) WHERE n = 6`)
		},
		"a row that is gone": func(t *testing.T, s *audit.Store, _ *standin.Bucket) {
			run(t, s.Writer(), `DELETE FROM log_leaves WHERE n = 6`)
		},
		"a tile of the copy": func(_ *testing.T, _ *audit.Store, bucket *standin.Bucket) {
			bucket.Set(logOrigin+"/tile/0/000", []byte("another"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			onBothCopied(t, func(t *testing.T, s *audit.Store, bucket *standin.Bucket) {
				grow(t, s, 1, 270)
				sign(t, s)
				tamper(t, s, bucket)
				if _, err := s.CopyRound(t.Context()); err == nil {
					t.Errorf("it is copied: %q", bucket.Objects())
				}
				if bucket.Object(logOrigin+"/checkpoint") != nil {
					t.Error("a checkpoint is kept whose tiles are not there")
				}
			})
		})
	}
}

// Two instances copy one log to one place, in turn, and neither takes the other for a fork.
func TestInstancesCopyOneLog(t *testing.T) {
	t.Parallel()
	bucket, at := keptOutside(t)
	dsn := shared.database(t)
	var instances []*audit.Store
	for range 2 {
		l := signedLog(0)
		l.Kept = at
		instances = append(instances, open(t, audit.Config{PostgreSQL: dsn, Now: clockAt(day).now, Log: l}))
	}
	for n := 1; n < 20; n++ {
		grow(t, instances[n%2], n*7, n*7+7)
		sign(t, instances[n%2])
		for i, s := range instances {
			if _, err := s.CopyRound(t.Context()); err != nil {
				t.Fatalf("instance %d: %v", i, err)
			}
		}
		copiedTree(t, bucket)
	}
}
