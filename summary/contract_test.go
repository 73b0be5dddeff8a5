package summary_test

import (
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/contract"
	"github.com/attestor-gate/attestor/internal/testkit/registries"
	"github.com/attestor-gate/attestor/summary"
)

func TestSummarizerContract(t *testing.T) {
	contract.Summarizer(t, func(t *testing.T) contract.Summarizing {
		w := newWorld(t, registries.Kinds()["referrers API"](t, true))
		refusals := w.p256()
		p := w.publisher(w.p256(), func(c *summary.Config) {
			c.Refused, c.MaxAge = refusals.key, 100*365*24*time.Hour // the suite's evidence has a time of its own
		})
		return contract.Summarizing{Summarizer: p, Images: [2]attestor.Image{w.image, w.Push()}}
	})
}
