package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor/emulator"
)

// A refusal is an error 403.
type refusal struct{ reason, message string }

// services stand for IAM, quotas, the audit log, messages and what Cloud Build and the scanner tell beside findings.
type services struct {
	accounts, subscriptions map[string]bool
	overridden              map[string]bool // services that were deployed by break-glass
	unknown, refused        int             // how often a new account is unknown, and a grant does not hold yet
	granted                 bool
	denial                  refusal
	audience, issuer        string // of tokens; "": those that are asked for, and Google
	unit                    string // of quotas
	silent                  bool   // no message, and no entry in the audit log
	message                 string // "": as documented
	builder                 string // whose note statements are under
	scansIndex              bool   // and finds no secrets
	forbidden               string // a part of the paths that the account may not use
	locations               []string
	cancelled               []string // builds
	malware                 string   // the id of the finding of a malicious package; "": it is none
	way                     way
}

func newServices() services {
	return services{
		accounts: map[string]bool{}, subscriptions: map[string]bool{}, overridden: map[string]bool{}, unknown: 1, refused: 2,
		denial: refusal{"IAM_PERMISSION_DENIED", "Permission '" + refusedRight + "' denied on resource (or it may not exist)."},
		issuer: "https://accounts.google.com", unit: "1/min/{project}", builder: "verified-builder", locations: []string{"us-east1", "us-west1"},
		malware: "MAL-2024-973",
	}
}

// further answers for these services; of is whether a request is theirs.
func (g *standIn) further(method, host, path string, body []byte) (answer any, found, of bool) {
	m, name := &g.more, path[strings.LastIndexByte(path, '/')+1:]
	var in struct {
		AccountID string `json:"accountId"`
		Audience  string `json:"audience"`
		Filter    string `json:"filter"`
	}
	if len(body) > 0 {
		if err := json.Unmarshal(body, &in); err != nil {
			g.t.Errorf("%s %s: %v", host, path, err)
		}
	}

	switch {
	case m.forbidden != "" && strings.Contains(method+" "+host+"/"+path, m.forbidden):
		return refusal{"IAM_PERMISSION_DENIED", "no right"}, true, true
	case strings.HasSuffix(name, ":generateServiceIdentity"), host == proxy, host == cloudRun && strings.HasSuffix(name, ":setIamPolicy"),
		strings.HasSuffix(name, ":signJwt"):
		return g.proxied(host, path, body), true, true
	case host == openID:
		return map[string]any{"email": "somebody@example.com"}, true, true
	case host == iam && method == "POST" && name == "serviceAccounts":
		m.accounts[in.AccountID+"@"+project+".iam.gserviceaccount.com"] = true
		return map[string]any{}, true, true
	case host == iam && strings.HasSuffix(name, ":setIamPolicy"):
		m.granted = strings.Contains(string(body), `"user:somebody@example.com"`) && strings.Contains(string(body), "serviceAccountTokenCreator")
		return map[string]any{}, true, true
	case host == iam && method == "DELETE":
		found = m.accounts[name]
		delete(m.accounts, name)
		return map[string]any{}, found, true
	case host == iam:
		return map[string]any{"accounts": g.listed(path, m.accounts)["serviceAccounts"]}, true, true
	case host == credentials:
		answer, found = g.token(name, in.Audience)
		return answer, found, true
	case host == usage && name == "consumerQuotaMetrics":
		limit := map[string]any{"unit": m.unit, "quotaBuckets": []any{map[string]any{"effectiveLimit": "6000"}}}
		return map[string]any{"metrics": []any{map[string]any{"consumerQuotaLimits": []any{limit}}}}, true, true
	case host == logging:
		return map[string]any{"entries": g.entries(in.Filter)}, true, true
	case host == pubsub && method == "PUT":
		m.subscriptions[name] = g.topics
		if !g.topics {
			delete(m.subscriptions, name)
		}
		return map[string]any{}, g.topics, true
	case host == pubsub && method == "DELETE":
		found = m.subscriptions[name]
		delete(m.subscriptions, name)
		return map[string]any{}, found, true
	case host == pubsub && name == "subscriptions":
		return g.listed(path, m.subscriptions), true, true
	case host == pubsub && method == "POST":
		return g.pulled(), m.subscriptions[strings.TrimSuffix(name, ":pull")], true
	case host == registry && name == "dockerImages":
		return map[string]any{"dockerImages": []any{map[string]any{"uri": "us-east1-docker.pkg.dev/p/r/good@sha256:" + strings.Repeat("a", 64)},
			map[string]any{"uri": g.index()}}}, true, true
	case name == "locations":
		all := []any{}
		for _, l := range m.locations {
			all = append(all, map[string]any{"name": "projects/" + project + "/locations/" + l})
		}
		return map[string]any{"locations": all}, true, true
	}
	return nil, false, false
}

