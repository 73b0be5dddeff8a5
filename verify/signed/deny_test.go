package signed_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	v1types "github.com/google/go-containerregistry/pkg/v1/types"
	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/verify/signed"
)

// TestRefused is what an adversary, or a mistake, puts beside a base instead
// of the signature that the policy asks for.
func TestRefused(t *testing.T) {
	key, sig, other := newKey(t), newSigstore(t), newSigstore(t)
	yes := true
	logged := attestor.SignedBy{Key: key.path, Transparency: &yes, TrustedRoot: sig.root(false)}
	sct := attestor.SignedBy{Issuer: issuer, Subject: subject, TrustedRoot: sig.root(true)}
	drop := func(e entry, annotation string) entry {
		delete(e.annotations, annotation)
		return e
	}

	tests := []struct {
		name string
		sign func(h *host)
		rule attestor.SignedBy
		want string
	}{
		{"unsigned", func(*host) {}, key.rule(), "it has none"},
		{"wrong key", func(h *host) { h.attach(h.image, "sig", newKey(t).entry(simple(h.image))) }, key.rule(), "does not verify"},
		{"wrong key, bundle", func(h *host) {
			h.refer(h.image, bundleMedia,
				newKey(t).bundle(statement(h.image, signPredicate)))
		}, key.rule(), "does not verify"},
		{"a key's, identity asked", func(h *host) { h.attach(h.image, "sig", key.entry(simple(h.image))) }, sig.rule(), "made with a key, not by an identity"},
		{"a key's bundle, identity asked", func(h *host) {
			h.refer(h.image, bundleMedia,
				key.bundle(statement(h.image, signPredicate)))
		}, sig.rule(), "made with a key, not by an identity"},
		{"an identity's bundle, key asked", func(h *host) {
			h.refer(h.image, bundleMedia,
				sig.bundle(statement(h.image, signPredicate), true))
		}, key.rule(), "not with a key: " + subject},
		{"wrong subject", func(h *host) {
			h.attach(h.image, "sig", sig.entryBy(simple(h.image), "mallory@example.com",
				issuer))
		}, sig.rule(), "by mallory@example.com (" + issuer},
		{"wrong issuer", func(h *host) {
			h.attach(h.image, "sig", sig.entryBy(simple(h.image), subject,
				"https://evil.example"))
		}, sig.rule(), "(https://evil.example)"},
		{"wrong subject, bundle", func(h *host) {
			h.refer(h.image, bundleMedia, sig.bundleBy(statement(h.image, signPredicate), "mallory@example.com", issuer, true))
		}, sig.rule(), "by mallory@example.com"},
		{"wrong Sigstore", func(h *host) { h.attach(h.image, "sig", other.entry(simple(h.image))) }, sig.rule(), "is not in the trusted root"},
		{"wrong Sigstore, bundle", func(h *host) {
			h.refer(h.image, bundleMedia,
				other.bundle(statement(h.image, signPredicate), true))
		}, sig.rule(), "is not in the trusted root"},
		{"no log entry", func(h *host) {
			h.attach(h.image, "sig", drop(sig.entry(simple(h.image)), "dev.sigstore.cosign/bundle"))
		}, sig.rule(), "no transparency log entry"},
		{"no log entry, bundle", func(h *host) {
			h.refer(h.image, bundleMedia, corpus.Edit(sig.bundle(statement(h.image, signPredicate), true),
				func(b *protobundle.Bundle) { b.VerificationMaterial.TlogEntries = nil }))
		}, sig.rule(), "no transparency log entry"},
		{"no log entry, key", func(h *host) { h.attach(h.image, "sig", key.entry(simple(h.image))) }, logged, "no transparency log entry"},
		{"no log entry, key, bundle", func(h *host) {
			h.refer(h.image, bundleMedia,
				key.bundle(statement(h.image, signPredicate)))
		}, logged, "no transparency log entry"},
		{"another signature's log entry", func(h *host) {
			e := sig.entry(simple(h.image))
			e.annotations["dev.sigstore.cosign/bundle"] = sig.entry(simple(h.image)).annotations["dev.sigstore.cosign/bundle"]
			h.attach(h.image, "sig", e)
		}, sig.rule(), "does not verify"},
		{"another log's entry", func(h *host) {
			e := sig.entry(simple(h.image))
			e.annotations["dev.sigstore.cosign/bundle"] = strings.Replace(e.annotations["dev.sigstore.cosign/bundle"],
				`"integratedTime":`, `"integratedTime":1`, 1)
			h.attach(h.image, "sig", e)
		}, sig.rule(), "does not verify"},
		{"no certificate timestamp", func(h *host) { h.attach(h.image, "sig", sig.entry(simple(h.image))) }, sct, "does not verify"},
		{"no certificate timestamp, bundle", func(h *host) {
			h.refer(h.image, bundleMedia,
				sig.bundle(statement(h.image, signPredicate), true))
		}, sct, "does not verify"},
		{"logged after the certificate expired", func(h *host) { h.attach(h.image, "sig", entryOf(sig.LateEntry(simple(h.image)))) }, sig.rule(), "expired"},
		{"tampered payload", func(h *host) {
			e := key.entry(simple(h.image))
			e.payload = append(e.payload, ' ')
			h.attach(h.image, "sig", e)
		}, key.rule(), "does not verify"},
		{"tampered statement", func(h *host) {
			h.refer(h.image, bundleMedia, corpus.Edit(key.bundle(statement(h.Push(), signPredicate)), func(b *protobundle.Bundle) {
				b.GetDsseEnvelope().Payload = statement(h.image, signPredicate)
			}))
		}, key.rule(), "does not verify"},
		{"payload is no JSON", func(h *host) { h.attach(h.image, "sig", key.entry([]byte("hello"))) }, key.rule(), "payload is malformed"},
		{"digest in capitals", func(h *host) {
			h.attach(h.image, "sig", key.entry([]byte(strings.Replace(string(simple(h.image)), h.image.Digest().Hex(),
				strings.ToUpper(h.image.Digest().Hex()), 1))))
		}, key.rule(), "another digest"},
		{"signature is of nothing", func(h *host) {
			e := key.entry(simple(h.image))
			e.annotations["dev.cosignproject.cosign/signature"] = ""
			h.attach(h.image, "sig", e)
		}, key.rule(), "lacks a signature"},
		{"two certificates", func(h *host) {
			e := sig.entryBy(simple(h.image), "mallory@example.com", issuer)
			e.annotations["dev.sigstore.cosign/certificate"] += sig.entry(simple(h.image)).annotations["dev.sigstore.cosign/certificate"]
			h.attach(h.image, "sig", e)
		}, sig.rule(), "certificate is malformed"},
		{"a layer, not a signature", func(h *host) {
			e := key.entry(simple(h.image))
			e.media = v1types.OCILayer
			h.attach(h.image, "sig", e)
		}, key.rule(), "not a signature"},
		{"old bundle", func(h *host) {
			h.refer(h.image, bundleMedia, []byte(strings.Replace(string(key.bundle(statement(h.image, signPredicate))), "v0.3+json", "x", 1)))
		}, key.rule(), "malformed bundle"},
		{"signs bytes, not a statement", func(h *host) {
			h.refer(h.image, bundleMedia, corpus.Edit(key.bundle(statement(h.image, signPredicate)), func(b *protobundle.Bundle) {
				b.Content = &protobundle.Bundle_MessageSignature{}
			}))
		}, key.rule(), "holds no statement"},
		{"attestation only", func(h *host) { h.attach(h.image, "att", key.envelope(statement(h.image, signPredicate))) }, key.rule(), "it has none"},
	}

	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := plain(t)
			tt.sign(h)
			got, err := h.check(h.image, tt.rule)
			refused(t, got, err, tt.want)
		})
	}
}

