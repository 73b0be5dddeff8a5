package verify_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/verify"
)

// front answers some requests itself and passes the rest to a real registry.
type front struct {
	mu     sync.Mutex
	answer func(w http.ResponseWriter, r *http.Request) bool // false: not mine
	log    []string                                          // METHOD PATH
	sent   atomic.Int64                                      // bytes of answers
}

func (f *front) wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		answer := f.answer
		f.log = append(f.log, r.Method+" "+r.URL.Path)
		f.mu.Unlock()
		counted := &countingWriter{ResponseWriter: w, n: &f.sent}
		if answer == nil || !answer(counted, r) {
			next.ServeHTTP(counted, r)
		}
	})
}

func (f *front) set(answer func(w http.ResponseWriter, r *http.Request) bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer, f.log = answer, nil
	f.sent.Store(0)
}

func (f *front) requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string{}, f.log...)
}

type countingWriter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (c *countingWriter) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.n.Add(int64(n))
	return n, err
}

func (c *countingWriter) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// scene is the corpus's, in one registry with a front.
type scene struct {
	corpus.Scene
	front             *front
	host              string
	app, base         attestor.Digest
	config            []byte
	layer, configPath string
	needs             attestor.Needs
}

func newScene(t testing.TB) *scene {
	t.Helper()
	s := &scene{Scene: corpus.NewScene("app"), front: &front{}}
	s.host = newRegistry(t, s.front.wrap)
	s.base = pushRaw(t, s.host, "base", "1", s.BaseImage)
	s.app = pushRaw(t, s.host, "app", "1", s.Image)
	s.config, s.layer, s.configPath = s.Config, s.Layer, s.ConfigPath
	s.needs = attestor.Needs{ResolveNames: true, Bases: []attestor.ApprovedBase{{Name: "b", Repository: s.host + "/base", Tags: []string{"1"}}}}
	return s
}

// judge returns every reason code that comes of the image, by digest.
func (s *scene) judge(t testing.TB, change func(*config)) []attestor.Code {
	t.Helper()
	i := newInspector(t, s.host, func(c *config) {
		if change != nil {
			change(c)
		}
	})

	ctx, cancel := context.WithTimeout(context.Background(), sceneDeadline)
	defer cancel()
	r, err := i.Resolve(ctx, parse(t, s.host+"/app@"+string(s.app)), s.needs)
	if err != nil {
		return []attestor.Code{codeOf(err)}
	}

	var codes []attestor.Code
	add := func(problems []attestor.Problem) {
		for _, p := range problems {
			codes = append(codes, p.Code)
		}
	}

	add(r.Problems)
	for _, c := range r.Children {
		add(i.Inspect(ctx, r, c, s.needs).Problems)
	}

	return codes
}

const sceneDeadline = time.Minute

func TestSceneIsGoodByItself(t *testing.T) {
	if got := newScene(t).judge(t, nil); len(got) > 0 {
		t.Errorf("codes = %v, want none: the tests with this scene would prove nothing", got)
	}
}

// Every request that an inspection makes fails in every way, one at a time.
// None may end in a pass, or in a panic.
func TestRegistryFailsEachRequest(t *testing.T) {
	s := newScene(t)
	s.judge(t, nil)
	paths := map[string]bool{}

	for _, r := range s.front.requests() {
		if method, path, _ := strings.Cut(r, " "); method == http.MethodGet {
			paths[path] = true
		}
	}

	if len(paths) < 6 {
		t.Fatalf("requests = %v; want ping, manifest, config, layer, base's tag and config", paths)
	}

	allowed := map[attestor.Code]bool{
		attestor.CodeRegistryDenied: true, attestor.CodeRegistryUnavailable: true, attestor.CodeRegistryMisbehaves: true,
		attestor.CodeBaseUnresolved: true, attestor.CodeUserLookupFailed: true, attestor.CodeContentMismatch: true,
		attestor.CodeRegistryBusy: true, attestor.CodeImageNotFound: true, attestor.CodeContentMissing: true,
	}

	for path := range paths {
		for _, status := range []int{400, 401, 403, 404, 410, 429, 500, 502, 503, 504} {
			t.Run(fmt.Sprint(path, " ", status), func(t *testing.T) {
				s.front.set(func(w http.ResponseWriter, r *http.Request) bool {
					if r.URL.Path != path {
						return false
					}

					if status == http.StatusTooManyRequests {
						w.Header().Set("Retry-After", fmt.Sprint(2*sceneDeadline.Seconds())) // nobody waits for it
					}

					w.WriteHeader(status)
					return true
				})

				codes := s.judge(t, nil)
				if path == "/v2/" && status == http.StatusUnauthorized {
					wantNone(t, codes) // it asks for credentials, and then does not want any
					return
				}
				if len(codes) == 0 {
					t.Fatal("passes although a request failed")
				}

				for _, c := range codes {
					if !allowed[c] {
						t.Errorf("code %q", c)
					}
				}
			})
		}
	}
}

