package provenance_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/limit"
	"github.com/attestor-gate/attestor/internal/referrers"
	"github.com/attestor-gate/attestor/internal/testkit/contract"
	"github.com/attestor-gate/attestor/internal/testkit/registries"
	"github.com/attestor-gate/attestor/verify/provenance"
)

// The media types in which a signed statement may be attached.
const (
	inToto     = "application/vnd.in-toto+json"
	dsseMedia  = "application/vnd.dsse.envelope.v1+json"
	bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"
)

// attic is a registry on loopback whose image has the digest of a real sample, and the
// sample's occurrences.
type attic struct {
	*registries.Host
	t      *testing.T
	image  attestor.Image
	signed []*grafeaspb.Occurrence
	limit  time.Duration // of the look-up; a minute unless a test is about it
}

func newAttic(t *testing.T, file string) *attic {
	t.Helper()
	a := &attic{t: t, Host: registries.Start(t, registries.Memory(true), "acme/app"), limit: time.Minute}
	img, list := occurrences(t, file)
	a.image, a.signed = a.Named(string(img.Digest())), list
	return a
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// attach pushes a referrer of a digest with one layer.
func (a *attic) attach(about attestor.Digest, media types.MediaType, blob []byte) {
	a.t.Helper()
	hash, err := v1.NewHash(string(about))
	must(a.t, err)
	subject := v1.Descriptor{MediaType: types.OCIManifestSchema1, Size: 500, Digest: hash}
	a.Refer(subject, "application/vnd.oci.empty.v1+json", media, blob)
}

// envelopeOf writes an occurrence's envelope as DSSE prescribes it.
func envelopeOf(o *grafeaspb.Occurrence, withKeyID bool) []byte {
	var sigs []map[string]any
	for _, s := range o.GetEnvelope().GetSignatures() {
		sig := map[string]any{"sig": s.GetSig()}
		if withKeyID {
			sig["keyid"] = s.GetKeyid()
		}
		sigs = append(sigs, sig)
	}
	b, err := json.Marshal(map[string]any{
		"payloadType": o.GetEnvelope().GetPayloadType(), "payload": o.GetEnvelope().GetPayload(), "signatures": sigs,
	})
	if err != nil {
		panic(err) // of strings and bytes alone
	}
	return b
}

func bundleOf(envelope []byte) []byte {
	return fmt.Appendf(nil, `{"mediaType":%q,"verificationMaterial":{"publicKey":{"hint":"aGludA=="}},"dsseEnvelope":%s}`,
		bundleType, envelope)
}

func (a *attic) registry() *referrers.Client {
	a.t.Helper()
	c, err := referrers.New(referrers.Config{Remote: []remote.Option{
		remote.WithRetryBackoff(remote.Backoff{Duration: time.Millisecond, Factor: 1, Steps: 2}),
	}})
	must(a.t, err)
	return c
}

// source asks the registry, and a Container Analysis that answers with list.
func (a *attic) source(srv *server) *provenance.Source {
	a.t.Helper()
	return sourceOf(a.t, srv, provenance.Config{
		Registry: a.registry(), ScanProjects: map[string]string{a.image.Registry(): "acme"}, Limit: limit.Call(a.limit),
	})
}

func (a *attic) ask(srv *server, needs attestor.ProvenanceNeeds) ([]attestor.Provenance, []attestor.Problem) {
	a.t.Helper()
	return a.source(srv).Provenance(a.t.Context(), []attestor.Image{a.image}, needs)
}

// A statement of Cloud Build counts for the same wherever and in whichever envelope it
// is found.
func TestCloudBuildAmongReferrers(t *testing.T) {
	img, list := occurrences(t, sample)
	want, _ := newSource(t, list[0]).Provenance(t.Context(), []attestor.Image{img}, attestor.ProvenanceNeeds{})
	if len(want) != 1 {
		t.Fatal(want)
	}

	for _, tt := range []struct {
		name, media string
		blob        []byte
	}{
		{"an envelope", dsseMedia, envelopeOf(list[0], true)},
		{"an envelope that is called a statement", inToto, envelopeOf(list[0], true)},
		{"a bundle", bundleType, bundleOf(envelopeOf(list[0], true))},
		{"a bundle that names no key", bundleType, bundleOf(envelopeOf(list[0], false))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newAttic(t, sample)
			a.attach(a.image.Digest(), "application/spdx+json", []byte(`{"spdxVersion":"SPDX-2.3"}`))
			a.attach(a.image.Digest(), types.MediaType(tt.media), tt.blob)
			got, problems := a.ask(&server{}, attestor.ProvenanceNeeds{})
			if diff := gocmp.Diff(want, got); diff != "" || len(problems) != 0 {
				t.Errorf("problems %v, provenance (-want +got):\n%s", problems, diff)
			}
		})
	}
}

