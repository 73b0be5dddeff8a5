package summary

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/lru"
	"github.com/attestor-gate/attestor/internal/referrers"
	"github.com/attestor-gate/attestor/internal/vsa"
)

// DefaultMaxAge is how old a summary may be that is reused, where nothing else is configured.
const DefaultMaxAge = 24 * time.Hour

// defaultTimeout bounds the work on one request where nothing else is configured.
const defaultTimeout = 20 * time.Second

// Config is what a Publisher needs. Verifier, Passed, Registry, Transport and Now are required.
type Config struct {
	Verifier string        // verifier.id of every summary, a URI that consumers compare exactly
	Version  string        // of this program
	Policies string        // policy.uri without the policy's name; "": Verifier and /v1/policies
	Passed   Key           // signs summaries of passes, and nothing else
	Refused  Key           // signs those of refusals; nil: none is published
	Former   []Key         // signed summaries once: what they verify is replaced and revoked, and never reused
	MaxAge   time.Duration // of a summary that is reused; 0: [DefaultMaxAge]

	Registry  *referrers.Client // reads
	Transport http.RoundTripper // carries every write; it is where registries and addresses are refused
	Remote    []remote.Option   // further options: credentials, user agent
	Name      func(registry string) []name.Option

	Now     func() time.Time
	Logger  *slog.Logger  // nil: discards
	Timeout time.Duration // of the work on one request; 0: 20 s
}

// A Publisher publishes verification summaries. It is safe for concurrent use.
type Publisher struct {
	c    Config
	read *lru.Cache[readKey, found] // of manifests, which never change
	busy *turns
}

// readKey is a manifest and the digest that it is to be about.
type readKey struct {
	manifest, about string
	key             string // Where of the key that verified it
}

// maxRead bounds the memory of statements that were verified.
const maxRead = 4096

