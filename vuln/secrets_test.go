package vuln_test

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/vuln"
)

const apiKey = grafeaspb.SecretKind_SECRET_KIND_GCP_API_KEY

// TestSecretStatus: the newest status counts, and a secret is known to be invalid only if nothing says otherwise.
func TestSecretStatus(t *testing.T) {
	const valid, invalid, unknown = grafeaspb.SecretStatus_VALID, grafeaspb.SecretStatus_INVALID, grafeaspb.SecretStatus_UNKNOWN
	type status = grafeaspb.SecretStatus
	day := func(n int, s grafeaspb.SecretStatus_Status) *status {
		return &status{Status: s, UpdateTime: timestamppb.New(start.AddDate(0, 0, n))}
	}
	undated := func(s grafeaspb.SecretStatus_Status) *status { return &status{Status: s} }
	for _, tt := range []struct {
		name string
		all  []*status
		want string
	}{
		{"none", nil, "UNKNOWN"},
		{"not specified", []*status{day(1, 0)}, "UNKNOWN"},
		{"unknown", []*status{day(1, unknown)}, "UNKNOWN"},
		{"valid", []*status{day(1, valid)}, "VALID"},
		{"invalid", []*status{day(1, invalid)}, "INVALID"},
		{"invalid, without a time", []*status{undated(invalid)}, "INVALID"},
		{"of tomorrow", []*status{day(1, 4)}, "STATUS_4"},
		{"valid, then revoked", []*status{day(1, valid), day(2, invalid)}, "INVALID"},
		{"the same in another order", []*status{day(2, invalid), day(1, valid)}, "INVALID"},
		{"revoked, then valid again", []*status{day(1, invalid), day(2, valid)}, "VALID"},
		{"the same in another order", []*status{day(2, valid), day(1, invalid)}, "VALID"},
		{"both at one time", []*status{day(1, valid), day(1, invalid)}, "VALID"},
		{"both at one time, in another order", []*status{day(1, invalid), day(1, valid)}, "VALID"},
		{"invalid, and valid at no time", []*status{day(1, invalid), undated(valid)}, "VALID"},
		{"valid at no time, and invalid", []*status{undated(valid), day(1, invalid)}, "VALID"},
		{"invalid, and of tomorrow at one time", []*status{day(1, invalid), day(1, 4)}, "STATUS_4"},
		{"valid, and of tomorrow at one time", []*status{day(1, 4), day(1, valid)}, "STATUS_4"},
		{"valid, then unknown", []*status{day(1, valid), day(2, unknown)}, "UNKNOWN"},
		{"at an invalid time", []*status{{Status: valid, UpdateTime: &timestamppb.Timestamp{Nanos: -1}}, day(1, invalid)}, "VALID"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img := api(t)
			o := corpus.Secret(uri(img), apiKey, "/k")
			o.GetSecret().Statuses = tt.all
			scan, err := vuln.ScanOf(attestor.ScanRequest{Image: img}, nil, occurrences{o})
			if err != nil || len(scan.Secrets) != 1 || scan.Secrets[0].Status != tt.want {
				t.Errorf("%+v, %v; want %s", scan.Secrets, err, tt.want)
			}
		})
	}
}

// TestSecrets: one for each place, of the digest and its index only, the same for every order, whatever the state of the scan.
func TestSecrets(t *testing.T) {
	f, img := newFixture(t), api(t)
	index, other := img.Sibling(digest(2)), img.Sibling(digest(3))
	place := func(path, layer string) *grafeaspb.SecretLocation {
		return &grafeaspb.SecretLocation{Location: &grafeaspb.SecretLocation_FileLocation{FileLocation: &grafeaspb.FileLocation{
			FilePath: path, LayerDetails: &grafeaspb.LayerDetails{DiffId: layer},
		}}}
	}
	two := corpus.Secret(uri(img), apiKey, "", grafeaspb.SecretStatus_VALID)
	two.GetSecret().Locations = []*grafeaspb.SecretLocation{place("/b", string(digest(9))), place("/a", "not a digest"), place("/b", string(digest(9)))}
	f.put(t, "acme", discovery(uri(img), grafeaspb.DiscoveryOccurrence_SCANNING), two,
		corpus.Secret(uri(img), 999, "", grafeaspb.SecretStatus_INVALID),
		corpus.Secret(uri(index), apiKey, "/of-the-index"),
		corpus.Secret(uri(other), apiKey, "/of-another-image"),
		corpus.Secret(uri(img)+"0", apiKey, "/of-a-longer-name"))

	f.ResetCalls()
	scan := f.scanner(t, nil).Scan(t.Context(), attestor.ScanRequest{Image: img, Index: index})
	const note = "projects/goog-analysis/notes/SECRET"
	want := []attestor.Secret{
		{Kind: "GCP_API_KEY", Status: "VALID", Path: "/a", Note: note},
		{Kind: "GCP_API_KEY", Status: "VALID", Path: "/b", DiffID: digest(9), Note: note},
		{Kind: "GCP_API_KEY", Status: "UNKNOWN", Path: "/of-the-index", Note: note},
		{Kind: "KIND_999", Status: "INVALID", Note: note},
	}
	if diff := cmp.Diff(want, scan.Secrets); diff != "" || !scan.SecretsListed || scan.State != attestor.ScanRunning {
		t.Errorf("%s, listed %t (-want +got):\n%s", scan.State, scan.SecretsListed, diff)
	}
	if n := len(f.Calls(list)); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
}

