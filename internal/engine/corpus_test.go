package engine_test

import (
	"bytes"
	stdcmp "cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/api/iterator"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/samples"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/internal/when"
)

// A hostileWorld is a world with identity and admission, into which cases of
// the corpus were put before it started.
type hostileWorld struct {
	*world
	issuer    *corpus.Issuer
	admission string // HOST:PORT
	victim    atomic.Int64
	token     string                                                   // the administrator's
	fronts    map[string]func(http.ResponseWriter, *http.Request) bool // by the case's path segment
	places    map[string]*corpus.Place                                 // by the case's name
	planted   map[string]bool                                          // occurrences that are not the gate's
}

// newHostileWorld starts one. Of the cases either all are silent or none is: the gate
// gives up what is silent after ten seconds, and everything else has time for the
// race detector on a busy machine.
func newHostileWorld(t *testing.T, cases []corpus.Case) *hostileWorld {
	t.Helper()
	deadline := 2 * time.Minute
	if slices.ContainsFunc(cases, silent) {
		deadline = 10 * time.Second
	}
	h := &hostileWorld{
		issuer:  corpus.NewIssuer(),
		fronts:  map[string]func(http.ResponseWriter, *http.Request) bool{},
		places:  map[string]*corpus.Place{},
		planted: map[string]bool{},
	}
	h.token = h.issuer.Token(corpus.Administrator)
	victim := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h.victim.Add(1)
		_, _ = io.WriteString(w, "secret")
	}))
	t.Cleanup(victim.Close)
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(h.issuer.KeySet(map[string]string{"/google": corpus.Google, "/ci": corpus.CI}[r.URL.Path]))
	}))
	t.Cleanup(keys.Close)
	h.world = newWorld(t, worldOptions{unstarted: true, registry: h.front, config: func(c *config.Config) {
		c.Identity = &config.Identity{
			Audience: corpus.Audience,
			Issuers:  []config.Issuer{{Issuer: corpus.Google, JWKS: keys.URL + "/google"}, {Issuer: corpus.CI, JWKS: keys.URL + "/ci"}},
		}
		c.Limits.CallerRate, c.Limits.Deadline = 100_000, when.Duration(deadline)
		c.Dependencies.Outages = 1_000_000 // one registry is all of theirs
	}})
	var actions []string
	for _, a := range attestor.Actions() {
		actions = append(actions, string(a))
	}
	h.config.Identity.Callers = []config.Caller{
		{Email: corpus.Administrator, Actions: actions, Images: []string{"**"}},
		{Email: corpus.Builder, Actions: []string{string(attestor.ActionAttest)}, Images: []string{h.registry.Addr() + "/" + corpus.BuilderImages}},
		{Issuer: corpus.CI, Subject: "repo:acme/api", Actions: []string{string(attestor.ActionAttest)}, Images: []string{"**"}},
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	h.ok(err)
	h.admission = ln.Addr().String()
	h.ok(ln.Close())
	h.config.Admission = &config.Admission{Listen: h.admission, Mode: "attested", UnsafeOpen: true}
	h.arrange(cases, strings.TrimPrefix(victim.URL, "http://"))
	h.http.Timeout = 5 * time.Minute
	h.start()
	h.awaitHealth()
	return h
}

// front lets a case answer for its own repositories.
func (h *hostileWorld) front(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if rest, ok := strings.CutPrefix(r.URL.Path, "/v2/corpus/"); ok {
			name, _, _ := strings.Cut(rest, "/")
			if f := h.fronts[name]; f != nil && f(w, r) {
				return
			}
		}
		next.ServeHTTP(w, r)
	})
}

