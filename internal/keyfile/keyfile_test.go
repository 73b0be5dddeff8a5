package keyfile_test

import (
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/internal/keyfile"
)

func block(t *testing.T, kind string, key any) string {
	t.Helper()
	der, ok := key.([]byte)
	if !ok {
		var err error
		if der, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
			t.Fatal(err)
		}
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key.pem")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A key is read whatever its kind, and with blank lines around it.
func TestRead(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}

	got, err := keyfile.Read(write(t, block(t, "PRIVATE KEY", ec)+"\n\n"))
	if err != nil || !ec.PublicKey.Equal(got.Public()) {
		t.Errorf("ECDSA: %v, %v", got, err)
	}
	got, err = keyfile.Read(write(t, block(t, "PRIVATE KEY", ed)))
	if err != nil || !public.Equal(got.Public()) {
		t.Errorf("Ed25519: %v, %v", got, err)
	}
}

// Everything else is refused with what is wrong, and no text of a key.
func TestReadRefuses(t *testing.T) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	exchange, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := block(t, "PRIVATE KEY", ed)

	for name, tt := range map[string]struct{ text, want string }{
		"empty":                {"", "is not PEM"},
		"no PEM":               {"a password", "is not PEM"},
		"two keys":             {good + good, "holds more than one block"},
		"text behind the key":  {good + "and more", "holds more than one block"},
		"encrypted":            {block(t, "ENCRYPTED PRIVATE KEY", []byte{1}), `holds a "ENCRYPTED PRIVATE KEY" block`},
		"of an older form":     {block(t, "EC PRIVATE KEY", []byte{1}), "openssl pkcs8"},
		"a public key":         {block(t, "PUBLIC KEY", []byte{1}), `holds a "PUBLIC KEY" block`},
		"garbage in the block": {block(t, "PRIVATE KEY", []byte("x")), "cannot be used"},
		"a key that agrees":    {block(t, "PRIVATE KEY", exchange), "does not sign"},
		"a large file":         {strings.Repeat("\n", 64<<10) + good, "has more than 65536 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			key, err := keyfile.Read(write(t, tt.text))
			fault, ok := errors.AsType[keyfile.Fault](err)
			if key != nil || !ok || !strings.Contains(string(fault), tt.want) {
				t.Errorf("%v, %v, want a fault with %q", key, err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "a password") {
				t.Error("the fault quotes the file")
			}
		})
	}

	// A file that cannot be read is no fault of what it holds.
	_, err = keyfile.Read(filepath.Join(t.TempDir(), "none"))
	if _, ok := errors.AsType[keyfile.Fault](err); ok || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}
