package cause_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/api/cloudresourcemanager/v3"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestor-gate/attestor/internal/cause"
)

// reason is an answer with google.rpc.ErrorInfo, as Google documents it with google.api.ErrorReason.
func reason(t *testing.T, code codes.Code, why string) error {
	t.Helper()
	s, err := status.New(code, "no").WithDetails(&errdetails.ErrorInfo{
		Reason: why, Domain: "googleapis.com",
		Metadata: map[string]string{"service": "pubsub.googleapis.com", "consumer": "projects/123"},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s.Err()
}

// TestOf: each kind is recognised as Google's clients report it, and has a fix that would end it.
func TestOf(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		err  error
		kind cause.Kind
		fix  string
	}{
		"none": {nil, cause.Other, ""},
		"no credentials, as the clients begin": {
			errors.New("credentials: could not find default credentials. See https://cloud.google.com"), cause.NoCredentials, "service account",
		},
		"no credentials, said by Google": {reason(t, codes.Unauthenticated, "CREDENTIALS_MISSING"), cause.NoCredentials, "service account"},
		"a machine without a service account": {
			status.Error(codes.Unauthenticated, `transport: per-RPC creds failed due to error: credentials: cannot fetch token: metadata: `+
				`GCE metadata "instance/service-accounts/default/token" not defined`), cause.NoCredentials, "service account",
		},
		"expired": {reason(t, codes.Unauthenticated, "ACCESS_TOKEN_EXPIRED"), cause.Refused, "log in again"},
		"deleted": {reason(t, codes.Unauthenticated, "ACCOUNT_STATE_INVALID"), cause.Refused, "enabled"},
		// As golang.org/x/oauth2 prints what a token server answers, by itself and as gRPC wraps it.
		"a login that is over": {
			errors.New(`Get "https://x": oauth2: "invalid_grant" "reauth related error (invalid_rapt)" "https://support"`), cause.Refused, "log in again",
		},
		"a login that is over, within gRPC": {
			status.Error(codes.Unauthenticated, `transport: per-RPC creds failed due to error: oauth2: "invalid_grant" "Token has been expired or revoked."`),
			cause.Refused, "log in again",
		},
		"not told":    {status.Error(codes.Unauthenticated, "no"), cause.Refused, "log in again"},
		"scope":       {reason(t, codes.PermissionDenied, "ACCESS_TOKEN_SCOPE_INSUFFICIENT"), cause.Scope, "access scope"},
		"disabled":    {reason(t, codes.PermissionDenied, "SERVICE_DISABLED"), cause.Disabled, "gcloud services enable pubsub.googleapis.com --project=123"},
		"no billing":  {reason(t, codes.PermissionDenied, "BILLING_DISABLED"), cause.Billing, "projects link 123"},
		"denied":      {status.Error(codes.PermissionDenied, "no"), cause.Other, ""},
		"not found":   {status.Error(codes.NotFound, "no"), cause.Other, ""},
		"unavailable": {fmt.Errorf("asking: %w", status.Error(codes.Unavailable, "no")), cause.Unreachable, "status.cloud.google.com"},
		"no such host": {
			&net.OpError{Op: "dial", Err: &net.DNSError{Err: "no such host"}}, cause.Unreachable, "network",
		},
		"no way to the tokens": {
			status.Error(codes.Unauthenticated, "transport: per-RPC creds failed due to error: dial tcp: lookup oauth2.googleapis.com: no such host"),
			cause.Unreachable, "network",
		},
		"late":           {context.DeadlineExceeded, cause.Late, "dependencies.timeouts"},
		"late, answered": {status.Error(codes.DeadlineExceeded, "no"), cause.Late, "dependencies.timeouts"},
		"quota":          {reason(t, codes.ResourceExhausted, "RATE_LIMIT_EXCEEDED"), cause.Quota, "quota"},
		"a message that is too large": {
			status.Error(codes.ResourceExhausted, "grpc: received message larger than max (5 vs. 4)"), cause.Other, "",
		},
		"over HTTP, no credentials": {&googleapi.Error{Code: http.StatusUnauthorized, Message: "no"}, cause.Refused, "log in again"},
		"over HTTP, too often":      {&googleapi.Error{Code: http.StatusTooManyRequests}, cause.Quota, "quota"},
		"over HTTP, down":           {&googleapi.Error{Code: http.StatusServiceUnavailable}, cause.Unreachable, "network"},
		"over HTTP, denied":         {&googleapi.Error{Code: http.StatusForbidden}, cause.Other, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := cause.Of(tt.err)
			if got.Kind != tt.kind || !strings.Contains(got.Fix, tt.fix) || (got.Fix == "") != (tt.kind == cause.Other) ||
				(got.Why == "") != (got.Fix == "") {
				t.Errorf("%+v, want kind %d and a fix with %q", got, tt.kind, tt.fix)
			}
			lasts := map[cause.Kind]bool{
				cause.NoCredentials: true, cause.Refused: true, cause.Scope: true, cause.Disabled: true, cause.Billing: true,
			}
			if got.Lasts() != lasts[tt.kind] {
				t.Errorf("lasts: %v", got.Lasts())
			}
		})
	}
}

// TestOfAnAnswerOverHTTP: the reason is in the body, as Google writes it, and the client reads it.
func TestOfAnAnswerOverHTTP(t *testing.T) {
	t.Parallel()
	const body = `{"error": {"code": 403, "message": "no", "status": "PERMISSION_DENIED", "details": [{
		"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED", "domain": "googleapis.com",
		"metadata": {"service": "pubsub.googleapis.com", "consumer": "projects/123"}}]}}`
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(body))
	}))
	defer s.Close()
	c, err := cloudresourcemanager.NewService(t.Context(), option.WithEndpoint(s.URL), option.WithoutAuthentication())
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.Projects.Get("projects/a").Do()
	got := cause.Of(fmt.Errorf("asking: %w", err))
	if got.Kind != cause.Disabled || !strings.Contains(got.Fix, "gcloud services enable pubsub.googleapis.com --project=123") {
		t.Errorf("%v: %+v", err, got)
	}
}

// TestCode: an answer over HTTP has the code that it would have over gRPC.
func TestCode(t *testing.T) {
	t.Parallel()
	for want, err := range map[codes.Code]error{
		codes.NotFound:         &googleapi.Error{Code: http.StatusNotFound},
		codes.PermissionDenied: fmt.Errorf("asking: %w", &googleapi.Error{Code: http.StatusForbidden}),
		codes.Aborted:          fmt.Errorf("asking: %w", status.Error(codes.Aborted, "no")),
		codes.Unknown:          errors.New("no"),
		codes.OK:               nil,
	} {
		if got := cause.Code(err); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}
