package signed_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/verify/signed"
)

// A look is either of the questions for statements.
type look func(context.Context, attestor.Image, attestor.SignedBy, []string) ([]signed.Statement, error)

func looks(t *testing.T) map[string]look {
	t.Helper()
	ch := checker(t, signed.Config{})
	return map[string]look{
		"any": func(ctx context.Context, img attestor.Image, rule attestor.SignedBy, types []string) ([]signed.Statement, error) {
			list, _, err := ch.Attestations(ctx, img, rule, types)
			return list, err
		},
		"every": ch.EveryAttestation,
	}
}

// A statement comes with the envelope that was signed, as it stands without a bundle:
// whoever has the key can verify it again.
func TestEnvelopesOfStatements(t *testing.T) {
	key := newKey(t)
	own, err := dsse.SHA256KeyID(key.priv.Public())
	if err != nil {
		t.Fatal(err)
	}

	for name, keyID := range map[string]string{"classic": "", "bundle": "", "bundle that names its key": own} {
		t.Run(name, func(t *testing.T) {
			h := plain(t)
			st := statement(h.image, "p")
			e := key.envelope(st)
			want := envelopeIn(t, e.payload)
			if name == "classic" {
				h.attach(h.image, "att", e)
			} else {
				h.refer(h.image, bundleMedia, corpus.Edit(key.bundle(st), func(b *protobundle.Bundle) {
					s := b.GetDsseEnvelope().GetSignatures()[0]
					s.Keyid = keyID
					want.Signatures = []dsse.Signature{{KeyID: keyID, Sig: base64.StdEncoding.EncodeToString(s.GetSig())}}
				}))
			}

			for question, ask := range looks(t) {
				list, err := ask(t.Context(), h.image, key.rule(), []string{"p"})
				if err != nil || len(list) != 1 {
					t.Fatalf("%s: %+v, %v", question, list, err)
				}
				if diff := cmp.Diff(want, envelopeIn(t, list[0].Envelope)); diff != "" {
					t.Errorf("%s: the envelope (-want +got):\n%s", question, diff)
				}
			}
		})
	}
}

func envelopeIn(t *testing.T, b []byte) (env dsse.Envelope) {
	t.Helper()
	if err := json.Unmarshal(b, &env); err != nil {
		t.Fatalf("%q is no envelope: %v", b, err)
	}
	return env
}

// A refused statement has no type: neither the one that it claims, nor the empty one, which
// it has once it is refused.
func TestRefusedStatementsAreOfNoType(t *testing.T) {
	key, stranger := newKey(t), newKey(t)
	for name, tt := range map[string]struct {
		by        *keyPair
		statement func(h *host) []byte
	}{
		"by a stranger":       {stranger, func(h *host) []byte { return statement(h.image, "p") }},
		"about another image": {key, func(h *host) []byte { return statement(h.Push(), "p") }},
		"of another kind": {key, func(h *host) []byte {
			const kind = "https://in-toto.io/Statement/"
			return []byte(strings.Replace(string(statement(h.image, "p")), kind, "https://example.com/Statement/", 1))
		}},
	} {
		for where, put := range map[string]func(h *host, st []byte){
			"classic": func(h *host, st []byte) { h.attach(h.image, "att", tt.by.envelope(st)) },
			"bundle":  func(h *host, st []byte) { h.refer(h.image, bundleMedia, tt.by.bundle(st)) },
		} {
			h := plain(t)
			put(h, tt.statement(h))
			for question, ask := range looks(t) {
				if list, err := ask(t.Context(), h.image, key.rule(), []string{"p", ""}); err != nil || len(list) != 0 {
					t.Errorf("%s, %s, %s: %+v, %v", name, where, question, list, err)
				}
			}
		}
	}
}

// Under a rule that cannot be used no statement was looked for, which is another answer
// than that there is none.
func TestStatementsUnderARuleThatCannotBeUsed(t *testing.T) {
	h, key := plain(t), newKey(t)
	h.attach(h.image, "att", key.envelope(statement(h.image, "p")))
	for question, ask := range looks(t) {
		list, err := ask(t.Context(), h.image, attestor.SignedBy{Key: key.path + "x"}, []string{"p"})
		if len(list) != 0 {
			t.Errorf("%s: %+v", question, list)
		}
		misconfigured(t, question, err, "cannot be read")
	}
}

// EveryAttestation is for statements that speak against an image: beside one that
// verified, one that could not be read is an error, where Attestations needs no other.
func TestAStatementThatCouldNotBeReadBesideOneThatWas(t *testing.T) {
	h, key := plain(t), newKey(t)
	h.attach(h.image, "att", key.envelope(statement(h.image, "p")))
	h.refer(h.image, bundleMedia, key.bundle(statement(h.image, "p")))
	asks := looks(t)
	for question, ask := range asks {
		if list, err := ask(t.Context(), h.image, key.rule(), []string{"p"}); err != nil || len(list) != 2 {
			t.Errorf("%s, both can be read: %+v, %v", question, list, err)
		}
	}

	h.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/referrers/") {
			return false
		}
		w.WriteHeader(http.StatusForbidden)
		return true
	})
	if list, err := asks["any"](t.Context(), h.image, key.rule(), []string{"p"}); err != nil || len(list) != 1 {
		t.Errorf("any: %+v, %v", list, err)
	}
	list, err := asks["every"](t.Context(), h.image, key.rule(), []string{"p"})
	if len(list) != 0 {
		t.Errorf("every: %+v", list)
	}
	unknown(t, "", err, "could not be checked")
}

// A silence counts what is asked of it, and answers nothing.
type silence struct{ asked atomic.Int64 }

func (c *silence) RoundTrip(*http.Request) (*http.Response, error) {
	c.asked.Add(1)
	return nil, errors.New("no registry here")
}

// For a caller who has left nothing is looked up, not even behind his back; for one who
// stays it is.
func TestNothingIsLookedUpForACallerWhoHasLeft(t *testing.T) {
	h, key := plain(t), newKey(t)
	for name, left := range map[string]bool{"stays": false, "has left": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				registry := &silence{}
				ch := checker(t, signed.Config{Transport: registry})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if left {
					cancel()
				}

				got, err := ch.Check(ctx, h.image, key.rule())
				unknown(t, got, err, "could not be checked")
				synctest.Wait() // a look-up that began has asked its first question
				if n := registry.asked.Load(); (n == 0) != left {
					t.Errorf("the registry was asked %d times", n)
				}
			})
		})
	}
}
