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

// material is a rule with the contents of its files: all that is needed to verify.
type material struct {
	verifier *keyVerifier    // of the rule's key; nil: keyless
	keyID    string          // "sha256:" and the hash of the key's PKIX form, for people
	identity cosign.Identity // both halves set; exact or anchored
	trusted  root.TrustedMaterial
	log      bool   // a transparency log entry is required
	sct      bool   // a certificate transparency timestamp is required
	stamps   bool   // the trusted root has timestamp authorities
	hash     string // of the contents of key and trusted root; part of the cache's key
}

// maxFile bounds keys and trusted roots; the public-good root has 7 KB.
const maxFile = 1 << 20

// material reads the files of a rule. It refuses a rule that does not say exactly who
// must have signed, whatever the policy's own checks let through: without an identity,
// cosign accepts every certificate of Fulcio.
func (c *Checker) material(ctx context.Context, rule attestor.SignedBy) (*material, error) {
	if err := checkRule(rule); err != nil {
		return nil, err
	}

	// Keyless certificates live ten minutes: the log proves that they signed in that time.
	// A policy that wants no log must say so.
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
		fmt.Fprintf(sum, "%d:%s", len(b), b) // with lengths, no two contents hash alike
		if m.verifier, m.keyID, err = loadKey(b); err != nil {
			return nil, misconfigured(
				fmt.Sprintf("signedBy.key %q is not a public key that can be used", rule.Key),
				"name a PEM file with one public key (ECDSA, RSA or Ed25519), or a gcpkms:// key version",
				err,
			)
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
	bad := func(fault string) error {
		return misconfigured("signedBy "+fault, "name either a key, or an issuer with a subject or subjectRegexp", nil)
	}
	switch {
	case rule.Key != "" && keyless:
		return bad("has both a key and an identity")
	case rule.Key == "" && !keyless:
		return bad("names neither a key nor an identity")
	case rule.Key != "":
		return nil
	case rule.Issuer == "":
		return bad("has a subject without an issuer")
	case rule.Subject == "" && rule.SubjectRegexp == "":
		return bad("has an issuer without a subject")
	case rule.Subject != "" && rule.SubjectRegexp != "":
		return bad("has both subject and subjectRegexp")
	case rule.SubjectRegexp == "":
		return nil // an exact subject of an issuer
	}

	// Compiled as it is written: wrapped by anchored, "a)|(b" would become valid and match
	// a part of the subject.
	if _, err := regexp.Compile(rule.SubjectRegexp); err != nil {
		return misconfigured(
			fmt.Sprintf("signedBy.keyless.subjectRegexp %q is not a regular expression", rule.SubjectRegexp),
			"correct it (RE2 syntax)",
			err,
		)
	}
	return nil
}

// anchored makes a pattern match the whole subject or nothing. cosign accepts a match
// anywhere in it: release@acme.example in release@acme.example.evil.example.
func anchored(pattern string) string { return `\A(?:` + pattern + `)\z` }

// misconfigured is the error for a rule that cannot be checked.
func misconfigured(msg, fix string, err error) error {
	return &attestor.Error{
		Kind: attestor.Upstream, Code: attestor.CodeBaseSignatureUnknown, Msg: msg, Fix: fix, Err: err,
	}
}

// key reads the key from its file, or fetches it if it is a key version of KMS.
func (c *Checker) key(ctx context.Context, ref string) ([]byte, error) {
	if !strings.Contains(ref, "://") {
		b, err := readFile(ref)
		if err != nil {
			return nil, misconfigured(
				fmt.Sprintf("signedBy.key %q cannot be read", ref),
				"put the PEM file at this path, or correct the path",
				err,
			)
		}
		return b, nil
	}

	// Other schemes would have cosign read environment variables or call other services.
	if c.c.Keys == nil || !strings.HasPrefix(ref, "gcpkms://") {
		return nil, misconfigured(
			fmt.Sprintf("signedBy.key %q cannot be fetched by this gate", ref),
			"name a PEM file, or a gcpkms:// key version",
			nil,
		)
	}

	// A key version's public half never changes.
	if pem, ok := c.cache.get("key\x00" + ref); ok {
		return []byte(pem), nil
	}

	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()

	pem, err := c.c.Keys.PublicKey(ctx, ref)
	if err != nil {
		return nil, misconfigured(
			fmt.Sprintf("the public key %q could not be fetched", ref),
			"enable the key version, and grant the gate roles/cloudkms.publicKeyViewer on it",
			err,
		)
	}
	c.cache.put("key\x00"+ref, string(pem))
	return pem, nil
}

// readFile reads a whole file of at most maxFile bytes.
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

// loadKey parses one PEM public key, and returns its id for people.
func loadKey(text []byte) (*keyVerifier, string, error) {
	// Of two keys only the first would count, which nobody who wrote two there expects.
	if _, rest := pem.Decode(text); len(bytes.TrimSpace(rest)) > 0 {
		return nil, "", errors.New("want one PEM block and nothing else")
	}
	pub, err := cryptoutils.UnmarshalPEMToPublicKey(bytes.TrimSpace(text))
	if err != nil {
		return nil, "", err
	}

	// NIST SP 800-131A: RSA keys of fewer than 2048 bits are disallowed.
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

// keyVerifier verifies by one key with each digest algorithm and padding that cosign
// signs with: for a key file SHA-256, and PKCS #1 v1.5 for RSA; for KMS those that the
// key version prescribes, which may be RSA-PSS.
//
// cosign's signature specification: "No information about the signature scheme is
// included in the object." Trying several is safe, since only the key's owner can make a
// signature that any of them verifies.
type keyVerifier struct {
	signature.Verifier // SHA-256
	others             []signature.Verifier
}

func newKeyVerifier(pub crypto.PublicKey) (*keyVerifier, error) {
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
	return v.verifies(s, func() io.Reader { return bytes.NewReader(m) }, opts...)
}

// verifies is VerifySignature for a message that can be read several times, which spares a
// copy of a large one.
func (v *keyVerifier) verifies(sig []byte, message func() io.Reader, opts ...signature.VerifyOption) error {
	// The error is that of the usual scheme.
	first := v.Verifier.VerifySignature(bytes.NewReader(sig), message(), opts...)
	if first == nil {
		return nil
	}
	for _, other := range v.others {
		if other.VerifySignature(bytes.NewReader(sig), message(), opts...) == nil {
			return nil
		}
	}
	return first
}

// trust loads the trusted root that a rule needs. The requirements follow from the rule
// and from the root's contents: a root that lists certificate transparency logs makes
// their timestamps mandatory.
func (c *Checker) trust(rule attestor.SignedBy, m *material, sum io.Writer) error {
	path := rule.TrustedRoot
	if path == "" {
		path = c.c.TrustedRoot
	}

	// A key alone needs neither log nor certificates: the empty root verifies none.
	if path == "" && m.verifier != nil && !m.log {
		m.trusted = &root.BaseTrustedMaterial{}
		return nil
	}

	const fix = "name a trusted_root.json (cosign trusted-root create, or the public-good one) " +
		"in signedBy.trustedRoot or in the configuration"
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

	// A root without the authority or the log could verify nothing: an error now names
	// the file, where later every signature would be rejected.
	switch {
	case m.verifier == nil && len(m.trusted.FulcioCertificateAuthorities()) == 0:
		return misconfigured(
			fmt.Sprintf("signedBy.trustedRoot %q has no certificate authority, which a keyless identity needs", path),
			fix,
			nil,
		)
	case m.log && len(m.trusted.RekorLogs()) == 0:
		return misconfigured(
			fmt.Sprintf("signedBy.trustedRoot %q has no transparency log, which the rule requires", path),
			fix+", or set signedBy.transparency: false",
			nil,
		)
	}

	// RFC 6962, 3: a certificate's SCT is the log's promise to include it.
	m.sct = m.verifier == nil && len(m.trusted.CTLogs()) > 0
	m.stamps = len(m.trusted.TimestampingAuthorities()) > 0
	return nil
}

// maxRoots bounds the memory of trusted roots; a gate has one or two.
const maxRoots = 16

// rootCache remembers parsed trusted roots by the hash of their content, so that a file
// that changed is never taken for its former self. Two callers may parse the same new
// root at once, and both get the same.
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

// errPanic marks a panic of a library on hostile input.
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
