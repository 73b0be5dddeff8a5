package main

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// A sigstore is Fulcio, Rekor and a timestamp authority, run by their own
// programs beside an OIDC issuer of ours. Some of them listen on every address,
// on ports that cannot be chosen: run the recorder in a network of its own,
//
//	unshare --net sh -c 'ip link set lo up && exec go run ./internal/testkit/sigrecord \
//	  -cosign … -fulcio … -rekor … -tsa … -out …'
type sigstore struct {
	fulcio, rekor, tsa string // programs
	key                *rsa.PrivateKey
}

const (
	issuerAddr, fulcioAddr, rekorAddr, tsaAddr = "127.0.0.1:8888", "127.0.0.1:5555", "127.0.0.1:3000", "127.0.0.1:3004"

	issuer  = "http://" + issuerAddr
	subject = "release@bases.example.com"
	mallory = "mallory@bases.example.com"
)

// keyless starts the services and signs fresh images as two people.
func (s *session) keyless(ctx context.Context, services *sigstore) error {
	if err := s.version(ctx); err != nil {
		return err
	}
	stop, err := services.start(ctx, s.dir)
	if err != nil {
		return err
	}
	defer stop()

	if err := s.trust(ctx); err != nil {
		return err
	}
	predicate, err := s.predicate()
	if err != nil {
		return err
	}

	for _, way := range []struct {
		name, as string
		args     []string
	}{
		{"sign-keyless", subject, []string{"sign"}},
		{"sign-mallory", mallory, []string{"sign"}},
		{"attest-keyless", subject, []string{"attest", "--type", "slsaprovenance", "--predicate", predicate}},
	} {
		token, err := services.token(way.as)
		if err != nil {
			return err
		}
		args := append(way.args, "--new-bundle-format=true", "--signing-config", "signing.json", "--trusted-root",
			"trusted_root.json", "--yes", "--identity-token", token)
		if err := s.sign(ctx, way.name, args...); err != nil {
			return err
		}
	}

	for i, c := range s.rec.Commands { // what a token says is no secret, and too long
		before, after, _ := strings.Cut(c, "--identity-token ")
		_, after, _ = strings.Cut(after, " ")
		s.rec.Commands[i] = strings.TrimSpace(before + after)
	}
	return nil
}

// start returns once all of them answer.
func (g *sigstore) start(ctx context.Context, dir string) (stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer func() {
		if err != nil {
			cancel()
		}
	}()

	if g.key, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", issuerAddr)
	if err != nil {
		return nil, err
	}

	srv := &http.Server{Handler: http.HandlerFunc(g.discover), ReadHeaderTimeout: time.Minute}
	go func() { _ = srv.Serve(l) }()
	context.AfterFunc(ctx, func() { _ = srv.Close() })

	logKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	private, err := x509.MarshalPKCS8PrivateKey(logKey)
	if err != nil {
		return nil, err
	}

	public, err := x509.MarshalPKIXPublicKey(&logKey.PublicKey)
	if err != nil {
		return nil, err
	}
	config := fmt.Sprintf(`{"OIDCIssuers":{%[1]q:{"IssuerURL":%[1]q,"ClientID":"sigstore","Type":"email"}}}`, issuer)
	for name, text := range map[string][]byte{
		"fulcio.json": []byte(config),
		"rekor.key":   pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		"rekor.pub":   pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return nil, err
		}
	}

	for _, command := range [][]string{
		{g.fulcio, "serve", "--ca", "ephemeralca", "--ct-log-url=", "--config-path", "fulcio.json", "--host",
			"127.0.0.1", "--port", "5555", "--grpc-host", "127.0.0.1", "--grpc-port", "5554",
			"--metrics-port", "2115"},
		{g.rekor, "serve", "--hostname", "127.0.0.1", "--signer-filepath", "rekor.key", "--storage-dir", "log",
			"--http-port", "3000", "--http-metrics-port", "2116", "--checkpoint-interval", "1s"},
		{g.tsa, "serve", "--host", "127.0.0.1", "--port", "3004", "--timestamp-signer", "memory",
			"--disable-ntp-monitoring"},
	} {
		if err := daemon(ctx, dir, command...); err != nil {
			return nil, err
		}
	}
	return cancel, errors.Join(answers(ctx, "http://"+fulcioAddr+"/api/v2/trustBundle"),
		answers(ctx, "http://"+rekorAddr+"/healthz"), answers(ctx, "http://"+tsaAddr+"/ping"))
}

