package verify_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/verify"
)

// place is where a registry is asked: what for, and by what path.
type place struct {
	name, ref, path string
	what            string // as messages name it
}

// answering is a real registry with an index, its child, config and layer, of
// which a test answers one request itself.
type answering struct {
	*scene
	places []place
}

func newAnswering(t *testing.T) *answering {
	t.Helper()
	s := newScene(t)
	index := pushIndex(t, s.host, "app", "index", s.Image.Entry())
	manifest := func(ref string) string { return "/v2/app/manifests/" + ref }
	app, config := string(s.app), string(sum(s.config))

	return &answering{s, []place{
		{"manifest by tag", s.host + "/app:1", manifest("1"), s.host + "/app:1"},
		{"manifest by digest", s.host + "/app@" + app, manifest(app), s.host + "/app@" + app},
		{"child", s.host + "/app@" + string(index), manifest(app), s.host + "/app@" + app},
		{"config", s.host + "/app@" + app, s.configPath, config},
		{"layer", s.host + "/app@" + app, s.layer, strings.TrimPrefix(s.layer, "/v2/app/blobs/")},
	}}
}

// answer lets the registry answer one path otherwise.
func (a *answering) answer(path string, with func(w http.ResponseWriter, r *http.Request)) {
	a.front.set(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != path {
			return false
		}
		with(w, r)
		return true
	})
}

// outcome is what comes of a place: an error of Resolve, or else the one
// problem of the image.
func (a *answering) outcome(t *testing.T, p place, deadline time.Duration) (attestor.Kind, attestor.Reason) {
	t.Helper()
	i := newInspector(t, a.host, nil)
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()

	needs := attestor.Needs{ResolveNames: true}
	r, err := i.Resolve(ctx, parse(t, p.ref), needs)
	if e, ok := errors.AsType[*attestor.Error](err); ok {
		return e.Kind, attestor.Reason{Code: e.Code, Message: e.Msg, Fix: e.Fix, RetryAfter: e.RetryAfter()}
	}

	problems := r.Problems
	for _, c := range r.Children {
		problems = append(problems, i.Inspect(ctx, r, c, needs).Problems...)
	}

	if len(problems) != 1 {
		t.Fatalf("%d problems, want one: %+v", len(problems), problems)
	}
	return attestor.Upstream, problems[0].Reason
}

// Each answer of a registry, wherever it is given, has a reason that names who
// must do something: the registry, the gate's operator, or whoever pushed.
func TestWhatTheRegistryAnswers(t *testing.T) {
	a := newAnswering(t)

	status := func(n int) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(n) }
	}

	unknown := func(code string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprintf(w, `{"errors":[{"code":%q,"message":"unknown"}]}`, code)
		}
	}

	const (
		registry = "check the registry"
		operator = "credentials that may pull"
		pusher   = "push"
	)

	for _, tt := range []struct {
		name    string
		answer  func(http.ResponseWriter, *http.Request)
		code    attestor.Code // of a part; of the image itself where that differs:
		image   attestor.Code
		message []string
		fix     string
	}{
		{"401", status(401), attestor.CodeRegistryDenied, "", []string{"answered 401", "may not read"}, operator},
		{"403", status(403), attestor.CodeRegistryDenied, "", []string{"answered 403", "may not read"}, operator},
		{"404", status(404), attestor.CodeContentMissing, attestor.CodeImageNotFound, nil, pusher},
		{"404, unknown manifest", unknown("MANIFEST_UNKNOWN"), attestor.CodeContentMissing, attestor.CodeImageNotFound, nil, pusher},
		{"410", status(410), attestor.CodeContentMissing, attestor.CodeImageNotFound, nil, pusher},
		{"400", status(400), attestor.CodeRegistryMisbehaves, "", []string{"answered 400 when asked for"}, registry},
		{"406", status(406), attestor.CodeRegistryMisbehaves, "", []string{"answered 406 when asked for"}, registry},
		{"204", status(204), attestor.CodeRegistryMisbehaves, "", []string{"answered 204 when asked for"}, registry},
		{"408", status(408), attestor.CodeRegistryUnavailable, "", []string{"answered 408 when asked for"}, "try again"},
		{"500", status(500), attestor.CodeRegistryUnavailable, "", []string{"answered 500 when asked for"}, "try again"},
		{"502", status(502), attestor.CodeRegistryUnavailable, "", []string{"answered 502 when asked for"}, "try again"},
		{"503", status(503), attestor.CodeRegistryUnavailable, "", []string{"answered 503 when asked for"}, "try again"},
		{"504", status(504), attestor.CodeRegistryUnavailable, "", []string{"answered 504 when asked for"}, "try again"},
	} {
		for _, p := range a.places {
			t.Run(tt.name+"/"+p.name, func(t *testing.T) {
				a.answer(p.path, tt.answer)
				kind, got := a.outcome(t, p, time.Minute)

				code, wantKind := tt.code, attestor.Upstream
				if strings.HasPrefix(p.name, "manifest") && tt.image != "" {
					code, wantKind = tt.image, attestor.NotFound
				}

				fix := tt.fix
				if p.name == "layer" { // what a name is looked up for has a reason of its own
					code, fix = attestor.CodeUserLookupFailed, ""
				}

				if kind != wantKind || got.Code != code {
					t.Errorf("kind %d, %s; want %d, %s: %s", kind, got.Code, wantKind, code, got.Message)
				}

				for _, part := range tt.message {
					if !strings.Contains(got.Message, part) {
						t.Errorf("the message %q does not say %q", got.Message, part)
					}
				}

				if !strings.Contains(got.Message, a.host) || len(tt.message) == 0 && !strings.Contains(got.Message, p.what) {
					t.Errorf("the message %q does not name %s", got.Message, p.what)
				}
				if !strings.Contains(got.Fix, fix) {
					t.Errorf("the fix %q is not about %q", got.Fix, fix)
				}
			})
		}
	}
}

