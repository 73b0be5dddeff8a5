package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	"github.com/google/go-cmp/cmp"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/attestor-gate/attestor/emulator"
)

// A standIn stands for Cloud Build, Artifact Registry, Pub/Sub and Cloud Run: it builds nothing and runs nothing. It decides
// about a deployment by the policy, the attestor and the attestations that are in the emulator, as Cloud Run is documented to.
type standIn struct {
	t        *testing.T
	e        *emulator.Emulator
	run      func(admitted bool) bool // what Cloud Run does with what Binary Authorization admits, or does not
	topics   bool
	scan     grafeaspb.DiscoveryOccurrence_AnalysisStatus
	before   func(method, path string) // called when a request has taken effect
	mu       sync.Mutex
	repos    map[string]bool
	services map[string]map[string]any
	enabled  string
	late     map[string]int // how often a service still refuses after it was enabled
	asked    int            // of the build
	ended    bool
	tags     []string // of the build
	images   []string // that it makes
	slow     int      // so many deletions come before the repository is there
	more     services
}

func newStandIn(t *testing.T, e *emulator.Emulator) (*standIn, string) {
	t.Helper()
	g := &standIn{
		t: t, e: e, run: func(admitted bool) bool { return admitted }, topics: true, scan: grafeaspb.DiscoveryOccurrence_FINISHED_SUCCESS,
		before: func(string, string) {}, repos: map[string]bool{}, services: map[string]map[string]any{},
		late: map[string]int{registry: 2, cloudRun: 1}, more: newServices(),
	}
	s := httptest.NewServer(g)
	t.Cleanup(s.Close)
	return g, s.URL
}

func (g *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()

	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	host, path, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if strings.HasSuffix(host, ".run.app") {
		g.visited(w, host, r.Header.Get("Authorization"))
		return
	}
	answer, found := g.answer(r.Method, host, path, r.URL.Query().Get("repositoryId")+r.URL.Query().Get("serviceId"), body)
	g.before(r.Method, r.URL.Path)
	if r.Context().Err() != nil {
		return // nobody waits any more
	}
	if !found {
		http.Error(w, `{"error": {"code": 404, "status": "NOT_FOUND"}}`, http.StatusNotFound)
		return
	}
	if no, ok := answer.(refusal); ok {
		http.Error(w, fmt.Sprintf(`{"error": {"code": 403, "status": "PERMISSION_DENIED", "message": %q, "details": [{"reason": %q}]}}`,
			no.message, no.reason), http.StatusForbidden)
		return
	}
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		g.t.Log(err) // the client was interrupted
	}
}

func (g *standIn) answer(method, host, path, id string, body []byte) (answer any, found bool) {
	name := path[strings.LastIndexByte(path, '/')+1:]
	if answer, found, of := g.further(method, host, path, body); of && g.open(host) {
		return answer, found
	}
	switch {
	case host == registry && method == "POST":
		if g.slow == 0 {
			g.repos[id] = true
		}
		return map[string]any{"name": "projects/p/operations/1", "done": false}, true
	case host == usage && strings.HasSuffix(path, "/services:batchEnable"):
		g.enabled = string(body)
		return map[string]any{"name": "operations/acf.1", "done": false}, true
	case !g.open(host):
		return refusal{"SERVICE_DISABLED", "the API has not been used before"}, true
	case g.late[host] > 0:
		g.late[host]--
		return refusal{"SERVICE_DISABLED", "the API has not been used before"}, true
	case strings.Contains(path, "operations/"):
		return map[string]any{"name": path, "done": host != registry || g.slow == 0}, true
	case host == registry && method == "DELETE":
		if found = g.repos[name]; !found && g.slow > 0 {
			if g.slow--; g.slow == 0 {
				g.repos[name] = true
			}
			return nil, false
		}
		delete(g.repos, name)
		return map[string]any{}, found
	case host == registry && name == "repositories":
		return g.listed(path, g.repos), true
	case host == registry:
		return map[string]any{"uploadTime": time.Now().UTC().Format(time.RFC3339)}, true
	case strings.HasSuffix(host, "-docker.pkg.dev"):
		return map[string]any{"mediaType": "application/vnd.oci.image.index.v1+json"}, true
	case host == pubsub:
		return map[string]any{}, g.topics
	case host == cloudBuild && method == "POST" && strings.HasSuffix(path, ":cancel"):
		g.ended = g.ended || name == "b1:cancel"
		g.more.cancelled = append(g.more.cancelled, name)
		return map[string]any{}, true
	case host == cloudBuild && method == "POST":
		var in struct{ Tags, Images []string }
		if err := json.Unmarshal(body, &in); err != nil {
			g.t.Errorf("a build of another form: %v", err)
		}
		g.asked, g.tags, g.images = 1, in.Tags, in.Images
		return map[string]any{"metadata": map[string]any{"build": map[string]any{"id": "b1"}}}, true
	case host == cloudBuild && strings.HasSuffix(path, "/builds"):
		// Whatever the filter says: somebody else's builds are there, too.
		all := []any{map[string]any{"id": "other", "status": "WORKING", "tags": []string{"shop"}}}
		if g.asked > 0 {
			b, _ := g.status()
			all = append(all, map[string]any{"id": "b1", "status": b, "tags": g.tags})
		}
		return map[string]any{"builds": all}, true
	case host == cloudBuild:
		return g.build()
	case host == cloudRun && method == "GET" && name == "services":
		all := map[string]bool{}
		for s := range g.services {
			all[s] = true
		}
		return g.listed(path, all), true
	case host == cloudRun:
		return g.service(method, name, id, body)
	}
	return nil, false
}