func wantNone(t *testing.T, codes []attestor.Code) {
	t.Helper()
	if len(codes) > 0 {
		t.Errorf("codes = %v, want none", codes)
	}
}

func serve(w http.ResponseWriter, mediaType string, b []byte) bool {
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	_, _ = w.Write(b)
	return true
}

func TestRegistryLies(t *testing.T) {
	for _, tt := range corpus.Lies() {
		t.Run(tt.Name, func(t *testing.T) {
			s := newScene(t)
			s.front.set(func(w http.ResponseWriter, r *http.Request) bool { return tt.Answer(s.Scene, w, r) })
			got := s.judge(t, func(c *config) { c.Limits.LayerBytes = 1 << 20 })
			if diff := cmp.Diff(tt.Codes, got); diff != "" {
				t.Errorf("codes (-want +got):\n%s", diff)
			}
		})
	}
}

func isManifest(r *http.Request, repo string) bool {
	return strings.HasPrefix(r.URL.Path, "/v2/"+repo+"/manifests/")
}

func fetchTimeout(l *verify.Limits) *time.Duration { return &l.FetchTimeout }
func layerTimeout(l *verify.Limits) *time.Duration { return &l.LayerTimeout }
func baseTimeout(l *verify.Limits) *time.Duration  { return &l.BaseTimeout }

// A registry that accepts a request and never answers costs its deadline, for
// each stage, and no more.
func TestRegistryHangs(t *testing.T) {
	for _, tt := range []struct {
		name, path string
		limit      func(*verify.Limits) *time.Duration // the only short one, so that a slow machine is not a hanging registry
		want       []attestor.Code
	}{
		{"ping", "/v2/", fetchTimeout, []attestor.Code{attestor.CodeTimedOut}},
		{"manifest", "/v2/app/manifests/", fetchTimeout, []attestor.Code{attestor.CodeTimedOut}},
		{"layer", "/v2/app/blobs/LAYER", layerTimeout, []attestor.Code{attestor.CodeUserLookupFailed, attestor.CodeTimedOut}},
		{"base", "/v2/base/manifests/", baseTimeout, []attestor.Code{attestor.CodeBaseUnresolved}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene(t)
			path := strings.Replace(tt.path, "/v2/app/blobs/LAYER", s.layer, 1)
			s.front.set(func(_ http.ResponseWriter, r *http.Request) bool {
				if !strings.HasPrefix(r.URL.Path, path) || tt.path == "/v2/" && r.URL.Path != path {
					return false
				}
				<-r.Context().Done()
				return true
			})

			got := s.judge(t, func(c *config) {
				*tt.limit(&c.Limits) = 100 * time.Millisecond
			})

			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("codes (-want +got):\n%s", diff)
			}
		})
	}
}

// The time that the configuration gives registries is that of every answer's header, and a sixth of a layer's.
func TestOneSettingIsTheTimeOfRegistries(t *testing.T) {
	for given, want := range map[time.Duration]time.Duration{
		0: 10 * time.Second, 3 * time.Second: 3 * time.Second, 30 * time.Second: 30 * time.Second,
	} {
		i, err := verify.New(verify.Config{
			Registries: verify.Registries{Hosts: []verify.Registry{{Host: "registry.example"}}}, FetchTimeout: given,
		})
		if err != nil {
			t.Fatal(err)
		}
		if header, layer := i.Timeouts(); header != want || layer != 6*want {
			t.Errorf("of %s: %s for a header and %s for a layer, want %s and %s", given, header, layer, want, 6*want)
		}
	}
}