// TestSecretValuesAreNeverKept: what an occurrence may hold of a secret's value is in no part of the scan and in no log.
func TestSecretValuesAreNeverKept(t *testing.T) {
	const value = "AIzaSyValueOfTheSecret"
	f, img := newFixture(t), api(t)
	f.put(t, "acme", complete(uri(img)), corpus.Secret(uri(img), apiKey, "/k", grafeaspb.SecretStatus_VALID))
	received := 0
	f.Inject(emulator.Fault{Method: list, Mutate: func(_, resp proto.Message) {
		for _, o := range resp.(*grafeaspb.ListOccurrencesResponse).GetOccurrences() {
			if s := o.GetSecret(); s != nil {
				data, err := anypb.New(wrapperspb.String(value))
				if err != nil {
					t.Error(err)
				}
				s.Data, s.Digest = data, &grafeaspb.Digest{Algo: "plain", DigestBytes: []byte(value)}
				s.Statuses[0].Message, o.Remediation = "tried "+value, "revoke "+value
				received++
			}
		}
	}})
	var log strings.Builder
	s := f.scanner(t, func(c *vuln.Config) {
		c.Logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug - 10}))
	})
	scan := s.Scan(t.Context(), attestor.ScanRequest{Image: img})
	text, err := json.Marshal(scan)
	if err != nil || received != 1 || len(scan.Secrets) != 1 {
		t.Fatalf("%v, %d received: %+v", err, received, scan)
	}
	if all := string(text) + log.String(); strings.Contains(all, value) || strings.Contains(all, "QUl6YVN5") { // in base64, too
		t.Errorf("the value is in %s", all)
	}
}

// TestLongSecretPath: a path is bounded.
func TestLongSecretPath(t *testing.T) {
	img := api(t)
	scan, err := vuln.ScanOf(attestor.ScanRequest{Image: img}, nil, occurrences{corpus.Secret(uri(img), apiKey, "/"+strings.Repeat("é", 5000))})
	if err != nil || len(scan.Secrets) != 1 || len(scan.Secrets[0].Path) > 1100 || !strings.HasSuffix(scan.Secrets[0].Path, "é…") {
		t.Errorf("%v: %d bytes", err, len(scan.Secrets[0].Path))
	}
}