// Each is the real statement with one thing wrong; none of them counts.
func TestForgedReferrers(t *testing.T) {
	_, list := occurrences(t, sample)
	_, edited := occurrences(t, "v1.0-gcloud-container-github-tag.json")
	other := attestor.Digest("sha256:" + strings.Repeat("ab", 32))
	good := envelopeOf(list[0], true)

	// with replaces in the decoded payload.
	with := func(old, repl string) []byte {
		o := &grafeaspb.Occurrence{Envelope: &grafeaspb.Envelope{
			PayloadType: list[0].GetEnvelope().GetPayloadType(), Signatures: list[0].GetEnvelope().GetSignatures(),
			Payload: bytes.ReplaceAll(list[0].GetEnvelope().GetPayload(), []byte(old), []byte(repl)),
		}}
		return envelopeOf(o, true)
	}
	unsigned := &grafeaspb.Occurrence{Envelope: &grafeaspb.Envelope{Payload: list[0].GetEnvelope().GetPayload()}}

	for _, tt := range []struct {
		name  string
		about attestor.Digest // "": the image
		media string          // "": of an envelope
		blob  []byte
		want  string // in the denial; "" where it is not provenance of the image at all
	}{
		{name: "edited source", blob: with("khalkie", "mallory"), want: "does not verify"},
		{name: "edited subject", blob: with("a", "b"), want: ""},
		{name: "edited after signing, as a real sample was", blob: envelopeOf(edited[0], true), want: "does not verify"},
		{name: "unsigned", blob: envelopeOf(unsigned, true), want: "not signed"},
		{name: "by a key that names itself otherwise", blob: bytes.ReplaceAll(good, []byte("google-hosted-worker"),
			[]byte("provenanceSigner")), want: "does not verify"},
		{name: "by an unknown key", blob: bytes.ReplaceAll(good, []byte("verified-builder"), []byte("mallory-builder")), want: "not pinned"},
		{name: "attached to another digest", about: other, blob: good},
		{name: "a bare statement", blob: list[0].GetEnvelope().GetPayload()},
		{name: "malformed", blob: good[:len(good)/2]},
		{name: "empty", blob: nil},
		{name: "a list", blob: []byte("[]")},
		{name: "a layer that is called something else", media: "application/octet-stream", blob: good},
		{name: "a signature that is a number", blob: bytes.Replace(good, []byte(`"signatures":[`), []byte(`"signatures":[7,`), 1)},
		{name: "a statement of another form", blob: envelopeOf(&grafeaspb.Occurrence{Envelope: &grafeaspb.Envelope{
			Payload: []byte(`{"predicateType":"https://slsa.dev/provenance/v1","subject":7}`),
		}}, true)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newAttic(t, sample)
			if tt.about == "" {
				tt.about = a.image.Digest()
			}
			a.attach(tt.about, types.MediaType(cmp.Or(tt.media, dsseMedia)), tt.blob)
			got, problems := a.ask(&server{}, attestor.ProvenanceNeeds{})
			if len(got) != 0 {
				t.Fatalf("accepted: %+v", got)
			}
			if tt.want == "" {
				if len(problems) != 0 {
					t.Errorf("problems %v", problems)
				}
				return
			}
			if len(problems) != 1 || problems[0].Status != attestor.StatusDeny || !strings.Contains(problems[0].Message, tt.want) {
				t.Errorf("problems %v, want a denial with %q", problems, tt.want)
			}
		})
	}

	// About another digest, and moved to this image with all that a mover can change.
	a := newAttic(t, sample)
	moved := a.image.Sibling(other)
	a.attach(other, dsseMedia, good)
	got, problems := a.source(&server{}).Provenance(t.Context(), []attestor.Image{moved}, attestor.ProvenanceNeeds{})
	if len(got) != 0 || len(problems) != 1 || !strings.Contains(problems[0].Message, "another digest") {
		t.Errorf("moved: %v, %v", got, problems)
	}
}

