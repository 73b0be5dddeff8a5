package attestor_test

import (
	"errors"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
)

func TestBreakGlass(t *testing.T) {
	glass := func(r *attestor.Request) { r.BreakGlass = "INC-1: checkout is down" }
	t.Run("overrides a denial", func(t *testing.T) {
		s := newStages(t)
		s.policy.status["user"] = attestor.StatusDeny
		s.policy.glass = attestor.BreakGlassPolicy{Allowed: true, Expires: time.Hour}
		s.policy.needs.Attest.BreakGlass = []string{"projects/p/attestors/glass"}
		d, err := admit(t, s, glass)
		if err != nil {
			t.Fatal(err)
		}

		if d.Verdict != attestor.Deny || d.BreakGlass == nil || d.Answer().HTTPStatus != 200 ||
			d.Attestations[0].Attestor != "projects/p/attestors/glass" || d.BreakGlass.Expires == nil {
			t.Errorf("got %+v, %+v", d, d.Answer())
		}
	})

	t.Run("not for an image that cannot be resolved", func(t *testing.T) {
		s := newStages(t)
		s.policy.glass = attestor.BreakGlassPolicy{Allowed: true}
		s.resolve = &attestor.Error{Kind: attestor.Upstream, Code: attestor.CodeRegistryUnavailable, Msg: "down"}
		d, err := admit(t, s, glass)
		if err != nil || d.BreakGlass != nil || s.called("attest") != 0 || d.Answer().HTTPStatus != 502 {
			t.Errorf("got %+v, %v", d, err)
		}
	})

	// Of an index that has no allowed platform nothing was judged. The caller is told so, and it is recorded: an error
	// of the gate's own would hide who asked for the override.
	t.Run("not for an index of which nothing was judged", func(t *testing.T) {
		s := newStages(t)
		s.policy.glass = attestor.BreakGlassPolicy{Allowed: true}
		s.resolved.Index, s.resolved.Children = true, nil
		s.resolved.Left = []attestor.Child{{Platform: "linux/arm64", Digest: digest(3)}}
		s.resolved.Problems = []attestor.Problem{{
			Check: attestor.CheckPlatforms, Status: attestor.StatusDeny,
			Reason: attestor.Reason{Code: attestor.CodePlatformNotAllowed, Message: "no child is of an allowed platform"},
		}}

		d, err := admit(t, s, glass)
		if err != nil || d.Verdict != attestor.Deny || d.BreakGlass != nil || d.Answer().HTTPStatus != 422 {
			t.Errorf("got %+v, %v, want the denial", d, err)
		}
		if s.called("attest") != 0 || len(s.records) == 0 || s.records[len(s.records)-1].Decision.ID != d.ID {
			t.Errorf("calls %v, %d records: want no attestation, and the decision recorded", s.calls, len(s.records))
		}
	})

	t.Run("not when signing fails", func(t *testing.T) {
		s := newStages(t)
		s.policy.glass = attestor.BreakGlassPolicy{Allowed: true}
		s.policy.status["user"] = attestor.StatusDeny
		s.attest = errors.New("no key")
		d, err := admit(t, s, glass)
		if err != nil || d.BreakGlass != nil || d.Answer().HTTPStatus == 200 {
			t.Errorf("got %+v, %v", d, err)
		}
	})

	t.Run("a pass needs none", func(t *testing.T) {
		s := newStages(t)
		s.policy.glass = attestor.BreakGlassPolicy{Allowed: true}
		d, err := admit(t, s, glass)
		if err != nil || d.BreakGlass != nil || d.Verdict != attestor.Pass {
			t.Errorf("got %+v, %v", d, err)
		}
	})

	t.Run("a grant for another image", func(t *testing.T) {
		caller := attestor.LocalCaller("me")
		allowed := attestor.BreakGlassPolicy{Allowed: true}
		g, err := attestor.GrantBreakGlass(caller, reference(t, repository+":v7").At(digest(9)), "INC-1: checkout is down", allowed, time.Time{})
		if err != nil {
			t.Fatal(err)
		}

		p := enforcing()
		v := attestor.NewVerdict(attestor.Evidence{Image: reference(t, repository+":v7").At(digest(1))}, p.ref, p.needs.Attest, questions(), nil)
		if _, err := attestor.AuthorizeBreakGlass("id", v, g); err == nil {
			t.Error("a grant for one image opened the door for another")
		}
		if _, err := attestor.AuthorizeBreakGlass("id", v, attestor.BreakGlassGrant{}); err == nil {
			t.Error("the zero grant opened the door")
		}
	})
}

// An override of which a part was stored admits that part: unless the record
// calls it an override, nothing ends it when its time is over.
func TestPartOfAnOverrideIsRecordedAsOne(t *testing.T) {
	glass := func(r *attestor.Request) { r.BreakGlass = "INC-1: checkout is down" }
	s := newStages(t)
	s.policy.status[attestor.CheckUser] = attestor.StatusDeny
	s.policy.glass = attestor.BreakGlassPolicy{Allowed: true, Expires: time.Hour}
	s.attest = errors.New("the second attestor is down")
	s.partly = []attestor.Attestation{{Attestor: "projects/p/attestors/a", Digest: digest(1), Created: true}}
	d, err := admit(t, s, glass)
	if err != nil || d.BreakGlass == nil || d.BreakGlass.Expires == nil || len(d.Attestations) != 1 || d.Answer().HTTPStatus == 200 {
		t.Errorf("%d %+v %v, %v", d.Answer().HTTPStatus, d.BreakGlass, d.Attestations, err)
	}

	begun := s.records[0]
	begun.Decision.Checks = nil
	s.records = nil // the crash came before it was finished
	s.policy.needs.Attest.Attestors = []string{"projects/p/attestors/a", "projects/p/attestors/b"}
	s.standing = attestor.Standing{Known: true, Valid: s.partly}
	d, err = gate(t, s).Recover(t.Context(), begun, s.policy)
	if err != nil || d.BreakGlass == nil || d.Answer().HTTPStatus == 200 {
		t.Errorf("recovered as %d %+v, %v", d.Answer().HTTPStatus, d.BreakGlass, err)
	}
}
