// Package keyfile reads private keys from files, by one rule for every key of the gate: a PEM file with one unencrypted
// PKCS#8 block, and nothing else.
package keyfile

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"strings"
)

// maxSize is far above any PKCS#8 file, in bytes.
const maxSize = 64 << 10

// A Fault says what is wrong with a file that could be read, as the end of a sentence about it: "is not PEM".
type Fault string

// Error implements error.
func (f Fault) Error() string { return "the key file " + string(f) }

func fault(format string, args ...any) error { return Fault(fmt.Sprintf(format, args...)) }

// Read returns the key of a file, of whatever kind: which kinds can sign is the caller's to judge. What the file holds
// besides a key is a [Fault], whose text has no part of a key.
func Read(path string) (crypto.Signer, error) {
	f, err := os.Open(path) //nolint:gosec // the path is the operator's configuration
	if err != nil {
		return nil, fmt.Errorf("opening the key file: %w", err)
	}
	defer f.Close() //nolint:errcheck // read only

	raw, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, fmt.Errorf("reading the key file: %w", err)
	}
	if len(raw) > maxSize {
		return nil, fault("has more than %d bytes", maxSize)
	}

	// One key and nothing else: which of several would sign must not be a matter of order.
	block, rest := pem.Decode(raw)
	switch {
	case block == nil:
		return nil, fault("is not PEM")
	case block.Type != "PRIVATE KEY":
		return nil, fault(
			"holds a %q block; an unencrypted PKCS#8 block, \"PRIVATE KEY\", is required (openssl pkcs8 -topk8 "+
				"-nocrypt converts)",
			block.Type,
		)
	case strings.TrimSpace(string(rest)) != "":
		return nil, fault("holds more than one block")
	}

	// x509's text may quote the key's structure, never its secret part.
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fault("cannot be used: %v", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fault("holds a %T, which does not sign", key)
	}
	return signer, nil
}
