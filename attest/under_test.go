package attest_test

import (
	"slices"
	"testing"
	"time"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/attest"
	"github.com/attestor-gate/attestor/emulator"
)

// under lists a note as a verifier of its own sees it.
func (r *rotation) under() (out []attest.Placed, err error) {
	r.t.Helper()
	v, err := attest.NewVerifier(attest.VerifierConfig{Grafeas: r.Grafeas, BinAuthz: r.Binauthz, Now: r.clock.Now})
	must(r.t, err)
	for p, err := range v.Under(r.t.Context(), attestorName) {
		if err != nil {
			return out, err
		}
		out = append(out, p)
	}
	return out, nil
}

// TestUnder: whatever admits is listed, whatever image it names and however much else is under the note; what admits
// nothing is not.
func TestUnder(t *testing.T) {
	r := newRotation(t, emulator.Behaviour{Uniqueness: emulator.UniqueNone}, false)
	id := attest.KeyID(r.signer)
	mine := func(n int, resource string) *grafeaspb.Occurrence {
		return signed(t, r.mine, id, resource+string(digest(n)), compact(repository, digest(n)))
	}
	want := map[attestor.Digest]string{
		digest(1): repository + "@" + string(digest(1)), digest(2): repository + "@" + string(digest(2)),
		digest(3): "", digest(4): "gcr.io/other/api@" + string(digest(4)),
	}
	r.put(mine(1, repository+"@"))
	r.put(mine(2, "https://"+repository+"@"))
	r.put(mine(3, "no image@x@")) // admission goes by the digest at its end
	r.put(mine(4, "gcr.io/other/api@"))
	r.put(signed(t, r.foreign, id, repository+"@"+string(digest(5)), compact(repository, digest(5))))
	r.put(signed(t, r.mine, id, repository+"@"+string(digest(6)), compact(repository, digest(7))))
	r.put(signed(t, r.mine, id, repository+":v1", compact(repository, digest(8))))

	// More than a page of what strangers wrote.
	for range 1100 {
		r.put(signed(t, r.foreign, "foreign", repository+"@"+string(digest(9)), compact(repository, digest(9))))
	}
	r.put(mine(10, repository+"@"))
	want[digest(10)] = repository + "@" + string(digest(10))
	r.clock.advance(time.Hour)

	got, err := r.under()
	must(t, err)
	for _, p := range got {
		name := ""
		if !p.Image.IsZero() {
			name = p.Image.String()
		}
		if image, ok := want[p.Digest]; !ok || image != name || p.Attestor != attestorName || p.Occurrence == "" {
			t.Errorf("%+v of %q is listed, want of %q", p.Attestation, name, image)
		}
		delete(want, p.Digest)
	}
	if len(want) != 0 {
		t.Errorf("not listed: %v", want)
	}
}

// TestUnderFails: a list that ends with an error is told from one that ends.
func TestUnderFails(t *testing.T) {
	r := newRotation(t, emulator.Behaviour{}, false)
	r.put(signed(t, r.mine, attest.KeyID(r.signer), image(t, 1).String(), compact(repository, digest(1))))
	for _, method := range []string{"GetAttestor", "ListNoteOccurrences"} {
		r.Inject(emulator.Fault{Method: method, Code: codes.PermissionDenied})
		if got, err := r.under(); err == nil {
			t.Errorf("%s fails, and %v is the whole list", method, got)
		}
		r.ClearFaults()
	}
	if got, err := r.under(); err != nil || !slices.ContainsFunc(got, func(p attest.Placed) bool { return p.Digest == digest(1) }) {
		t.Errorf("%v, %v", got, err)
	}
}
