package signed_test

import (
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/registries"
	"github.com/attestor-gate/attestor/verify/signed"
)

// BenchmarkCheck prints, beside time and memory, what is asked of the
// registry: cold is the first question about an image, on a connection that
// stands; cached is every further one.
func BenchmarkCheck(b *testing.B) {
	key, sig := newKey(b), newSigstore(b)
	for _, bm := range []struct {
		name  string
		sign  func(h *host)
		rule  attestor.SignedBy
		cache bool
	}{
		{"key/classic", func(h *host) { h.attach(h.image, "sig", key.entry(simple(h.image))) }, key.rule(), false},
		{"key/bundle", func(h *host) { h.refer(h.image, bundleMedia, key.bundle(statement(h.image, signPredicate))) }, key.rule(), false},
		{"keyless/classic", func(h *host) { h.attach(h.image, "sig", sig.entry(simple(h.image))) }, sig.rule(), false},
		{"keyless/bundle", func(h *host) { h.refer(h.image, bundleMedia, sig.bundle(statement(h.image, signPredicate), true)) }, sig.rule(), false},
		{"keyless/cached", func(h *host) { h.attach(h.image, "sig", sig.entry(simple(h.image))) }, sig.rule(), true},
	} {
		b.Run(bm.name, func(b *testing.B) {
			h := newHost(b, registries.Memory(true))
			bm.sign(h)
			c := signed.Config{CacheLifetime: -1}
			if bm.cache {
				c.CacheLifetime = 0
			}

			ch := checker(b, c)
			if _, err := ch.Check(b.Context(), h.image, bm.rule); err != nil {
				b.Fatal(err)
			}

			before := h.Requests()
			b.ReportAllocs()

			for b.Loop() {
				if _, err := ch.Check(b.Context(), h.image, bm.rule); err != nil {
					b.Fatal(err)
				}
			}

			b.ReportMetric(float64(h.Requests()-before)/float64(b.N), "requests/op")
		})
	}
}
