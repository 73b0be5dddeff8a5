package engine_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/filter"
	"github.com/attestor-gate/attestor/internal/when"
	"github.com/attestor-gate/attestor/policy"
)

// Policies, the configuration, flags and the API read one grammar of times: what
// one of them takes, all of them take.
func TestOneGrammarOfTimes(t *testing.T) {
	w := newWorld(t, worldOptions{})
	now := time.Now()

	readers := map[string]func(string) error{
		"policy": func(s string) error { return new(policy.Duration).UnmarshalText([]byte(s)) },
		"configuration": func(s string) error {
			_, err := config.Parse([]byte("limits: {maxWait: " + s + "}"))
			return err
		},
		"--since": func(s string) error { _, err := filter.Parse(map[string]string{"since": s}, now); return err },
		"--wait":  func(s string) error { return new(when.Duration).Set(s) },
		"GET ?since=": func(s string) error {
			if got := w.do(http.MethodGet, "/v1/decisions?since="+s, ""); got.status != http.StatusOK {
				return fmt.Errorf("status %d: %s", got.status, got.body)
			}
			return nil
		},
	}
	for text, ok := range map[string]bool{
		"90s": true, "2d": true, "1d12h": true, "1.5h": true, "500ms": true, "12h1d": false, "1w": false, "-1d": false, "tomorrow": false,
	} {
		for name, read := range readers {
			if err := read(text); (err == nil) != ok {
				t.Errorf("%s: %q: %v, want success: %v", name, text, err, ok)
			}
		}
	}
}