func (g *standIn) index() string {
	return "us-east1-docker.pkg.dev/p/r/index@sha256:" + strings.Repeat("b", 64)
}

// token is an ID token, once the grant holds.
func (g *standIn) token(name, audience string) (answer any, found bool) {
	email := strings.TrimSuffix(name, ":generateIdToken")
	switch {
	case !g.more.accounts[email] || g.more.unknown > 0:
		g.more.unknown--
		return nil, false
	case !g.more.granted || g.more.refused > 0:
		if g.more.granted {
			g.more.refused--
		}
		return g.more.denial, true
	}
	if g.more.audience != "" {
		audience = g.more.audience
	}
	claims, err := json.Marshal(map[string]any{"iss": g.more.issuer, "aud": audience, "email": email, "email_verified": true})
	if err != nil {
		g.t.Error(err)
	}
	return map[string]any{"token": "e30." + base64.RawURLEncoding.EncodeToString(claims) + ".c2ln"}, true
}

// entries of the audit log are those of the services that were deployed by break-glass.
func (g *standIn) entries(filter string) []any {
	out := []any{}
	for name := range g.more.overridden {
		if !g.more.silent && strings.Contains(filter, `resource.labels.service_name="`+name+`"`) && strings.Contains(filter, "system_event") {
			out = append(out, map[string]any{"logName": "projects/p/logs/cloudaudit.googleapis.com%2Fsystem_event"})
		}
	}
	return out
}

func (g *standIn) pulled() map[string]any {
	if g.more.silent {
		return map[string]any{}
	}
	text := g.more.message
	if text == "" {
		text = `{"name": "projects/` + project + `/occurrences/1", "kind": "DISCOVERY", "notificationTime": "2026-11-30T12:00:00Z"}`
	}
	return map[string]any{"receivedMessages": []any{map[string]any{"message": map[string]any{"data": []byte(text)}}}}
}

// built stores the statement of the build, the secret, and the scan of the index.
func (g *standIn) built(repository string) {
	client := grafeaspb.NewGrafeasClient(g.e.Conn())
	var all []*grafeaspb.Occurrence
	for _, member := range []string{"good", "old"} {
		list, err := client.ListOccurrences(context.Background(), &grafeaspb.ListOccurrencesRequest{
			Parent: "projects/" + project, Filter: fmt.Sprintf(`kind = "DISCOVERY" AND has_prefix(resourceUrl, %q)`, repository+member),
		})
		if err != nil || len(list.GetOccurrences()) != 1 {
			g.t.Errorf("%d scans of %s: %v", len(list.GetOccurrences()), member, err)
			return
		}
		resource := list.GetOccurrences()[0].GetResourceUri()
		if member == "old" && !g.more.scansIndex {
			all = append(all, &grafeaspb.Occurrence{
				NoteName: "projects/goog-analysis/notes/SECRET", ResourceUri: resource,
				Details: &grafeaspb.Occurrence_Secret{Secret: &grafeaspb.SecretOccurrence{Kind: grafeaspb.SecretKind_SECRET_KIND_GCP_API_KEY}},
			})
		}
		if member == "good" {
			_, digest, _ := strings.Cut(resource, "@sha256:")
			all = append(all, &grafeaspb.Occurrence{
				NoteName: "projects/" + g.more.builder + "/notes/intoto_1", ResourceUri: resource,
				Details: &grafeaspb.Occurrence_Build{Build: &grafeaspb.BuildOccurrence{}},
				Envelope: &grafeaspb.Envelope{Payload: []byte(`{"subject": [{"digest": {"sha256": "` + digest + `"}}]}`),
					Signatures: []*grafeaspb.EnvelopeSignature{{Keyid: "projects/" + g.more.builder + "/locations/global/keyRings/attestor"}}},
			})
		}
	}
	if g.more.scansIndex {
		all = append(all, &grafeaspb.Occurrence{
			NoteName: "projects/goog-analysis/notes/PACKAGE_VULNERABILITY", ResourceUri: "https://" + g.index(),
			Details: &grafeaspb.Occurrence_Discovery{Discovery: &grafeaspb.DiscoveryOccurrence{AnalysisStatus: g.scan}},
		})
	}
	if g.more.builder != "verified-builder" {
		if _, err := client.CreateNote(context.Background(), &grafeaspb.CreateNoteRequest{Parent: "projects/" + g.more.builder, NoteId: "intoto_1",
			Note: &grafeaspb.Note{Type: &grafeaspb.Note_Build{Build: &grafeaspb.BuildNote{BuilderVersion: "1"}}}}); err != nil {
			g.t.Error(err)
		}
	}
	for _, o := range all {
		if _, err := client.CreateOccurrence(context.Background(),
			&grafeaspb.CreateOccurrenceRequest{Parent: "projects/" + project, Occurrence: o}); err != nil {
			g.t.Errorf("storing %s: %v", o.GetNoteName(), err)
		}
	}
}

