// Package signed finds out who signed an image with cosign, and decides
// whether that satisfies a policy's signedBy rule. It reads signatures
// (classic .sig tags and Sigstore bundles, by the referrers API or its fallback
// tag) and attestations (.att tags and bundles) from the image's registry,
// and verifies them against keys and trusted roots that are files: it never
// talks to Rekor, Fulcio or TUF, and no environment variable changes it.
//
// Everything it reads was written by whoever may push to that repository, and
// is treated so: counts and sizes are capped before anything is decoded, and
// cosign's verification runs one signature at a time, on the caller's
// goroutine, under recover. What the rule is about, which images need one and
// what a missing signature means it leaves to others.
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
)

// PublicKeys fetches the public half of a key that is named by URI
// (gcpkms://projects/…/cryptoKeyVersions/N) as PEM. Errors mean that it could
// not be found out.
type PublicKeys interface {
	PublicKey(ctx context.Context, uri string) ([]byte, error)
}

// Limits bound what one look-up reads. Zero fields take the defaults.
type Limits struct {
	Candidates  int           // signatures, and referrers, looked at per image; 64
	Manifest    int64         // bytes of a manifest or referrers list; 4 MiB
	Signature   int64         // bytes of a signature's payload or bundle; 1 MiB
	Attestation int64         // bytes of an attestation; 8 MiB
	Timeout     time.Duration // for one look-up, whatever the caller's is; 30 s
}

// Config is what a Checker needs. The zero value verifies signatures by key
// files in any registry that needs no credentials.
type Config struct {
	// Transport carries every request; it is where the caller refuses
	// registries and addresses. nil: [remote.DefaultTransport].
	Transport http.RoundTripper
	// Remote holds further options (credentials, user agent, retries). The
	// Checker has a puller of its own, so that what hostile signatures do to
	// connections stays with signatures: do not pass [remote.Reuse].
	Remote []remote.Option
	// Name holds options for parsing references, such as [name.Insecure].
	// It is asked per registry, since plain HTTP is right for loopback only.
	Name func(registry string) []name.Option
	// TrustedRoot is the trusted_root.json used by rules that name none.
	TrustedRoot string
	// Keys fetches keys that are not files; nil refuses such rules.
	Keys PublicKeys
	// Limits bound what is read.
	Limits Limits
	// CacheLifetime is how long a found signature and a fetched key are
	// believed without looking again; 0: one hour, negative: not at all.
	CacheLifetime time.Duration
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// Logger hears of panics in verification; nil discards.
	Logger *slog.Logger
}

// A Checker verifies signatures. It is safe for concurrent use.
type Checker struct {
	c      Config
	puller *remote.Puller
	cache  *cache
	roots  *rootCache
	flight singleflight.Group
}

// New checks the configuration and prepares the connection to registries; it
// sends nothing.
func New(c Config) (*Checker, error) {
	if c.Transport == nil {
		c.Transport = remote.DefaultTransport
	}
	if c.Name == nil {
		c.Name = func(string) []name.Option { return nil }
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.CacheLifetime == 0 {
		c.CacheLifetime = time.Hour
	}
	c.Limits = c.Limits.withDefaults()
	options := append([]remote.Option{remote.WithJobs(8)}, c.Remote...)
	options = append(options, remote.WithTransport(&paged{
		next: &capped{next: c.Transport, manifest: c.Limits.Manifest}, bytes: c.Limits.Manifest, most: c.Limits.Candidates,
	}))
	puller, err := remote.NewPuller(options...)
	if err != nil {
		return nil, fmt.Errorf("preparing registry access: %w", err)
	}
	return &Checker{c: c, puller: puller, cache: newCache(c.CacheLifetime, c.Now), roots: newRootCache()}, nil
}

func (l Limits) withDefaults() Limits {
	if l.Candidates <= 0 {
		l.Candidates = 64
	}
	if l.Manifest <= 0 {
		l.Manifest = 4 << 20
	}
	if l.Signature <= 0 {
		l.Signature = 1 << 20
	}
	if l.Attestation <= 0 {
		l.Attestation = 8 << 20
	}
	if l.Timeout <= 0 {
		l.Timeout = 30 * time.Second
	}
	return l
}

// Check returns who signed img in a way that satisfies rule. The error is an
// [attestor.Error]: BASE_UNSIGNED if every signature was looked at and none
// satisfies, with what was found; BASE_SIGNATURE_UNKNOWN if that could not be
// found out. Only the digest that was signed counts: for an image that is
// signed through its index, ask about the index.
func (c *Checker) Check(ctx context.Context, img attestor.Image, rule attestor.SignedBy) (signer string, err error) {
	m, err := c.material(ctx, rule)
	if err != nil {
		return "", unknown(err, img, rule)
	}
	key := string(img.Digest()) + "\x00" + rule.Text() + "\x00" + m.hash
	if signer, ok := c.cache.get(key); ok {
		return signer, nil
	}
	// The shared look-up is detached from whoever happened to ask first, and
	// has a deadline of its own.
	done := c.flight.DoChan(img.Repository()+"\x00"+key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.c.Limits.Timeout)
		defer cancel()
		var signer string
		// On a goroutine of its own, a panic anywhere would end the process.
		err := guard(func() (err error) {
			signer, err = c.look(ctx, img, rule, m)
			return err
		})
		if err != nil {
			return "", unknown(err, img, rule)
		}
		c.cache.put(key, signer)
		return signer, nil
	})
	select {
	case r := <-done:
		return r.Val.(string), r.Err
	case <-ctx.Done():
		return "", unknown(ctx.Err(), img, rule)
	}
}

// Validate reports what is wrong with a rule, its key and its trusted root,
// without asking any registry: for use when policies are loaded.
func (c *Checker) Validate(ctx context.Context, rule attestor.SignedBy) error {
	_, err := c.material(ctx, rule)
	return err
}

// look asks the registry: classic signatures first, since all publishers of
// base images still use them.
func (c *Checker) look(ctx context.Context, img attestor.Image, rule attestor.SignedBy, m *material) (string, error) {
	found := &findings{}
	for _, find := range []func(context.Context, attestor.Image, *material, *findings) (string, bool){c.classicSignature, c.bundleSignature} {
		if signer, ok := find(ctx, img, m, found); ok {
			return signer, nil
		}
	}
	if found.unknown != nil {
		return "", unknown(found.unknown, img, rule)
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

// unknown is the error for what could not be found out.
func unknown(err error, img attestor.Image, rule attestor.SignedBy) error {
	if e, ok := errors.AsType[*attestor.Error](err); ok {
		return e
	}
	msg := fmt.Sprintf("the signature of %s could not be checked", img)
	fix := "try again; if it persists, see that the gate may read the base's repository, and its log for the cause"
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		msg += " in the time allowed"
	}
	return &attestor.Error{Kind: attestor.Upstream, Code: attestor.CodeBaseSignatureUnknown, Msg: msg, Fix: fix,
		Err: fmt.Errorf("checking against %s: %w", rule.Text(), err)}
}