// TestRegistryFails: whatever fails, the answer is that it is not known, and
// never that it is signed, nor that it is not.
func TestRegistryFails(t *testing.T) {
	key := newKey(t)
	fail := map[string]func(w http.ResponseWriter, r *http.Request) bool{
		"500": func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(500); return true },
		"401": func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(401); return true },
		"403": func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(403); return true },
		"429": func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(429); return true },
		"cut": func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Content-Length", "1000")
			w.Header().Set("Content-Type", string(v1types.OCIImageIndex))
			_, _ = io.WriteString(w, `{"schemaVersion":2`)
			return true
		},
		"other bytes": func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/blobs/") && !strings.Contains(r.URL.Path, "/manifests/sha256:") {
				return false
			}
			_, _ = io.WriteString(w, `{"critical":{}}`)
			return true
		},
		"endless": func(w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Content-Type", string(v1types.OCIImageIndex))
			for i := 0; i < 64; i++ {
				if _, err := w.Write([]byte(strings.Repeat(" ", 1<<20))); err != nil {
					break
				}
			}
			return true
		},
		"redirect to metadata": func(w http.ResponseWriter, r *http.Request) bool {
			http.Redirect(w, r, "http://169.254.169.254/computeMetadata/v1/", http.StatusFound)
			return true
		},
	}

	for name, f := range fail {
		for _, path := range []string{".sig", "/referrers/", "/blobs/", "/manifests/sha256:"} {
			if name == "other bytes" && (path == ".sig" || path == "/referrers/") {
				continue // names no digest to compare with
			}
			t.Run(name+" "+path, func(t *testing.T) {
				h := plain(t)

				// A signature that does not satisfy, and one bundle that does not, so
				// that everything is looked at.
				h.attach(h.image, "sig", newKey(t).entry(simple(h.image)))
				h.refer(h.image, bundleMedia, newKey(t).bundle(statement(h.image, signPredicate)))
				h.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
					return strings.Contains(r.URL.Path, path) && f(w, r)
				})

				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				ch := checker(t, signed.Config{Transport: noMetadata{http.DefaultTransport}})
				got, err := ch.Check(ctx, h.image, key.rule())
				if name == "endless" && path == "/blobs/" {
					refused(t, got, err, "") // bounded: what is larger is no signature
					return
				}

				unknown(t, got, err, "could not be checked")

				// Nothing of that is remembered.
				h.Intercept(nil)
				h.attach(h.image, "sig", key.entry(simple(h.image)))
				if _, err := ch.Check(ctx, h.image, key.rule()); err != nil {
					t.Errorf("after it recovered: %v", err)
				}
			})
		}
	}
}

