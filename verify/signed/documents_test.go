package signed_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/semaphore"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/verify/signed"
)

const (
	documentMedia  = "application/spdx+json"
	statementMedia = "application/vnd.in-toto+json"
	inOCI          = "application/vnd.oci.empty.v1+json"
)

// A looked is what a look-up of documents found: each use and each refusal in a line.
type looked struct {
	used    []string // place, type, signer and body of each
	refused []signed.Refused
	err     error
}

// documents looks up, by default documents of up to 4 KiB by the key.
func (s *host) documents(key *keyPair, change func(*signed.Wanted)) (out looked) {
	s.t.Helper()
	want := signed.Wanted{
		Predicates: []string{"p"}, Media: []string{documentMedia}, Limit: 4096, Number: 8,
		Budget: semaphore.NewWeighted(1 << 20),
	}
	if key != nil {
		rule := key.rule()
		want.Rule = &rule
	}
	if change != nil {
		change(&want)
	}
	out.err = checker(s.t, signed.Config{}).Documents(s.t.Context(), s.image, want,
		func(d signed.Document) {
			out.used = append(out.used, fmt.Sprintf("%s|%s|%s|%s", place(d.Place), d.PredicateType, who(d.Signer), d.Body))
		},
		func(r signed.Refused) { out.refused = append(out.refused, r) },
	)
	return out
}

// place is where a document is, without its digest, and who signed it, without the key's.
func place(s string) string {
	kind, rest, _ := strings.Cut(s, " ")
	if _, suffix, ok := strings.Cut(rest, "."); ok {
		return kind + " ." + suffix
	}
	return kind
}

func who(s string) string {
	kind, rest, _ := strings.Cut(s, " ")
	if _, why, ok := strings.Cut(rest, ","); ok {
		return kind + "," + why
	}
	return kind
}

