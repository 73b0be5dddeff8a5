package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/sync/singleflight"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/strictjson"
	"github.com/attestor-gate/attestor/internal/together"
)

// How keys age. A key server that is down locks out nobody whose key is known, but a
// key that the server withdrew is not used for ever.
const (
	freshFor     = time.Hour        // after that, keys are fetched again beside the request
	staleFor     = 24 * time.Hour   // after that, not without the key server
	cooldown     = 10 * time.Second // between fetches that unknown keys cause
	fetchTimeout = 5 * time.Second
	maxKeys      = 100
	maxKeySet    = 1 << 20
	minRSABits   = 2048
)

// keys are one issuer's public keys.
type keys struct {
	issuer   string
	location string // "": to be discovered
	client   *http.Client
	now      func() time.Time
	log      *slog.Logger
	fetches  singleflight.Group

	mu      sync.Mutex
	set     []jose.JSONWebKey // guarded by mu
	fetched time.Time         // last success; guarded by mu
	tried   time.Time         // last attempt; guarded by mu
	failed  error             // of the last attempt; guarded by mu
}

func newKeys(c Config, issuer, location string) *keys {
	return &keys{issuer: issuer, location: location, client: c.Client, now: c.Now, log: c.Logger}
}

// find returns the key of an id. It asks the key server where that may help, but at
// most once per cooldown for ids that are unknown: whoever makes up tokens must not be
// able to make the gate flood the server.
func (k *keys) find(ctx context.Context, id string, alg jose.SignatureAlgorithm) (*jose.JSONWebKey, error) {
	now := k.now()
	k.mu.Lock()
	age, since, failed := now.Sub(k.fetched), now.Sub(k.tried), k.failed
	key := pick(k.set, id, alg)
	k.mu.Unlock()
	resting := since >= 0 && since < cooldown

	// RFC 7517 gives keys no lifetime. A key that is known verifies without the key
	// server for a day, so that an outage there is none here; after that, no more.
	switch {
	case key != nil && age < freshFor:
		return key, nil
	case key != nil && age < staleFor:
		if !resting {
			go func() { _ = k.refresh(context.WithoutCancel(ctx)) }() // refresh logs its failure
		}
		return key, nil
	case resting && failed != nil:
		return nil, k.unavailable(failed)
	case resting && key == nil:
		return nil, invalid(errors.New("no such key"))
	}

	// The id may be of a key that was published since the last fetch.
	if err := k.refresh(ctx); err != nil {
		return nil, k.unavailable(err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()

	if key := pick(k.set, id, alg); key != nil {
		return key, nil
	}
	return nil, invalid(errors.New("no such key"))
}

func (k *keys) unavailable(err error) error {
	return &attestor.Error{
		Kind: attestor.Unavailable,
		Msg:  "the token could not be checked: its issuer's keys cannot be fetched",
		Fix:  "try again",
		Err:  err,
	}
}

// pick finds a key for an id and an algorithm. RFC 7515, 4.1.4: "kid" is a hint, so
// that a token without one is verified only where the set holds a single key.
func pick(set []jose.JSONWebKey, id string, alg jose.SignatureAlgorithm) *jose.JSONWebKey {
	if id == "" && len(set) != 1 {
		return nil
	}
	for i := range set {
		if (id == "" || set[i].KeyID == id) && fits(set[i], alg) {
			return &set[i]
		}
	}
	return nil
}

// fits reports whether a key may be used with an algorithm. RFC 8725, 3.1: "each key
// MUST be used with exactly one algorithm". An RSA key is thus never taken for the
// secret of an HMAC, nor one of a curve for another.
func fits(key jose.JSONWebKey, alg jose.SignatureAlgorithm) bool {
	// RFC 7517, 4.2 and 4.4: "use" and "alg" say what a key is for.
	if (key.Use != "" && key.Use != "sig") || (key.Algorithm != "" && key.Algorithm != string(alg)) {
		return false
	}
	switch pub := key.Key.(type) {
	case *rsa.PublicKey:
		return alg == jose.RS256 && pub.N.BitLen() >= minRSABits
	case *ecdsa.PublicKey:
		return alg == jose.ES256 && pub.Curve == elliptic.P256()
	}
	return false
}

// refresh fetches the keys, once for all who ask at the same time. Where that fails,
// the keys that are known are kept.
func (k *keys) refresh(ctx context.Context) error {
	done := k.fetches.DoChan("", func() (any, error) {
		// Detached: the caller who started the fetch must not end it for the others.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTimeout)
		defer cancel()

		// An issuer chooses these bytes, and no caller is on this goroutine: a panic would end the process.
		set, err := together.Try(func() ([]jose.JSONWebKey, error) { return k.fetch(ctx) })

		k.mu.Lock()
		defer k.mu.Unlock()
		k.tried, k.failed = k.now(), err
		if err != nil {
			k.log.WarnContext(
				ctx,
				"could not fetch an issuer's keys",
				slog.String("issuer", k.issuer),
				slog.Any("error", err),
			)
			return nil, err
		}
		k.set, k.fetched = set, k.tried
		return nil, nil
	})

	select {
	case r := <-done:
		return r.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fetch returns the usable signature keys of the issuer, at least one.
func (k *keys) fetch(ctx context.Context) ([]jose.JSONWebKey, error) {
	location := k.location
	if location == "" {
		var doc struct {
			Issuer string `json:"issuer"`
			JWKS   string `json:"jwks_uri"`
		}
		if err := k.load(ctx, strings.TrimSuffix(k.issuer, "/")+"/.well-known/openid-configuration", &doc); err != nil {
			return nil, err
		}

		// OpenID Connect Discovery 1.0, 4.3: the issuer value returned "MUST be
		// identical to the Issuer URL" that was used as the prefix.
		if doc.Issuer != k.issuer {
			return nil, fmt.Errorf("discovering keys of %s: the document is another issuer's", k.issuer)
		}

		if err := secureURL(doc.JWKS); err != nil {
			return nil, err
		}
		location = doc.JWKS
	}

	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := k.load(ctx, location, &set); err != nil {
		return nil, err
	}

	var usable []jose.JSONWebKey
	for _, raw := range set.Keys {
		// RFC 7517, 5: implementations should ignore keys of a "kty" that they do not
		// know. One of a new type must not make the others unusable.
		var key jose.JSONWebKey
		if err := json.Unmarshal(raw, &key); err == nil && key.IsPublic() && key.Valid() &&
			(fits(key, jose.RS256) || fits(key, jose.ES256)) {
			usable = append(usable, key)
		}
	}

	// On an error the keys that are known stay: a set without any would lock out everybody.
	if len(usable) == 0 || len(usable) > maxKeys {
		return nil, fmt.Errorf("fetching keys of %s: %d usable keys, want 1 to %d", k.issuer, len(usable), maxKeys)
	}
	return usable, nil
}

// load reads a JSON document of at most maxKeySet bytes.
func (k *keys) load(ctx context.Context, location string, v any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, location, nil)
	if err != nil {
		return fmt.Errorf("fetching keys of %s: %w", k.issuer, err)
	}
	res, err := k.client.Do(req)
	if err != nil {
		return fmt.Errorf("fetching keys of %s: %w", k.issuer, err)
	}
	defer res.Body.Close()

	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("fetching keys of %s: status %d", k.issuer, res.StatusCode)
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, maxKeySet+1))
	if err != nil {
		return fmt.Errorf("fetching keys of %s: %w", k.issuer, err)
	}

	if len(b) > maxKeySet {
		return fmt.Errorf("fetching keys of %s: more than %d bytes", k.issuer, maxKeySet)
	}

	// RFC 7517, 4: "Member names within a JWK MUST be unique". Issuers add members.
	if err := strictjson.Decode(b, v, strictjson.Rules{Unknown: true, Null: true}); err != nil {
		return fmt.Errorf("fetching keys of %s: %w", k.issuer, err)
	}
	return nil
}
