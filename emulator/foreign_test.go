package emulator_test

import (
	"net/http"
	"strings"
	"testing"

	"cloud.google.com/go/kms/apiv1/kmspb"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"

	"github.com/attestor-gate/attestor/emulator"
)

// TestRESTOfOtherClients: requests as gcloud and other clients write them, which protobuf's own JSON does not read.
func TestRESTOfOtherClients(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	g.createKey(t)
	g.createAttestor(t)
	g.createNote(t, note)
	base := "http://" + serve(t, g.Emulator)
	const key = keyRing + "/cryptoKeys/"

	for _, tt := range []struct {
		name, method, path, body string
		want                     int
		text                     string
	}{
		{"policy of a key ring, by GET", "GET", "/v1/" + keyRing + ":getIamPolicy", "", 200, `"etag"`},
		{"policy of a key, with the options", "GET", "/v1/" + key + "gate:getIamPolicy?options.requestedPolicyVersion=3&alt=json", "", 200, `"etag"`},
		{"policy of an attestor", "GET", "/v1/" + attestor + ":getIamPolicy", "", 200, `"etag"`},
		{"policy of the policy", "GET", "/v1/projects/p/policy:getIamPolicy", "", 200, `"etag"`},
		{"policy of a repository", "GET", "/v1/projects/p/locations/us/repositories/r:getIamPolicy", "", 200, `"etag"`},
		{"policy of a note, by POST", "POST", "/v1/" + note + ":getIamPolicy", "{}", 200, `"etag"`},
		{"policy of a project, by POST", "POST", "/v1/projects/p:getIamPolicy", "{}", 200, `"etag"`},
		{"the version that gcloud binds by", "GET", "/v1alpha2/projects/p/policy:getIamPolicy", "", 200, `"etag"`},

		{"a key's policy by POST", "POST", "/v1/" + key + "gate:getIamPolicy", "{}", 404, "no such method"},
		{"a note's policy by GET", "GET", "/v1/" + note + ":getIamPolicy", "", 404, "no such method"},
		{"an option that is no number", "GET", "/v1/" + keyRing + ":getIamPolicy?options.requestedPolicyVersion=three", "", 404, ""},

		{"Python's True", "POST", "/v1/" + keyRing + "/cryptoKeys?cryptoKeyId=empty&skipInitialVersionCreation=True",
			`{"purpose":"ASYMMETRIC_SIGN","versionTemplate":{"algorithm":"EC_SIGN_P256_SHA256"}}`, 200, "EC_SIGN_P256_SHA256"},
		{"Python's False", "GET", "/v1/projects/p/occurrences?returnPartialSuccess=False", "", 200, ""},
		{"an invalid boolean", "GET", "/v1/projects/p/occurrences?returnPartialSuccess=Yes", "", 400, ""},
		{"True in a field of text", "GET", "/v1/projects/p/occurrences?filter=True", "", 400, "filter"},

		{"a mask in snake case", "PATCH", "/v1/" + note + "?updateMask=short_description,long_description",
			`{"shortDescription":"one","longDescription":"two"}`, 200, `"longDescription":"two"`},
		{"a mask in camel case", "PATCH", "/v1/" + note + "?updateMask=shortDescription", `{"shortDescription":"three"}`, 200, `"three"`},
		{"both of them in snake case", "PATCH", "/v1/" + key + "gate?update_mask=version_template.algorithm",
			`{"name":"` + key + `gate","versionTemplate":{"algorithm":"EC_SIGN_P384_SHA384"}}`, 200, "EC_SIGN_P384_SHA384"},
		{"a mask of a field that is not there", "PATCH", "/v1/" + note + "?updateMask=no_such_field", `{}`, 400, "no_such_field"},
		{"a mask of a field that is immutable", "PATCH", "/v1/" + key + "gate?updateMask=purpose",
			`{"name":"` + key + `gate","purpose":"ENCRYPT_DECRYPT"}`, 400, "purpose"},

		{"locations", "GET", "/v1/projects/p/locations", "", 200, "google.cloud.kms.v1.LocationMetadata"},
		{"a location", "GET", "/v1/projects/p/locations/global", "", 200, `"locationId":"global"`},
		{"no location", "GET", "/v1/projects/p/locations/atlantis", "", 404, "atlantis"},
		{"the primary version of a key that signs", "POST", "/v1/" + key + "gate:updatePrimaryVersion",
			`{"cryptoKeyVersionId":"1"}`, 400, "FAILED_PRECONDITION"},
		{"the primary version of no key", "POST", "/v1/" + key + "none:updatePrimaryVersion", `{"cryptoKeyVersionId":"1"}`, 404, "none"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, answer := send(t, tt.method, base+tt.path, tt.body)
			if got != tt.want || !strings.Contains(strings.ReplaceAll(answer, ": ", ":"), tt.text) {
				t.Errorf("%d %s, want %d with %q", got, answer, tt.want, tt.text)
			}
		})
	}

	// The two requests before had effect.
	_, answer := send(t, "GET", base+"/v1/"+key+"empty/cryptoKeyVersions", "")
	if strings.Contains(answer, "cryptoKeyVersions/1") {
		t.Errorf("skipInitialVersionCreation=True made a version: %s", answer)
	}
}

