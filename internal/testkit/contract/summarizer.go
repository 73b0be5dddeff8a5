package contract

import (
	"errors"
	"testing"

	"github.com/attestor-gate/attestor"
)

// summaryOf permits to publish a summary of the n-th image, or of its refusal.
func summaryOf(t *testing.T, img attestor.Image, status attestor.Status) attestor.Verdict {
	t.Helper()
	ev := recordOf(t, 1).Evidence
	ev.Image = img
	ev.Platforms = []attestor.PlatformEvidence{{Child: attestor.Child{Platform: "linux/amd64", Digest: img.Digest()}}}
	asked := []attestor.Question{{Check: attestor.CheckUser}}
	checks := []attestor.Check{{
		Name: attestor.CheckUser, Platform: "linux/amd64", Status: status,
		Reasons: []attestor.Reason{{Code: attestor.CodeUserRoot, Message: "runs as root"}},
	}}
	if status == attestor.StatusPass {
		checks[0].Reasons = nil
	}

	needs := attestor.AttestNeeds{
		Attestors: []string{"projects/p/attestors/a"}, Children: true, Summary: &attestor.SummaryNeeds{Refusals: true},
	}
	policy := attestor.PolicyRef{Name: "production", Digest: attestor.DigestOf([]byte("policy")),
		Mode: attestor.Enforce}
	return attestor.NewVerdict(ev, policy, needs, asked, checks)
}

// A Summarizing is a summarizer for which no summary stands, of images that its registry has.
type Summarizing struct {
	attestor.Summarizer
	Images [2]attestor.Image
}

// Summarizer is the suite of [attestor.Summarizer].
func Summarizer(t *testing.T, open func(t *testing.T) Summarizing) {
	policy := attestor.PolicyRef{Name: "production", Digest: attestor.DigestOf([]byte("policy")),
		Mode: attestor.Enforce}
	authorize := func(t *testing.T, img attestor.Image) attestor.Authorization {
		t.Helper()
		a, err := attestor.Authorize("contract", summaryOf(t, img, attestor.StatusPass))
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	stands := func(t *testing.T, w Summarizing, img attestor.Image) []attestor.Summary {
		t.Helper()
		found, err := w.Stands(t.Context(), []attestor.Image{img}, policy, attestor.SummaryNeeds{})
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	recorded := func() error { return nil }

	t.Run("published once", func(t *testing.T) {
		w := open(t)
		img := w.Images[0]
		if found := stands(t, w, img); len(found) != 0 {
			t.Fatalf("before anything was published: %+v", found)
		}

		begun := 0
		made, err := w.Summarize(t.Context(), authorize(t, img), func() error { begun++; return nil })
		if err != nil || begun != 1 || len(made.Standing) != 1 {
			t.Fatalf("Summarize: %+v, %v; begin was called %d times, want once", made, err, begun)
		}
		if s := made.Standing[0]; s.Digest != img.Digest() || s.Result != "PASSED" || !s.Created || s.Reference == "" {
			t.Errorf("made %+v for %s", s, img)
		}

		again, err := w.Summarize(t.Context(), authorize(t, img), recorded)
		if err != nil || len(again.Standing) != 1 || again.Standing[0].Created ||
			again.Standing[0].Reference != made.Standing[0].Reference {
			t.Errorf("the repeat: %+v, %v; want what stands", again, err)
		}
		if found := stands(t, w, img); len(found) != 1 {
			t.Errorf("%+v stand after a repeat, want one", found)
		}

		// A summary is of one digest.
		if found := stands(t, w, w.Images[1]); len(found) != 0 {
			t.Errorf("of another image stands %+v", found)
		}
	})

	t.Run("nothing without a beginning", func(t *testing.T) {
		w := open(t)
		img := w.Images[0]
		full := errors.New("the record is full")
		made, err := w.Summarize(t.Context(), authorize(t, img), func() error { return full })
		if err == nil || len(made.Standing) != 0 {
			t.Errorf("made %+v, %v, though the beginning was not recorded", made, err)
		}
		if found := stands(t, w, img); len(found) != 0 {
			t.Errorf("%+v stands, though the beginning was not recorded", found)
		}
	})

	t.Run("nothing without an authorization", func(t *testing.T) {
		w := open(t)
		if made, err := w.Summarize(t.Context(), attestor.Authorization{}, recorded); err == nil ||
			len(made.Standing) != 0 {
			t.Errorf("made %+v, %v", made, err)
		}
		if made, err := w.Refuse(t.Context(), attestor.Refusal{}); err == nil || len(made.Standing) != 0 {
			t.Errorf("refused %+v, %v", made, err)
		}
	})

	t.Run("a refusal is no pass", func(t *testing.T) {
		w := open(t)
		img := w.Images[0]
		r, err := attestor.AuthorizeRefusal("contract", summaryOf(t, img, attestor.StatusDeny))
		if err != nil {
			t.Fatal(err)
		}
		made, err := w.Refuse(t.Context(), r)
		if err != nil || len(made.Standing) != 1 || made.Standing[0].Result != "FAILED" {
			t.Errorf("refused %+v, %v", made, err)
		}
		if found := stands(t, w, img); len(found) != 0 {
			t.Errorf("of a refused image stands %+v", found)
		}
	})

	t.Run("nobody waits", func(t *testing.T) {
		w := open(t)
		made, err := w.Summarize(gone(t), authorize(t, w.Images[0]), recorded)
		if err == nil && len(made.Standing) == 0 {
			t.Error("Summarize with an ended context reports success and made nothing")
		}
		if found, err := w.Stands(gone(t), w.Images[:1], policy, attestor.SummaryNeeds{}); err == nil &&
			len(found) != len(made.Standing) {
			t.Errorf("Stands with an ended context: %+v", found)
		}
	})
}
