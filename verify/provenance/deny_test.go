package provenance_test

import (
	"bytes"
	stdcmp "cmp"
	"context"
	"encoding/base64"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/limit"
	"github.com/attestor-gate/attestor/internal/testkit/contract"
	"github.com/attestor-gate/attestor/verify/provenance"
	"github.com/attestor-gate/attestor/verify/signed"
)

const sample = "v1.0-gcloud-container-github.json"

// TestForgedOccurrences: each is a real occurrence with one thing changed.
func TestForgedOccurrences(t *testing.T) {
	tests := []struct {
		name   string
		change func(o *grafeaspb.Occurrence)
		want   string // in the denial; "" where the occurrence is not about the image at all
		passes bool
	}{
		{name: "unchanged", change: func(*grafeaspb.Occurrence) {}, passes: true},
		{name: "structured copy altered", change: func(o *grafeaspb.Occurrence) {
			o.GetBuild().GetInTotoSlsaProvenanceV1().GetPredicate().GetRunDetails().GetBuilder().Id = "https://evil.example"
		}, passes: true}, // and is not looked at: the wanted provenance is compared below
		{name: "no envelope", change: func(o *grafeaspb.Occurrence) { o.Envelope = nil }, want: "not signed"},
		{name: "no signatures", change: func(o *grafeaspb.Occurrence) { o.Envelope.Signatures = nil }, want: "not signed"},
		{name: "empty payload", change: func(o *grafeaspb.Occurrence) { o.Envelope.Payload = nil }, want: "not signed"},
		{name: "payload altered", change: func(o *grafeaspb.Occurrence) {
			o.Envelope.Payload = bytes.Replace(o.Envelope.Payload, []byte("khalkie"), []byte("mallory"), 1)
		}, want: "does not verify"},
		{name: "payload type altered", change: func(o *grafeaspb.Occurrence) { o.Envelope.PayloadType = "text/plain" }, want: "does not verify"},
		{name: "signature cut", change: func(o *grafeaspb.Occurrence) {
			o.Envelope.Signatures[0].Sig = o.Envelope.Signatures[0].Sig[:8]
		}, want: "does not verify"},
		{name: "key renamed", change: func(o *grafeaspb.Occurrence) {
			o.Envelope.Signatures[0].Keyid = "projects/mallory/locations/global/keyRings/attestor/cryptoKeys/google-hosted-worker/cryptoKeyVersions/1"
		}, want: "not pinned"},
		{name: "key of another kind", change: func(o *grafeaspb.Occurrence) {
			o.Envelope.Signatures[0].Keyid = ring + "global" + ringKey + "builtByGCB/cryptoKeyVersions/1"
		}, want: "does not verify"},
		{name: "eight bad signatures first", change: behind(8), want: "does not verify"},
		{name: "seven bad signatures first", change: behind(7), passes: true},
		{name: "one bad signature first", change: behind(1), passes: true},
		{name: "no key named", change: func(o *grafeaspb.Occurrence) { o.Envelope.Signatures[0].Keyid = "" }, passes: true},
		{name: "no key named, and altered", change: func(o *grafeaspb.Occurrence) {
			o.Envelope.Signatures[0].Keyid = ""
			o.Envelope.Payload = bytes.Replace(o.Envelope.Payload, []byte("khalkie"), []byte("mallory"), 1)
		}, want: "not pinned"},
		{name: "under one's own note", change: func(o *grafeaspb.Occurrence) {
			o.NoteName = "projects/mallory/notes/intoto_slsa_v1_1"
		}, want: "not by Cloud Build"},
		{name: "under no note", change: func(o *grafeaspb.Occurrence) { o.NoteName = "" }, want: "not by Cloud Build"},
		{name: "of another image", change: func(o *grafeaspb.Occurrence) {
			o.ResourceUri = strings.Replace(o.ResourceUri, "prod-prov-image", "other", 1)
		}},
		{name: "of no kind", change: func(o *grafeaspb.Occurrence) { o.Details = nil }},
		{name: "without scheme", change: func(o *grafeaspb.Occurrence) { o.ResourceUri = strings.TrimPrefix(o.ResourceUri, "https://") }, passes: true},
		{name: "encoded once more, URL-safe", change: func(o *grafeaspb.Occurrence) {
			o.Envelope.Payload = []byte(base64.URLEncoding.EncodeToString(o.Envelope.Payload))
			o.Envelope.Signatures[0].Sig = []byte(base64.RawURLEncoding.EncodeToString(o.Envelope.Signatures[0].Sig))
		}, passes: true},
		{name: "encoded once more, standard", change: func(o *grafeaspb.Occurrence) {
			o.Envelope.Payload = []byte(base64.StdEncoding.EncodeToString(o.Envelope.Payload))
		}, passes: true},
	}

	img, list := occurrences(t, sample)
	want, problems := newSource(t, list[0]).Provenance(t.Context(), []attestor.Image{img}, attestor.ProvenanceNeeds{})
	if len(want) != 1 || len(problems) > 0 {
		t.Fatalf("%v, %v", want, problems)
	}

	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			occ := proto.CloneOf(list[0])
			tt.change(occ)
			got, problems := newSource(t, occ).Provenance(t.Context(), []attestor.Image{img}, attestor.ProvenanceNeeds{})
			if tt.passes {
				if diff := cmp.Diff(want, got); diff != "" || len(problems) > 0 {
					t.Fatalf("problems %v, provenance (-want +got):\n%s", problems, diff)
				}
				return
			}
			if len(got) > 0 {
				t.Fatalf("accepted: %+v", got)
			}
			if tt.want == "" {
				if len(problems) > 0 {
					t.Errorf("problems %v", problems)
				}
				return
			}
			if len(problems) != 1 || problems[0].Status != attestor.StatusDeny || !strings.Contains(problems[0].Message, tt.want) {
				t.Errorf("problems %v, want a denial with %q", problems, tt.want)
			}
		})
	}
}

