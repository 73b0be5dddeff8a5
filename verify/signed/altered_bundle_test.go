package signed_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	protocommon "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/verify/signed"
)

// stamp gives a bundle a timestamp of an authority about its signature.
func (s *sigstore) stamp(b *protobundle.Bundle) {
	response, err := s.ca.TimestampResponse(b.GetDsseEnvelope().GetSignatures()[0].GetSig())
	if err != nil {
		s.t.Fatal(err)
	}
	b.VerificationMaterial.TimestampVerificationData = &protobundle.TimestampVerificationData{
		Rfc3161Timestamps: []*protocommon.RFC3161SignedTimestamp{{SignedTimestamp: response}},
	}
}

// A bundle's time is proven by an authority or by the log. A timestamp of an
// authority that nobody trusts proves nothing, and takes nothing from the log;
// where the rule does without the log, nothing else is left.
func TestTimesOfBundles(t *testing.T) {
	sig, stranger, key := newSigstore(t), newSigstore(t), newKey(t)
	h := plain(t)
	st := statement(h.image, signPredicate)
	no := false
	unlogged := sig.rule()
	unlogged.Transparency = &no
	without := sig.bundle(st, false)

	for name, tt := range map[string]struct {
		bundle []byte
		rule   attestor.SignedBy
		want   bool
	}{
		"log and timestamp":             {sig.bundle(st, true), sig.rule(), true},
		"log alone":                     {without, sig.rule(), true},
		"log and a stranger's":          {corpus.Edit(without, stranger.stamp), sig.rule(), true},
		"timestamp, the log is ignored": {sig.bundle(st, true), unlogged, true},
		"neither, it is valid now":      {without, unlogged, true},
		"a stranger's alone":            {corpus.Edit(without, stranger.stamp), unlogged, false},
		"by a key":                      {key.bundle(st), key.rule(), true},
		"by a key, with a stranger's":   {corpus.Edit(key.bundle(st), stranger.stamp), key.rule(), true},
	} {
		_, err := signed.VerifyBundle(t.Context(), checker(t, signed.Config{}), h.image, tt.bundle, tt.rule)
		if (err == nil) != tt.want {
			t.Errorf("%s: %v, want accepted %t", name, err, tt.want)
		}
	}
}

// Each part of a bundle that is missing or of another kind is a reason of its own.
func TestBundlesThatLackAPart(t *testing.T) {
	key := newKey(t)
	h := plain(t)
	good := key.bundle(statement(h.image, signPredicate))
	typed := strings.Replace(string(statement(h.image, signPredicate)), "https://in-toto.io/Statement/", "https://example.com/Statement/", 1)
	if typed == string(statement(h.image, signPredicate)) {
		t.Fatal("the statement's type cannot be exchanged, so that this would prove nothing")
	}

	for name, tt := range map[string]struct {
		bundle []byte
		want   string
	}{
		"whole": {good, ""},
		"of version 0.2": {corpus.Edit(good, func(b *protobundle.Bundle) {
			b.MediaType = "application/vnd.dev.sigstore.bundle+json;version=0.2"
		}), "older than version 0.3"},
		"without a key or a certificate": {corpus.Edit(good, func(b *protobundle.Bundle) {
			b.VerificationMaterial.Content = nil
		}), "malformed bundle"},
		"with an invalid certificate": {corpus.Edit(good, func(b *protobundle.Bundle) {
			b.VerificationMaterial.Content = &protobundle.VerificationMaterial_Certificate{
				Certificate: &protocommon.X509Certificate{RawBytes: []byte("none")},
			}
		}), "has no verification material"},
		"without a statement's type": {key.bundle([]byte(typed)), "its statement is of type"},
		"about another image":        {key.bundle(statement(h.Push(), signPredicate)), "does not"},
	} {
		_, err := signed.VerifyBundle(t.Context(), checker(t, signed.Config{}), h.image, tt.bundle, key.rule())
		if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// inOrder has the registry list the referrers of the image as f orders them.
func (s *host) inOrder(f func([]v1.Descriptor)) {
	s.t.Helper()
	index, err := remote.Referrers(s.Repo.Digest(string(s.image.Digest())))
	s.Must(err)
	m, err := index.IndexManifest()
	s.Must(err)
	f(m.Manifests)
	body, err := json.Marshal(m)
	s.Must(err)
	s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/referrers/") {
			return false
		}

		w.Header().Set("Content-Type", string(types.OCIImageIndex))
		_, _ = w.Write(body) // who leaves early is not the subject
		return true
	})
}

// A signature counts before and behind an attestation of the same signer.
func TestASignatureAmongAttestations(t *testing.T) {
	key, h := newKey(t), plain(t)
	h.refer(h.image, bundleMedia, key.bundle(statement(h.image, "https://example.com/other/v1")))
	h.refer(h.image, bundleMedia, key.bundle(statement(h.image, signPredicate)))

	for _, order := range []func([]v1.Descriptor){func([]v1.Descriptor) {}, slices.Reverse[[]v1.Descriptor]} {
		h.Intercept(nil)
		h.inOrder(order)
		if _, err := h.check(h.image, key.rule()); err != nil {
			t.Error(err)
		}
	}
}

// The first signature that satisfies the rule ends the look-up: what was pushed
// beside it costs nothing.
func TestTheFirstBundleThatSatisfiesEndsTheLookUp(t *testing.T) {
	key, h := newKey(t), plain(t)
	for range 3 {
		h.refer(h.image, bundleMedia, key.bundle(statement(h.image, signPredicate)))
	}

	var blobs atomic.Int64
	h.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			blobs.Add(1)
		}
		return false
	})

	if _, err := h.check(h.image, key.rule()); err != nil {
		t.Error(err)
	}
	if n := blobs.Load(); n != 1 {
		t.Errorf("%d blobs were read, want 1", n)
	}
}

// A panic of a library, or of our own, has verified nothing: it is a rejection,
// and no error that would be tried again.
func TestAPanicWhileVerifyingIsARejection(t *testing.T) {
	key := newKey(t)
	h := plain(t)
	e := key.entry(simple(h.image))
	st, ofBundle, ofClassic := signed.WhilePanicking(t.Context(), checker(t, signed.Config{}), h.image,
		key.bundle(statement(h.image, signPredicate)), e.payload, e.annotations)

	for name, err := range map[string]error{"bundle": ofBundle, "classic": ofClassic} {
		if err == nil || err.Error() != "it is malformed" {
			t.Errorf("%s: %v", name, err)
		}
	}

	if st.PredicateType != "" || st.Signer != "" {
		t.Errorf("%+v", st)
	}
}
