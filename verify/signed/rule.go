package signed

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"github.com/sigstore/cosign/v2/pkg/cosign"
	"github.com/sigstore/sigstore-go/pkg/root"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/lru"
)

// material is what a rule comes to once its files have been read.
type material struct {
	verifier signature.Verifier // of the rule's key; nil: keyless
	keyID    string             // of the key, for people
	identity cosign.Identity    // both halves set; exact or anchored
	trusted  root.TrustedMaterial
	log      bool   // a transparency log entry is required
	sct      bool   // a certificate transparency timestamp is required
	stamps   bool   // the trusted root has timestamp authorities
	hash     string // of the contents of key and trusted root
}

// maxFile bounds keys and trusted roots; the public-good root has 7 KB.
const maxFile = 1 << 20

// material reads what the rule names. A rule that does not say exactly who
// must have signed is an error, whatever the policy's own checks let through:
// without an identity, cosign accepts anyone's Fulcio certificate.
func (c *Checker) material(ctx context.Context, rule attestor.SignedBy) (*material, error) {
	if err := checkRule(rule); err != nil {
		return nil, err
	}
	m := &material{log: rule.Key == ""}
	if rule.Transparency != nil {
		m.log = *rule.Transparency
	}
	sum := sha256.New()
	if rule.Key != "" {
		b, err := c.key(ctx, rule.Key)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(sum, "%d:%s", len(b), b)
		if m.verifier, m.keyID, err = loadKey(b); err != nil {
			return nil, misconfigured(fmt.Sprintf("signedBy.key %q is not a public key that can be used", rule.Key), "name a PEM file with one public key (ECDSA, RSA or Ed25519), or a gcpkms:// key version", err)
		}
	} else {
		m.identity = cosign.Identity{Issuer: rule.Issuer, Subject: rule.Subject}
		if rule.SubjectRegexp != "" {
			m.identity.SubjectRegExp = anchored(rule.SubjectRegexp)
		}
	}
	if err := c.trust(rule, m, sum); err != nil {
		return nil, err
	}
	m.hash = hex.EncodeToString(sum.Sum(nil))
	return m, nil
}

// checkRule refuses rules that leave open who must have signed.
func checkRule(rule attestor.SignedBy) error {
	keyless := rule.Issuer != "" || rule.Subject != "" || rule.SubjectRegexp != ""
	bad := func(what string) error {
		return misconfigured("signedBy "+what, "name either a key, or an issuer with a subject or subjectRegexp", nil)
	}
	switch {
	case rule.Key != "" && keyless:
		return bad("has both a key and an identity")
	case rule.Key == "" && !keyless:
		return bad("names nobody")
	case rule.Key != "":
		return nil
	case rule.Issuer == "":
		return bad("has a subject without issuer")
	case rule.Subject == "" && rule.SubjectRegexp == "":
		return bad("has an issuer without subject")
	case rule.Subject != "" && rule.SubjectRegexp != "":
		return bad("has both subject and subjectRegexp")
	case rule.SubjectRegexp == "":
		return nil
	}
	// Compiled by itself first: "a)|(b" must not become valid by being wrapped.
	if _, err := regexp.Compile(rule.SubjectRegexp); err != nil {
		return misconfigured(fmt.Sprintf("signedBy.keyless.subjectRegexp %q is not a regular expression", rule.SubjectRegexp), "correct it (RE2 syntax)", err)
	}
	return nil
}

// anchored makes a pattern match the whole subject or nothing: cosign itself
// is content with a match anywhere in it.
func anchored(pattern string) string { return `\A(?:` + pattern + `)\z` }

// misconfigured is the error for rules that cannot be checked as they stand.
func misconfigured(msg, fix string, err error) error {
	return &attestor.Error{Kind: attestor.Upstream, Code: attestor.CodeBaseSignatureUnknown, Msg: msg, Fix: fix, Err: err}
}

// key reads a key file, or asks for one that is no file.
func (c *Checker) key(ctx context.Context, ref string) ([]byte, error) {
	if !strings.Contains(ref, "://") {
		b, err := readFile(ref)
		if err != nil {
			return nil, misconfigured(fmt.Sprintf("signedBy.key %q cannot be read", ref), "put the PEM file there, or correct the path", err)
		}
		return b, nil
	}
	if c.c.Keys == nil || !strings.HasPrefix(ref, "gcpkms://") {
		return nil, misconfigured(fmt.Sprintf("signedBy.key %q cannot be fetched by this gate", ref), "name a PEM file, or a gcpkms:// key version", nil)
	}
	if pem, ok := c.cache.get("key\x00" + ref); ok {
		return []byte(pem), nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.c.Limits.Timeout)
	defer cancel()
	pem, err := c.c.Keys.PublicKey(ctx, ref)
	if err != nil {
		return nil, misconfigured(fmt.Sprintf("the public key %q could not be fetched", ref), "see that the key version exists and is enabled, and that the gate has roles/cloudkms.publicKeyViewer on it", err)
	}
	c.cache.put("key\x00"+ref, string(pem))
	return pem, nil
}

// readFile reads a whole file of sane size.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("%s has more than %d bytes", path, maxFile)
	}
	return b, nil
}