// arrange puts every case where the service will find it.
func (h *hostileWorld) arrange(cases []corpus.Case, victim string) {
	h.tb.Helper()
	ctx, direct := h.tb.Context(), &http.Client{Transport: handlerTransport{h.outside.Registry.Upstream}}
	base := corpus.NewPlace(corpus.Case{Name: "base/base"}, h.registry.Addr(), "")
	base.PushTo(corpus.BaseRepository, "1", corpus.Base())
	h.ok(base.Load(ctx, direct))
	specs := map[string][]string{}
	var occurrences []*grafeaspb.Occurrence
	for _, c := range cases {
		p := corpus.NewPlace(c, h.registry.Addr(), filepath.Join(h.dir, "cases", corpus.Slug(c.Name)))
		p.Issuer, p.Victim, p.Sign = h.issuer, victim, h.sign
		p.Attestor, p.Note, p.KeyID = samples.Attestor, samples.Note, "//cloudkms.googleapis.com/v1/"+samples.Key
		c.Arrange(p)
		h.ok(p.Load(ctx, direct))
		for name, b := range p.Files {
			h.ok(os.MkdirAll(p.Dir, 0o750))
			h.ok(os.WriteFile(filepath.Join(p.Dir, name), b, 0o600))
		}
		for _, d := range p.Subjects() {
			said, given := p.Scans[d]
			if !given {
				said = []*grafeaspb.Occurrence{corpus.Complete(p.Resource(d), time.Now())}
			}
			occurrences = append(occurrences, said...)
		}
		occurrences = append(occurrences, p.Notes...)
		specs[p.Spec(c)] = append(specs[p.Spec(c)], p.Host+"/"+p.Repo)
		h.places[c.Name] = p
		if p.Front != nil {
			h.fronts[p.Name] = p.Front
		}
	}
	h.say(occurrences)
	specs[base.Spec(corpus.Case{})] = append(specs[base.Spec(corpus.Case{})], corpus.Governed(h.registry.Addr(), victim)...)
	h.govern(specs)
}

// say writes what scanners and signers said, and the notes that they said it
// under.
func (h *hostileWorld) say(occurrences []*grafeaspb.Occurrence) {
	h.tb.Helper()
	ctx, notes := h.tb.Context(), map[string]bool{samples.Note: true}
	for _, o := range occurrences {
		if name := o.GetNoteName(); !notes[name] && !strings.HasPrefix(name, "projects/goog-analysis/") && !strings.HasPrefix(name, "projects/goog-vulnz/") {
			notes[name] = true
			parent, id, _ := strings.Cut(name, "/notes/")
			n := &grafeaspb.Note{Type: &grafeaspb.Note_Vulnerability{Vulnerability: &grafeaspb.VulnerabilityNote{}}}
			switch {
			case o.GetSecret() != nil:
				n.Type = &grafeaspb.Note_Secret{Secret: &grafeaspb.SecretNote{}}
			case o.GetDiscovery() != nil:
				n.Type = &grafeaspb.Note_Discovery{Discovery: &grafeaspb.DiscoveryNote{AnalysisKind: grafeaspb.NoteKind_VULNERABILITY}}
			case o.GetAttestation() != nil:
				n.Type = &grafeaspb.Note_Attestation{Attestation: &grafeaspb.AttestationNote{Hint: &grafeaspb.AttestationNote_Hint{HumanReadableName: id}}}
			}
			_, err := h.outside.Grafeas.CreateNote(ctx, &grafeaspb.CreateNoteRequest{Parent: parent, NoteId: id, Note: n})
			h.ok(err)
		}
	}
	for some := range slices.Chunk(occurrences, 500) {
		r, err := h.outside.Grafeas.BatchCreateOccurrences(
			ctx,
			&grafeaspb.BatchCreateOccurrencesRequest{Parent: "projects/" + samples.Project, Occurrences: some},
		)
		h.ok(err)
		for _, o := range r.GetOccurrences() {
			h.planted[o.GetName()] = true
		}
	}
}

// govern writes one policy for all images that are asked the same.
func (h *hostileWorld) govern(specs map[string][]string) {
	h.tb.Helper()
	dir, n := filepath.Join(h.dir, "policies"), 0
	h.ok(os.MkdirAll(dir, 0o750))
	for spec, images := range specs {
		n++
		name := fmt.Sprintf("corpus-%d", n)
		h.ok(os.WriteFile(filepath.Join(dir, name+".yaml"), []byte(corpus.PolicyText(name, images, samples.Attestor, spec)), 0o600))
	}
	h.config.Policies = []string{dir}
}

// sign is what only the gate should be able to do.
func (h *hostileWorld) sign(payload []byte) []byte {
	sum := sha256sum(payload)
	r, err := h.outside.KMS.AsymmetricSign(
		h.tb.Context(),
		&kmspb.AsymmetricSignRequest{Name: samples.Key, Digest: &kmspb.Digest{Digest: &kmspb.Digest_Sha256{Sha256: sum}}},
	)
	h.ok(err)
	return r.GetSignature()
}