// TestExportSBOM: the method that Go's types do not have, as v1 and v1beta1 answer it.
func TestExportSBOM(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	ctx := ctxFor(t)
	scan := must[*grafeaspb.Occurrence](t)(g.Grafeas.CreateOccurrence(ctx, &grafeaspb.CreateOccurrenceRequest{
		Parent: "projects/p", Occurrence: discovery("https://" + imageA),
	}))
	base := "http://" + serve(t, g.Emulator)
	name := "projects/p/resources/https://" + imageA + ":exportSBOM"

	for _, tt := range []struct {
		path, method string
		want         int
		text         string
	}{
		{"/v1beta1/" + name, "POST", 200, `{"discoveryOccurrenceId":"` + scan.GetName()[len("projects/p/occurrences/"):] + `"}`},
		{"/v1/" + name, "POST", 200, `{"discoveryOccurrence":"` + scan.GetName() + `"}`},
		{"/v1/" + strings.ReplaceAll(name, "/", "%2F")[len("projects%2Fp%2F"):], "POST", 404, "NOT_FOUND"},
		{"/v1/projects/p/resources/https://" + imageB + ":exportSBOM", "POST", 404, "no scan"},
		{"/v1/projects/other/resources/https://" + imageA + ":exportSBOM", "POST", 404, "no scan"},
		{"/v1/" + name, "GET", 404, "NOT_FOUND"},
		{"/v2/" + name, "POST", 404, "NOT_FOUND"},
	} {
		if got, answer := send(t, tt.method, base+tt.path, "{}"); got != tt.want || !strings.Contains(answer, tt.text) {
			t.Errorf("%s %s: %d %s, want %d %s", tt.method, tt.path, got, answer, tt.want, tt.text)
		}
	}

	o := must[*grafeaspb.Occurrence](t)(g.Grafeas.GetOccurrence(ctx, &grafeaspb.GetOccurrenceRequest{Name: scan.GetName()}))
	if got := o.GetDiscovery().GetSbomStatus().GetSbomState(); got != grafeaspb.DiscoveryOccurrence_SBOMStatus_COMPLETE {
		t.Errorf("the discovery's SBOM is %v, want COMPLETE", got)
	}

	// Faults meet it by its name, as they meet every method.
	g.Inject(emulator.Fault{Method: "ExportSBOM", Code: codes.PermissionDenied})
	if got, answer := send(t, "POST", base+"/v1/"+name, "{}"); got != http.StatusForbidden {
		t.Errorf("with a fault: %d %s, want 403", got, answer)
	}
}

// TestNoteFilters: what `gcloud artifacts vulnerabilities load-vex` asks after it has written its notes.
func TestNoteFilters(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	ctx := ctxFor(t)
	g.createNote(t, note)
	for id, image := range map[string]string{"a": imageA, "b": imageB} {
		must[*grafeaspb.Note](t)(g.Grafeas.CreateNote(ctx, &grafeaspb.CreateNoteRequest{
			Parent: "projects/p", NoteId: id, Note: assessment("https://"+image, "CVE-2026-1", grafeaspb.VulnerabilityAssessmentNote_Assessment_FIXED),
		}))
	}

	for filter, want := range map[string]string{
		`vulnerability_assessment.product.generic_uri="https://` + imageA + `"`: "a",
		`vulnerabilityAssessment.product.genericUri="https://` + imageB + `"`:   "b",
		`kind="ATTESTATION"`: "gate",
		`kind="VULNERABILITY_ASSESSMENT" AND has_suffix(name, "/a")`:                 "a",
		`vulnerability_assessment.product.generic_uri="https://elsewhere.example/x"`: "",
	} {
		var got []string
		for it := g.Grafeas.ListNotes(ctx, &grafeaspb.ListNotesRequest{Parent: "projects/p", Filter: filter}); ; {
			n, err := it.Next()
			if err != nil {
				break
			}
			got = append(got, strings.TrimPrefix(n.GetName(), "projects/p/notes/"))
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %v, want %q", filter, got, want)
		}
	}

	for _, filter := range []string{`nonsense`, `no.such.field="x"`, `kind="NO_KIND"`, `name:"x"`} {
		_, err := g.Grafeas.ListNotes(ctx, &grafeaspb.ListNotesRequest{Parent: "projects/p", Filter: filter}).Next()
		wantCode(t, err, codes.InvalidArgument)
	}
}