// behind puts n bad signatures before the good one. Eight are looked at.
func behind(n int) func(o *grafeaspb.Occurrence) {
	return func(o *grafeaspb.Occurrence) {
		good := o.Envelope.Signatures
		o.Envelope.Signatures = nil
		for range n {
			o.Envelope.Signatures = append(o.Envelope.Signatures, &grafeaspb.EnvelopeSignature{Keyid: good[0].Keyid, Sig: []byte("x")})
		}
		o.Envelope.Signatures = append(o.Envelope.Signatures, good...)
	}
}

// TestEditedCopiesOfEverySample: any byte of what Google signed, of any sample, counts. Each is edited where an attacker would: the source, the
// builder, the subject, the commit.
func TestEditedCopiesOfEverySample(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "*.json"))
	if err != nil || len(files) < 6 {
		t.Fatal(files, err)
	}
	edits := 0
	for _, file := range files {
		img, list := occurrences(t, filepath.Base(file))
		for n, o := range list {
			payload := o.GetEnvelope().GetPayload()
			if b, err := base64.URLEncoding.DecodeString(string(payload)); err == nil {
				payload = b
			}
			for _, edit := range [][2]string{
				{"https://github.com/", "https://github.evil/"}, {"GoogleHostedWorker", "GoogleHostedWorker "}, {img.Digest().Hex(), strings.Repeat("ab", 32)},
				{"gs://", "gs:///"}, {`"sha1":"`, `"sha1":"0`}, {"in-toto", "in-toto "}, {"{", "{ "}, {"}", "},"},
			} {
				changed := bytes.Replace(payload, []byte(edit[0]), []byte(edit[1]), 1)
				if bytes.Equal(changed, payload) {
					continue
				}
				edits++
				copied := proto.CloneOf(o)
				copied.GetEnvelope().Payload = changed
				got, problems := newSource(t, copied).Provenance(t.Context(), []attestor.Image{img}, attestor.ProvenanceNeeds{})
				if len(got) != 0 || len(problems) != 1 || problems[0].Status != attestor.StatusDeny {
					t.Errorf("%s %d, %q for %q: %+v, %v", file, n, edit[1], edit[0], got, problems)
				}
			}
		}
	}
	if edits < 40 {
		t.Errorf("%d edits: the samples have another form than this test knows", edits)
	}
}

// TestSignedForAnother: a statement by Google about another digest, stored as
// this image's.
func TestSignedForAnother(t *testing.T) {
	img, list := occurrences(t, sample)
	other := img.Sibling(attestor.Digest("sha256:" + strings.Repeat("ab", 32)))

	for _, occ := range list {
		occ.ResourceUri = "https://" + other.String()
	}

	got, problems := newSource(t, list...).Provenance(t.Context(), []attestor.Image{other}, attestor.ProvenanceNeeds{})
	if len(got) > 0 || len(problems) != 1 || !strings.Contains(problems[0].Message, "another digest") {
		t.Errorf("got %v, %v", got, problems)
	}
}

