package signed_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/sigstore/sigstore-go/pkg/root"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/verify/signed"
)

// A rule whose key cannot be used is refused when the policy is loaded, and the
// message says why. That a trusted root is there does not make it a rule of nobody.
func TestKeysThatCannotBeUsed(t *testing.T) {
	const largest = 1 << 20
	trusted := newSigstore(t).root(false)
	pem := publicPEM(t, newKey(t).priv.Public())
	agreement, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	padded := func(size int) string {
		return file(t, append(bytes.Clone(pem), bytes.Repeat([]byte("\n"), size-len(pem))...))
	}

	for name, tt := range map[string]struct{ key, want string }{
		"one":                     {file(t, pem), ""},
		"one in the largest file": {padded(largest), ""},
		"in a larger file":        {padded(largest + 1), "cannot be read"},
		"no file":                 {file(t, pem) + "x", "cannot be read"},
		"a directory":             {t.TempDir(), "cannot be read"},
		"nothing":                 {file(t, nil), "is not a public key that can be used"},
		"text":                    {file(t, []byte("key")), "is not a public key that can be used"},
		"one byte behind it":      {file(t, append(bytes.Clone(pem), 'x')), "is not a public key that can be used"},
		"two":                     {file(t, append(bytes.Clone(pem), pem...)), "is not a public key that can be used"},
		"of another type":         {file(t, bytes.ReplaceAll(pem, []byte("PUBLIC KEY"), []byte("PRIVATE KEY"))), "is not a public key that can be used"},
		"that signs nothing":      {file(t, publicPEM(t, agreement.PublicKey())), "is not a public key that can be used"},
		"of another service":      {"awskms://x", "cannot be fetched by this gate"},
	} {
		k := &keys{pem: pem}
		err := checker(t, signed.Config{Keys: k}).Validate(t.Context(), attestor.SignedBy{Key: tt.key, TrustedRoot: trusted})
		misconfigured(t, name, err, tt.want)
		if k.n != 0 {
			t.Errorf("%s: Cloud KMS was asked", name)
		}
	}
}

// misconfigured asserts that a rule is refused for that reason; "": it is not.
func misconfigured(t *testing.T, name string, err error, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		return
	}

	e, ok := errors.AsType[*attestor.Error](err)
	if !ok || e.Code != attestor.CodeBaseSignatureUnknown || e.Fix == "" || !strings.Contains(e.Msg, want) {
		t.Errorf("%s: %v, want %q", name, err, want)
	}
}

// A rule says either which key or which identity must have signed, and all of it.
func TestRulesThatLeaveOpenWhoSigned(t *testing.T) {
	trusted := newSigstore(t).root(false)
	key := newKey(t).path

	for name, tt := range map[string]struct {
		rule attestor.SignedBy
		want string
	}{
		"a key":                      {attestor.SignedBy{Key: key}, ""},
		"an identity":                {attestor.SignedBy{Issuer: issuer, Subject: subject}, ""},
		"an identity by pattern":     {attestor.SignedBy{Issuer: issuer, SubjectRegexp: ".*"}, ""},
		"nobody":                     {attestor.SignedBy{}, "neither a key nor an identity"},
		"a key and an issuer":        {attestor.SignedBy{Key: key, Issuer: issuer}, "both a key and an identity"},
		"a key and a subject":        {attestor.SignedBy{Key: key, Subject: subject}, "both a key and an identity"},
		"a key and a pattern":        {attestor.SignedBy{Key: key, SubjectRegexp: ".*"}, "both a key and an identity"},
		"a subject":                  {attestor.SignedBy{Subject: subject}, "a subject without an issuer"},
		"a pattern":                  {attestor.SignedBy{SubjectRegexp: ".*"}, "a subject without an issuer"},
		"an issuer":                  {attestor.SignedBy{Issuer: issuer}, "an issuer without a subject"},
		"a subject and a pattern":    {attestor.SignedBy{Issuer: issuer, Subject: subject, SubjectRegexp: ".*"}, "both subject and subjectRegexp"},
		"an invalid pattern":         {attestor.SignedBy{Issuer: issuer, SubjectRegexp: "("}, "is not a regular expression"},
		"a pattern only if anchored": {attestor.SignedBy{Issuer: issuer, SubjectRegexp: "a)|(b"}, "is not a regular expression"},
	} {
		tt.rule.TrustedRoot = trusted
		misconfigured(t, name, checker(t, signed.Config{}).Validate(t.Context(), tt.rule), tt.want)
	}
}

