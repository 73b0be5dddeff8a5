package admission_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor/server/admission"
)

// issue makes a certificate signed by itself, for both ends, and writes it.
func issue(t *testing.T, dir, name string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}

	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}

	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}

	certFile, keyFile = filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	return certFile, keyFile
}

func TestOnlyTheAPIServerGetsThrough(t *testing.T) {
	dir := t.TempDir()
	gateCert, gateKey := issue(t, dir, "gate")
	apiCert, apiKey := issue(t, dir, "api-server")
	otherCert, otherKey := issue(t, dir, "other")
	config, err := admission.TLS(gateCert, gateKey, apiCert)
	if err != nil {
		t.Fatal(err)
	}

	srv := httptest.NewUnstartedServer(handler(t, cluster{}, nil))
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	srv.TLS = config
	srv.StartTLS()
	defer srv.Close()
	roots := x509.NewCertPool()
	b, err := os.ReadFile(gateCert)
	if err != nil || !roots.AppendCertsFromPEM(b) {
		t.Fatal(err)
	}

	ask := func(cert, key string) error {
		c := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
		if cert != "" {
			pair, err := tls.LoadX509KeyPair(cert, key)
			if err != nil {
				t.Fatal(err)
			}
			c.Certificates = []tls.Certificate{pair}
		}

		transport := &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}
		res, err := (&http.Client{Transport: transport}).Post(srv.URL, "application/json",
			strings.NewReader(reviewOf("", "v1", "Pod", "CREATE", `{"spec":`+pod(good)+`}`)))
		if err == nil {
			res.Body.Close()
		}

		return err
	}

	if err := ask(apiCert, apiKey); err != nil {
		t.Errorf("the API server: %v", err)
	}
	if ask("", "") == nil || ask(otherCert, otherKey) == nil {
		t.Error("somebody else got through")
	}

	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}

	for name, files := range map[string][3]string{"no authority": {gateCert, gateKey, empty},
		"no such authority": {gateCert, gateKey, dir + "/none"}, "another's key": {gateCert, apiKey, apiCert}} {
		if _, err := admission.TLS(files[0], files[1], files[2]); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// What is renewed on disk is in force at the next connection, the authority
// too; what is half written changes nothing.
func TestRenewedCertificatesAreRead(t *testing.T) {
	dir := t.TempDir()
	gateCert, gateKey := issue(t, dir, "gate")
	apiCert, apiKey := issue(t, dir, "api-server")
	config, err := admission.TLS(gateCert, gateKey, apiCert)
	if err != nil {
		t.Fatal(err)
	}

	srv := httptest.NewUnstartedServer(handler(t, cluster{}, nil))
	srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	srv.TLS = config
	srv.StartTLS()
	defer srv.Close()
	written := time.Now()
	put := func(file string, b []byte) { // whatever the clock's grain
		t.Helper()
		written = written.Add(time.Minute)
		if err := errors.Join(os.WriteFile(file, b, 0o600), os.Chtimes(file, written, written)); err != nil {
			t.Fatal(err)
		}
	}

	read := func(file string) []byte {
		t.Helper()
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}

		return b
	}

	ask := func(root []byte, pair tls.Certificate) error {
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(root)
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots,
			Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true}
		res, err := (&http.Client{Transport: transport}).Post(srv.URL, "application/json",
			strings.NewReader(reviewOf("", "v1", "Pod", "CREATE", `{"spec":`+pod(good)+`}`)))
		if err == nil {
			res.Body.Close()
		}

		return err
	}

	oldRoot := read(gateCert)
	oldPair, err := tls.LoadX509KeyPair(apiCert, apiKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := ask(oldRoot, oldPair); err != nil {
		t.Fatal(err)
	}

	newDir := t.TempDir()
	newGate, newGateKey := issue(t, newDir, "gate")
	newAPI, newAPIKey := issue(t, newDir, "api-server")
	newPair, err := tls.LoadX509KeyPair(newAPI, newAPIKey)
	if err != nil {
		t.Fatal(err)
	}

	put(gateCert, read(newGate)) // and its key is not there yet
	if err := ask(oldRoot, oldPair); err != nil {
		t.Errorf("half renewed: %v", err)
	}

	put(gateKey, read(newGateKey))
	if err := ask(read(newGate), oldPair); err != nil {
		t.Errorf("renewed: %v", err)
	}

	put(apiCert, read(newAPI))
	if err := ask(read(newGate), newPair); err != nil {
		t.Errorf("the new authority's: %v", err)
	}
	if ask(read(newGate), oldPair) == nil {
		t.Error("whom the old authority vouched for got through")
	}

	put(apiCert, nil)
	if ask(read(newGate), oldPair) == nil {
		t.Error("without an authority anybody got through")
	}
}