// A caller who hangs up fails nobody who asked for the same thing.
func TestGivenUpRequestFailsNobodyElse(t *testing.T) {
	s := newScene(t)
	arrived, release := make(chan struct{}, 8), make(chan struct{})
	s.front.set(func(_ http.ResponseWriter, r *http.Request) bool {
		if isManifest(r, "app") {
			arrived <- struct{}{}
			<-release
		}
		return false
	})

	i := newInspector(t, s.host, nil)
	ref := parse(t, s.host+"/app@"+string(s.app))
	impatient, hangUp := context.WithCancel(context.Background())
	first := make(chan error)
	go func() {
		_, err := i.Resolve(impatient, ref, attestor.Needs{})
		first <- err
	}()

	<-arrived
	second := make(chan error)
	go func() {
		_, err := i.Resolve(context.Background(), ref, attestor.Needs{})
		second <- err
	}()

	hangUp()
	if err := <-first; codeOf(err) != attestor.CodeTimedOut {
		t.Errorf("the one who hung up was answered %v", err)
	}

	close(release)
	if err := <-second; err != nil {
		t.Errorf("the other one was answered %v", err)
	}
}

// A tag is resolved once. What is judged is what that one answer named, however
// the tag moves meanwhile.
func TestTagThatMovesBetweenRequests(t *testing.T) {
	s := newScene(t)
	root := pushRaw(t, s.host, "app", "evil", rawImage{User: "0"})
	var hits atomic.Int64
	s.front.set(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/v2/app/manifests/1" || hits.Add(1) == 1 {
			return false
		}
		http.Redirect(w, r, "/v2/app/manifests/"+string(root), http.StatusTemporaryRedirect)
		return true
	})

	i := newInspector(t, s.host, nil)
	r, all := inspectAll(t, i, s.host+"/app:1", s.needs)
	if hits.Load() != 1 {
		t.Errorf("the tag was asked about %d times, want once", hits.Load())
	}
	if r.Image.Digest() != s.app || all[0].Digest != s.app || value(all[0].User.UID) != 1000 {
		t.Errorf("judged %s and user %+v, want %s", r.Image, all[0].User, s.app)
	}

	// The next request sees the tag where it is now: tags are not remembered.
	if r, _ := inspectAll(t, i, s.host+"/app:1", s.needs); r.Image.Digest() != root {
		t.Errorf("resolved %s, want %s", r.Image, root)
	}
}

func TestUnknownImage(t *testing.T) {
	s := newScene(t)
	i := newInspector(t, s.host, nil)
	for _, ref := range []string{s.host + "/app:none", s.host + "/none:1", s.host + "/app@" + string(sum([]byte("none")))} {
		if _, err := i.Resolve(context.Background(), parse(t, ref), s.needs); attestor.KindOf(err) != attestor.NotFound {
			t.Errorf("Resolve(%s) = %v, want NotFound", ref, err)
		}
	}
}

// What was read from one repository is not served for another, which the
// gate's credentials might not be allowed to read.
func TestContentIsKeptByRepository(t *testing.T) {
	s := newScene(t)
	i := newInspector(t, s.host, nil)
	inspectAll(t, i, s.host+"/app:1", s.needs)
	if _, err := i.Resolve(context.Background(), parse(t, s.host+"/other@"+string(s.app)), s.needs); attestor.KindOf(err) != attestor.NotFound {
		t.Errorf("Resolve of another repository's digest = %v, want NotFound", err)
	}
}

func TestRegistryNotAllowed(t *testing.T) {
	s := newScene(t)
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	i := newInspector(t, "registry.example", nil)
	s.front.set(nil)
	_, err := i.Resolve(context.Background(), parse(t, s.host+"/app:1"), s.needs)
	if codeOf(err) != attestor.CodeRegistryNotAllowed {
		t.Errorf("Resolve = %v, want %s", err, attestor.CodeRegistryNotAllowed)
	}
	if got := s.front.requests(); len(got) > 0 {
		t.Errorf("requests = %v, want none", got)
	}
}