// open is whether the trial enabled a service's API first.
func (g *standIn) open(host string) bool {
	return host == usage || host == openID || strings.HasSuffix(host, "-docker.pkg.dev") || strings.Contains(g.enabled, `"`+host+`"`)
}

// listed is a list of all that is in a collection.
func (g *standIn) listed(path string, all map[string]bool) map[string]any {
	_, path, _ = strings.Cut(path, "/")
	out := []any{}
	for name := range all {
		out = append(out, map[string]any{"name": path + "/" + name})
	}
	return map[string]any{path[strings.LastIndexByte(path, '/')+1:]: out}
}

// status is the build's at the moment, and whether it has ended.
func (g *standIn) status() (string, bool) {
	if g.ended {
		return "SUCCESS", true
	}
	return []string{"QUEUED", "WORKING"}[g.asked%2], false
}

// build is at work for a while; what it pushed is scanned then.
func (g *standIn) build() (answer any, found bool) {
	if g.asked == 0 {
		return nil, false
	}
	if g.asked++; g.asked < 4 && !g.ended {
		s, _ := g.status()
		return map[string]any{"status": s}, true
	}
	g.ended = true
	repo := ""
	for r := range g.repos {
		repo = "us-east1-docker.pkg.dev/" + project + "/" + r
	}
	images := []any{}
	for _, image := range g.images {
		member := image[strings.LastIndexByte(image, '/')+1:]
		sum := sha256.Sum256([]byte(member))
		digest := "sha256:" + hex.EncodeToString(sum[:])
		images = append(images, map[string]any{"name": repo + "/" + member, "digest": digest})
		g.scanned("https://"+repo+"/"+member+"@"+digest, member == "old")
	}
	g.built("https://" + repo + "/")
	return map[string]any{"status": "SUCCESS", "results": map[string]any{"images": images}}, true
}

func (g *standIn) scanned(resource string, vulnerable bool) {
	client := grafeaspb.NewGrafeasClient(g.e.Conn())
	discovery := &grafeaspb.Occurrence{
		NoteName: "projects/goog-analysis/notes/PACKAGE_VULNERABILITY", ResourceUri: resource,
		Details: &grafeaspb.Occurrence_Discovery{Discovery: &grafeaspb.DiscoveryOccurrence{
			AnalysisStatus: g.scan, ContinuousAnalysis: grafeaspb.DiscoveryOccurrence_ACTIVE, LastScanTime: timestamppb.Now(),
		}},
	}
	all := []*grafeaspb.Occurrence{discovery}
	if vulnerable {
		all = append(all, finding("CVE-2026-0001", resource, "cpe:/o:debian:debian_linux:10", "openssl", grafeaspb.Severity_HIGH))
		if g.more.malware != "" {
			all = append(all, finding(g.more.malware, resource, "cpe:/o:debian:debian_linux:10", badPackage, grafeaspb.Severity_CRITICAL))
		}
	}
	for _, o := range all {
		if _, err := client.CreateOccurrence(context.Background(),
			&grafeaspb.CreateOccurrenceRequest{Parent: "projects/" + project, Occurrence: o}); err != nil {
			g.t.Errorf("scanning: %v", err)
		}
	}
}