// TestSwept: what a killed trial left is found by its name in every region, or in the one that is given; what others have stays.
func TestSwept(t *testing.T) {
	left := func(g *standIn) {
		g.late = nil
		g.repos = map[string]bool{prefix + "0a": true, "prod": true}
		g.services = map[string]map[string]any{prefix + "0a-1": {}, prefix + "0a-2": {}, "shop": {}}
		g.more.accounts = map[string]bool{prefix + "0a@x.iam.gserviceaccount.com": true, "shop@x.iam.gserviceaccount.com": true}
		g.more.subscriptions = map[string]bool{prefix + "0a": true, "orders": true}
		g.more.locations = []string{"us-east1"}
		g.asked, g.tags = 1, []string{prefix + "0a"}
	}
	for name, c := range map[string]struct {
		args    []string
		enabled []string
		stays   bool // of services and repositories
	}{
		"a region":               {[]string{"-region", "us-east1"}, []string{cloudRun, registry, iam, pubsub, cloudBuild}, false},
		"every region":           {nil, []string{cloudRun, registry, iam, pubsub, cloudBuild}, false},
		"services never enabled": {nil, []string{iam, pubsub}, true},
		"nothing was ever there": {nil, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			e, address := serve(t, emulator.Behaviour{})
			g, url := newStandIn(t, e)
			left(g)
			for _, host := range c.enabled {
				g.enabled += `"` + host + `"`
			}
			if _, _, err := try(t.Context(), t, address, append([]string{"-sweep", "-stand-in", url}, c.args...)...); err != nil {
				t.Fatal(err)
			}
			g.mu.Lock()
			defer g.mu.Unlock()
			want := 1
			if c.stays {
				want = 2
			}
			if len(g.repos) != want || !g.repos["prod"] || len(g.services) < 1 || (len(g.services) == 1) == c.stays || g.services["shop"] == nil {
				t.Errorf("left: repositories %v, services %v", g.repos, g.services)
			}
			if c.enabled != nil && (len(g.more.accounts) != 1 || len(g.more.subscriptions) != 1 || !g.more.subscriptions["orders"]) {
				t.Errorf("left: accounts %v, subscriptions %v", g.more.accounts, g.more.subscriptions)
			}
			if g.ended == c.stays || slices.Contains(g.more.cancelled, "other:cancel") {
				t.Errorf("the trial's build has ended: %v; cancelled were %q", g.ended, g.more.cancelled)
			}
		})
	}
}