// What is not there is named with what lacks it, and with the repository where
// that is what is not there.
func TestWhatIsMissingIsNamed(t *testing.T) {
	a := newAnswering(t)
	app := a.host + "/app@" + string(a.app)

	for n, want := range []string{
		a.host + "/app:1 does not exist",
		app + " does not exist",
		"the index lists " + app + ", which the registry does not have",
		"the registry has " + app + ", but not its config " + string(sum(a.config)),
		"the registry " + a.host + " has no layer " + strings.TrimPrefix(a.layer, "/v2/app/blobs/"),
	} {
		a.answer(a.places[n].path, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) })
		if _, got := a.outcome(t, a.places[n], time.Minute); !strings.Contains(got.Message, want) {
			t.Errorf("%s: it says %q, want %q", a.places[n].name, got.Message, want)
		}
	}

	// A real registry's own answers.
	a.front.set(nil)
	i := newInspector(t, a.host, nil)

	for ref, want := range map[string]string{
		a.host + "/app:none":   a.host + "/app:none does not exist",
		a.host + "/nobody/x:1": "it knows no repository " + a.host + "/nobody/x",
	} {
		_, err := i.Resolve(t.Context(), parse(t, ref), attestor.Needs{})
		if e, ok := errors.AsType[*attestor.Error](err); !ok || e.Kind != attestor.NotFound ||
			e.Code != attestor.CodeImageNotFound || !strings.Contains(e.Msg, want) {
			t.Errorf("%s: %v, want %q", ref, err, want)
		}
	}
}

// A manifest that is served under another media type than its own is refused,
// and whoever can mend it is named.
func TestServedUnderAnotherType(t *testing.T) {
	a := newAnswering(t)
	page := []byte("<html><title>Log in</title></html>")

	for _, tt := range []struct {
		name, header string
		body         []byte
		code         attestor.Code // "" passes
		fix          string
	}{
		{"its own", ociManifest, a.Manifest, "", ""},
		{"its own, with a parameter", ociManifest + "; charset=utf-8", a.Manifest, "", ""},
		{"Docker's for an OCI manifest", dockerManifest, a.Manifest, attestor.CodeManifestInvalid, "push it again"},
		{"an index's", ociIndex, a.Manifest, attestor.CodeManifestInvalid, "push it again"},
		{"any bytes", "application/octet-stream", a.Manifest, attestor.CodeRegistryMisbehaves, "check the registry"},
		{"JSON", "application/json", a.Manifest, attestor.CodeRegistryMisbehaves, "check the registry"},
		{"a page's, a manifest", "text/html", a.Manifest, attestor.CodeRegistryMisbehaves, "check the registry"},
		{"a page", "text/html; charset=utf-8", page, attestor.CodeRegistryMisbehaves, "check the registry"},
		{"a page under a manifest's type", ociManifest, page, attestor.CodeManifestInvalid, "build and push"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a.answer(a.places[0].path, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", tt.header)
				_, _ = w.Write(tt.body)
			})

			r, err := newInspector(t, a.host, nil).Resolve(t.Context(), parse(t, a.places[0].ref), attestor.Needs{})
			if err != nil {
				t.Fatal(err)
			}

			if tt.code == "" {
				wantCodes(t, r.Problems)
				return
			}

			wantCodes(t, r.Problems, tt.code)
			if got := r.Problems[0].Fix; !strings.Contains(got, tt.fix) {
				t.Errorf("the fix is %q, want %q", got, tt.fix)
			}
		})
	}
}

// Whoever was told to serve a manifest under its own type did so: what was refused before is not refused for ever.
func TestServedUnderItsOwnTypeAtLast(t *testing.T) {
	a := newAnswering(t)
	for _, p := range a.places[1:3] { // by digest: the image, and the child of an index
		i := newInspector(t, a.host, nil)
		outcome := func() []attestor.Problem {
			t.Helper()
			r, err := i.Resolve(t.Context(), parse(t, p.ref), attestor.Needs{ResolveNames: true})
			if err != nil {
				t.Fatal(err)
			}
			problems := r.Problems
			for _, c := range r.Children {
				problems = append(problems, i.Inspect(t.Context(), r, c, attestor.Needs{ResolveNames: true}).Problems...)
			}
			return problems
		}

		a.answer(p.path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", dockerManifest)
			_, _ = w.Write(a.Manifest)
		})
		wantCodes(t, outcome(), attestor.CodeManifestInvalid)
		a.front.set(nil)
		wantCodes(t, outcome())
	}
}

