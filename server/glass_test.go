package server_test

import (
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/server/watch"
)

// TestBrokenGlassIsJudgedToo: a run covers what an override admitted as it covers a pass, and says which it is. A finding
// does not revoke it: an override stands until its own end.
func TestBrokenGlassIsJudgedToo(t *testing.T) {
	w, p, base := rejudged(t, 1, nil)
	glass := attestor.Digest("sha256:" + "00000000000000000000000000000000000000000000000000000000000000f0")
	w.mu.Lock()
	w.images[string(glass)] = glass
	w.checks[glass] = checkStatus{attestor.StatusDeny, attestor.CodeUserRoot, ""}
	w.mu.Unlock()
	overridden := `{"image":"` + repository + "@" + string(glass) + `","breakGlass":{"reason":"production is down"}}`
	if got := send(t, "admin", "POST", base+"/v1/attest", overridden); got.status != 200 {
		t.Fatalf("status %d: %s", got.status, got.body)
	}
	w.pass(time.Second)

	of := func(r watch.Report) map[bool]watch.Reversal {
		out := map[bool]watch.Reversal{}
		for _, f := range r.Flips {
			out[f.BreakGlass] = f
		}
		return out
	}
	r := rejudge(t, base)
	if f := of(r); r.Covered != 2 || r.Judged != 2 || r.Passed != 1 || r.Changed != 0 || len(r.Flips) != 1 || f[true].Image != repository+"@"+string(glass) {
		t.Fatalf("refused as before: %+v", r)
	}

	// The same new finding in both.
	w.turn(attestor.StatusDeny, attestor.CodeCVEBlocked, "CVE-2026-9")
	w.pass(time.Second)
	if r := rejudge(t, base); r.Covered != 2 || r.Changed != 2 || len(r.Flips) != 2 || of(r)[true].Cause != attestor.CauseFinding {
		t.Fatalf("with a new finding: %+v", r)
	}
	w.pass(2 * time.Hour)
	r = rejudge(t, base)
	if f := of(r); r.Revoked != 1 || !f[false].Revoked || f[true].Revoked || len(p.revoked) != 1 || len(w.standing) != 1 || w.standing[0].Digest != glass {
		t.Errorf("after its grace: %+v, attested %+v", r, w.standing)
	}
}