// TestEnablesFirst: the services are enabled before anything is asked of them, also without a region; and a refusal of another
// kind than that of a service which is not enabled ends the trial at once.
func TestEnablesFirst(t *testing.T) {
	e, address := serve(t, emulator.Behaviour{})
	g, url := newStandIn(t, e)
	var before string
	e.Inject(emulator.Fault{Method: "ListNotes", Count: 1, Match: func(proto.Message) bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		before = g.enabled
		return false
	}})
	r, _, err := try(t.Context(), t, address, "-stand-in", url)
	if err != nil || !r.Complete {
		t.Fatalf("complete %v: %v", r.Complete, err)
	}
	for _, host := range []string{"containeranalysis.googleapis.com", "binaryauthorization.googleapis.com", "cloudkms.googleapis.com", iam} {
		if !strings.Contains(before, host) {
			t.Errorf("%s was not enabled when the trial began: %s", host, before)
		}
	}
	if strings.Contains(before, cloudRun) {
		t.Errorf("Cloud Run was enabled for a trial without a region")
	}

	e, address = serve(t, emulator.Behaviour{})
	_, url = newStandIn(t, e)
	e.Inject(emulator.Fault{Method: "ListKeyRings", Code: 7, Message: "no right"})
	if r, _, err := try(t.Context(), t, address, "-stand-in", url); err == nil || len(r.Facts) > 0 || !strings.Contains(err.Error(), "cloudkms") {
		t.Errorf("without a right: %v, %d facts", err, len(r.Facts))
	}
}

// TestWithoutARight: what the account may not ask is listed with the reason, and the rest is asked.
func TestWithoutARight(t *testing.T) {
	for forbidden, want := range map[string]string{
		"POST " + iam + "/v1/projects/" + project + "/serviceAccounts": "may not create service accounts",
		"consumerQuotaMetrics": "quotas: the account",
		logging:                "may not read the log",
		openID:                 "does not say its e-mail address",
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			e, address := serve(t, emulator.Behaviour{})
			g, url := newStandIn(t, e)
			g.more.forbidden = forbidden
			before := g.policy()
			r, _, err := try(t.Context(), t, address, "-region", "us-east1", "-stand-in", url, "-patience", "0s")
			if err != nil || !r.Complete || len(r.Left) > 0 || !strings.Contains(strings.Join(r.NotAsked, "\n"), want) {
				t.Errorf("complete %v, left %v, not asked %q: %v", r.Complete, r.Left, r.NotAsked, err)
			}
			g.wantGone(before)
		})
	}
}

// TestAwhile: a question is asked once at least, until the answer is there, and its error ends the waiting.
func TestAwhile(t *testing.T) {
	tr := &trial{}
	asked := 0
	ask := func(at int, fault error) func(context.Context) (bool, error) {
		asked = 0
		return func(context.Context) (bool, error) {
			asked++
			return asked == at, fault
		}
	}
	if err := tr.awhile(t.Context(), 0, ask(2, nil)); err != nil || asked != 1 {
		t.Errorf("without patience: asked %d times, %v", asked, err)
	}
	if err := tr.awhile(t.Context(), 1<<62, ask(3, nil)); err != nil || asked != 3 {
		t.Errorf("with patience: asked %d times, %v", asked, err)
	}
	if err := tr.awhile(t.Context(), 1<<62, ask(9, context.Canceled)); err == nil || asked != 1 {
		t.Errorf("an error: asked %d times, %v", asked, err)
	}
	ctx, stop := context.WithCancel(t.Context())
	tr.pause = 1 << 62
	if err := tr.awhile(ctx, 1<<62, func(context.Context) (bool, error) { stop(); return false, nil }); err == nil {
		t.Error("an interruption is no answer")
	}
}

// TestNotAsked: what was not asked is listed with a reason, and nothing that was asked.
func TestNotAsked(t *testing.T) {
	for name, c := range map[string]struct {
		t           trial
		lists, asks []string
	}{
		"an emulator": {trial{}, []string{"an emulator has no", "give a region", "give gcloud", "malicious", "IAP"}, nil},
		"no region": {trial{rest: rest{http: &http.Client{}}, tool: "gcloud"}, []string{"give a region", "malicious", "GKE"},
			[]string{"emulator", "gcloud"}},
		"with a region": {trial{rest: rest{http: &http.Client{}}, tool: "gcloud", region: "r"}, []string{"SBOM", "GKE", "IAP"},
			[]string{"region", "gcloud", "malicious"}},
	} {
		got := strings.Join(c.t.notAsked(), "\n")
		for _, want := range c.lists {
			if !strings.Contains(got, want) {
				t.Errorf("%s: %q is not in\n%s", name, want, got)
			}
		}
		for _, no := range c.asks {
			if strings.Contains(got, no) {
				t.Errorf("%s: %q is in\n%s", name, no, got)
			}
		}
		for _, line := range c.t.notAsked() {
			if !strings.Contains(line, ": ") {
				t.Errorf("%s has no reason", line)
			}
		}
	}
}
