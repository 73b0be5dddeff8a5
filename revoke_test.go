package attestor_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
)

// TestRevocationIsRecordedBeforeAndAfter: nothing is deleted without a record,
// and no record says that something was deleted that was not.
func TestRevocationIsRecordedBeforeAndAfter(t *testing.T) {
	img := reference(t, repository+":v7").At(digest(1))
	stood := attestor.Attestation{Attestor: "projects/p/attestors/a", Digest: img.Digest(), Occurrence: "projects/p/occurrences/1"}
	asked := attestor.Revocation{
		Image: img, Reason: "  found to be wrong  ", Caller: attestor.CallerRef{Subject: "me", Issuer: "local"}, RequestID: "r1",
	}
	for _, tt := range []struct {
		name          string
		change        func(*attestor.Revocation)
		begin, remove error
		deleted       bool // was tried
		finished      bool
		kind          attestor.Kind // of the error; 0: another error, or none
		failed        bool
	}{
		{name: "all goes", deleted: true, finished: true},
		{name: "no image", change: func(r *attestor.Revocation) { r.Image = attestor.Image{} }, kind: attestor.Invalid, failed: true},
		{name: "no reason", change: func(r *attestor.Revocation) { r.Reason = "" }, kind: attestor.Invalid, failed: true},
		{name: "a reason of spaces", change: func(r *attestor.Revocation) { r.Reason = strings.Repeat(" ", 40) }, kind: attestor.Invalid, failed: true},
		{name: "a short reason", change: func(r *attestor.Revocation) { r.Reason = "123456789" }, kind: attestor.Invalid, failed: true},
		{name: "the shortest reason", change: func(r *attestor.Revocation) { r.Reason = "1234567890" }, deleted: true, finished: true},
		{name: "the longest reason", change: func(r *attestor.Revocation) { r.Reason = strings.Repeat("x", 1000) }, deleted: true, finished: true},
		{name: "a long reason", change: func(r *attestor.Revocation) { r.Reason = strings.Repeat("x", 1001) }, kind: attestor.Invalid, failed: true},
		{name: "the record is down", begin: errors.New("disk full"), failed: true},
		{name: "not all could be deleted", remove: errors.New("Container Analysis is down"), deleted: true, failed: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStages(t)
			s.begin = tt.begin
			r, tried := asked, 0
			if tt.change != nil {
				tt.change(&r)
			}

			revoked, err := gate(t, s).Revoke(context.Background(), r, func(_ context.Context, of attestor.Image) ([]attestor.Attestation, error) {
				if s.called("begin") != 1 {
					t.Error("something is deleted before that was recorded")
				}
				if of != img {
					t.Errorf("attestations of %s are deleted", of)
				}
				tried++
				return []attestor.Attestation{stood}, tt.remove
			})
			if (err != nil) != tt.failed || (tt.kind != 0 && attestor.KindOf(err) != tt.kind) {
				t.Errorf("error %v", err)
			}
			if (tried == 1) != tt.deleted || (len(revoked) == 1) != tt.deleted {
				t.Errorf("deletion was tried %d times, and %v is returned", tried, revoked)
			}
			if got := s.called("finish") == 1; got != tt.finished {
				t.Errorf("the record is finished: %t, want %t", got, tt.finished)
			}
			if !tt.finished {
				return
			}

			d := s.records[len(s.records)-1].Decision
			if d.Verdict != attestor.Deny || d.Policy != nil || len(d.Attestations) != 1 || d.Image.Digest != img.Digest() ||
				d.Caller.Subject != "me" || d.RequestID != "r1" || d.Checks[0].Reasons[0].Code != attestor.CodeRevoked ||
				d.Checks[0].Reasons[0].Message != strings.TrimSpace(r.Reason) {
				t.Errorf("recorded as %+v", d)
			}
		})
	}
}
