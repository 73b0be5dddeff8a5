package attest_test

import (
	"testing"

	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/testkit/contract"
)

func TestJournalContract(t *testing.T) {
	t.Run("memory", func(t *testing.T) {
		contract.Journal(t, func(*testing.T) (*memoryJournal, func() *memoryJournal) {
			return &memoryJournal{}, nil
		})
	})
	t.Run("file", func(t *testing.T) {
		contract.Journal(t, func(t *testing.T) (fileJournal, func() fileJournal) {
			j := fileJournal{t.TempDir(), &reaper{}}
			return j, func() fileJournal { return fileJournal{j.dir, &reaper{}} }
		})
	})
}

func TestAttesterContract(t *testing.T) {
	contract.Attester(t, func(t *testing.T) contract.Attesting {
		w := newWorld(t, emulator.Behaviour{})
		a, _ := w.gate()
		must(t, a.Preflight(t.Context()))
		return contract.Attesting{Attester: a, Attestors: []string{attestorName}}
	})
}
