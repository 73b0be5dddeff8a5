package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// changeTime is how long a change of IAM may take: Google says two minutes as a rule, and seven and more at times.
const changeTime = 15 * time.Minute

const openID = "openidconnect.googleapis.com"

// refusedRight is what the trial is refused, and granted then.
const refusedRight = "iam.serviceAccounts.getOpenIdToken"

// askIdentities makes a service account and asks for an ID token in its name: how IAM refuses it, after how long a
// grant holds, and what the token says.
func (t *trial) askIdentities(ctx context.Context, _ *world) error {
	if t.rest.http == nil {
		return nil
	}
	var who struct {
		Email string `json:"email"`
	}
	if err := t.rest.call(ctx, "GET", openID, "/v1/userinfo", nil, &who); err != nil || who.Email == "" {
		t.skip("IAM's errors and changes, audiences of ID tokens: the account of the trial does not say its e-mail address")
		return ctx.Err()
	}

	email := t.run + "@" + t.project() + ".iam.gserviceaccount.com"
	account := "/v1/" + t.parent + "/serviceAccounts/" + email
	t.later("the service account", func(ctx context.Context) error {
		return t.rest.call(ctx, "DELETE", iam, account, nil, nil)
	})
	if err := t.make(ctx, func(ctx context.Context) error {
		return t.rest.call(ctx, "POST", iam, "/v1/"+t.parent+"/serviceAccounts", map[string]any{"accountId": t.run}, nil)
	}); isForbidden(err) {
		t.skip("IAM's errors and changes, audiences of ID tokens: the account of the trial may not create service accounts")
		return nil
	} else if err != nil {
		return fmt.Errorf("creating a service account: %w", err)
	}

	var first *statusError
	token, err := t.token(ctx, email)
	switch {
	case err == nil:
		t.skip("IAM's errors and changes: the account of the trial may ask for tokens of every service account")
	case errors.As(err, &first) && first.code == http.StatusForbidden:
		t.found("iam-denied", "How does IAM refuse a call, and does it name the permission?",
			"403 PERMISSION_DENIED IAM_PERMISSION_DENIED true", strings.TrimSpace(fmt.Sprint(first.code, " ", first.status, " ",
				first.reason, " ", strings.Contains(first.message, refusedRight))))
		if token, err = t.granted(ctx, account, email, who.Email); err != nil {
			return err
		}
	default:
		return fmt.Errorf("asking for a token: %w", err)
	}
	t.email = email
	t.askToken(token)
	return nil
}

const audience = "https://attestor.example/trial"

// token is an ID token of a service account. A new account is not known everywhere at once.
func (t *trial) token(ctx context.Context, email string) (token string, err error) {
	var answer struct {
		Token string `json:"token"`
	}
	err = t.poll(ctx, "the service account", enableTime, func(ctx context.Context) (bool, error) {
		err := t.rest.call(ctx, "POST", credentials, "/v1/projects/-/serviceAccounts/"+email+":generateIdToken",
			map[string]any{"audience": audience, "includeEmail": true}, &answer)
		if isNotFound(err) {
			return false, nil
		}
		return err == nil, err
	})
	return answer.Token, err
}

// granted lets the trial ask for tokens, and waits until that holds.
func (t *trial) granted(ctx context.Context, account, email, who string) (token string, err error) {
	member := "user:" + who
	if strings.HasSuffix(who, ".gserviceaccount.com") {
		member = "serviceAccount:" + who
	}

	// A new account has no bindings that could be lost.
	binding := map[string]any{"role": "roles/iam.serviceAccountTokenCreator", "members": []string{member}}
	if err := t.rest.call(ctx, "POST", iam, account+":setIamPolicy",
		map[string]any{"policy": map[string]any{"bindings": []any{binding}}}, nil); err != nil {
		return "", fmt.Errorf("granting: %w", err)
	}

	start, refused := time.Now(), 0
	if err := t.poll(ctx, "a grant of IAM", changeTime, func(ctx context.Context) (bool, error) {
		token, err = t.token(ctx, email)
		var s *statusError
		if errors.As(err, &s) && s.code == http.StatusForbidden {
			refused++
			return false, nil
		}
		return err == nil, err
	}); err != nil {
		return "", err
	}
	held := time.Since(start)
	t.found("iam-change", "Does a grant of IAM hold within seven minutes?", "true", fmt.Sprint(held < 7*time.Minute))
	fmt.Fprintf(t.log, "the grant held after %s; refused before: %d\n", held.Round(time.Second), refused)
	return token, nil
}

// askToken: what the gate reads of a caller's token.
func (t *trial) askToken(token string) {
	var claims struct {
		Issuer   string `json:"iss"`
		Audience string `json:"aud"`
		Email    string `json:"email"`
		Verified bool   `json:"email_verified"`
	}

	// The signature is not verified: the question is which claims there are.
	parts := strings.Split(token, ".")
	text, err := base64.RawURLEncoding.DecodeString(parts[min(1, len(parts)-1)])
	if err == nil {
		err = json.Unmarshal(text, &claims)
	}

	answer := fmt.Sprint(claims.Audience == audience, " ", claims.Issuer, " ",
		strings.HasPrefix(claims.Email, t.run+"@"), " ", claims.Verified)
	if err != nil || len(parts) != 3 {
		answer = "no token of three parts"
	}
	t.found("token-claims",
		"Has an ID token the audience that was asked for, which issuer, and the e-mail address, verified?",
		"true https://accounts.google.com true true", answer)
}

// askQuotas: whether calls are limited by the minute, which the gate's limits and retries count on.
func (t *trial) askQuotas(ctx context.Context, _ *world) error {
	if t.rest.http == nil {
		return nil
	}
	var all struct {
		Metrics []struct {
			Limits []struct {
				Unit    string `json:"unit"`
				Buckets []struct {
					Limit string `json:"effectiveLimit"`
				} `json:"quotaBuckets"`
			} `json:"consumerQuotaLimits"`
		} `json:"metrics"`
	}
	if err := t.rest.call(ctx, "GET", usage,
		"/v1beta1/"+t.parent+"/services/containeranalysis.googleapis.com/consumerQuotaMetrics", nil, &all); isForbidden(err) {
		t.skip("quotas: the account of the trial may not read them")
		return nil
	} else if err != nil {
		return fmt.Errorf("reading quotas: %w", err)
	}

	limited := false
	for _, m := range all.Metrics {
		for _, l := range m.Limits {
			if strings.HasPrefix(l.Unit, "1/min/{project") && len(l.Buckets) > 0 {
				limited = true
				fmt.Fprintf(t.log, "a quota of Container Analysis is %s a minute\n", l.Buckets[0].Limit)
			}
		}
	}
	t.found("quota-unit", "Are calls of Container Analysis limited by minute and project?", "true", fmt.Sprint(limited))
	return nil
}
