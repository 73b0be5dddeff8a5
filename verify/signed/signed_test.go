package signed_test

import (
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/registries"
)

// TestSatisfied signs in every way that publishers do, in every kind of
// registry, and asks by every kind of rule.
func TestSatisfied(t *testing.T) {
	key, sig := newKey(t), newSigstore(t)
	loose := attestor.SignedBy{Issuer: issuer, SubjectRegexp: `release@[a-z]+\.example\.com`, TrustedRoot: sig.root(false)}
	tests := []struct {
		name string
		sign func(h *host)
		rule attestor.SignedBy
		want string
	}{
		{"key, classic", func(h *host) { h.attach(h.image, "sig", key.entry(simple(h.image))) }, key.rule(), "key sha256:"},
		{"key, bundle", func(h *host) { h.refer(h.image, bundleMedia, key.bundle(statement(h.image, signPredicate))) }, key.rule(), "key sha256:"},
		{"keyless, classic", func(h *host) { h.attach(h.image, "sig", sig.entry(simple(h.image))) }, sig.rule(), subject + " (" + issuer + ")"},
		{"keyless, classic, pattern", func(h *host) { h.attach(h.image, "sig", sig.entry(simple(h.image))) }, loose, subject},
		{"keyless, bundle", func(h *host) {
			h.refer(h.image, bundleMedia, sig.bundle(statement(h.image, signPredicate), false))
		}, sig.rule(), subject + " (" + issuer + ")"},
		{"keyless, bundle with timestamp", func(h *host) {
			h.refer(h.image, bundleMedia, sig.bundle(statement(h.image, signPredicate), true))
		}, loose, subject},
		{"the second of two", func(h *host) {
			h.attach(h.image, "sig", newKey(t).entry(simple(h.image)), key.entry(simple(h.image)))
		}, key.rule(), "key sha256:"},
		{"bundle beside a foreign classic one", func(h *host) {
			h.attach(h.image, "sig", newKey(t).entry(simple(h.image)))
			h.refer(h.image, bundleMedia, key.bundle(statement(h.image, signPredicate)))
		}, key.rule(), "key sha256:"},
		{"bundle among other referrers", func(h *host) {
			h.refer(h.image, "application/spdx+json", []byte(`{"spdx":1}`))
			h.refer(h.image, bundleMedia, key.bundle(statement(h.image, signPredicate)))
		}, key.rule(), "key sha256:"},
	}

	for kind, handler := range registries.Kinds() {
		for _, tt := range tests {
			t.Run(kind+"/"+tt.name, func(t *testing.T) {
				h := newHost(t, handler(t, false))
				tt.sign(h)
				got, err := h.check(h.image, tt.rule)
				if err != nil || !strings.HasPrefix(got, tt.want) {
					t.Fatalf("got %q, %v; want %q", got, err, tt.want)
				}

				// The same signature does not count for another image.
				got, err = h.check(h.Push(), tt.rule)
				refused(t, got, err, "it has none")
			})
		}
	}
}