// noMetadata is the caller's part: it refuses addresses before they are asked.
type noMetadata struct{ next http.RoundTripper }

func (n noMetadata) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasPrefix(r.URL.Host, "169.254.") {
		return nil, errors.New("refused")
	}
	return n.next.RoundTrip(r)
}

// TestOneSourceFails: a signature that satisfies counts even if another place
// could not be looked into.
func TestOneSourceFails(t *testing.T) {
	key := newKey(t)
	for _, path := range []string{".sig", "/referrers/"} {
		h := plain(t)
		h.attach(h.image, "sig", key.entry(simple(h.image)))
		h.refer(h.image, bundleMedia, key.bundle(statement(h.image, signPredicate)))
		h.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, path) {
				w.WriteHeader(500)
				return true
			}
			return false
		})

		if _, err := h.check(h.image, key.rule()); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestTooMany: behind a flood, the answer is not known.
func TestTooMany(t *testing.T) {
	h, key, other := plain(t), newKey(t), newKey(t)
	var flood []entry

	for i := range 100 {
		flood = append(flood, other.entry(append(simple(h.image), strconv.Itoa(i)...)))
	}

	h.attach(h.image, "sig", append(flood, key.entry(simple(h.image)))...)
	got, err := h.check(h.image, key.rule())
	unknown(t, got, err, "101 signatures or referrers are attached, of which 64")
	h.attach(h.image, "sig", append([]entry{key.entry(simple(h.image))}, flood...)...)
	if _, err := h.check(h.image, key.rule()); err != nil {
		t.Error(err)
	}
}

