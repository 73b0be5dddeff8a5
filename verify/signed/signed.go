// Package signed verifies cosign signatures of images and decides whether one of
// them satisfies a policy's signedBy rule. It reads signatures (classic ones, under .sig
// tags or as referrers, and Sigstore bundles, by the referrers API or its fallback tag)
// and attestations (.att tags, envelopes and bundles) from the image's registry, and verifies them against
// keys and trusted roots that are files: it never talks to Rekor, Fulcio or TUF,
// and no environment variable changes it.
//
// Anyone who may push to that repository can write what this package reads.
// Numbers and sizes are therefore bounded before anything is decoded, and cosign
// verifies one signature at a time, on the caller's goroutine, under recover.
// Which images need a signature, and the effect of a missing one, it leaves to
// others.
//
// # Order
//
// All steps of the verification must succeed for the same signature:
//
//  1. the rule says exactly who must have signed: a key, or an issuer and a subject;
//  2. the signature's parts are decoded here, since cosign's own decoding panics;
//  3. the payload, or the statement's subject, has the digest that was asked for;
//  4. cosign verifies signature, certificate, identity, log entry and timestamp;
//  5. every certificate of the chain was valid when the signature was made;
//  6. a bundle has the predicate type of a signature, not of any other attestation.
//
// One such signature suffices. The others cannot void it: anyone who may push
// could otherwise block an image by attaching a bad one.
package signed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/sync/singleflight"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/referrers"
)

// PublicKeys fetches the public half of a key that is named by URI
// (gcpkms://projects/…/cryptoKeyVersions/N) as PEM. An error says nothing about
// the key, only that it could not be fetched.
type PublicKeys interface {
	PublicKey(ctx context.Context, uri string) ([]byte, error)
}

// The bounds of one look-up.
const (
	maxCandidates  = referrers.Max    // signatures, and referrers, that are verified per image
	maxSignature   = 1 << 20          // bytes of a signature's payload or bundle
	maxAttestation = 8 << 20          // bytes of an attestation
	lookupTimeout  = 30 * time.Second // whatever time the caller has
)

// Config is what a Checker needs. The zero value verifies signatures by key
// files in any registry that needs no credentials.
type Config struct {
	// Transport carries every request; it is where the caller refuses
	// registries and addresses. nil: [remote.DefaultTransport].
	Transport http.RoundTripper
	// Remote holds further options (credentials, user agent, retries). The
	// Checker has a puller of its own, so that hostile signatures can exhaust the
	// connections for signatures only: do not pass [remote.Reuse].
	Remote []remote.Option
	// Name holds options for parsing references, such as [name.Insecure].
	// It is asked per registry, since plain HTTP is right for loopback only.
	Name func(registry string) []name.Option
	// TrustedRoot is the trusted_root.json used by rules that name none.
	TrustedRoot string
	// Keys fetches keys that are not files; nil refuses such rules.
	Keys PublicKeys
	// CacheLifetime is how long a found signature and a fetched key are
	// believed without looking again; 0: one hour, negative: not at all.
	CacheLifetime time.Duration
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// Logger gets the panics of a verification; nil discards them.
	Logger *slog.Logger
}

// A Checker verifies signatures. It is safe for concurrent use.
type Checker struct {
	c        Config
	timeout  time.Duration // lookupTimeout, but in tests
	registry *referrers.Client
	cache    *cache
	roots    *rootCache
	lookups  singleflight.Group
}

// New checks the configuration and prepares the connection to registries; it
// sends nothing.
func New(c Config) (*Checker, error) { return newChecker(c, lookupTimeout) }

func newChecker(c Config, timeout time.Duration) (*Checker, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.CacheLifetime == 0 {
		c.CacheLifetime = time.Hour
	}

	registry, err := referrers.New(referrers.Config{Transport: c.Transport, Remote: c.Remote, Name: c.Name})
	if err != nil {
		return nil, err
	}
	return &Checker{
		c: c, timeout: timeout, registry: registry,
		cache: newCache(c.CacheLifetime, c.Now), roots: newRootCache(),
	}, nil
}