// A trusted root without what the rule needs could verify nothing, and is
// refused with its name.
func TestTrustedRootsThatLackAPart(t *testing.T) {
	sig := newSigstore(t)
	whole, err := root.NewTrustedRootFromPath(sig.root(false))
	if err != nil {
		t.Fatal(err)
	}

	written := func(authorities []root.CertificateAuthority, logs map[string]*root.TransparencyLog) string {
		tr, err := root.NewTrustedRoot(root.TrustedRootMediaType01, authorities, nil, nil, logs)
		if err != nil {
			t.Fatal(err)
		}

		b, err := tr.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}

		return file(t, b)
	}

	authorities, logs := whole.FulcioCertificateAuthorities(), whole.RekorLogs()
	yes, no := true, false
	key := newKey(t).path

	for name, tt := range map[string]struct {
		rule attestor.SignedBy
		root string
		want string
	}{
		"an identity, all":              {sig.rule(), written(authorities, logs), ""},
		"an identity, no authority":     {sig.rule(), written(nil, logs), "has no certificate authority"},
		"an identity, no log":           {sig.rule(), written(authorities, nil), "has no transparency log"},
		"an identity, no log is needed": {attestor.SignedBy{Issuer: issuer, Subject: subject, Transparency: &no}, written(authorities, nil), ""},
		"a key, nothing is needed":      {attestor.SignedBy{Key: key}, written(nil, nil), ""},
		"a key, no root":                {attestor.SignedBy{Key: key}, "", ""},
		"a logged key, no log":          {attestor.SignedBy{Key: key, Transparency: &yes}, written(authorities, nil), "has no transparency log"},
		"a logged key, no authority":    {attestor.SignedBy{Key: key, Transparency: &yes}, written(nil, logs), ""},
		"a logged key, no root":         {attestor.SignedBy{Key: key, Transparency: &yes}, "", "needs a trusted root"},
		"an unlogged identity, no root": {attestor.SignedBy{Issuer: issuer, Subject: subject, Transparency: &no}, "", "needs a trusted root"},
		"a key, no file":                {attestor.SignedBy{Key: key}, "/nonexistent", "cannot be read"},
		"no file":                       {sig.rule(), "/nonexistent", "cannot be read"},
		"no root":                       {sig.rule(), file(t, []byte("{}")), "is malformed"},
	} {
		tt.rule.TrustedRoot = tt.root
		misconfigured(t, name, checker(t, signed.Config{}).Validate(t.Context(), tt.rule), tt.want)
	}
}

// What was verified by a trusted root is forgotten where the file is replaced.
func TestATrustedRootThatWasReplaced(t *testing.T) {
	h, sig := plain(t), newSigstore(t)
	h.attach(h.image, "sig", sig.entry(simple(h.image)))
	rule, ch := sig.rule(), checker(t, signed.Config{})
	if _, err := ch.Check(t.Context(), h.image, rule); err != nil {
		t.Fatal(err)
	}

	h.Must(os.WriteFile(rule.TrustedRoot, newSigstore(t).Root(false), 0o600))
	got, err := ch.Check(t.Context(), h.image, rule)
	refused(t, got, err, "is not in the trusted root")
}

// A negative lifetime has every question looked up.
func TestNothingIsRememberedForANegativeTime(t *testing.T) {
	h, key := plain(t), newKey(t)
	h.attach(h.image, "sig", key.entry(simple(h.image)))
	ch := checker(t, signed.Config{CacheLifetime: -1})

	for range 2 {
		before := h.Requests()
		if _, err := ch.Check(t.Context(), h.image, key.rule()); err != nil || h.Requests() == before {
			t.Errorf("%v after %d requests", err, h.Requests()-before)
		}
	}
}

// The caller's options for a registry's name, and its logger, are used.
func TestTheCallersNameAndLogger(t *testing.T) {
	h, key := plain(t), newKey(t)
	e := key.entry(simple(h.image))
	h.attach(h.image, "sig", e)
	asked := map[string]bool{}
	var log bytes.Buffer
	ch := checker(t, signed.Config{
		Name:   func(registry string) []name.Option { asked[registry] = true; return nil },
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})

	if _, err := ch.Check(t.Context(), h.image, key.rule()); err != nil {
		t.Error(err)
	}
	if len(asked) != 1 || !asked[h.Repo.RegistryStr()] {
		t.Errorf("asked about %v", asked)
	}

	signed.WhilePanicking(t.Context(), ch, h.image, key.bundle(statement(h.image, signPredicate)), e.payload, e.annotations)
	if n := strings.Count(log.String(), "level=WARN"); n != 2 {
		t.Errorf("%d panics in the log: %s", n, log.String())
	}
}

// However many trusted roots were read, a bounded number of them is kept.
func TestTrustedRootsAreBounded(t *testing.T) {
	text := newSigstore(t).Root(false)
	var roots [][]byte

	for range 40 {
		text = append(bytes.Clone(text), ' ') // another file of the same root
		roots = append(roots, text)
	}

	if n := signed.RootsKept(t.Context(), checker(t, signed.Config{}), roots...); n != 16 {
		t.Errorf("%d are kept, want 16", n)
	}
}

// The registry library refuses options that contradict each other, and so does New.
func TestRegistryOptionsThatContradict(t *testing.T) {
	ch, err := signed.New(signed.Config{Remote: []remote.Option{
		remote.WithAuth(authn.Anonymous), remote.WithAuthFromKeychain(authn.DefaultKeychain),
	}})
	if err == nil || ch != nil {
		t.Errorf("%v, %v", ch, err)
	}
}

// What to do depends on the rule: who has the key can sign, and nobody can sign
// for another identity. A registry that fails has not run out of time.
func TestWhatToDoAboutASignature(t *testing.T) {
	h, sig := plain(t), newSigstore(t)
	fix := func(rule attestor.SignedBy) string {
		_, err := h.check(h.image, rule)
		e, ok := errors.AsType[*attestor.Error](err)
		if !ok || e.Code != attestor.CodeBaseUnsigned {
			t.Fatal(err)
		}

		return e.Fix
	}

	if got := fix(newKey(t).rule()); !strings.Contains(got, "cosign sign") || !strings.Contains(got, "signedBy.key ") {
		t.Errorf("for a key: %s", got)
	}
	if got := fix(sig.rule()); strings.Contains(got, "cosign sign") || !strings.Contains(got, "signedBy.keyless") {
		t.Errorf("for an identity: %s", got)
	}

	h.Intercept(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(http.StatusForbidden); return true })
	_, err := h.check(h.image, sig.rule())
	e, ok := errors.AsType[*attestor.Error](err)
	if !ok || e.Code != attestor.CodeBaseSignatureUnknown || strings.Contains(e.Msg, "in the time allowed") {
		t.Errorf("%v", err)
	}
}