// New returns a Publisher, or an error that names all that is missing or wrong. It asks nobody.
func New(c Config) (*Publisher, error) {
	var errs []error
	if u, err := url.Parse(c.Verifier); err != nil || u.Scheme == "" || u.Host == "" {
		errs = append(errs, fmt.Errorf("the verifier %q is not a URI such as https://gate.example/attestor",
			c.Verifier))
	}
	if c.Passed == nil || c.Registry == nil || c.Transport == nil || c.Now == nil {
		errs = append(errs, errors.New("the key, a registry client or the clock is missing"))
	}
	if c.MaxAge < 0 || c.Timeout < 0 {
		errs = append(errs, errors.New("an age or a time limit is negative"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("publishing summaries: %w", err)
	}

	// A key that signs passes and refusals would make a refusal a pass to every consumer who verifies the signature and
	// nothing else, as cosign verify does.
	if c.Refused != nil && c.Refused.Where() == c.Passed.Where() {
		return nil, sameKey(c.Passed, c.Refused)
	}

	c.Policies = strings.TrimSuffix(c.Policies, "/")
	if c.Policies == "" {
		c.Policies = strings.TrimSuffix(c.Verifier, "/") + "/v1/policies"
	}
	if c.MaxAge == 0 {
		c.MaxAge = DefaultMaxAge
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Name == nil {
		c.Name = func(string) []name.Option { return nil }
	}

	p := &Publisher{c: c, read: lru.New[readKey, found](maxRead), busy: newTurns()}
	return p, p.distinct()
}

// distinct compares keys that are files, which are at hand. Those of Cloud KMS are compared by [Publisher.Preflight].
func (p *Publisher) distinct() error {
	// A nil interface is no key file, so that nothing is compared without a second key.
	a, isFile := p.c.Passed.(*keyFile)
	b, other := p.c.Refused.(*keyFile)
	if isFile && other && equal(a.signer.Public(), b.signer.Public()) {
		return sameKey(a, b)
	}
	return nil
}

func sameKey(a, b Key) error {
	return &attestor.Error{
		Kind: attestor.Invalid, Code: attestor.CodeSigningFailed,
		Msg: fmt.Sprintf("%s and %s are one key, which would sign passes and refusals alike", a.Where(), b.Where()),
		Fix: "give refusals a key of their own: consumers who compare the signature alone take any summary by " +
			"it for a pass",
	}
}

func equal(a, b crypto.PublicKey) bool {
	e, ok := a.(interface{ Equal(x crypto.PublicKey) bool })
	return ok && e.Equal(b)
}

// signing are the keys that sign.
func (p *Publisher) signing() []Key {
	if p.c.Refused == nil {
		return []Key{p.c.Passed}
	}
	return []Key{p.c.Passed, p.c.Refused}
}

// keys are those by which the gate knows its own summaries. Those that sign come first: what they verify is theirs.
func (p *Publisher) keys() []Key { return slices.Concat(p.signing(), p.c.Former) }

// Preflight checks the keys: that they can be read, sign summaries and are two, and that the identity may sign with
// them. It signs nothing.
func (p *Publisher) Preflight(ctx context.Context) error {
	var seen []crypto.PublicKey

	// The public half first: whether it may be used is asked only of a key that is known.
	for _, k := range p.signing() {
		pub, err := k.public(ctx)
		if err != nil {
			return err
		}
		if len(seen) > 0 && equal(seen[0], pub) {
			return sameKey(p.c.Passed, p.c.Refused)
		}
		seen = append(seen, pub)
		if err := k.mayUse(ctx); err != nil {
			return err
		}
	}

	return nil
}

// A want is one summary that is to stand.
type want struct {
	image     attestor.Image // that it is about
	place     attestor.Image // where it is stored
	key       Key
	predicate vsa.Predicate
}

// wants lists the summaries that an authorization is for, children before their index.
func (p *Publisher) wants(a attestor.Authorization) ([]want, error) {
	n, asked := a.Summary()
	if !asked || a.Decision() == "" || len(a.Images()) == 0 {
		return nil, errors.New("publishing summaries: the authorization permits none")
	}

	var out []want
	for _, img := range a.Images() {
		if img.IsZero() {
			return nil, errors.New("publishing summaries: the authorization names no image")
		}
		pr := p.predicate(img, a.Policy(), a.Time(), a.Decision())
		pr.VerificationResult, pr.VerifiedLevels = vsa.Passed, []string{vsa.BuildLevel(a.BuildLevel(img.Digest()))}
		for _, d := range a.Inputs(img.Digest()) {
			pr.InputAttestations = append(pr.InputAttestations, vsa.Resource{Digest: vsa.Digests{"sha256": d.Hex()}})
		}
		out = append(out, want{image: img, place: n.Place(img), key: p.c.Passed, predicate: pr})
	}
	return out, nil
}

// predicate is all of a summary but its result.
func (p *Publisher) predicate(
	img attestor.Image, by attestor.PolicyRef, at time.Time, decision string,
) vsa.Predicate {
	v := vsa.Verifier{ID: p.c.Verifier}
	if p.c.Version != "" {
		v.Version = map[string]string{"attestor": p.c.Version}
	}
	return vsa.Predicate{
		Verifier:     v,
		TimeVerified: at.UTC().Truncate(time.Second),
		ResourceURI:  ResourceURI(img),
		Policy:       vsa.Resource{URI: p.policyURI(by.Name), Digest: vsa.Digests{"sha256": by.Digest.Hex()}},
		SLSAVersion:  "1.2",
		Decision:     decision,
	}
}

func (p *Publisher) policyURI(policy string) string {
	return p.c.Policies + "/" + url.PathEscape(policy)
}

// ResourceURI is the resourceUri of summaries of an image: its repository, without tag or digest. The digest is the
// subject's.
func ResourceURI(img attestor.Image) string { return "oci://" + img.Repository() }

// repository is where a summary is stored, for the registry library.
func (p *Publisher) repository(img attestor.Image) (name.Repository, error) {
	repo, err := name.NewRepository(img.Repository(), p.c.Name(img.Registry())...)
	if err != nil {
		return name.Repository{}, fmt.Errorf("the repository %q: %w", img.Repository(), err)
	}
	return repo, nil
}

// options are those of one write.
func (p *Publisher) options(ctx context.Context) []remote.Option {
	return append([]remote.Option{remote.WithContext(ctx), remote.WithTransport(p.c.Transport)}, p.c.Remote...)
}

// hash is a digest for the registry library.
func hash(d attestor.Digest) v1.Hash { return v1.Hash{Algorithm: "sha256", Hex: d.Hex()} }
