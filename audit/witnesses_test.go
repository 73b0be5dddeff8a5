package audit_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/objects"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
	"github.com/attestor-gate/attestor/internal/translog"
	"github.com/attestor-gate/attestor/internal/witness"
)

// A witnessedLog is a log's key and two witnesses of the log.
type witnessedLog struct {
	key       *audit.LogKey
	witnesses [2]*standin.Witness
	keys      []translog.WitnessKey
}

func newWitnessedLog(t *testing.T) *witnessedLog {
	t.Helper()
	l := &witnessedLog{key: signedLog(0)}
	for i := range l.witnesses {
		w, err := standin.NewWitness("witness.example/w"+string(rune('1'+i)), logVerifier(t), byte(i+1))
		if err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewServer(w)
		t.Cleanup(srv.Close)
		c, err := witness.New(srv.URL, w.Key(), false)
		if err != nil {
			t.Fatal(err)
		}
		l.witnesses[i] = w
		l.keys, l.key.Witnesses = append(l.keys, c.Key()), append(l.key.Witnesses, c)
	}
	return l
}

// onBothWitnessed runs one test on each engine. open opens one database again and again, as instances and restarts do.
func onBothWitnessed(t *testing.T, f func(t *testing.T, l *witnessedLog, again func(kept *objects.Bucket) *audit.Store)) {
	t.Helper()
	run := func(t *testing.T, c audit.Config) {
		l := newWitnessedLog(t)
		f(t, l, func(kept *objects.Bucket) *audit.Store {
			key := *l.key
			key.Kept = kept
			c.Log, c.Now = &key, clockAt(day).now
			return open(t, c)
		})
	}
	t.Run("sqlite", func(t *testing.T) { run(t, audit.Config{SQLite: filepath.Join(t.TempDir(), "record.db")}) })
	t.Run("postgresql", func(t *testing.T) { run(t, audit.Config{PostgreSQL: shared.database(t)}) })
}

func witnessRound(t *testing.T, s *audit.Store, nth int) {
	t.Helper()
	if err := s.WitnessRound(t.Context(), nth); err != nil {
		t.Fatal(err)
	}
}

// cosignedBy is how many entries the served checkpoint has, for each witness that cosigned it.
func cosignedBy(t *testing.T, l *witnessedLog, signed []byte) map[string]int64 {
	t.Helper()
	out := map[string]int64{}
	for _, k := range l.keys {
		if c, err := translog.OpenCosignature(signed, logVerifier(t), k); err == nil {
			out[k.Name()] = c.Entries
		}
	}
	return out
}