// finding is a vulnerability by an advisory's id.
func finding(id, resource, system, name string, severity grafeaspb.Severity) *grafeaspb.Occurrence {
	return &grafeaspb.Occurrence{
		NoteName: "projects/goog-vulnz/notes/" + id, ResourceUri: resource,
		Details: &grafeaspb.Occurrence_Vulnerability{Vulnerability: &grafeaspb.VulnerabilityOccurrence{
			EffectiveSeverity: severity,
			PackageIssue: []*grafeaspb.VulnerabilityOccurrence_PackageIssue{{
				AffectedCpeUri: system, AffectedPackage: name,
				AffectedVersion: &grafeaspb.Version{Kind: grafeaspb.Version_NORMAL, Name: "1.1.1"},
				FixedVersion:    &grafeaspb.Version{Kind: grafeaspb.Version_MAXIMUM},
			}},
		}},
	}
}

// service creates, reads or deletes a service.
func (g *standIn) service(method, name, id string, body []byte) (answer any, found bool) {
	switch method {
	case "DELETE":
		_, found = g.services[name]
		delete(g.services, name)
		return map[string]any{}, found
	case "GET":
		answer, found = g.services[name]
		return answer, found
	}
	var in struct {
		Proxied             bool `json:"iapEnabled"`
		BinaryAuthorization struct {
			UseDefault              bool   `json:"useDefault"`
			BreakglassJustification string `json:"breakglassJustification"`
		} `json:"binaryAuthorization"`
		Template struct {
			Containers []struct {
				Image string `json:"image"`
			} `json:"containers"`
		} `json:"template"`
	}
	err := json.Unmarshal(body, &in)
	if err == nil && in.Proxied {
		g.services[id] = map[string]any{"uri": "https://" + id + "-123456789012.us-east1.run.app"}
		return map[string]any{"name": "projects/p/locations/l/operations/2", "done": false}, true
	}
	if err != nil || len(in.Template.Containers) != 1 || !in.BinaryAuthorization.UseDefault {
		g.t.Errorf("a service of another form: %v %s", err, body)
		return nil, false
	}
	condition := map[string]any{"state": "CONDITION_FAILED", "reason": "CONTAINER_IMAGE_UNAUTHORIZED"}
	if g.run(in.BinaryAuthorization.BreakglassJustification != "" || g.attested(in.Template.Containers[0].Image)) {
		condition = map[string]any{"state": "CONDITION_SUCCEEDED"}
	}
	if in.BinaryAuthorization.BreakglassJustification != "" {
		g.more.overridden[id] = true
	}
	g.services[id] = map[string]any{"terminalCondition": condition, "binaryAuthorization": in.BinaryAuthorization}
	return map[string]any{"name": "projects/p/locations/l/operations/2", "done": false}, true
}

// attested is what Binary Authorization says of an image.
func (g *standIn) attested(image string) bool {
	ctx := context.Background()
	conn := g.e.Conn()
	manage := binaryauthorizationpb.NewBinauthzManagementServiceV1Client(conn)
	policy, err := manage.GetPolicy(ctx, &binaryauthorizationpb.GetPolicyRequest{Name: "projects/" + project + "/policy"})
	rule := policy.GetDefaultAdmissionRule()
	if err != nil || rule.GetEvaluationMode() == binaryauthorizationpb.AdmissionRule_ALWAYS_ALLOW {
		return err == nil
	}
	attestor, err := manage.GetAttestor(ctx, &binaryauthorizationpb.GetAttestorRequest{Name: rule.GetRequireAttestationsBy()[0]})
	if err != nil {
		return false
	}
	note := attestor.GetUserOwnedGrafeasNote().GetNoteReference()
	all, err := grafeaspb.NewGrafeasClient(conn).ListNoteOccurrences(ctx, &grafeaspb.ListNoteOccurrencesRequest{
		Name: note, Filter: fmt.Sprintf("has_suffix(resourceUrl, %q)", image[strings.Index(image, "@")+1:]),
	})
	if err != nil {
		return false
	}
	for _, o := range all.GetOccurrences() {
		request := &binaryauthorizationpb.ValidateAttestationOccurrenceRequest{
			Attestor: attestor.GetName(), Attestation: o.GetAttestation(), OccurrenceNote: note, OccurrenceResourceUri: image,
		}
		v, err := binaryauthorizationpb.NewValidationHelperV1Client(conn).ValidateAttestationOccurrence(ctx, request)
		if err == nil && v.GetResult() == binaryauthorizationpb.ValidateAttestationOccurrenceResponse_VERIFIED {
			return true
		}
	}
	return false
}

