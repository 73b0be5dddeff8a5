package summary_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/referrers"
	"github.com/attestor-gate/attestor/internal/testkit/registries"
	"github.com/attestor-gate/attestor/internal/vsa"
	"github.com/attestor-gate/attestor/summary"
)

const verifierID = "https://gate.example/attestor"

// A world is a registry with one image, and a publisher that writes to it.
type world struct {
	*registries.Host
	t     *testing.T
	image attestor.Image
	dir   string

	mu  sync.Mutex
	now time.Time // guarded by mu
}

func newWorld(t *testing.T, h http.Handler) *world {
	t.Helper()
	w := &world{
		Host: registries.Start(t, h, "acme/api"), t: t, dir: t.TempDir(),
		now: time.Now().UTC().Truncate(time.Second), // other programs read the statements, and compare with their clock
	}
	w.image = w.Push()
	return w
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// advance moves the clock.
func (w *world) advance(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

// writes counts the requests that change the registry.
func (w *world) writes() int {
	return w.Requests(http.MethodPut, http.MethodPost, http.MethodDelete, http.MethodPatch)
}

// A pair is a key of the gate's and the file of its public half.
type pair struct {
	key          summary.Key
	file, public string
	signer       crypto.Signer
}

func (w *world) keyOf(signer crypto.Signer) pair {
	w.t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(signer)
	w.Must(err)
	pub, err := x509.MarshalPKIXPublicKey(signer.Public())
	w.Must(err)
	dir := w.t.TempDir()
	p := pair{file: filepath.Join(dir, "key.pem"), public: filepath.Join(dir, "pub.pem"), signer: signer}
	w.Must(os.WriteFile(p.file, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	w.Must(os.WriteFile(p.public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pub}), 0o600))
	p.key, err = summary.NewKeyFile(p.file)
	w.Must(err)
	return p
}

func (w *world) p256() pair {
	w.t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.Must(err)
	return w.keyOf(k)
}

func (w *world) reader() *referrers.Client {
	w.t.Helper()
	r, err := referrers.New(referrers.Config{})
	w.Must(err)
	return r
}

// publisher makes one that signs with the key; edit may change what it is made of.
func (w *world) publisher(k pair, edit ...func(*summary.Config)) *summary.Publisher {
	w.t.Helper()
	options := []remote.Option{remote.WithRetryBackoff(remote.Backoff{Duration: time.Millisecond, Factor: 1, Steps: 2})}
	c := summary.Config{
		Verifier: verifierID, Version: "v1.2.3", Passed: k.key, Registry: w.reader(), Transport: remote.DefaultTransport,
		Remote: options, Now: w.clock,
	}
	for _, f := range edit {
		f(&c)
	}
	p, err := summary.New(c)
	w.Must(err)
	return p
}

// A judged is what an authorization is made from.
type judged struct {
	image    attestor.Image
	children []attestor.Child // of an index
	mode     attestor.Mode    // "": enforce
	policy   string           // text
	level    int              // of provenance; 0: not asked for
	status   attestor.Status  // of the user check; "": pass
	needs    *attestor.SummaryNeeds
}

func (w *world) verdict(j judged) attestor.Verdict {
	w.t.Helper()
	ev := attestor.Evidence{Time: w.clock(), Image: j.image, Index: len(j.children) > 0}
	for _, c := range j.children {
		ev.Platforms = append(ev.Platforms, attestor.PlatformEvidence{Child: c})
	}
	if !ev.Index {
		ev.Platforms = []attestor.PlatformEvidence{{Child: attestor.Child{Platform: "linux/amd64", Digest: j.image.Digest()}}}
	}
	status := j.status
	if status == "" {
		status = attestor.StatusPass
	}
	mode := j.mode
	if mode == "" {
		mode = attestor.Enforce
	}
	if j.needs == nil {
		j.needs = &attestor.SummaryNeeds{}
	}

	var checks []attestor.Check
	for _, p := range ev.Platforms {
		c := attestor.Check{Name: attestor.CheckUser, Platform: p.Platform, Status: status}
		if status != attestor.StatusPass {
			c.Reasons = []attestor.Reason{{Code: attestor.CodeUserRoot, Message: "runs as root"}}
		}
		checks = append(checks, c)
		if j.level > 0 {
			checks = append(checks, attestor.Check{
				Name: attestor.CheckProvenance, Platform: p.Platform, Status: attestor.StatusPass, BuildLevel: j.level,
			})
		}
	}
	policy := attestor.PolicyRef{Name: "production", Digest: attestor.DigestOf([]byte("policy " + j.policy)), Mode: mode}
	needs := attestor.AttestNeeds{Attestors: []string{"projects/p/attestors/a"}, Children: true, Summary: j.needs}
	return attestor.NewVerdict(ev, policy, needs, []attestor.Question{{Check: attestor.CheckUser}}, checks)
}

func (w *world) authorized(j judged) attestor.Authorization {
	w.t.Helper()
	a, err := attestor.Authorize("decision-1", w.verdict(j))
	w.Must(err)
	return a
}

func begun() error { return nil }

// publish has a pass published, which must succeed.
func (w *world) publish(p *summary.Publisher, j judged) attestor.Summaries {
	w.t.Helper()
	s, err := p.Summarize(w.t.Context(), w.authorized(j), begun)
	w.Must(err)
	return s
}

// attached reads the statements that the registry lists for an image, by hand.
func (w *world) attached(img attestor.Image) []vsa.Statement {
	w.t.Helper()
	repo, err := name.NewRepository(img.Repository())
	w.Must(err)
	index, err := remote.Referrers(repo.Digest(string(img.Digest())))
	w.Must(err)
	m, err := index.IndexManifest()
	w.Must(err)
	var out []vsa.Statement
	for _, d := range m.Manifests {
		out = append(out, w.statement(repo.Digest(d.Digest.String())))
	}
	return out
}

func wantCode(t *testing.T, err error, code attestor.Code) {
	t.Helper()
	e, ok := errors.AsType[*attestor.Error](err)
	if !ok || e.Code != code || e.Msg == "" || e.Fix == "" {
		t.Errorf("the error is %#v, want one of code %s with a message and a fix", err, code)
	}
}