// TestIndexAndChild: a statement about either counts, once.
func TestIndexAndChild(t *testing.T) {
	img, list := occurrences(t, sample)
	child := img.Sibling(attestor.Digest("sha256:" + strings.Repeat("ab", 32)))
	got, problems := newSource(t, append(list, list...)...).Provenance(t.Context(), []attestor.Image{child, img}, attestor.ProvenanceNeeds{})
	if len(got) != 2 || len(problems) > 0 {
		t.Errorf("got %v, %v", got, problems)
	}
}

// TestPages: the wanted occurrence is on the last of many pages.
func TestPages(t *testing.T) {
	img, list := occurrences(t, sample)
	srv := &server{page: 2}

	for range 25 {
		bad := proto.CloneOf(list[0])
		bad.Envelope.Signatures = nil
		srv.list = append(srv.list, bad)
	}

	srv.list = append(srv.list, list...)
	got, problems := sourceOf(t, srv, provenance.Config{}).Provenance(t.Context(), []attestor.Image{img}, attestor.ProvenanceNeeds{})
	if len(got) != 2 || len(problems) > 0 || len(srv.asks) != 14 {
		t.Errorf("got %v, %v after %d pages", got, problems, len(srv.asks))
	}
	if f := srv.asks[0].GetFilter(); srv.asks[0].GetParent() != "projects/argo-local-khalk" ||
		!strings.Contains(f, `kind = "BUILD"`) || !strings.Contains(f, img.String()) {
		t.Errorf("asked %s for %s", srv.asks[0].GetParent(), f)
	}
}

// TestUnavailable: whatever cannot be asked is an error, never silence.
func TestUnavailable(t *testing.T) {
	img, list := occurrences(t, sample)
	down := errors.New("down")
	tests := []struct {
		name  string
		srv   *server
		c     provenance.Config
		image attestor.Image
		needs attestor.ProvenanceNeeds
		want  string
		kept  int
	}{
		{name: "denied", srv: &server{fail: func(context.Context, int) error {
			return status.Error(codes.PermissionDenied, "no")
		}}, image: img, want: "permission denied"},
		{name: "internal", srv: &server{fail: func(context.Context, int) error {
			return status.Error(codes.Internal, "no")
		}}, image: img, want: "could not be read"},
		{name: "unavailable for ever",
			srv: &server{fail: func(context.Context, int) error { return status.Error(codes.Unavailable, "no") }},
			c:   provenance.Config{Limit: limit.Call(300 * time.Millisecond)}, image: img, want: "in the time allowed"},
		{name: "hangs", srv: &server{fail: func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }},
			c: provenance.Config{Limit: limit.Call(100 * time.Millisecond)}, image: img, want: "in the time allowed"},
		{name: "second page fails", srv: &server{list: list, page: 1, fail: func(_ context.Context, page int) error {
			if page > 0 {
				return status.Error(codes.Internal, "no")
			}
			return nil
		}}, image: img, want: "could not be read", kept: 1},
		{name: "endless", srv: &server{list: many(list[0], 100), more: true}, image: img, want: "more than 1000 occurrences", kept: 1},
		{name: "endless and empty", srv: &server{more: true}, c: provenance.Config{
			Limit: limit.Call(100 * time.Millisecond)}, image: img, want: "in the time allowed"},
		{name: "project unknown", srv: &server{}, image: elsewhere(t), want: "scanProjects"},
		{name: "attached not configured", srv: &server{list: list}, image: img,
			needs: attestor.ProvenanceNeeds{SignedBy: &attestor.SignedBy{Key: "k"}}, want: "attached", kept: 2},
		{name: "attached fails", srv: &server{list: list}, c: provenance.Config{Attached: attached{err: down}},
			image: img, needs: attestor.ProvenanceNeeds{SignedBy: &attestor.SignedBy{Key: "k"}},
			want: "attached", kept: 2},
		{name: "no image", srv: &server{}, want: "no image"},
	}

	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, problems := sourceOf(t, tt.srv, tt.c).Provenance(t.Context(), []attestor.Image{tt.image}, tt.needs)
			if len(got) != tt.kept {
				t.Errorf("got %v", got)
			}
			if len(problems) != 1 || problems[0].Status != attestor.StatusError || problems[0].Code != attestor.CodeProvenanceUnavailable ||
				!strings.Contains(problems[0].Message+problems[0].Fix, tt.want) {
				t.Errorf("problems %+v, want an error with %q", problems, tt.want)
			}
		})
	}

	s, err := provenance.New(provenance.Config{})
	if err != nil {
		t.Fatal(err)
	}

	if got, problems := s.Provenance(t.Context(), []attestor.Image{img}, attestor.ProvenanceNeeds{}); len(got) > 0 ||
		len(problems) != 1 || problems[0].Status != attestor.StatusError {
		t.Errorf("without a client: %v, %v", got, problems)
	}
}

