package contract

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/attestor-gate/attestor"
)

// Attesting is an attester whose store is empty.
type Attesting struct {
	attestor.Attester
	Attestors []string // that it is configured with
}

// authorizationOf permits to attest to the n-th image.
func authorizationOf(t *testing.T, attestors []string, n int) (attestor.Authorization, attestor.Image) {
	t.Helper()
	ev := recordOf(t, n).Evidence
	asked := []attestor.Question{{Check: attestor.CheckBase}, {Check: attestor.CheckUser},
		{Check: attestor.CheckVulnerabilities}}
	var checks []attestor.Check
	for _, q := range asked {
		checks = append(checks, attestor.Check{Name: q.Check, Platform: ev.Platforms[0].Platform,
			Status: attestor.StatusPass})
	}

	needs := attestor.AttestNeeds{Attestors: attestors, Children: true}
	a, err := attestor.Authorize("contract",
		attestor.NewVerdict(ev, attestor.PolicyRef{Name: "production", Mode: attestor.Enforce}, needs, asked, checks))
	if err != nil {
		t.Fatal(err)
	}
	return a, ev.Image
}

// Attester is the suite of [attestor.Attester].
func Attester(t *testing.T, open func(t *testing.T) Attesting) {
	standing := func(t *testing.T, w Attesting, img attestor.Image) attestor.Standing {
		t.Helper()
		s, err := w.Standing(t.Context(), w.Attestors, []attestor.Image{img})
		if err != nil || !s.Known {
			t.Fatalf("Standing: known %t, %v", s.Known, err)
		}
		return s
	}

	recorded := func() error { return nil }

	t.Run("attested once", func(t *testing.T) {
		w := open(t)
		a, img := authorizationOf(t, w.Attestors, 1)
		if s := standing(t, w, img); len(s.Valid)+len(s.Invalid) != 0 {
			t.Fatalf("before anything was attested: %+v", s)
		}

		begun := 0
		made, err := w.Attest(t.Context(), a, standing(t, w, img), func() error { begun++; return nil })
		if err != nil || begun != 1 {
			t.Fatalf("Attest: %v; begin was called %d times, want once", err, begun)
		}

		if len(made) != len(w.Attestors) {
			t.Fatalf("made %+v, want one attestation for each of %q", made, w.Attestors)
		}
		for _, m := range made {
			if m.Digest != img.Digest() || !slices.Contains(w.Attestors, m.Attestor) || !m.Created {
				t.Errorf("made %+v for %s", m, img)
			}
		}

		after := standing(t, w, img)
		if len(after.Valid) != len(made) {
			t.Errorf("%d attestations stand, %d were made", len(after.Valid), len(made))
		}

		// What stands is reused: a repeat adds nothing.
		again, err := w.Attest(t.Context(), a, after, recorded)
		if err != nil || len(again) != len(made) {
			t.Fatalf("the repeat: %+v, %v", again, err)
		}

		for _, m := range again {
			if m.Created {
				t.Errorf("the repeat made %+v", m)
			}
		}

		if got := standing(t, w, img); len(got.Valid) != len(made) {
			t.Errorf("%d attestations stand after a repeat, want %d", len(got.Valid), len(made))
		}

		// An attestation is of one digest.
		if s := standing(t, w, imageOf(t, Repository, 2)); len(s.Valid) != 0 {
			t.Errorf("of another image stands %+v", s.Valid)
		}
	})

	t.Run("nothing without a beginning", func(t *testing.T) {
		w := open(t)
		a, img := authorizationOf(t, w.Attestors, 1)
		refused := errors.New("the record is full")
		made, err := w.Attest(t.Context(), a, standing(t, w, img), func() error { return refused })
		if err == nil || len(made) != 0 {
			t.Errorf("made %+v, %v, though the beginning was not recorded", made, err)
		}

		if s := standing(t, w, img); len(s.Valid) != 0 {
			t.Errorf("%+v stands, though the beginning was not recorded", s.Valid)
		}
	})

	t.Run("nobody waits", func(t *testing.T) {
		w := open(t)
		a, img := authorizationOf(t, w.Attestors, 1)
		known := standing(t, w, img)
		made, err := w.Attest(gone(t), a, known, recorded)
		if err == nil && len(made) == 0 {
			t.Error("Attest with an ended context reports success and made nothing")
		}

		if s, err := w.Standing(gone(t), w.Attestors, []attestor.Image{img}); err == nil && s.Known &&
			len(s.Valid) != len(made) {
			t.Errorf("Standing with an ended context is %+v", s)
		}
	})
}

// Standings is the suite of admission.Attestations: what stands for one image
// under every attestor of the gate.
func Standings(t *testing.T, look interface {
	Standing(ctx context.Context, img attestor.Image) (attestor.Standing, error)
}, attested, unattested attestor.Image) {
	s, err := look.Standing(t.Context(), attested)
	if err != nil || !s.Known || len(s.Valid) == 0 {
		t.Errorf("of the attested image: %+v, %v", s, err)
	}
	for _, a := range s.Valid {
		if a.Digest != attested.Digest() || a.Attestor == "" {
			t.Errorf("%+v stands for %s", a, attested)
		}
	}

	s, err = look.Standing(t.Context(), unattested)
	if err != nil || !s.Known || len(s.Valid) != 0 {
		t.Errorf("of the image without attestation: %+v, %v", s, err)
	}

	// What could not be looked up is not known to be absent.
	if s, err := look.Standing(gone(t), attested); err == nil && s.Known && len(s.Valid) == 0 {
		t.Error("asked with an ended context, nothing stands for the attested image")
	}
}

// Attested is the suite of posture.Attested.
func Attested(t *testing.T, look interface {
	Attested(ctx context.Context, img attestor.Image) (bool, error)
}, attested, unattested attestor.Image) {
	if ok, err := look.Attested(t.Context(), attested); !ok || err != nil {
		t.Errorf("of the attested image: %t, %v", ok, err)
	}
	if ok, err := look.Attested(t.Context(), unattested); ok || err != nil {
		t.Errorf("of the image without attestation: %t, %v", ok, err)
	}

	// False without an error would be a finding, and an outage finds nothing out.
	if ok, err := look.Attested(gone(t), unattested); ok || err == nil {
		t.Errorf("asked with an ended context: %t, %v", ok, err)
	}
}