// Check returns the signer of a signature of img that satisfies rule. The error is
// an [attestor.Error]: BASE_UNSIGNED if every signature was read and none
// satisfies the rule, with the reasons; BASE_SIGNATURE_UNKNOWN if that could not be
// established. Only the digest that was signed counts: for an image that is
// signed through its index, ask about the index.
func (c *Checker) Check(ctx context.Context, img attestor.Image, rule attestor.SignedBy) (signer string, err error) {
	m, err := c.material(ctx, rule)
	if err != nil {
		return "", notChecked(err, img, rule)
	}

	// The hash covers the contents of key and trusted root, so that replacing a file
	// makes everything that it verified forgotten. A signature is about a digest, in
	// whichever repository it was found.
	key := string(img.Digest()) + "\x00" + rule.Text() + "\x00" + m.hash
	if signer, ok := c.cache.get(key); ok {
		return signer, nil
	}

	// Nothing is looked up for a caller who has left. The answer that others wait for
	// would otherwise race with the end of the context below.
	if ctx.Err() != nil {
		return "", notChecked(ctx.Err(), img, rule)
	}

	// Simultaneous questions share one look-up. It is detached from the caller who
	// came first, whose leaving must not fail the others, and has its own deadline.
	done := c.lookups.DoChan(img.Repository()+"\x00"+key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.timeout)
		defer cancel()

		// On a goroutine of its own, a panic anywhere would end the process.
		var signer string
		err := guard(func() (err error) {
			signer, err = c.search(ctx, img, rule, m)
			return err
		})
		if err != nil {
			return "", notChecked(err, img, rule)
		}

		// Only a success is remembered; see [cache].
		c.cache.put(key, signer)
		return signer, nil
	})

	select {
	case r := <-done:
		return r.Val.(string), r.Err
	case <-ctx.Done():
		return "", notChecked(ctx.Err(), img, rule)
	}
}

// Validate returns an error if a rule, its key or its trusted root cannot be used.
// It asks no registry, and so is for loading policies.
func (c *Checker) Validate(ctx context.Context, rule attestor.SignedBy) error {
	_, err := c.material(ctx, rule)
	return err
}

// search reads the signatures that the registry has of img, until one satisfies the
// rule: classic ones first, since all publishers of base images still use them.
func (c *Checker) search(ctx context.Context, img attestor.Image, rule attestor.SignedBy, m *material) (string, error) {
	found := &findings{}
	if signer, ok := c.classicSignature(ctx, img, m, found); ok {
		return signer, nil
	}
	if signer, ok := c.referredSignature(ctx, img, m, found); ok {
		return signer, nil
	}

	// The signature that satisfies the rule may be the one that could not be read:
	// this is an error and no denial.
	if found.unread != nil {
		return "", notChecked(found.unread, img, rule)
	}
	return "", &attestor.Error{
		Kind: attestor.Upstream, Code: attestor.CodeBaseUnsigned,
		Msg: fmt.Sprintf("no signature of %s satisfies %s: %s", img, rule.Text(), found),
		Fix: fixUnsigned(img, rule),
	}
}

func fixUnsigned(img attestor.Image, rule attestor.SignedBy) string {
	if rule.Key != "" {
		return fmt.Sprintf("sign it (cosign sign --key KEY %s), or correct signedBy.key in the policy", img)
	}
	return "use a base that this identity has signed, or correct signedBy.keyless in the policy"
}

// notChecked returns BASE_SIGNATURE_UNKNOWN, unless err is an [attestor.Error]
// already.
func notChecked(err error, img attestor.Image, rule attestor.SignedBy) error {
	if e, ok := errors.AsType[*attestor.Error](err); ok {
		return e
	}

	msg := fmt.Sprintf("the signature of %s could not be checked", img)
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		msg += " in the time allowed"
	}
	return &attestor.Error{
		Kind: attestor.Upstream, Code: attestor.CodeBaseSignatureUnknown, Msg: msg,
		Fix: "try again; if it persists, let the gate read the base's repository, or see the gate's log for the cause",
		Err: fmt.Errorf("checking against %s: %w", rule.Text(), err),
	}
}