// loadKey accepts exactly one PEM public key: of two, only the first would
// count, which is not what somebody who wrote two there expects.
func loadKey(text []byte) (signature.Verifier, string, error) {
	if _, rest := pem.Decode(text); len(bytes.TrimSpace(rest)) > 0 {
		return nil, "", errors.New("want one PEM block and nothing else")
	}
	pub, err := cryptoutils.UnmarshalPEMToPublicKey(bytes.TrimSpace(text))
	if err != nil {
		return nil, "", err
	}
	if k, ok := pub.(*rsa.PublicKey); ok && k.N.BitLen() < 2048 {
		return nil, "", fmt.Errorf("an RSA key of %d bits is too short", k.N.BitLen())
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, "", err
	}
	sum := sha256.Sum256(der)
	v, err := newKeyVerifier(pub)
	return v, "sha256:" + hex.EncodeToString(sum[:]), err
}

// keyVerifier accepts the digest algorithms and paddings that cosign signs with
// for one key: SHA-256, and PKCS #1 v1.5 for RSA, for key files; what the key
// version prescribes, which may be RSA-PSS, for KMS.
type keyVerifier struct {
	signature.Verifier // SHA-256
	others             []signature.Verifier
}

func newKeyVerifier(pub crypto.PublicKey) (signature.Verifier, error) {
	first, err := signature.LoadVerifier(pub, crypto.SHA256)
	if err != nil {
		return nil, err
	}
	v := &keyVerifier{Verifier: first}
	for _, h := range []crypto.Hash{crypto.SHA384, crypto.SHA512} {
		if other, err := signature.LoadVerifier(pub, h); err == nil {
			v.others = append(v.others, other)
		}
	}
	if key, ok := pub.(*rsa.PublicKey); ok {
		for _, h := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
			other, err := signature.LoadRSAPSSVerifier(key, h, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
			if err != nil {
				return nil, err
			}
			v.others = append(v.others, other)
		}
	}
	return v, nil
}

// VerifySignature implements [signature.Verifier].
func (v *keyVerifier) VerifySignature(sig, message io.Reader, opts ...signature.VerifyOption) error {
	s, err := io.ReadAll(sig)
	if err != nil {
		return err
	}
	m, err := io.ReadAll(message)
	if err != nil {
		return err
	}
	first := v.Verifier.VerifySignature(bytes.NewReader(s), bytes.NewReader(m), opts...)
	if first == nil {
		return nil
	}
	for _, other := range v.others {
		if other.VerifySignature(bytes.NewReader(s), bytes.NewReader(m), opts...) == nil {
			return nil
		}
	}
	return first
}

// trust loads the trusted root that a rule needs. What is required of a
// signature follows from the rule and from what the root holds: a root that
// lists certificate transparency logs makes their timestamps mandatory.
func (c *Checker) trust(rule attestor.SignedBy, m *material, sum io.Writer) error {
	path := rule.TrustedRoot
	if path == "" {
		path = c.c.TrustedRoot
	}
	if path == "" && m.verifier != nil && !m.log {
		m.trusted = &root.BaseTrustedMaterial{} // a key alone: no log, no certificates
		return nil
	}
	fix := "name a trusted_root.json (cosign trusted-root create, or the public-good one) in signedBy.trustedRoot or in the configuration"
	if path == "" {
		return misconfigured("signedBy needs a trusted root, and none is configured", fix, nil)
	}
	b, err := readFile(path)
	if err != nil {
		return misconfigured(fmt.Sprintf("signedBy.trustedRoot %q cannot be read", path), fix, err)
	}
	fmt.Fprintf(sum, "%d:%s", len(b), b)
	if m.trusted, err = c.roots.parse(b); err != nil {
		return misconfigured(fmt.Sprintf("signedBy.trustedRoot %q is malformed", path), fix, err)
	}
	switch {
	case m.verifier == nil && len(m.trusted.FulcioCertificateAuthorities()) == 0:
		return misconfigured(fmt.Sprintf("signedBy.trustedRoot %q has no certificate authority, which a keyless identity needs", path), fix, nil)
	case m.log && len(m.trusted.RekorLogs()) == 0:
		return misconfigured(fmt.Sprintf("signedBy.trustedRoot %q has no transparency log, which the rule requires", path), fix+", or set signedBy.transparency: false", nil)
	}
	m.sct = m.verifier == nil && len(m.trusted.CTLogs()) > 0
	m.stamps = len(m.trusted.TimestampingAuthorities()) > 0
	return nil
}

// maxRoots bounds the memory of trusted roots; a gate has one or two.
const maxRoots = 16

// rootCache remembers parsed trusted roots by their content. Two callers that
// parse the same new root at once do the work twice, which harms nothing.
type rootCache struct {
	roots *lru.Cache[[sha256.Size]byte, *root.TrustedRoot]
}

func newRootCache() *rootCache {
	return &rootCache{roots: lru.New[[sha256.Size]byte, *root.TrustedRoot](maxRoots)}
}

func (c *rootCache) parse(b []byte) (*root.TrustedRoot, error) {
	key := sha256.Sum256(b)
	if r, ok := c.roots.Get(key); ok {
		return r, nil
	}

	var r *root.TrustedRoot
	err := guard(func() (err error) {
		r, err = root.NewTrustedRootFromJSON(b)
		return err
	})
	if err != nil {
		return nil, err
	}

	c.roots.Put(key, r, 1)
	return r, nil
}

// errPanic marks a panic in a library that was given hostile input.
var errPanic = errors.New("verification panicked")

// guard runs f on this goroutine and turns a panic into an error.
func guard(f func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errPanic, r)
		}
	}()
	return f()
}