func (g *standIn) policy() *binaryauthorizationpb.Policy {
	p, err := binaryauthorizationpb.NewBinauthzManagementServiceV1Client(g.e.Conn()).GetPolicy(context.Background(),
		&binaryauthorizationpb.GetPolicyRequest{Name: "projects/" + project + "/policy"})
	if err != nil {
		g.t.Error(err)
	}
	p.UpdateTime, p.Etag = nil, ""
	return p
}

// wantGone: nothing is left of images and services, no build goes on, and the policy is the one that was.
func (g *standIn) wantGone(before *binaryauthorizationpb.Policy) {
	g.t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.repos) > 0 || len(g.services) > 0 || g.asked > 0 && !g.ended || len(g.more.accounts) > 0 || len(g.more.subscriptions) > 0 {
		g.t.Errorf("left: repositories %v, services %v, accounts %v, subscriptions %v; the build has ended: %v", g.repos, g.services,
			g.more.accounts, g.more.subscriptions, g.ended)
	}
	if slices.Contains(g.more.cancelled, "other:cancel") {
		g.t.Error("somebody else's build was cancelled")
	}
	if p := g.policy(); !proto.Equal(p, before) {
		g.t.Errorf("the policy is %v, and was %v", p, before)
	}
}

// TestImages: a family is built, scanned, attested and deployed under an enforcing policy; each fact is as assumed, and
// everything is gone in the end.
func TestImages(t *testing.T) {
	e, address := serve(t, emulator.Behaviour{})
	g, url := newStandIn(t, e)
	before := g.policy()
	r, text, err := try(t.Context(), t, address, "-region", "us-east1", "-stand-in", url, "-patience", "0s")
	if err != nil || !r.Complete || len(r.Left) > 0 {
		t.Fatalf("complete %v, left %v: %v", r.Complete, r.Left, err)
	}
	if strings.Contains(text, project) || strings.Contains(text, prefix) {
		t.Errorf("the report has names:\n%s", text)
	}
	g.wantGone(before)

	want := map[string]string{
		"build-result": "SUCCESS 3", "registry-upload-time": "true", "registry-referrers": "application/vnd.oci.image.index.v1+json",
		"topic-occurrences": "true", "topic-notes": "true",
		"scan-good": "FINISHED_SUCCESS goog-analysis ACTIVE true", "scan-old": "FINISHED_SUCCESS goog-analysis ACTIVE true", "scan-findings": "true",
		"deploy-attested": "runs", "deploy-unattested": "refused CONTAINER_IMAGE_UNAUTHORIZED",
		"deploy-attested-for-another": "refused CONTAINER_IMAGE_UNAUTHORIZED", "deploy-break-glass": "runs, justified",
		"deploy-revoked": "refused CONTAINER_IMAGE_UNAUTHORIZED", "break-glass-logged": "true",
		"iam-denied": "403 PERMISSION_DENIED IAM_PERMISSION_DENIED true", "iam-change": "true",
		"token-claims": "true https://accounts.google.com true true", "quota-unit": "true", "provenance": "verified-builder true true",
		"scan-secret": "SECRET_KIND_GCP_API_KEY", "scan-malware": "CRITICAL", "scan-index": "false", "topic-message": "true true true true",
	}
	got := map[string]string{}
	for _, f := range r.Facts {
		if _, of := want[f.ID]; of {
			got[f.ID] = f.Found
			if !f.Agrees {
				t.Errorf("%s differs: %s", f.ID, f.Found)
			}
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestImagesDiffer: services that behave otherwise are found to.
func TestImagesDiffer(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*standIn)
		differ map[string]string
	}{
		"Cloud Run runs everything": {func(g *standIn) { g.run = func(bool) bool { return true } }, map[string]string{
			"deploy-unattested": "runs", "deploy-attested-for-another": "runs",
		}},
		"Cloud Run runs nothing": {func(g *standIn) { g.run = func(bool) bool { return false } }, map[string]string{
			"deploy-attested": "refused CONTAINER_IMAGE_UNAUTHORIZED", "deploy-break-glass": "refused CONTAINER_IMAGE_UNAUTHORIZED",
		}},
		"no topics": {func(g *standIn) { g.topics = false }, map[string]string{"topic-occurrences": "false", "topic-notes": "false",
			"topic-message": "none"}},
		"nothing to tell": {func(g *standIn) { g.more.silent = true }, map[string]string{"topic-message": "none", "break-glass-logged": "false"}},
		"messages of another form": {func(g *standIn) { g.more.message = `{"kind": 1}` }, map[string]string{
			"topic-message": "false false false false"}},
		"statements of somebody else": {func(g *standIn) { g.more.builder = "another-builder" }, map[string]string{
			"provenance": "another-builder false true"}},
		"an index has a scan, and no secret is found": {func(g *standIn) { g.more.scansIndex = true }, map[string]string{
			"scan-index": "true", "scan-secret": ""}},
		"a malicious package is no finding": {func(g *standIn) { g.more.malware = "" }, map[string]string{"scan-malware": "none"}},
		"a malicious package is a vulnerability like others": {func(g *standIn) { g.more.malware = "GHSA-0000-0000-0000" }, map[string]string{
			"scan-malware": "none"}},
		"IAM says less": {func(g *standIn) { g.more.denial = refusal{"", "no"} }, map[string]string{
			"iam-denied": "403 PERMISSION_DENIED  false"}},
		"tokens of others": {func(g *standIn) {
			g.more.audience, g.more.issuer = "https://another.example", "https://another.example"
		},
			map[string]string{"token-claims": "false https://another.example true true"}},
		"quotas of a day": {func(g *standIn) { g.more.unit = "1/d/{project}" }, map[string]string{"quota-unit": "false"}},
		"no scans": {func(g *standIn) { g.scan = grafeaspb.DiscoveryOccurrence_FINISHED_UNSUPPORTED }, map[string]string{
			"scan-good": "FINISHED_UNSUPPORTED goog-analysis ACTIVE true", "scan-old": "FINISHED_UNSUPPORTED goog-analysis ACTIVE true",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, address := serve(t, emulator.Behaviour{NoProviderNotes: false})
			g, url := newStandIn(t, e)
			c.change(g)
			before := g.policy()
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			if name == "Cloud Run runs everything" {
				// A revocation never takes effect: the trial would ask for ten minutes.
				g.before = func(method, path string) {
					if method == "DELETE" && strings.HasSuffix(path, "-9") {
						stop()
					}
				}
			}
			r, _, _ := try(ctx, t, address, "-region", "us-east1", "-stand-in", url, "-patience", "0s")
			if len(r.Left) > 0 {
				t.Errorf("left: %v", r.Left)
			}
			g.wantGone(before)
			got := map[string]string{}
			for _, f := range r.Facts {
				if !f.Agrees && f.ID != "note-of-google" {
					got[f.ID] = f.Found
				}
			}
			if d := cmp.Diff(c.differ, got); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestImagesInterrupted: a signal that comes when a request has taken effect and before its answer leaves nothing behind.
func TestImagesInterrupted(t *testing.T) {
	const at = "/v1/projects/" + project + "/locations/us-east1/"
	for _, at := range []string{
		"POST /" + usage, "POST /" + registry, "POST /" + cloudBuild, "GET /" + cloudBuild + at + "builds/", "GET /" + registry + at + "repositories/",
		"GET /" + pubsub, "POST /" + cloudRun, "GET /" + cloudRun + "/v2" + at[3:] + "services/", "DELETE /" + cloudRun,
		"POST /" + iam, "POST /" + credentials, "PUT /" + pubsub, "POST /" + pubsub, "POST /" + logging, "GET /" + openID,
	} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			e, address := serve(t, emulator.Behaviour{})
			g, url := newStandIn(t, e)
			before := g.policy()
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			g.before = func(method, path string) {
				if strings.HasPrefix(method+" "+path, at) {
					stop()
				}
			}
			r, _, err := try(ctx, t, address, "-region", "us-east1", "-stand-in", url, "-patience", "0s")
			if err == nil || r.Complete || len(r.Left) > 0 {
				t.Errorf("error %v, complete %v, left %v", err, r.Complete, r.Left)
			}
			g.wantGone(before)
		})
	}
}
