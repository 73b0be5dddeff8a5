package client

import (
	"context"
	"net/http"
	"time"

	"google.golang.org/api/option"
)

// DialWith replaces how the client connects, and the pause before it tries again.
// A nil transport is left as it is.
func (c *Client) DialWith(transport http.RoundTripper, pause time.Duration) {
	c.pause = pause
	if transport != nil {
		c.http.Transport = transport
	}
}

// FindToken finds a token of an identity, with IAM Credentials at the options.
func FindToken(i Identity, audience string, getenv func(string) string, iam ...option.ClientOption) func(context.Context) (string, error) {
	return tokenFinder{identity: i, audience: audience, getenv: getenv, iam: iam}.cached()
}

// TokenFix is tokenFix, for its test.
func TokenFix(account string, err error) string { return tokenFix(account, err) }