func witnessedCheckpoint(t *testing.T, s *audit.Store) []byte {
	t.Helper()
	signed, err := s.WitnessedCheckpoint(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// Each witness cosigns by itself. What is served and proven has the cosignatures of as many as there are, and verifies.
func TestWitnessesCosign(t *testing.T) {
	t.Parallel()
	onBothWitnessed(t, func(t *testing.T, l *witnessedLog, again func(*objects.Bucket) *audit.Store) {
		s := again(nil)
		if _, err := s.WitnessedCheckpoint(t.Context()); attestor.KindOf(err) != attestor.NotFound {
			t.Errorf("before a witness was asked: %v", err)
		}

		finish(t, s, record(1, attestor.Pass))
		witnessRound(t, s, 0)
		witnessRound(t, s, 1)
		if got := cosignedBy(t, l, witnessedCheckpoint(t, s)); got["witness.example/w1"] != 2 || got["witness.example/w2"] != 2 {
			t.Errorf("cosigned: %v", got)
		}

		// One witness is ahead: the checkpoint that both cosigned says more.
		finish(t, s, record(2, attestor.Deny))
		witnessRound(t, s, 0)
		if got := cosignedBy(t, l, witnessedCheckpoint(t, s)); len(got) != 2 || got["witness.example/w1"] != 2 {
			t.Errorf("one witness is ahead: %v", got)
		}

		// The proof of the first decision has both, that of the second one the first witness's.
		for id, want := range map[string]int{"0199-000001": 2, "0199-000002": 1} {
			proof, err := s.Prove(t.Context(), id)
			if err != nil {
				t.Fatal(err)
			}
			if p, err := audit.CheckProof(proof, nil, logVerifier(t), l.keys[:want]...); err != nil || len(p.Cosigned) != want {
				t.Errorf("%s: %+v, %v", id, p.Cosigned, err)
			}
			if want == 1 {
				if _, err := audit.CheckProof(proof, nil, logVerifier(t), l.keys...); err == nil ||
					!strings.Contains(err.Error(), "not cosigned by the witness witness.example/w2") {
					t.Errorf("%s: without a cosignature that is demanded: %v", id, err)
				}
			}
		}

		// Another instance, or the next start, knows what was cosigned. Nothing new: a witness is asked once, after the start.
		next := again(nil)
		if got := cosignedBy(t, l, witnessedCheckpoint(t, next)); len(got) != 2 {
			t.Errorf("another instance: %v", got)
		}
		before := l.witnesses[0].Asked()
		witnessRound(t, next, 0)
		witnessRound(t, next, 0)
		witnessRound(t, next, 0)
		if got := l.witnesses[0].Asked() - before; got != 1 {
			t.Errorf("it was asked %d times although nothing was new", got)
		}

		// The first instance goes on from what the second one had cosigned.
		finish(t, next, record(3, attestor.Pass))
		witnessRound(t, next, 1)
		finish(t, s, record(4, attestor.Pass))
		witnessRound(t, s, 1)
		if got := l.witnesses[1].Saw(); got != 5 {
			t.Errorf("the second witness saw %d entries", got)
		}
	})
}

// A witness that does not answer, or answers anything, holds up no decision, no signature, no copy and no other witness.
func TestWitnessIsAway(t *testing.T) {
	t.Parallel()
	onBothWitnessed(t, func(t *testing.T, l *witnessedLog, again func(*objects.Bucket) *audit.Store) {
		bucket, at := keptOutside(t)
		s := again(at)
		away, hanging := l.witnesses[0], make(chan struct{}, 1)
		for n, answer := range []http.HandlerFunc{
			func(_ http.ResponseWriter, r *http.Request) { hanging <- struct{}{}; <-r.Context().Done() },
			func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
			func(http.ResponseWriter, *http.Request) {}, // 200, and nothing
			func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/x.tlog.size")
				w.WriteHeader(http.StatusConflict)
				_, _ = w.Write([]byte("0\n"))
			},
		} {
			away.Answer(answer)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			if n > 0 { // a witness that refuses all is asked for something
				finish(t, s, record(10+n, attestor.Pass))
			}
			go func() { done <- s.WitnessRound(ctx, 0) }()
			if n == 0 {
				<-hanging // until the end of this round
				finish(t, s, record(10, attestor.Pass))
			}

			copied(t, s)
			witnessRound(t, s, 1)
			if got := copiedTree(t, bucket); got != int64(n+2) {
				t.Errorf("%d: the copy has %d entries", n, got)
			}
			if n == 0 {
				cancel()
			}
			if err := <-done; err == nil {
				t.Errorf("%d: a round without a cosignature is no error", n)
			}
			cancel()
			if got := cosignedBy(t, l, witnessedCheckpoint(t, s)); got["witness.example/w2"] != int64(n+2) || len(got) != 1 {
				t.Errorf("%d: cosigned: %v", n, got)
			}
		}

		state, _ := s.LogState()
		if w := state.Witnesses[0]; w.Entries != 0 || w.Refused || state.Witnesses[1].Entries != 5 {
			t.Errorf("the state is %+v", state)
		}
		away.Answer(nil)
		witnessRound(t, s, 0)
		if got := cosignedBy(t, l, witnessedCheckpoint(t, s)); len(got) != 2 {
			t.Errorf("once it is back: %v", got)
		}

		// The copy gets the cosignatures although its tree is whole already.
		copied(t, s)
		if got := cosignedBy(t, l, bucket.Object(logOrigin+"/checkpoint")); len(got) != 2 {
			t.Errorf("the copy's checkpoint: %v", got)
		}
		was := bucket.Object(logOrigin + "/checkpoint")
		copied(t, s)
		if !bytes.Equal(bucket.Object(logOrigin+"/checkpoint"), was) {
			t.Error("a copy that has all is written again")
		}
	})
}

// A witness that saw more of the log than there is, or another log of its name, is told at once: at the start, where the
// database says that all was cosigned. Decisions are recorded and signed: nobody signed the witness's word.
func TestWitnessSawAnotherHistory(t *testing.T) {
	t.Parallel()
	onBothWitnessed(t, func(t *testing.T, l *witnessedLog, again func(*objects.Bucket) *audit.Store) {
		s := again(nil)
		finish(t, s, record(1, attestor.Pass))
		witnessRound(t, s, 0)
		witnessRound(t, s, 1)

		// Elsewhere the same gate went on: this database is a copy from before that, or one that was put back.
		elsewhere := open(t, audit.Config{SQLite: filepath.Join(t.TempDir(), "other.db"), Now: clockAt(day).now, Log: l.key})
		for n := range 4 {
			finish(t, elsewhere, record(20+n, attestor.Deny))
		}
		sees(t, l.witnesses[0], sign(t, elsewhere))

		next := again(nil)
		err := next.WitnessRound(t.Context(), 0)
		if err == nil || !strings.Contains(err.Error(), "saw this log with size 5, and its size is 2: the database was put back") {
			t.Errorf("fewer entries than the witness saw: %v", err)
		}
		if state, _ := next.LogState(); !state.Witnesses[0].Refused || state.Witnesses[1].Refused || state.Forked {
			t.Errorf("the state is %+v", state)
		}

		// It has more entries, and others.
		for n := range 6 {
			finish(t, next, record(30+n, attestor.Pass))
			witnessRound(t, next, 1)
		}
		err = next.WitnessRound(t.Context(), 0)
		if err == nil || !strings.Contains(err.Error(), "another history") {
			t.Errorf("another history: %v", err)
		}
		if got := cosignedBy(t, l, witnessedCheckpoint(t, next)); got["witness.example/w2"] != 8 || len(got) != 1 {
			t.Errorf("cosigned: %v", got)
		}

		// Whoever demands the witness finds that nothing new is cosigned by it.
		proof, err := next.Prove(t.Context(), "0199-000033")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := audit.CheckProof(proof, nil, logVerifier(t), l.keys[0]); err == nil {
			t.Error("a proof of the second history counts as cosigned")
		}
	})
}

// After the log got a new name, or key, what was cosigned of the old one counts no more, and is displaced.
func TestWitnessesOfARenamedLog(t *testing.T) {
	t.Parallel()
	onBothWitnessed(t, func(t *testing.T, l *witnessedLog, again func(*objects.Bucket) *audit.Store) {
		s := again(nil)
		finish(t, s, record(1, attestor.Pass))
		witnessRound(t, s, 0)

		key, err := signedLog(0).Key(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		key.Origin = "gate.example/decisions/2"
		vkey, err := key.Verifier()
		if err != nil {
			t.Fatal(err)
		}
		w, err := standin.NewWitness("witness.example/w1", vkey, 1)
		if err != nil {
			t.Fatal(err)
		}
		l.key.Origin, l.key.Key = key.Origin, func(context.Context) (translog.Key, error) { return key, nil }
		l.witnesses[0].Answer(w.ServeHTTP)

		next := again(nil)
		if _, err := next.WitnessedCheckpoint(t.Context()); attestor.KindOf(err) != attestor.NotFound {
			t.Errorf("of the new name: %v", err)
		}
		witnessRound(t, next, 0)
		signed := witnessedCheckpoint(t, next)
		if c, err := translog.OpenCosignature(signed, vkey, l.keys[0]); err != nil || c.Entries != 2 {
			t.Errorf("%+v, %v of %q", c, err, signed)
		}
		if n, err := next.Count(t.Context(), "log_cosigned"); err != nil || n != 1 {
			t.Errorf("%d cosigned checkpoints are stored, %v", n, err)
		}
	})
}

// sees makes a witness cosign a checkpoint as if it had seen nothing before.
func sees(t *testing.T, w *standin.Witness, signed []byte) {
	t.Helper()
	if err := w.Forget(signed); err != nil {
		t.Fatal(err)
	}
}

// A cosigned checkpoint in the database shows a log that was rewritten after it, as long as it is there; without it a witness
// that is demanded is missing.
func TestVerifyByWitnesses(t *testing.T) {
	t.Parallel()
	onBothWitnessed(t, func(t *testing.T, l *witnessedLog, again func(*objects.Bucket) *audit.Store) {
		s := again(nil)
		filled(t, s)
		witnessRound(t, s, 0)
		verify := func(demanded bool, witnesses []translog.WitnessKey, kept ...[]byte) (audit.Verification, string) {
			t.Helper()
			var found []string
			v, err := s.Verify(t.Context(), audit.VerifyRequest{
				Key: logVerifier(t), Witnesses: witnesses, Required: demanded, Kept: kept,
				Fault: func(f audit.Fault) { found = append(found, f.String()) },
			})
			if err != nil {
				t.Fatal(err)
			}
			return v, strings.Join(found, "\n")
		}

		if v, found := verify(false, l.keys); found != "" || len(v.Cosigned) != 1 || v.Cosigned[0].Entries != v.Entries {
			t.Errorf("%+v, %s", v, found)
		}
		if _, found := verify(true, l.keys); found != "log: no checkpoint is cosigned by the witness witness.example/w2" {
			t.Errorf("a witness that never cosigned is demanded: %s", found)
		}
		cosigned := witnessedCheckpoint(t, s)
		if v, found := verify(true, l.keys[:1], cosigned); found != "" || len(v.Cosigned) != 1 {
			t.Errorf("%+v, %s", v, found)
		}

		// The database has a history that is not the cosigned one: it was put back, or written anew.
		for says, n := range map[string]int{"a cosigned checkpoint has ": 2, "is not that of the signed checkpoint": 60} {
			other := open(t, audit.Config{SQLite: filepath.Join(t.TempDir(), "other.db"), Now: clockAt(day).now, Log: l.key})
			for i := range n {
				finish(t, other, record(1000+i, attestor.Pass))
			}
			sign(t, other)
			if _, err := other.Writer().ExecContext(t.Context(), `INSERT INTO log_cosigned (witness, size, note) VALUES ($1, $2, $3)`,
				l.keys[0].String(), 1, string(cosigned)); err != nil {
				t.Fatal(err)
			}
			var found []string
			if _, err := other.Verify(t.Context(), audit.VerifyRequest{
				Key: logVerifier(t), Fault: func(f audit.Fault) { found = append(found, f.String()) },
			}); err != nil || len(found) != 1 || !strings.Contains(found[0], says) {
				t.Errorf("%d entries: %q, %v; want %q", n, found, err, says)
			}
		}
	})
}

// The cosigned checkpoint of a service is compared with what the service serves, and a witness that is demanded must be on it.
func TestVerifyServedByWitnesses(t *testing.T) {
	t.Parallel()
	onBothWitnessed(t, func(t *testing.T, l *witnessedLog, again func(*objects.Bucket) *audit.Store) {
		s := again(nil)
		finish(t, s, record(1, attestor.Pass))
		verify := func(witnessed func(context.Context) ([]byte, error)) (audit.Verification, string) {
			t.Helper()
			var found []string
			v, err := audit.VerifyServed(t.Context(), audit.ServedLog{
				Checkpoint: s.Checkpoint, Proof: s.Prove, Witnessed: witnessed,
				Tile: func(ctx context.Context, path string) ([]byte, error) {
					data, _, err := s.LogTile(ctx, path)
					return data, err
				},
			}, audit.VerifyRequest{
				Key: logVerifier(t), Witnesses: l.keys[:1], Required: true, Fault: func(f audit.Fault) { found = append(found, f.String()) },
			})
			if err != nil {
				t.Fatal(err)
			}
			return v, strings.Join(found, "\n")
		}

		if _, found := verify(s.WitnessedCheckpoint); found != "log: no checkpoint is cosigned by the witness witness.example/w1" {
			t.Errorf("before a witness cosigned: %s", found)
		}
		witnessRound(t, s, 0)
		finish(t, s, record(2, attestor.Pass))
		if v, found := verify(s.WitnessedCheckpoint); found != "" || len(v.Cosigned) != 1 || v.Cosigned[0].Entries != 2 {
			t.Errorf("%+v, %s", v, found)
		}

		other := open(t, audit.Config{SQLite: filepath.Join(t.TempDir(), "other.db"), Now: clockAt(day).now, Log: l.key})
		finish(t, other, record(9, attestor.Deny))
		signed := sign(t, other)
		_, found := verify(func(context.Context) ([]byte, error) {
			return append(bytes.Clone(signed), l.witnesses[0].Cosign(signed)...), nil
		})
		if !strings.Contains(found, "is not that of the signed checkpoint") {
			t.Errorf("the witness cosigned another history: %s", found)
		}
	})
}