// occurrenceOf is one of a kind that has details of its own, or of none that this version knows.
func occurrenceOf(img attestor.Image, kind grafeaspb.NoteKind) *grafeaspb.Occurrence {
	o := &grafeaspb.Occurrence{ResourceUri: uri(img), NoteName: "projects/goog-analysis/notes/x", Kind: kind}
	switch kind {
	case grafeaspb.NoteKind_PACKAGE:
		o.Details = &grafeaspb.Occurrence_Package{Package: &grafeaspb.PackageOccurrence{}}
	case grafeaspb.NoteKind_BUILD:
		o.Details = &grafeaspb.Occurrence_Build{Build: &grafeaspb.BuildOccurrence{}}
	case grafeaspb.NoteKind_IMAGE:
		o.Details = &grafeaspb.Occurrence_Image{Image: &grafeaspb.ImageOccurrence{}}
	case grafeaspb.NoteKind_DEPLOYMENT:
		o.Details = &grafeaspb.Occurrence_Deployment{Deployment: &grafeaspb.DeploymentOccurrence{}}
	case grafeaspb.NoteKind_UPGRADE:
		o.Details = &grafeaspb.Occurrence_Upgrade{Upgrade: &grafeaspb.UpgradeOccurrence{}}
	case grafeaspb.NoteKind_COMPLIANCE:
		o.Details = &grafeaspb.Occurrence_Compliance{Compliance: &grafeaspb.ComplianceOccurrence{}}
	case grafeaspb.NoteKind_DSSE_ATTESTATION:
		o.Details = &grafeaspb.Occurrence_DsseAttestation{DsseAttestation: &grafeaspb.DSSEAttestationOccurrence{}}
	case grafeaspb.NoteKind_SBOM_REFERENCE:
		o.Details = &grafeaspb.Occurrence_SbomReference{SbomReference: &grafeaspb.SBOMReferenceOccurrence{}}
	case grafeaspb.NoteKind_ATTESTATION:
		o.Details = &grafeaspb.Occurrence_Attestation{Attestation: &grafeaspb.AttestationOccurrence{SerializedPayload: []byte("{}")}}
	}
	return o
}

// TestKinds: every kind of occurrence about the image is judged, is known not to be a finding, or is named.
func TestKinds(t *testing.T) {
	named := map[grafeaspb.NoteKind]string{
		grafeaspb.NoteKind_COMPLIANCE: "COMPLIANCE", 14: "AI_SKILL_ANALYSIS", 15: "NOTE_KIND_15", 1 << 20: "NOTE_KIND_1048576",
		grafeaspb.NoteKind_NOTE_KIND_UNSPECIFIED: "NOTE_KIND_UNSPECIFIED",
	}
	img := api(t)
	kinds := []grafeaspb.NoteKind{14, 15, 1 << 20}
	for k := range grafeaspb.NoteKind_name {
		kinds = append(kinds, grafeaspb.NoteKind(k))
	}
	for _, kind := range kinds {
		scan, err := vuln.ScanOf(attestor.ScanRequest{Image: img}, nil,
			occurrences{complete(uri(img)), occurrenceOf(img, kind), occurrenceOf(img.Sibling(digest(2)), kind)})
		if err != nil {
			t.Fatal(err)
		}
		var want []attestor.UnreadKind
		if name, ok := named[kind]; ok {
			want = []attestor.UnreadKind{{Kind: name, Count: 1}}
		}
		if diff := cmp.Diff(want, scan.Unread); diff != "" {
			t.Errorf("%s (-want +got):\n%s", kind, diff)
		}

		// Those that report findings are findings without readable details, too.
		judged := kind == grafeaspb.NoteKind_VULNERABILITY || kind == grafeaspb.NoteKind_SECRET
		if got := len(scan.Findings)+len(scan.Secrets) == 1; got != judged {
			t.Errorf("%s: %d findings, %d secrets", kind, len(scan.Findings), len(scan.Secrets))
		}
		if kind == grafeaspb.NoteKind_VULNERABILITY && !scan.Findings[0].Severity.Foreign() {
			t.Errorf("a vulnerability without details has severity %s", scan.Findings[0].Severity)
		}
	}
}

// A discovery without details says that the state of the scan is not known.
func TestDiscoveryWithoutDetails(t *testing.T) {
	img := api(t)
	o := occurrenceOf(img, grafeaspb.NoteKind_DISCOVERY)
	o.NoteName, o.UpdateTime = googleNote, timestamppb.New(start)
	for _, all := range []occurrences{{o}, {complete(uri(img)), o}} {
		scan, err := vuln.ScanOf(attestor.ScanRequest{Image: img}, nil, all)
		if err != nil || scan.State == attestor.ScanComplete {
			t.Errorf("%d discoveries: %q, %v", len(all), scan.State, err)
		}
	}
}

// TestManyKinds: whoever may write occurrences can invent kinds, and not fill the record with their names.
func TestManyKinds(t *testing.T) {
	img := api(t)
	var all occurrences
	for n := range 5000 {
		all = append(all, occurrenceOf(img, grafeaspb.NoteKind(100+n)))
	}
	scan, err := vuln.ScanOf(attestor.ScanRequest{Image: img}, nil, all)
	if err != nil || len(scan.Unread) != 17 {
		t.Fatalf("%v: %d kinds", err, len(scan.Unread))
	}
	sum := 0
	for _, k := range scan.Unread {
		sum += k.Count
	}
	if sum != 5000 {
		t.Errorf("%d occurrences are counted", sum)
	}
}

