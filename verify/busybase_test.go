package verify_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
)

// A base's registry that asks for a later retry is an error that says when to
// come again; one that is gone says no time, since waiting may not help.
func TestBaseRegistryAsksToBeAskedLater(t *testing.T) {
	for _, tt := range []struct {
		name       string
		status     int
		retryAfter string
		want       int
	}{
		{"too many requests", http.StatusTooManyRequests, "1800", 1800},
		{"unavailable for a while", http.StatusServiceUnavailable, "3600", 3600},
		{"unavailable", http.StatusServiceUnavailable, "", 0},
		{"broken", http.StatusInternalServerError, "1800", 0},
		{"forbidden", http.StatusForbidden, "1800", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			pushing := true
			host := newRegistry(t, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if !pushing && strings.HasPrefix(r.URL.Path, "/v2/base/") {
						if tt.retryAfter != "" {
							w.Header().Set("Retry-After", tt.retryAfter)
						}
						w.WriteHeader(tt.status)
						return
					}
					next.ServeHTTP(w, r)
				})
			})

			base := baseImage(t, "amd64", 2)
			push(t, host+"/base/b:1", base)
			push(t, host+"/app/a:1", onBase(t, base, 1, "65532"))
			pushing = false

			inspector := newInspector(t, host, func(c *config) { c.Limits.BaseTimeout = time.Second })
			got := inspectOne(t, inspector, host+"/app/a:1", attestor.Needs{
				BaseRequired: true, Bases: []attestor.ApprovedBase{{Name: "b", Repository: host + "/base/b", Tags: []string{"1"}}},
			})

			wantCodes(t, got.Problems, attestor.CodeBaseUnresolved)
			for _, p := range got.Problems {
				if p.Status != attestor.StatusError || p.RetryAfter != tt.want {
					t.Errorf("status %s, try again after %d s, want an error and %d s: %s", p.Status, p.RetryAfter, tt.want, p.Message)
				}
			}
		})
	}
}
