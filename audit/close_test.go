package audit_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

// Who reads while the store is closed gets an error: no panic, and no wait without end.
func TestReadersOutliveAClose(t *testing.T) {
	t.Parallel()
	for range 5 {
		s, err := audit.Open(t.Context(), audit.Config{SQLite: migratedFile(t), Now: clockAt(day).now, Timeout: 5 * time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		r := record(1, attestor.Pass)
		if _, err := s.Finish(t.Context(), r); err != nil {
			t.Fatal(err)
		}

		var readers sync.WaitGroup
		var begun sync.WaitGroup
		for range 8 {
			begun.Add(1)
			readers.Go(func() {
				first := sync.OnceFunc(begun.Done)
				for {
					s.Alone() // as recovery asks
					_, err := s.Decision(t.Context(), r.Decision.ID)
					first()
					if err == nil {
						continue
					}
					if e := new(attestor.Error); !errors.As(err, &e) || e.Kind == attestor.NotFound {
						t.Errorf("a decision that is in the record: %v", err)
					}
					return
				}
			})
		}

		begun.Wait()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		readers.Wait()
	}
}