// TestKindsThatCostNothing: an image with many occurrences that report nothing wrong is listed in one call and one page.
func TestKindsThatCostNothing(t *testing.T) {
	f, img := newFixture(t), api(t)
	f.put(t, "acme", complete(uri(img)), finding(uri(img), "CVE-2026-1", grafeaspb.Severity_LOW))
	for _, kind := range []grafeaspb.NoteKind{
		grafeaspb.NoteKind_PACKAGE, grafeaspb.NoteKind_BUILD, grafeaspb.NoteKind_IMAGE, grafeaspb.NoteKind_DEPLOYMENT, grafeaspb.NoteKind_UPGRADE,
		grafeaspb.NoteKind_DSSE_ATTESTATION, grafeaspb.NoteKind_SBOM_REFERENCE,
	} {
		many := make(occurrences, 1000)
		for i := range many {
			many[i] = occurrenceOf(img, kind)
			many[i].NoteName = "projects/goog-analysis/notes/" + strings.ToLower(kind.String())
		}
		f.put(t, "acme", many...)
	}
	f.ResetCalls()
	scan := f.scanner(t, nil).Scan(t.Context(), attestor.ScanRequest{Image: img})
	calls := f.Calls(list)
	if scan.State != attestor.ScanComplete || len(scan.Findings) != 1 || scan.Unread != nil || len(calls) != 1 {
		t.Errorf("%s, %d findings, unread %v, %d calls, want 1", scan.State, len(scan.Findings), scan.Unread, len(calls))
	}
}

// TestServiceWithoutExclusion: a service that does not take the form is asked for the known kinds, at once from then on; and the
// scan says that others were not looked for.
func TestServiceWithoutExclusion(t *testing.T) {
	f, img := newFixture(t), api(t)
	f.put(t, "acme", complete(uri(img)), corpus.Secret(uri(img), apiKey, "/k"))
	f.Inject(emulator.Fault{Method: list, Code: codes.InvalidArgument, Match: func(req proto.Message) bool {
		return strings.Contains(req.(*grafeaspb.ListOccurrencesRequest).GetFilter(), "!=")
	}})
	s := f.scanner(t, nil)
	for _, want := range []int{2, 1, 1} {
		f.ResetCalls()
		scan := s.Scan(t.Context(), attestor.ScanRequest{Image: img})
		if scan.State != attestor.ScanComplete || len(scan.Secrets) != 1 || !scan.KindsUnlisted || len(f.Calls(list)) != want {
			t.Errorf("%s, %d secrets, unlisted %t, %d calls, want %d", scan.State, len(scan.Secrets), scan.KindsUnlisted, len(f.Calls(list)), want)
		}
	}

	// A service that takes it says nothing of the kind.
	g := newFixture(t)
	g.put(t, "acme", complete(uri(img)))
	if scan := g.scanner(t, nil).Scan(t.Context(), attestor.ScanRequest{Image: img}); scan.KindsUnlisted || scan.State != attestor.ScanComplete {
		t.Errorf("%s, unlisted %t", scan.State, scan.KindsUnlisted)
	}
}

// TestManyFindingsAndSecrets: 25,000 findings and 5,000 secrets are read whole.
func TestManyFindingsAndSecrets(t *testing.T) {
	f, img := newFixture(t), api(t)
	f.put(t, "acme", complete(uri(img)))
	f.put(t, "acme", many(img, 25_000)...)
	secrets := make(occurrences, 5000)
	for i := range secrets {
		secrets[i] = corpus.Secret(uri(img), apiKey, "/srv/"+string(digest(i)), grafeaspb.SecretStatus_INVALID)
	}
	secrets[4999].GetSecret().Statuses[0].Status = grafeaspb.SecretStatus_VALID
	f.put(t, "acme", secrets...)
	scan := f.scanner(t, nil).Scan(t.Context(), attestor.ScanRequest{Image: img})
	valid := 0
	for _, s := range scan.Secrets {
		if s.Status == attestor.SecretValid {
			valid++
		}
	}
	if scan.State != attestor.ScanComplete || len(scan.Findings) != 25_000 || len(scan.Secrets) != 5000 || valid != 1 {
		t.Errorf("%s: %d findings, %d secrets, %d valid", scan.State, len(scan.Findings), len(scan.Secrets), valid)
	}
}
