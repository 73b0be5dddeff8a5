package audit_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

// overHandler is a transport without a network, for tests whose clock is not
// the machine's.
type overHandler struct{ http.Handler }

func (h overHandler) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

// A registry that limits how fast tags are listed is waited for, as long as it
// says, and is not waited for for ever.
func TestTagsOfWaitsForTheRegistry(t *testing.T) {
	const repo = "r.example.com/acme/x"
	for _, tt := range []struct {
		name       string
		complaints int
		header     string
		least      time.Duration
		kind       attestor.Kind // of the error; Internal: none
	}{
		{"seconds", 2, "20", 40 * time.Second, attestor.Internal},
		{"a date", 1, "Sat, 01 Jan 2000 00:01:00 GMT", time.Minute, attestor.Internal},
		{"nothing said", 3, "", 7 * time.Second, attestor.Internal},
		{"nonsense", 1, "soon", time.Second, attestor.Internal},
		{"a year", 1, "31536000", time.Minute, attestor.Internal},
		{"for ever", 1000, "1", 5 * time.Second, attestor.TooMany},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked, begun := 0, time.Now() // 2000-01-01 in a bubble
				handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/v2/" {
						return
					}
					if asked++; asked <= tt.complaints {
						w.Header().Set("Retry-After", tt.header)
						w.WriteHeader(http.StatusTooManyRequests)
						return
					}
					fmt.Fprint(w, `{"name":"acme/x","tags":["a"]}`)
				})

				var got []string
				var failed error

				for ref, err := range audit.TagsOf(t.Context(), []string{repo}, audit.RegistryOptions{Transport: overHandler{handler}}) {
					if err != nil {
						failed = err
						break
					}
					got = append(got, ref)
				}

				took := time.Since(begun)
				if tt.kind != attestor.Internal {
					if attestor.KindOf(failed) != tt.kind || took > time.Hour {
						t.Errorf("after %v: %v, want kind %d", took, failed, tt.kind)
					}
					return
				}

				if failed != nil || !slices.Equal(got, []string{repo + ":a"}) {
					t.Errorf("got %q, %v", got, failed)
				}
				if took < tt.least || took > tt.least+2*time.Minute {
					t.Errorf("it took %v, want about %v", took, tt.least)
				}
			})
		})
	}
}

// A registry that answers without end is not read without end.
func TestTagsOfIsBounded(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}

		page := []byte(`"` + strings.Repeat("a", 100) + `",`)
		_, err := w.Write([]byte(`{"name":"acme/x","tags":[`))

		for err == nil {
			_, err = w.Write(page)
		}
	}))
	defer srv.Close()

	n := 0
	var failed error

	for _, err := range audit.TagsOf(t.Context(), []string{strings.TrimPrefix(srv.URL, "http://") + "/acme/x"},
		audit.RegistryOptions{Transport: http.DefaultTransport}) {
		if n++; err != nil {
			failed = err
		}
	}

	if failed == nil || n != 1 {
		t.Errorf("%d tags, %v; want none and an error", n, failed)
	}
}

func TestThrottle(t *testing.T) {
	clock := clockAt(day)
	throttle := audit.NewThrottle(clock.now)
	status, header := http.StatusOK, ""
	transport := throttle.Wrap(overHandler{http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", header)
		w.WriteHeader(status)
	})})

	ask := func() {
		t.Helper()
		resp, err := transport.RoundTrip(httptest.NewRequest(http.MethodGet, "http://r.example.com/v2/", nil))
		if err != nil || resp.StatusCode != status {
			t.Fatal(resp, err)
		}

		resp.Body.Close()
	}

	begun := clock.now()
	ask()
	if _, complained := throttle.Since(begun); complained {
		t.Error("200 is no complaint")
	}

	status, header = http.StatusTooManyRequests, "30"
	ask()
	if after, complained := throttle.Since(begun); !complained || after != 30*time.Second {
		t.Errorf("after 429: %v, %t; want 30s", after, complained)
	}

	clock.set(clock.now().Add(10 * time.Second))
	if after, complained := throttle.Since(begun); !complained || after != 20*time.Second {
		t.Errorf("ten seconds on: %v, %t; want 20s", after, complained)
	}
	if _, complained := throttle.Since(clock.now()); complained {
		t.Error("a complaint from before is no answer to what was asked after it")
	}

	failing := throttle.Wrap(failingTransport{})
	if _, err := failing.RoundTrip(httptest.NewRequest(http.MethodGet, "http://r.example.com/v2/", nil)); err == nil {
		t.Error("an error got lost")
	}
}

type failingTransport struct{}

func (failingTransport) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("connection refused")
}

// A call that may not start takes no place: nobody would release it.
func TestAnEndedContextTakesNoPlace(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if running, err := audit.AcquireForTest(ctx); err == nil || running != 0 {
		t.Errorf("%d calls run after %v, want none after an error", running, err)
	}
}