func assessment(uri, vulnerability string, state grafeaspb.VulnerabilityAssessmentNote_Assessment_State) *grafeaspb.Note {
	return &grafeaspb.Note{Type: &grafeaspb.Note_VulnerabilityAssessment{VulnerabilityAssessment: &grafeaspb.VulnerabilityAssessmentNote{
		Product: &grafeaspb.VulnerabilityAssessmentNote_Product{
			Identifier: &grafeaspb.VulnerabilityAssessmentNote_Product_GenericUri{GenericUri: uri},
		},
		Assessment: &grafeaspb.VulnerabilityAssessmentNote_Assessment{VulnerabilityId: vulnerability, State: state},
	}}}
}

// TestVEXIsCarried: "Upload VEX statements": carried to all versions of an image, a statement on the version first,
// within the project of the image.
func TestVEXIsCarried(t *testing.T) {
	const (
		fixed       = grafeaspb.VulnerabilityAssessmentNote_Assessment_FIXED
		notAffected = grafeaspb.VulnerabilityAssessmentNote_Assessment_NOT_AFFECTED
		none        = grafeaspb.VulnerabilityAssessmentNote_Assessment_STATE_UNSPECIFIED
	)
	dir := t.TempDir()
	e, err := emulator.New(emulator.Options{StateDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	g := connect(t, e)
	ctx := ctxFor(t)
	ids := map[string]string{}
	for _, o := range []*grafeaspb.Occurrence{
		vulnerability("https://"+imageA, "CVE-2026-1"), vulnerability("https://"+imageA, "CVE-2026-2"),
		vulnerability(imageB, "CVE-2026-1"),
	} {
		made := must[*grafeaspb.Occurrence](t)(g.Grafeas.CreateOccurrence(ctx, &grafeaspb.CreateOccurrenceRequest{Parent: "projects/p", Occurrence: o}))
		ids[o.GetResourceUri()+" "+o.GetNoteName()] = made.GetName()
	}

	create := func(project, id string, n *grafeaspb.Note) {
		must[*grafeaspb.Note](t)(g.Grafeas.CreateNote(ctx, &grafeaspb.CreateNoteRequest{Parent: "projects/" + project, NoteId: id, Note: n}))
	}
	image, _, _ := strings.Cut(imageA, "@")
	create("p", "image", assessment("https://"+image, "CVE-2026-1", fixed))
	create("p", "version", assessment("https://"+imageA, "CVE-2026-1", notAffected))
	create("elsewhere", "stranger", assessment("https://"+imageA, "CVE-2026-2", notAffected))
	create("p", "another", assessment("https://"+image+"2", "CVE-2026-2", notAffected))

	check := func(g google) {
		t.Helper()
		for of, want := range map[string]grafeaspb.VulnerabilityAssessmentNote_Assessment_State{
			"https://" + imageA + " projects/goog-vulnz/notes/CVE-2026-1": notAffected,
			imageB + " projects/goog-vulnz/notes/CVE-2026-1":              fixed,
			"https://" + imageA + " projects/goog-vulnz/notes/CVE-2026-2": none,
		} {
			o := must[*grafeaspb.Occurrence](t)(g.Grafeas.GetOccurrence(ctx, &grafeaspb.GetOccurrenceRequest{Name: ids[of]}))
			if got := o.GetVulnerability().GetVexAssessment().GetState(); got != want {
				t.Errorf("%s is %v, want %v", of, got, want)
			}
		}
	}
	check(g)

	o, err := g.Grafeas.ListOccurrences(ctx, &grafeaspb.ListOccurrencesRequest{
		Parent: "projects/p", Filter: `kind="VULNERABILITY" AND vulnerability.vexAssessment.state="NOT_AFFECTED"`,
	}).Next()
	if err != nil || o.GetVulnerability().GetVexAssessment().GetNoteName() != "projects/p/notes/version" {
		t.Errorf("the list by VEX state: %v, %v", o, err)
	}

	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	check(newGoogle(t, emulator.Options{StateDir: dir}))
}

// TestKeyLists: "Sorting and filtering list results" of Cloud KMS, operator by operator.
func TestKeyLists(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	ctx := ctxFor(t)
	g.createKey(t)
	for id, team := range map[string]string{"alpha": "one", "beta": "two"} {
		must[*kmspb.CryptoKey](t)(g.KMS.CreateCryptoKey(ctx, &kmspb.CreateCryptoKeyRequest{Parent: keyRing, CryptoKeyId: id, CryptoKey: &kmspb.CryptoKey{
			Purpose: kmspb.CryptoKey_ASYMMETRIC_SIGN, Labels: map[string]string{"team": team},
			VersionTemplate: &kmspb.CryptoKeyVersionTemplate{Algorithm: kmspb.CryptoKeyVersion_EC_SIGN_P384_SHA384},
		}}))
	}

	list := func(filter, order string, size int32) (string, error) {
		var got []string
		it := g.KMS.ListCryptoKeys(ctx, &kmspb.ListCryptoKeysRequest{Parent: keyRing, Filter: filter, OrderBy: order, PageSize: size})
		for {
			k, err := it.Next()
			if err != nil {
				if err.Error() == "no more items in iterator" {
					err = nil
				}
				return strings.Join(got, " "), err
			}
			got = append(got, k.GetName()[len(keyRing+"/cryptoKeys/"):])
		}
	}

	for _, tt := range []struct {
		filter, order, want string
	}{
		{"", "name", "alpha beta gate"},
		{"", "name desc", "gate beta alpha"},
		{"", "versionTemplate.algorithm desc, name desc", "beta alpha gate"},
		{"labels.team=one", "", "alpha"},
		{`labels.team != "one"`, "name", "beta"},
		{`name: "ALPHA"`, "", "alpha"},
		{`name: cryptoKeys name: eta`, "", "beta"},
		{"versionTemplate.algorithm=EC_SIGN_P384_SHA384", "name", "alpha beta"},
		{"version_template.algorithm: p256", "", "gate"},
		{"-versionTemplate.algorithm=EC_SIGN_P384_SHA384", "", "gate"},
		{`NOT labels.team=one AND purpose=ASYMMETRIC_SIGN`, "name", "beta gate"},
		{`createTime => "2000-01-01T00:00:00Z"`, "name", "alpha beta gate"},
		{`createTime < "2000-01-01T00:00:00Z"`, "", ""},
		{`labels.team=one OR labels.team=two`, "name", "alpha beta"},
	} {
		// Pages of one, so that a cursor is met in each.
		if got, err := list(tt.filter, tt.order, 1); err != nil || got != tt.want {
			t.Errorf("filter %q, order %q: %q, %v; want %q", tt.filter, tt.order, got, err, tt.want)
		}
	}

	for _, bad := range [][2]string{{"no.such=1", ""}, {"labels=one", ""}, {"name ~ x", ""}, {"", "nothing"},
		{"", "name up"}, {"", "labels"}, {"", "versionTemplate"}} {
		_, err := list(bad[0], bad[1], 0)
		wantCode(t, err, codes.InvalidArgument)
	}

	versions := must[*kmspb.CryptoKeyVersion](t)(g.KMS.ListCryptoKeyVersions(ctx, &kmspb.ListCryptoKeyVersionsRequest{
		Parent: keyRing + "/cryptoKeys/gate", Filter: "state=ENABLED",
	}).Next())
	if versions.GetName() != version {
		t.Errorf("the enabled version is %s, want %s", versions.GetName(), version)
	}

	// google.cloud.kms.v1: total_size is "not populated if filter is applied".
	base := "http://" + serve(t, g.Emulator)
	for query, want := range map[string]bool{"": true, "?filter=labels.team%3Done": false} {
		_, answer := send(t, "GET", base+"/v1/"+keyRing+"/cryptoKeys"+query, "")
		if got := strings.Contains(strings.ReplaceAll(answer, " ", ""), `"totalSize":3`); got != want {
			t.Errorf("%q has the total %v, want %v: %s", query, got, want, answer)
		}
	}
}
