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

// removed is what Cloud Run puts in a signature's place once it has checked it.
const removed = "SIGNATURE_REMOVED_BY_GOOGLE"

// platformToken finds the token that Cloud Run has checked. Where
// X-Serverless-Authorization is present Cloud Run checks that one and leaves
// Authorization alone, so that an Authorization without its signature is then
// no more than what the caller made up.
func platformToken(r *http.Request, authorization string) (token string, ok bool, err error) {
	if len(r.Header.Values("X-Serverless-Authorization")) > 0 {
		if authorization != "" && !strings.HasSuffix(authorization, "."+removed) {
			return "", false, nil // to be verified in full, which is worth more
		}
		token, err = bearer(r, "X-Serverless-Authorization")
		if err == nil && !strings.HasSuffix(token, "."+removed) {
			err = invalid(errors.New("X-Serverless-Authorization was not checked by Cloud Run"))
		}
		return token, err == nil, err
	}
	return authorization, strings.HasSuffix(authorization, "."+removed), nil
}

// trusted reads a token whose signature the platform has checked. All else is
// checked as ever.
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
	caller, err := t.admit(readClaims(std, all), Google, t.c.Audience)
	if err == nil {
		t.c.Logger.WarnContext(ctx, "a token was believed without its signature", slog.Bool("unsafe_trust_platform", true))
	}
	return caller, err
}
