package courier

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// secretPrefix marks a secret of Standard Webhooks.
const secretPrefix = "whsec_"

// decodeSecret reads whsec_ and base64. It never quotes what it reads.
func decodeSecret(secret string) ([]byte, error) {
	encoded, ok := strings.CutPrefix(secret, secretPrefix)
	if !ok {
		return nil, errors.New("a webhook's secret does not begin with whsec_: " +
			`make one with: echo "whsec_$(openssl rand -base64 32)"`)
	}

	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, errors.New("a webhook's secret is not base64 after whsec_")
	}
	if len(key) < minSecret || len(key) > maxSecret {
		return nil, fmt.Errorf("a webhook's secret has %d bytes: want %d to %d", len(key), minSecret, maxSecret)
	}

	return key, nil
}

// maxSecrets bounds the secrets of one webhook: two while they are exchanged.
const maxSecrets = 4

// ParseSecrets reads a file of secrets: one a line, the one that is used from now on
// first.
func ParseSecrets(text string) ([]string, error) {
	var out []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if _, err := decodeSecret(line); err != nil {
			return nil, err
		}
		out = append(out, line)
	}

	if len(out) == 0 || len(out) > maxSecrets {
		return nil, fmt.Errorf("the file holds %d secrets: want 1 to %d, one a line", len(out), maxSecrets)
	}

	return out, nil
}
