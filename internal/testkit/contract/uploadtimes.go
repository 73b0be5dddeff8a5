package contract

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/verify"
)

// UploadTimes proves of a record of upload times, which knows known as uploaded
// at that time and no other image, that it answers for the very digest that is
// asked about, and otherwise says that it does not know.
func UploadTimes(t *testing.T, record verify.UploadTimes, known attestor.Image, at time.Time) {
	t.Helper()
	for range 2 {
		if got, err := record.Uploaded(t.Context(), known); err != nil || !got.Equal(at) {
			t.Errorf("Uploaded(%s) = %v, %v; want %v", known, got, err, at)
		}
	}

	elsewhere, err := attestor.ParseImage(known.Repository() + "-other@" + string(known.Digest()))
	if err != nil {
		t.Fatal(err)
	}
	for name, img := range map[string]attestor.Image{
		"another digest":     known.Sibling(attestor.Digest("sha256:" + strings.Repeat("9", 64))),
		"another repository": elsewhere,
	} {
		got, err := record.Uploaded(t.Context(), img)
		e, ok := errors.AsType[*attestor.Error](err)
		if !ok || e.Code != attestor.CodeUploadTimeUnknown || e.Msg == "" || !got.IsZero() {
			t.Errorf("%s: Uploaded = %v, %v; want %s", name, got, err, attestor.CodeUploadTimeUnknown)
		}
	}
}