func daemon(ctx context.Context, dir string, command ...string) error {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...) //nolint:gosec // the programs that the developer named
	cmd.Dir = dir
	cmd.Env = []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")}
	out, err := os.Create(filepath.Join(dir, filepath.Base(command[0])+".log"))
	if err != nil {
		return err
	}

	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait(); _ = out.Close() }()
	return nil
}

// answers waits for a service.
func answers(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()

	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()

	for {
		if _, err := get(ctx, url); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer", url)
		case <-tick.C:
		}
	}
}

func get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()

	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answered %d: %s", url, resp.StatusCode, b)
	}
	return b, err
}

// trust writes whom clients ask, and whom they believe.
func (s *session) trust(ctx context.Context) error {
	b, err := get(ctx, "http://"+fulcioAddr+"/api/v2/trustBundle")
	if err != nil {
		return err
	}
	var bundle struct {
		Chains []struct {
			Certificates []string `json:"certificates"`
		} `json:"chains"`
	}

	if err := json.Unmarshal(b, &bundle); err != nil || len(bundle.Chains) != 1 {
		return fmt.Errorf("fulcio's trust bundle: %w: %s", err, b)
	}
	stamps, err := get(ctx, "http://"+tsaAddr+"/api/v1/timestamp/certchain")
	if err != nil {
		return err
	}

	var chain bytes.Buffer
	for _, c := range bundle.Chains[0].Certificates {
		chain.WriteString(strings.TrimSpace(c) + "\n")
	}
	if err := errors.Join(os.WriteFile(filepath.Join(s.dir, "fulcio.pem"), chain.Bytes(), 0o600),
		os.WriteFile(filepath.Join(s.dir, "tsa.pem"), stamps, 0o600)); err != nil {
		return err
	}

	since := ",start-time=" + time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	if _, err := s.command(ctx, "trusted-root", "create", "--out", "trusted_root.json",
		"--fulcio=url=http://"+fulcioAddr+",certificate-chain=fulcio.pem"+since,
		"--rekor=url=http://"+rekorAddr+",public-key=rekor.pub"+since,
		"--tsa=url=http://"+tsaAddr+"/api/v1/timestamp,certificate-chain=tsa.pem"+since); err != nil {
		return err
	}

	_, err = s.command(ctx, "signing-config", "create", "--out", "signing.json", "--rekor-config=ANY",
		"--tsa-config=ANY",
		"--fulcio=url=http://"+fulcioAddr+",api-version=1,operator=test"+since,
		"--rekor=url=http://"+rekorAddr+",api-version=2,operator=test"+since,
		"--tsa=url=http://"+tsaAddr+"/api/v1/timestamp,api-version=1,operator=test"+since)
	return err
}

// discover is the OIDC issuer: who asks gets its key, and tokens are made by
// [sigstore.token].
func (g *sigstore) discover(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if r.URL.Path == "/.well-known/openid-configuration" {
		_ = json.NewEncoder(w).Encode(map[string]any{
			"issuer": issuer, "jwks_uri": issuer + "/keys", "authorization_endpoint": issuer + "/auth",
			"token_endpoint":           issuer + "/token",
			"response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
			"id_token_signing_alg_values_supported": []string{"RS256"},
		})
		return
	}

	e := big.NewInt(int64(g.key.E)).Bytes()
	_ = json.NewEncoder(w).Encode(map[string]any{"keys": []any{map[string]string{
		"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "k", "n": encode(g.key.N.Bytes()), "e": encode(e),
	}}})
}

// token is an identity token of a person.
func (g *sigstore) token(email string) (string, error) {
	now := time.Now()
	claims, err := json.Marshal(map[string]any{
		"iss": issuer, "sub": email, "email": email, "email_verified": true, "aud": "sigstore", "iat": now.Unix(),
		"nbf": now.Add(-time.Minute).Unix(), "exp": now.Add(10 * time.Minute).Unix(),
	})
	if err != nil {
		return "", err
	}

	text := encode([]byte(`{"alg":"RS256","kid":"k","typ":"JWT"}`)) + "." + encode(claims)
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, g.key, crypto.SHA256, sum[:])
	return text + "." + encode(sig), err
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