func many(occ *grafeaspb.Occurrence, n int) []*grafeaspb.Occurrence {
	list := make([]*grafeaspb.Occurrence, n)
	for i := range list {
		list[i] = occ
	}
	return list
}

func elsewhere(t *testing.T) attestor.Image {
	t.Helper()
	img, err := attestor.ParseImage("registry.example.com/a/b@sha256:" + strings.Repeat("ab", 32))
	if err != nil {
		t.Fatal(err)
	}

	return img
}

// attached answers for cosign.
type attached struct {
	list []signed.Statement // where no type is given, of whatever type is asked for
	err  error
	none attestor.Image // has no statements

	rejected []string // why others do not count
}

func (a attached) Attestations(
	ctx context.Context, img attestor.Image, _ attestor.SignedBy, predicateTypes []string,
) ([]signed.Statement, []string, error) {
	if err := stdcmp.Or(a.err, ctx.Err()); err != nil {
		return nil, nil, err
	}
	if img == a.none {
		return nil, nil, nil
	}

	var out []signed.Statement
	for _, st := range a.list {
		if st.PredicateType == "" || slices.Contains(predicateTypes, st.PredicateType) {
			out = append(out, st)
		}
	}

	return out, a.rejected, nil
}

func (a attached) EveryAttestation(
	ctx context.Context, img attestor.Image, rule attestor.SignedBy, predicateTypes []string,
) ([]signed.Statement, error) {
	list, _, err := a.Attestations(ctx, img, rule, predicateTypes)
	return list, err
}

// TestAttachedThatAreRejected: a denial names what was found attached and why it does not count, with the fix for that;
// beside one that counts it says nothing.
func TestAttachedThatAreRejected(t *testing.T) {
	img := elsewhere(t)
	const why = "it claims to be by mallory (issuer)"
	of := func(a attached) ([]attestor.Provenance, []attestor.Problem) {
		s, err := provenance.New(provenance.Config{Attached: a})
		if err != nil {
			t.Fatal(err)
		}
		return s.Provenance(t.Context(), []attestor.Image{img}, attestor.ProvenanceNeeds{SignedBy: &attestor.SignedBy{Key: "k"}})
	}

	for message, a := range map[string]attached{
		"a provenance statement was found and does not verify: attached: " + why:       {rejected: []string{why}},
		"2 provenance statements were found and none verifies: attached: " + why:       {rejected: []string{why, why}},
		"2 provenance statements were found and none verifies: attached: " + why + ";": {rejected: []string{why, "another"}},
	} {
		got, problems := of(a)
		if len(got) > 0 || len(problems) != 1 || problems[0].Status != attestor.StatusDeny || problems[0].Code != attestor.CodeProvenanceMissing ||
			!strings.HasPrefix(problems[0].Message, message) || !strings.Contains(problems[0].Fix, "spec.provenance.signedBy") {
			t.Errorf("%s: %+v, %+v", message, got, problems)
		}
	}

	const v1 = "https://slsa.dev/provenance/v1"
	about := []byte(strings.ReplaceAll(`{"_type":"https://in-toto.io/Statement/v1","predicateType":"TYPE","subject":[{"digest":`+
		`{"sha256":"`+img.Digest().Hex()+`"}}],"predicate":{"runDetails":{"builder":{"id":"b"}}}}`, "TYPE", v1))
	got, problems := of(attached{rejected: []string{why}, list: []signed.Statement{{PredicateType: v1, Payload: about, Signer: "k"}}})
	if len(got) != 1 || len(problems) > 0 {
		t.Errorf("beside one that counts: %+v, %+v", got, problems)
	}
}

func TestAttachedKeepsTheContract(t *testing.T) {
	const slsa = "https://slsa.dev/provenance/v1"
	none, _ := occurrences(t, sample)
	a := attached{list: []signed.Statement{{PredicateType: slsa, Payload: []byte("{}"), Signer: "key k"}}, none: none}
	contract.Attachments(t, a, elsewhere(t), none, attestor.SignedBy{Key: "k"}, slsa)
}