// TestDocumentsAndWhoSignedThem: a document is read wherever it may be attached, and is signed by the rule's key only
// if that key signed exactly its bytes.
func TestDocumentsAndWhoSignedThem(t *testing.T) {
	key, stranger := newKey(t), newKey(t)
	predicate := func(p string) map[string]string { return map[string]string{"predicateType": p} }
	dsse := func(by *keyPair, body []byte, annotations map[string]string) entry {
		e := by.envelope(body)
		e.annotations = annotations
		return e
	}
	for _, tt := range []struct {
		name string
		put  func(h *host, st []byte)
		rule *keyPair
		want string // of the one document, %s its body; "" for none
	}{
		{"an envelope", func(h *host, st []byte) { h.attach(h.image, "att", dsse(key, st, predicate("p"))) }, key,
			"tag .att|" + statementMedia + "|key|%s"},
		{"an envelope that names no type",
			func(h *host, st []byte) { h.attach(h.image, "att", dsse(key, st, nil)) }, key,
			"tag .att|" + statementMedia + "|key|%s"},
		{"an envelope of another type",
			func(h *host, st []byte) { h.attach(h.image, "att", dsse(key, st, predicate("q"))) }, key, ""},
		{"an envelope by a stranger", func(h *host, st []byte) { h.attach(h.image, "att", dsse(stranger, st, nil)) }, key,
			"tag .att|" + statementMedia + "||%s"},
		{"an envelope, and nobody's signature counts",
			func(h *host, st []byte) { h.attach(h.image, "att", dsse(key, st, nil)) }, nil,
			"tag .att|" + statementMedia + "||%s"},
		{"an envelope of another media type", func(h *host, st []byte) {
			e := dsse(key, st, nil)
			e.media = "application/json"
			h.attach(h.image, "att", e)
		}, key, ""},
		{"a bundle", func(h *host, st []byte) { h.refer(h.image, bundleMedia, key.bundle(st)) }, key,
			"referrer|" + statementMedia + "|key|%s"},
		{"a bundle by a stranger", func(h *host, st []byte) { h.refer(h.image, bundleMedia, stranger.bundle(st)) }, key,
			"referrer|" + statementMedia + "||%s"},
		{"a bundle, and nobody's signature counts",
			func(h *host, st []byte) { h.refer(h.image, bundleMedia, key.bundle(st)) }, nil,
			"referrer|" + statementMedia + "||%s"},
		{"a statement by itself", func(h *host, st []byte) { h.refer(h.image, statementMedia, st) }, key,
			"referrer|" + statementMedia + "||%s"},
		{"a document by itself", func(h *host, st []byte) { h.refer(h.image, documentMedia, st) }, key, "referrer|||%s"},
		{"a document of another type", func(h *host, st []byte) { h.refer(h.image, "application/x", st) }, key, ""},
		{"a document by its config's type", func(h *host, st []byte) {
			h.Refer(h.Head(h.image), documentMedia, "application/octet-stream", st)
		}, key, "referrer|||%s"},
		{"a document with an image's config", func(h *host, st []byte) {
			h.Refer(h.Head(h.image), types.OCIConfigJSON, documentMedia, st)
		}, key, "referrer|||%s"},
		{"a document that cosign attached", func(h *host, st []byte) {
			h.Refer(h.Head(h.image), "application/vnd.dev.cosign.artifact.sbom.v1+json", documentMedia, st)
		}, key, "referrer|||%s"},
		{"a bundle with an image's config", func(h *host, st []byte) {
			h.Refer(h.Head(h.image), types.OCIConfigJSON, bundleMedia, key.bundle(st))
		}, key, "referrer|" + statementMedia + "|key|%s"},
		{"something else with an image's config", func(h *host, st []byte) {
			h.Refer(h.Head(h.image), types.OCIConfigJSON, "application/octet-stream", st)
		}, key, ""},
		{"an artifact of another type", func(h *host, st []byte) {
			h.Refer(h.Head(h.image), "application/x", documentMedia, st)
		}, key, ""},
		{"a document under a tag",
			func(h *host, st []byte) { h.attach(h.image, "sbom", entry{payload: st, media: documentMedia}) }, key,
			"tag .sbom|||%s"},
		{"a document with a parameter", func(h *host, st []byte) {
			h.attach(h.image, "sbom", entry{payload: st, media: documentMedia + ";version=2.3"})
		}, key, "tag .sbom|||%s"},
		{"a document whose artifact type has a parameter", func(h *host, st []byte) {
			h.Refer(h.Head(h.image), "Application/SPDX+JSON; version=2.3", "application/octet-stream", st)
		}, key, "referrer|||%s"},
		{"an envelope as a referrer", func(h *host, st []byte) {
			h.referEntries(h.image, cosignAttestation, dsse(key, st, predicate("p")))
		}, key, "referrer|" + statementMedia + "|key|%s"},
		{"an envelope as a referrer, by a stranger", func(h *host, st []byte) {
			h.referEntries(h.image, envelopeMedia, dsse(stranger, st, nil))
		}, key, "referrer|" + statementMedia + "||%s"},
		{"an envelope as a referrer, of another type", func(h *host, st []byte) {
			h.referEntries(h.image, cosignAttestation, dsse(key, st, predicate("q")))
		}, key, ""},
		{"an envelope of a version of the type", func(h *host, st []byte) {
			h.attach(h.image, "att", dsse(key, st, predicate("p/v3")))
		}, key, "tag .att|" + statementMedia + "|key|%s"},
		{"an envelope of a type that begins so", func(h *host, st []byte) {
			h.attach(h.image, "att", dsse(key, st, predicate("pq")))
		}, key, ""},
		{"another document under a tag",
			func(h *host, st []byte) { h.attach(h.image, "sbom", entry{payload: st, media: "text/x"}) }, key, ""},
		{"nothing", func(*host, []byte) {}, key, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h := plain(t)
			st := statement(h.image, "p")
			tt.put(h, st)

			got := h.documents(tt.rule, nil)
			if got.err != nil || len(got.refused) != 0 || (len(got.used) == 0) != (tt.want == "") || len(got.used) > 1 {
				t.Fatalf("%+v, want %q", got, tt.want)
			}
			if tt.want != "" && got.used[0] != fmt.Sprintf(tt.want, st) {
				t.Errorf("%s, want %s of %s", got.used[0], tt.want, st)
			}
		})
	}
}