func sha256sum(b []byte) []byte {
	sum := corpus.Sum(b)
	out := make([]byte, 32)
	_, _ = fmt.Sscanf(sum.Hex(), "%x", &out)
	return out
}

func (h *hostileWorld) awaitHealth() {
	h.tb.Helper()
	for _, at := range []string{h.address, h.admission} {
		for {
			ctx, cancel := context.WithTimeout(h.tb.Context(), 20*time.Second)
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+at+"/health", nil)
			h.ok(err)
			resp, err := h.http.Do(req)
			cancel()
			if err == nil {
				_ = resp.Body.Close()
				break
			}
			select {
			case err := <-h.served:
				h.tb.Fatalf("the service ended: %v", err)
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
}

// ask sends a request of a case's.
func (h *hostileWorld) ask(r corpus.Request) answer {
	at := h.address
	if r.To == corpus.Admission {
		at = h.admission
	}
	var body io.Reader = bytes.NewReader(r.Body)
	if r.Chunked {
		body = struct{ io.Reader }{body}
	}
	req, err := http.NewRequestWithContext(h.tb.Context(), r.Method, "http://"+at, body)
	if err != nil {
		return answer{body: []byte(err.Error())}
	}
	req.URL.Opaque = "//" + at + r.Path // as it stands, not cleaned
	for k, v := range r.Header {
		req.Header[k] = slices.Clone(v)
	}
	if r.Token != corpus.Anonymous {
		req.Header.Set("Authorization", "Bearer "+stdcmp.Or(r.Token, h.token))
	}
	return h.send(req)
}

// run sends what a case sends and compares the answer. Problems are returned,
// so that cases can run on any goroutine.
func (h *hostileWorld) run(c corpus.Case) []string {
	var problems []string
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	requests := h.places[c.Name].Requests(c)
	for _, r := range requests[:len(requests)-1] {
		if a := h.ask(r); a.status != r.Status {
			bad("%s %s: status %d, want %d: %s", r.Method, r.Path, a.status, r.Status, excerpt(a.body))
		}
	}
	last := requests[len(requests)-1]
	a := h.ask(last)
	if a.status != c.Want.Status {
		bad("status %d, want %d: %s", a.status, c.Want.Status, excerpt(a.body))
	}
	if says := h.places[c.Name].Says(c); !strings.Contains(string(a.body), says) {
		bad("the answer does not say %q: %s", says, excerpt(a.body))
	}
	if last.To == corpus.Admission {
		return append(problems, reviewed(c, a)...)
	}
	verdict := a.decision.Verdict
	if last.Path != "/v1/attest" || a.decision.ID == "" {
		verdict = ""
	}
	if verdict != c.Want.Verdict {
		bad("verdict %q, want %q: %s", verdict, c.Want.Verdict, excerpt(a.body))
	}
	if verdict == "" {
		return problems
	}
	codes := a.codes()
	slices.Sort(codes)
	if diff := cmp.Diff(c.Want.Codes, slices.Compact(codes), cmpopts.EquateEmpty()); diff != "" {
		bad("codes (-want +got):\n%s%s", diff, excerpt(a.body))
	}
	for _, code := range c.Want.Advice {
		if !slices.ContainsFunc(a.decision.Checks, func(k attestor.Check) bool {
			return slices.ContainsFunc(k.Reasons, func(r attestor.Reason) bool { return r.Code == code })
		}) {
			bad("no %s beside it", code)
		}
	}
	// One that stood already is another case's, of the same bytes.
	created := slices.ContainsFunc(a.decision.Attestations, func(s attestor.Attestation) bool { return s.Created })
	if verdict == attestor.Pass && len(a.decision.Attestations) == 0 || verdict != attestor.Pass && created {
		bad("verdict %s with attestations %+v", verdict, a.decision.Attestations)
	}
	return problems
}

func reviewed(c corpus.Case, a answer) []string {
	if a.status != http.StatusOK {
		return nil
	}
	var r struct {
		Response struct {
			UID     string
			Allowed bool
			Status  struct{ Message string }
		}
	}
	if err := json.Unmarshal(a.body, &r); err != nil || r.Response.UID != corpus.ReviewUID {
		return []string{"not an answer to the review: " + excerpt(a.body)}
	}
	if r.Response.Allowed != c.Want.Allowed || !r.Response.Allowed && r.Response.Status.Message == "" {
		return []string{fmt.Sprintf("allowed %t, want %t: %s", r.Response.Allowed, c.Want.Allowed, excerpt(a.body))}
	}
	return nil
}

func silent(c corpus.Case) bool { return strings.Contains(c.Name, "silence") }

func excerpt(b []byte) string { return string(b[:min(len(b), 2500)]) }

// signedWithoutAPass looks at what stands in Container Analysis, whatever was
// answered: the gate may have attested to images of cases that pass, and of
// those that begin with a good image. It must have made some attestations, or looking
// at them shows nothing.
func (h *hostileWorld) signedWithoutAPass(cases []corpus.Case, least int) []string {
	h.tb.Helper()
	may := map[string]bool{}
	for _, c := range cases {
		p := h.places[c.Name]
		for i, d := range p.Subjects() {
			first := i == 0 && (c.Group() == "reviews" || c.Group() == "events")
			may[p.Resource(d)] = c.Want.Verdict == attestor.Pass || first
		}
	}
	var out []string
	found := 0
	it := h.outside.Grafeas.ListOccurrences(
		h.tb.Context(),
		&grafeaspb.ListOccurrencesRequest{Parent: "projects/" + samples.Project, Filter: `kind="ATTESTATION"`, PageSize: 1000},
	)
	for {
		o, err := it.Next()
		if errors.Is(err, iterator.Done) {
			break
		}
		h.ok(err)
		if h.planted[o.GetName()] {
			continue
		}
		found++
		if !may["https://"+strings.TrimPrefix(o.GetResourceUri(), "https://")] {
			out = append(out, "the gate attested to "+o.GetResourceUri()+", and should not have")
		}
	}
	if found < least {
		out = append(out, fmt.Sprintf("the gate made %d attestations: looking at them shows nothing", found))
	}
	return out
}

// TestCorpus puts every case of the corpus to the real service and demands the
// exact answer: status, verdict, codes, and an attestation only where it passed.
func TestCorpus(t *testing.T) {
	t.Parallel()
	cases := slices.DeleteFunc(corpus.All(), silent)
	h := newHostileWorld(t, cases)
	h.runAll(t, cases, 6)

	for _, p := range h.signedWithoutAPass(cases, 40) {
		t.Error(p)
	}
	if n := h.victim.Load(); n > 0 {
		t.Errorf("the gate was led to an address that it must not contact, %d times", n)
	}
	if a := h.do(http.MethodGet, "/health", ""); a.status != http.StatusOK {
		t.Errorf("after all that /health is %d: %s", a.status, a.body)
	}
	if a := h.do(http.MethodGet, "/metrics", ""); a.status != http.StatusOK || strings.Contains(string(a.body), "attestor_panics") {
		t.Errorf("after all that /metrics is %d", a.status)
	}
}

// TestCorpusOfSilence does the same with the cases in which something never answers.
// They cost time, and nothing else.
func TestCorpusOfSilence(t *testing.T) {
	t.Parallel()
	cases := slices.DeleteFunc(corpus.All(), func(c corpus.Case) bool { return !silent(c) })
	if len(cases) < 4 {
		t.Fatalf("%d cases", len(cases))
	}

	h := newHostileWorld(t, cases)
	h.runAll(t, cases, len(cases))
	for _, p := range h.signedWithoutAPass(cases, 0) {
		t.Error(p)
	}
}

// runAll runs cases, some of them at the same time.
func (h *hostileWorld) runAll(t *testing.T, cases []corpus.Case, together int) {
	t.Helper()
	problems := make([][]string, len(cases))
	var wg sync.WaitGroup
	turn := make(chan struct{}, together)
	for i, c := range cases {
		turn <- struct{}{}
		wg.Go(func() {
			defer func() { <-turn }()
			problems[i] = h.run(c)
		})
	}
	wg.Wait()

	for i, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			for _, p := range problems[i] {
				t.Error(p)
			}
		})
	}
}
