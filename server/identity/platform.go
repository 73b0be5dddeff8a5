package identity

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/attestor-gate/attestor"
)

// removed is the text that Cloud Run puts in place of a signature that it has
// verified.
const removed = "SIGNATURE_REMOVED_BY_GOOGLE"

// platformToken finds the token that Cloud Run has verified. Where
// X-Serverless-Authorization is present, Cloud Run verifies that one and passes
// Authorization on as it came: an Authorization without its signature is then the
// caller's invention.
func platformToken(r *http.Request, authorization string) (token string, ok bool, err error) {
	if len(r.Header.Values("X-Serverless-Authorization")) > 0 {
		if authorization != "" && !strings.HasSuffix(authorization, "."+removed) {
			return "", false, nil // it has its signature, and is verified in full
		}
		token, err = bearer(r, "X-Serverless-Authorization")
		if err == nil && !strings.HasSuffix(token, "."+removed) {
			err = invalid(errors.New("X-Serverless-Authorization was not checked by Cloud Run"))
		}
		return token, err == nil, err
	}
	return authorization, strings.HasSuffix(authorization, "."+removed), nil
}

// trusted reads a token whose signature the platform has verified. Its claims are
// checked like those of every other token.
func (t *Tokens) trusted(ctx context.Context, token string) (attestor.Caller, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || parts[2] != removed {
		return attestor.Caller{}, invalid(errors.New("not a token without its signature"))
	}

	// The claims are read by the same strict parser as those of verified tokens,
	// which wants RS256 named and some signature there.
	parsed, err := jwt.ParseSigned(parts[0]+"."+parts[1]+".AA", []jose.SignatureAlgorithm{jose.RS256})
	if err != nil {
		return attestor.Caller{}, invalid(err)
	}

	var std jwt.Claims
	var all map[string]any
	if err := parsed.UnsafeClaimsWithoutVerification(&std, &all); err != nil {
		return attestor.Caller{}, invalid(err)
	}

	// Cloud Run verifies Google's tokens only, so that no other issuer is believed
	// this way.
	caller, err := t.admit(readClaims(std, all), Google, t.c.Audience)
	if err == nil {
		t.c.Logger.WarnContext(
			ctx,
			"accepted a token without its signature: unsafeTrustPlatform is set",
			slog.Bool("unsafe_trust_platform", true),
		)
	}
	return caller, err
}
