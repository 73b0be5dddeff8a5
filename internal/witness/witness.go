// Package witness asks witnesses to cosign checkpoints of the record's log, by the protocol of c2sp.org/tlog-witness. A
// witness signs a checkpoint only if it continues the one that it signed before, so that a log with two histories is
// shown by the cosignatures that one of them lacks.
package witness

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/attestor-gate/attestor/internal/loopback"
	"github.com/attestor-gate/attestor/internal/reach"
	"github.com/attestor-gate/attestor/internal/translog"
)

const (
	// callFor bounds one call.
	callFor = 10 * time.Second
	// maxAnswer bounds an answer, in bytes: a witness answers one line for each of its keys.
	maxAnswer = 8 << 10
	// maxQuoted bounds what a message quotes of an answer, in bytes.
	maxQuoted = 200
)

// ErrInconsistent means that a witness saw a checkpoint which this one does not continue.
var ErrInconsistent = errors.New("the witness saw another history of this log: the checkpoint does not continue it")

// A ConflictError means that the checkpoint that a witness cosigned last has another size than the request supposed.
type ConflictError struct{ Size int64 }

// Error implements error.
func (e *ConflictError) Error() string {
	return fmt.Sprintf("the checkpoint that the witness cosigned last has size %d", e.Size)
}

// A Client asks one witness. It is safe for concurrent use.
type Client struct {
	key  translog.WitnessKey
	at   string
	http *http.Client
}

// New makes the client of the witness whose submission prefix is address, with its public key as text. It contacts
// nobody. Unless private, the witness must have a public address, or be on this machine.
func New(address, key string, private bool) (*Client, error) {
	k, err := translog.ParseWitnessKey(key)
	if err != nil {
		return nil, err
	}
	if err := CheckURL(address); err != nil {
		return nil, err
	}

	dial := reach.Dialer{May: func(hostport string, a netip.Addr) bool {
		return reach.May(hostport, a, private || loopback.HostPort(hostport))
	}}
	return &Client{
		key: k, at: strings.TrimSuffix(address, "/") + "/add-checkpoint",
		http: &http.Client{
			Transport: &http.Transport{
				DialContext:            dial.DialContext,
				TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
				TLSHandshakeTimeout:    callFor,
				ResponseHeaderTimeout:  callFor,
				MaxResponseHeaderBytes: 64 << 10,
				MaxIdleConnsPerHost:    1,
				IdleConnTimeout:        time.Minute,
				ForceAttemptHTTP2:      true,
				DisableCompression:     true,
			},
			// The configuration says where the witness is, and not who answers there.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Timeout:       callFor,
		},
	}, nil
}

// CheckURL returns an error unless address can be the submission prefix of a witness: https, or http on this machine.
func CheckURL(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("%q is not the address of a witness: write https://HOST/PREFIX", address)
	case u.Scheme == "https", u.Scheme == "http" && loopback.Authority(u.Host):
		return nil
	default:
		return fmt.Errorf(
			"%q is not the address of a witness: write https://HOST/PREFIX; http is for this machine only", address)
	}
}

// Key is the witness's public key.
func (c *Client) Key() translog.WitnessKey { return c.key }

// Add asks the witness to cosign a checkpoint that is signed by the log's key vkey. old is the size of the checkpoint
// that it cosigned last, and proof shows that this one continues it. It returns the checkpoint with the witness's
// cosignature. The error is a [ConflictError] if old is another size, and [ErrInconsistent] if the witness cannot be
// shown that the log grew.
func (c *Client) Add(ctx context.Context, old int64, proof tlog.TreeProof, signed []byte, vkey string) ([]byte, error) {
	// c2sp.org/tlog-witness: the request's body is "the old size", the consistency proof, an empty line, and the
	// checkpoint.
	var body bytes.Buffer
	fmt.Fprintf(&body, "old %d\n", old)
	for _, h := range proof {
		body.WriteString(h.String() + "\n")
	}
	body.WriteByte('\n')
	body.Write(signed)

	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.at, &body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "text/plain; charset=utf-8")
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, fmt.Errorf("asking the witness %s: %w", c.key.Name(), err)
	}
	defer resp.Body.Close() //nolint:errcheck // read only

	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err == nil && len(answer) > maxAnswer {
		err = fmt.Errorf("its answer has more than %d bytes", maxAnswer)
	}
	if err != nil {
		return nil, fmt.Errorf("asking the witness %s: %w", c.key.Name(), err)
	}
	return c.answered(resp, answer, signed, vkey)
}

// answered reads the witness's answer. Nothing of it is believed but a cosignature that verifies.
func (c *Client) answered(resp *http.Response, answer, signed []byte, vkey string) ([]byte, error) {
	switch resp.StatusCode {
	case http.StatusOK:
		return translog.Cosign(signed, answer, vkey, c.key)

	case http.StatusConflict:
		// c2sp.org/tlog-witness: 409 with the type text/x.tlog.size has "the tree size of the latest cosigned
		// checkpoint in decimal, followed by a newline".
		size, err := strconv.ParseInt(strings.TrimSuffix(string(answer), "\n"), 10, 64)
		if err != nil || size < 0 || resp.Header.Get("Content-Type") != "text/x.tlog.size" {
			return nil, fmt.Errorf("the witness %s answers 409 without the size that it knows", c.key.Name())
		}
		return nil, &ConflictError{Size: size}

	case http.StatusUnprocessableEntity:
		return nil, ErrInconsistent

	case http.StatusNotFound:
		return nil, fmt.Errorf("the witness %s does not know this log: give its operator log.origin and the "+
			"public key that "+
			"attestor decisions log-key prints", c.key.Name())

	case http.StatusForbidden:
		return nil,
			fmt.Errorf("the witness %s does not know this log or its key: give its operator log.origin and the public "+
				"key that attestor decisions log-key prints", c.key.Name())

	default:
		return nil, fmt.Errorf("the witness %s answers %s: %q", c.key.Name(), resp.Status,
			answer[:min(len(answer), maxQuoted)])
	}
}