// What cannot be read, or not to its end, is an error and no denial.
func TestReferrersThatCannotBeRead(t *testing.T) {
	_, list := occurrences(t, sample)
	answer := func(path string, status int) func(w http.ResponseWriter, r *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, path) {
				w.WriteHeader(status)
				return true
			}
			return false
		}
	}

	for name, tt := range map[string]struct {
		intercept func(w http.ResponseWriter, r *http.Request) bool
		want      string
	}{
		"forbidden":           {answer("/referrers/", http.StatusForbidden), "could not be read"},
		"manifests forbidden": {answer("/manifests/", http.StatusForbidden), "could not be read"},
		"blobs fail":          {answer("/blobs/", http.StatusInternalServerError), "could not be read"},
		"hangs": {func(_ http.ResponseWriter, r *http.Request) bool {
			<-r.Context().Done()
			return true
		}, "in the time allowed"},
		"a thousand": {func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/referrers/") {
				return false
			}
			many := v1.IndexManifest{SchemaVersion: 2}
			for i := range 1000 {
				many.Manifests = append(many.Manifests, v1.Descriptor{
					Size: 10, Digest: v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%064x", i)},
				})
			}
			w.Header().Set("Content-Type", string(types.OCIImageIndex))
			_ = json.NewEncoder(w).Encode(many) // who leaves early is not the subject
			return true
		}, "of 1000 attached referrers, 64 were read"},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAttic(t, sample)
			a.attach(a.image.Digest(), dsseMedia, envelopeOf(list[0], true))
			a.Intercept(tt.intercept)
			if name == "hangs" {
				a.limit = time.Second
			}
			got, problems := a.ask(&server{}, attestor.ProvenanceNeeds{})
			if len(got) != 0 || len(problems) != 1 || problems[0].Status != attestor.StatusError ||
				problems[0].Code != attestor.CodeProvenanceUnavailable || !strings.Contains(problems[0].Message, tt.want) {
				t.Fatalf("got %v, problems %+v; want an error with %q", got, problems, tt.want)
			}
			if late := strings.Contains(problems[0].Message, "in the time allowed"); late != (name == "hangs") {
				t.Errorf("it says that time was over: %q", problems[0].Message)
			}
		})
	}
}

// The registry is asked only where its answer could matter.
func TestReferrersAreReadOnlyWhereTheyCanMatter(t *testing.T) {
	const ofLevel2 = "gcloud-container-github.json"
	_, list := occurrences(t, sample)
	_, lower := occurrences(t, ofLevel2)
	for _, tt := range []struct {
		name, file string
		srv        *server
		needs      attestor.ProvenanceNeeds
		asks       bool
	}{
		{"nothing in Container Analysis", sample, &server{}, attestor.ProvenanceNeeds{}, true},
		{"the builder is wanted", sample, &server{}, attestor.ProvenanceNeeds{Builders: []string{"x", hosted}}, true},
		{"Container Analysis is down", sample, &server{fail: func(context.Context, int) error {
			return status.Error(codes.Internal, "no")
		}}, attestor.ProvenanceNeeds{}, true},
		{"level 2 in Container Analysis", ofLevel2, &server{list: lower}, attestor.ProvenanceNeeds{}, true},
		{"level 3 in Container Analysis", sample, &server{list: list}, attestor.ProvenanceNeeds{}, false},
		{"another builder is wanted", sample, &server{}, attestor.ProvenanceNeeds{Builders: []string{"https://github.com/x"}}, false},
	} {
		a := newAttic(t, tt.file)
		for _, o := range tt.srv.list {
			o.ResourceUri = "https://" + a.image.String()
		}
		a.attach(a.image.Digest(), dsseMedia, envelopeOf(list[0], true))
		before := a.Requests()
		got, problems := a.ask(tt.srv, tt.needs)
		if n := a.Requests() - before; (n > 0) != tt.asks {
			t.Errorf("%s: %d requests of the registry, %v, %v", tt.name, n, got, problems)
		}
	}

	// Cloud Build attaches statements in Google's registries alone, and in those that the configuration names.
	a := newAttic(t, sample)
	a.attach(a.image.Digest(), dsseMedia, envelopeOf(list[0], true))
	before := a.Requests()
	got, problems := sourceOf(t, &server{}, provenance.Config{Registry: a.registry()}).
		Provenance(t.Context(), []attestor.Image{a.image}, attestor.ProvenanceNeeds{})
	if n := a.Requests() - before; n > 0 || len(got) > 0 || len(problems) != 1 || problems[0].Status != attestor.StatusError {
		t.Errorf("of no project: %d requests of the registry, %v, %v", n, got, problems)
	}
}

// A registry that the source reads keeps the contract of all of them.
func TestRegistryContract(t *testing.T) {
	a := newAttic(t, sample)
	blob := []byte(`{"a":1}`)
	a.attach(a.image.Digest(), dsseMedia, blob)
	without := a.image.Sibling(attestor.Digest("sha256:" + strings.Repeat("cd", 32)))
	contract.Referrers(t, a.registry(), func(l referrers.List) []v1.Descriptor { return l.Referrers },
		a.image, without, blob, referrers.ErrNone)
}
