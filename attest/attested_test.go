package attest_test

import (
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/attest"
	"github.com/attestor-gate/attestor/emulator"
)

// TestAttestedByAll: an image is attested if every attestor of a pass has attested to it, or every attestor of an
// override. Some of each are neither, and what could not be looked up is no answer.
func TestAttestedByAll(t *testing.T) {
	const second, over, overToo = "projects/sec/attestors/second", "projects/sec/attestors/over", "projects/sec/attestors/over-too"
	w := newWorld(t, emulator.Behaviour{})
	var configs []attest.AttestorConfig
	for _, name := range []string{attestorName, second, over, overToo} {
		w.attestor(name)
		key := newKey(t)
		s := keyFile(t, key)
		w.keys(name, pkix(t, attest.KeyID(s), key.Public(), p256))
		configs = append(configs, attest.AttestorConfig{Name: name, Signer: s})
	}
	gate := w.newAttester(configs...)
	by := [][]string{nil, {attestorName, second}, {attestorName}, {over, overToo}, {over}, {attestorName, over}, {attestorName, second, over, overToo}}
	for n, attestors := range by[1:] {
		_, err := gate.Attest(t.Context(), authorize(t, image(t, n+1), attestor.AttestNeeds{Attestors: attestors}), attestor.Standing{}, recorded)
		must(t, err)
	}

	both := []string{attestorName, second}
	governed := func(governs bool) func(attestor.Image) (attestor.AttestNeeds, bool) {
		return func(attestor.Image) (attestor.AttestNeeds, bool) {
			return attestor.AttestNeeds{Attestors: both, BreakGlass: []string{over, overToo}}, governs
		}
	}
	for name, tt := range map[string]struct {
		of   attest.AttestedBy
		want []bool // by the number of the image
	}{
		"two attestors": {attest.AttestedBy{Attestors: both}, []bool{false, true, false, false, false, false, true}},
		"one attestor":  {attest.AttestedBy{Attestors: both[:1]}, []bool{false, true, true, false, false, true, true}},
		"those of a policy": {
			attest.AttestedBy{Attestors: []string{over}, Needs: governed(true)}, []bool{false, true, false, true, false, false, true},
		},
		"no policy governs the image": {attest.AttestedBy{Attestors: both, Needs: governed(false)}, []bool{false, true, false, false, false, false, true}},
	} {
		tt.of.Of = gate
		for n, want := range tt.want {
			if got, err := tt.of.Attested(t.Context(), image(t, n)); err != nil || got != want {
				t.Errorf("%s: by %v: %t, %v, want %t", name, by[n], got, err, want)
			}
		}
	}

	// Nothing is missing of nothing that was looked up.
	needs := func(n attestor.AttestNeeds) func(attestor.Image) (attestor.AttestNeeds, bool) {
		return func(attestor.Image) (attestor.AttestNeeds, bool) { return n, true }
	}
	for name, of := range map[string]attest.AttestedBy{
		"no attestor":                       {Of: gate},
		"an attestor that does not exist":   {Of: gate, Attestors: []string{attestorName, "projects/sec/attestors/none"}},
		"a policy without attestors":        {Of: gate, Attestors: both, Needs: needs(attestor.AttestNeeds{})},
		"a policy without any of overrides": {Of: gate, Needs: needs(attestor.AttestNeeds{BreakGlass: both})},
	} {
		if got, err := of.Attested(t.Context(), image(t, 1)); got || err == nil {
			t.Errorf("%s: %t, %v", name, got, err)
		}
	}
	if got, err := (attest.AttestedBy{Of: gate, Attestors: both}).Attested(t.Context(), attestor.Image{}); got || err == nil {
		t.Errorf("no image: %t, %v", got, err)
	}
	w.Inject(emulator.Fault{Method: "ListNoteOccurrences", Code: codes.Internal})
	if got, err := (attest.AttestedBy{Of: gate, Attestors: both}).Attested(t.Context(), image(t, 1)); got || err == nil {
		t.Errorf("what could not be listed: %t, %v", got, err)
	}
}