// asksToWait answers n requests of a path with a status and a Retry-After, and
// lets the registry answer the rest.
func (a *answering) asksToWait(path string, n int64, status int, after string) *atomic.Int64 {
	var asked atomic.Int64
	a.front.set(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != path || asked.Add(1) > n {
			return false
		}

		if after != "" {
			w.Header().Set("Retry-After", after)
		}

		w.WriteHeader(status)
		return true
	})
	return &asked
}

// A registry that asks for a later retry is waited for and asked again, in
// whatever it was asked for: nothing comes of it but time.
func TestRegistryIsWaitedFor(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		for n := range 6 {
			t.Run(fmt.Sprint(status, " ", n), func(t *testing.T) {
				t.Parallel()
				a := newAnswering(t)
				p := place{"registry", a.host + "/app:1", "/v2/", ""}
				if n < len(a.places) {
					p = a.places[n]
				}

				asked := a.asksToWait(p.path, 1, status, "1")

				i := newInspector(t, a.host, nil)
				r, err := i.Resolve(t.Context(), parse(t, p.ref), attestor.Needs{ResolveNames: true})
				if err != nil {
					t.Fatalf("%s: %v", p.name, err)
				}

				wantCodes(t, r.Problems)
				for _, c := range r.Children {
					wantCodes(t, i.Inspect(t.Context(), r, c, attestor.Needs{ResolveNames: true}).Problems)
				}

				if asked.Load() < 2 {
					t.Errorf("%s was asked for %d times: the test proves nothing", p.name, asked.Load())
				}
			})
		}
	}
}

// Where the deadline comes first the answer comes at once, with the registry's
// own Retry-After, and is never a pass.
func TestDeadlineComesFirst(t *testing.T) {
	a := newAnswering(t)
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
		for _, p := range a.places {
			t.Run(fmt.Sprint(status, " ", p.name), func(t *testing.T) {
				asked := a.asksToWait(p.path, 1000, status, "3600")
				kind, got := a.outcome(t, p, time.Minute)

				code := attestor.CodeRegistryBusy
				if p.name == "layer" {
					code = attestor.CodeUserLookupFailed
				}
				if kind != attestor.Upstream || got.Code != code || got.RetryAfter != 3600 {
					t.Errorf("kind %d, %+v; want %s after an hour", kind, got, code)
				}
				if !strings.Contains(got.Message, "answered "+strconv.Itoa(status)) || !strings.Contains(got.Message, a.host) {
					t.Errorf("it says %q", got.Message)
				}
				if asked.Load() != 1 {
					t.Errorf("asked %d times, want once: the next time is after the deadline", asked.Load())
				}
			})
		}
	}
}

// A registry that never stops asking to be asked later is asked a few times.
func TestRegistryIsNotWaitedForWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		i, err := verify.New(verify.Config{Registries: verify.Registries{
			Hosts: []verify.Registry{{Host: "registry.example"}},
			Wrap: func(http.RoundTripper) http.RoundTripper {
				return transport(func(r *http.Request) (*http.Response, error) {
					asked.Add(1)
					return &http.Response{StatusCode: http.StatusTooManyRequests, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
				})
			},
		}})

		if err != nil {
			t.Fatal(err)
		}

		begun := time.Now()
		_, err = i.Resolve(t.Context(), parse(t, "registry.example/app:1"), attestor.Needs{})
		if codeOf(err) != attestor.CodeRegistryBusy {
			t.Errorf("got %v", err)
		}
		if n, took := asked.Load(), time.Since(begun); n < 3 || n > 10 || took > time.Minute {
			t.Errorf("asked %d times in %v", n, took)
		}
	})
}

type transport func(*http.Request) (*http.Response, error)

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) { return t(r) }

// A token server that asks for a later retry is waited for too, and is named
// where it goes on.
func TestTokenServerIsWaitedFor(t *testing.T) {
	t.Parallel()
	a := newAnswering(t)
	var tokens atomic.Int64
	limit := int64(1)
	a.front.set(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Path == "/token" && tokens.Add(1) <= limit:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusTooManyRequests)

		case r.URL.Path == "/token":
			fmt.Fprint(w, `{"token":"t"}`)

		case r.Header.Get("Authorization") == "":
			w.Header().Set("WWW-Authenticate", `Bearer realm="http://`+a.host+`/token",service="x"`)
			w.WriteHeader(http.StatusUnauthorized)

		default:
			return false
		}
		return true
	})

	if _, err := newInspector(t, a.host, nil).Resolve(t.Context(), parse(t, a.places[0].ref), attestor.Needs{}); err != nil || tokens.Load() < 2 {
		t.Errorf("asked for %d tokens: %v", tokens.Load(), err)
	}
}