// TestCache: a found signature is remembered for its lifetime, by digest, rule
// and the contents of key and trusted root; a denial is not.
func TestCache(t *testing.T) {
	h, key := plain(t), newKey(t)
	now := time.Now()
	var mu sync.Mutex
	ch := checker(t, signed.Config{CacheLifetime: time.Hour, Now: func() time.Time { mu.Lock(); defer mu.Unlock(); return now }})
	ask := func(rule attestor.SignedBy) (requests int, err error) {
		before := h.Requests()
		_, err = ch.Check(t.Context(), h.image, rule)
		return h.Requests() - before, err
	}

	if n, err := ask(key.rule()); err == nil || n == 0 {
		t.Fatalf("unsigned: %v after %d requests", err, n)
	}

	h.attach(h.image, "sig", key.entry(simple(h.image)))
	if n, err := ask(key.rule()); err != nil || n == 0 {
		t.Fatalf("signed since: %v after %d requests", err, n)
	}
	if n, err := ask(key.rule()); err != nil || n != 0 {
		t.Errorf("again: %v after %d requests, want none", err, n)
	}
	if n, err := ask(newKey(t).rule()); err == nil || n == 0 {
		t.Errorf("another rule: %v after %d requests", err, n)
	}
	if err := os.WriteFile(key.path, publicPEM(t, newKey(t).priv.Public()), 0o600); err != nil {
		t.Fatal(err)
	}

	if n, err := ask(key.rule()); err == nil || n == 0 {
		t.Errorf("the key was replaced under its name: %v after %d requests", err, n)
	}
	if err := os.WriteFile(key.path, publicPEM(t, key.priv.Public()), 0o600); err != nil {
		t.Fatal(err)
	}

	mu.Lock()
	now = now.Add(time.Hour)
	mu.Unlock()
	if n, err := ask(key.rule()); err != nil || n == 0 {
		t.Errorf("after its lifetime: %v after %d requests", err, n)
	}
}

// TestShared: requests for one image at one time are one look-up, and whoever
// gives up takes nobody along.
func TestShared(t *testing.T) {
	h, key := plain(t), newKey(t)
	h.attach(h.image, "sig", key.entry(simple(h.image)))
	ch := checker(t, signed.Config{})
	release, reached := make(chan struct{}), make(chan struct{})
	var once sync.Once
	h.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, ".sig") {
			once.Do(func() { close(reached) })
			<-release
		}
		return false
	})

	gone, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		got, err := ch.Check(gone, h.image, key.rule())
		unknown(t, got, err, "in the time allowed")
	})

	<-reached
	cancel()

	for range 8 {
		wg.Go(func() {
			if _, err := ch.Check(t.Context(), h.image, key.rule()); err != nil {
				t.Error(err)
			}
		})
	}

	close(release)
	wg.Wait()
}

// TestOtherRegistry: nothing is asked of any other host than the image's.
func TestOtherRegistry(t *testing.T) {
	h, key := plain(t), newKey(t)
	h.attach(h.image, "sig", key.entry(simple(h.image)))
	seen := map[string]bool{}
	var mu sync.Mutex
	ch := checker(t, signed.Config{Transport: transport(func(r *http.Request) (*http.Response, error) {
		mu.Lock()
		seen[r.URL.Host] = true
		mu.Unlock()
		return http.DefaultTransport.RoundTrip(r)
	})})

	if _, err := ch.Check(t.Context(), h.image, key.rule()); err != nil {
		t.Fatal(err)
	}

	if len(seen) != 1 || !seen[h.Repo.RegistryStr()] {
		t.Errorf("asked %v", seen)
	}

	closed := httptest.NewServer(nil)
	closed.Close()
	img, err := attestor.ParseImage(strings.TrimPrefix(closed.URL, "http://") + "/x@" + string(h.image.Digest()))
	h.Must(err)
	if _, err := checker(t, signed.Config{}).Check(t.Context(), img, key.rule()); err == nil {
		t.Error("a registry that is down vouches for an image")
	}
}

type transport func(r *http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