// TestDocumentsThatAreNotUsed: what is too large, too much or malformed is refused by its kind, once, and the rest is
// used all the same.
func TestDocumentsThatAreNotUsed(t *testing.T) {
	key := newKey(t)
	bare := func(n int) entry { return entry{payload: []byte(strings.Repeat("x", n)), media: documentMedia} }
	junk := func(body string) entry {
		return entry{payload: []byte(body), media: "application/vnd.dsse.envelope.v1+json"}
	}
	limited := func(w *signed.Wanted) { w.Limit, w.Number = 100, 2 }
	for _, tt := range []struct {
		name    string
		suffix  string
		entries []entry
		used    int
		refused []signed.Refusal
	}{
		{"as large as allowed", "sbom", []entry{bare(100)}, 1, nil},
		{"larger", "sbom", []entry{bare(101)}, 0, []signed.Refusal{signed.RefusedTooLarge}},
		{"larger, beside another", "sbom", []entry{bare(101), bare(99)}, 1, []signed.Refusal{signed.RefusedTooLarge}},
		{"as many as allowed", "sbom", []entry{bare(1), bare(2)}, 2, nil},
		{"one more", "sbom", []entry{bare(1), bare(2), bare(3)}, 2, []signed.Refusal{signed.RefusedTooMany}},
		{"two more", "sbom", []entry{bare(1), bare(2), bare(3), bare(4)}, 2, []signed.Refusal{signed.RefusedTooMany}},
		{"no envelope", "att", []entry{junk("{}")}, 0, []signed.Refusal{signed.RefusedMalformed}},
		{"an envelope of another kind", "att", []entry{junk(`{"payloadType":"text/plain","payload":"aGk=","signatures":[]}`)},
			0, []signed.Refusal{signed.RefusedMalformed}},
		{"an envelope without signatures", "att",
			[]entry{junk(`{"payloadType":"` + statementMedia + `","payload":"aGk=","signatures":[]}`)}, 1, nil},
		{"an envelope with an empty signature", "att",
			[]entry{junk(`{"payloadType":"` + statementMedia + `","payload":"aGk=","signatures":[{"sig":""}]}`)}, 1, nil},
	} {
		for _, rule := range []*keyPair{key, nil} {
			h := plain(t)
			h.attach(h.image, tt.suffix, tt.entries...)
			got := h.documents(rule, limited)

			var kinds []signed.Refusal
			for _, r := range got.refused {
				kinds = append(kinds, r.Kind)
			}
			if got.err != nil || len(got.used) != tt.used || fmt.Sprint(kinds) != fmt.Sprint(tt.refused) {
				t.Errorf("%s: %+v, want %d used and refused %v", tt.name, got, tt.used, tt.refused)
			}
			for _, u := range got.used {
				if strings.Contains(u, "|key|") {
					t.Errorf("%s: %s is signed", tt.name, u)
				}
			}
		}
	}
}

// TestDocumentsThatCouldNotBeRead: what could not be read is an error, and what could is used: a document speaks
// against an image whoever else says nothing.
func TestDocumentsThatCouldNotBeRead(t *testing.T) {
	key := newKey(t)
	h := plain(t)
	st := statement(h.image, "p")
	h.attach(h.image, "att", key.envelope(st))
	h.refer(h.image, documentMedia, []byte("{}"))
	h.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/referrers/") {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	})
	if got := h.documents(key, nil); got.err == nil || len(got.used) != 1 {
		t.Errorf("the list of referrers: %+v, want an error and the envelope", got)
	}

	h.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	})
	if got := h.documents(key, nil); got.err == nil || len(got.used) != 0 {
		t.Errorf("blobs: %+v, want an error", got)
	}

	got := h.documents(key, func(w *signed.Wanted) { w.Rule = &attestor.SignedBy{Key: key.path + "x"} })
	if got.err == nil {
		t.Errorf("a key that is not there: %+v, want an error", got)
	}
}

// TestBuildAttestationsInAnIndex: the signer of an index signed what is in it; where nobody did, or somebody else, what
// is in it is a claim. A referrer that is in the index too is read once.
func TestBuildAttestationsInAnIndex(t *testing.T) {
	key, stranger := newKey(t), newKey(t)
	for name, tt := range map[string]struct {
		signs *keyPair
		rule  *keyPair
		want  string
	}{
		"signed by the key":    {key, key, "build|" + statementMedia + "|key, who signed the index|%s"},
		"signed by a stranger": {stranger, key, "build|" + statementMedia + "||%s"},
		"signed by nobody":     {nil, key, "build|" + statementMedia + "||%s"},
		"nobody's counts":      {key, nil, "build|" + statementMedia + "||%s"},
	} {
		h := plain(t)
		st, index := statement(h.image, "p"), h.Push()
		h.Refer(h.Head(h.image), inOCI, types.MediaType(statementMedia), st)
		if tt.signs != nil {
			h.attach(index, "sig", tt.signs.entry(simple(index)))
		}

		got := h.documents(tt.rule, func(w *signed.Wanted) {
			w.Index, w.InIndex = index, []attestor.Digest{onlyReferrer(t, h)}
		})
		if got.err != nil || len(got.refused) != 0 || len(got.used) != 1 || got.used[0] != fmt.Sprintf(tt.want, st) {
			t.Errorf("%s: %+v, want %s", name, got, tt.want)
		}
	}
}

// onlyReferrer is the digest of the image's referrer.
func onlyReferrer(t *testing.T, h *host) attestor.Digest {
	t.Helper()
	index, err := remote.Referrers(h.Repo.Digest(string(h.image.Digest())))
	h.Must(err)
	m, err := index.IndexManifest()
	h.Must(err)
	if len(m.Manifests) != 1 {
		t.Fatalf("%v, want one referrer", m.Manifests)
	}
	return attestor.Digest(m.Manifests[0].Digest.String())
}
