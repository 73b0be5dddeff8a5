package verify_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/verify"
)

// BenchmarkMatch looks an image of 30 layers up among bases of 8 layers, ten
// to an entry of the policy.
func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprint(n, " bases"), func(b *testing.B) {
			layers := func(base, count int) []attestor.Digest {
				var ds []attestor.Digest
				for k := range count {
					ds = append(ds, sum(fmt.Append(nil, base, ".", k)))
				}
				return ds
			}

			var bases [][]attestor.Digest
			for k := range n {
				bases = append(bases, layers(k, 8))
			}

			m := verify.NewMatcher(newInspector(b, "registry.example", nil), bases, append(layers(n/2, 8), layers(-1, 22)...))
			for b.Loop() {
				if m.Match() != 8 {
					b.Fatal("not found")
				}
			}
		})
	}
}

// BenchmarkImage prints what an image costs in registry requests and bytes,
// the first time and when it is asked about again.
func BenchmarkImage(b *testing.B) {
	front := &front{}
	host := newRegistry(b, front.wrap)
	amd, arm := baseImage(b, "amd64", 4), baseImage(b, "arm64", 4)
	push(b, host+"/base:1", index(b, amd, arm))
	push(b, host+"/image:1", onBase(b, amd, 3, "65532:65532"))
	push(b, host+"/index:1", index(b, onBase(b, amd, 3, "65532:65532"), onBase(b, arm, 3, "65532:65532")))
	pushRaw(b, host, "zbase", "1", rawImage{Layers: layersOf("a")})
	pushRaw(b, host, "recompressed", "1", rawImage{Layers: []rawLayer{layer("a").Recompressed("a"), layer("x")}})
	pushRaw(b, host, "named", "1", rawImage{User: "app", Layers: []rawLayer{tarLayer(etc(root1000)...), tarLayer(file{"x", "y"})}})
	base := attestor.ApprovedBase{Name: "b", Repository: host + "/base", Tags: []string{"1"}}
	zbase := attestor.ApprovedBase{Name: "z", Repository: host + "/zbase", Tags: []string{"1"}}
	ctx := context.Background()

	for _, kind := range []struct {
		name  string
		needs attestor.Needs
	}{
		{"image", attestor.Needs{Bases: []attestor.ApprovedBase{base}}},
		{"index", attestor.Needs{Bases: []attestor.ApprovedBase{base}}},
		{"recompressed", attestor.Needs{Bases: []attestor.ApprovedBase{zbase}}},
		{"named", attestor.Needs{ResolveNames: true}},
	} {
		tagged := parse(b, host+"/"+kind.name+":1")
		resolved, err := newInspector(b, host, nil).Resolve(ctx, tagged, kind.needs)
		if err != nil {
			b.Fatal(err)
		}

		for _, way := range []struct {
			name string
			ref  attestor.Reference
		}{{"tag", tagged}, {"digest", parse(b, resolved.Image.String())}} {
			judge := func(i *verify.Inspector) {
				r, err := i.Resolve(ctx, way.ref, kind.needs)
				if err != nil || len(r.Problems) > 0 {
					b.Fatal(r, err)
				}
				for _, c := range r.Children {
					if ev := i.Inspect(ctx, r, c, kind.needs); len(ev.Problems) > 0 {
						b.Fatal(ev.Problems)
					}
				}
			}

			run := func(name string, next func() *verify.Inspector) {
				b.Run(kind.name+" by "+way.name+", "+name, func(b *testing.B) {
					requests, bytes := 0, int64(0)
					for b.Loop() {
						b.StopTimer()
						i := next()
						front.set(nil)
						b.StartTimer()
						judge(i)
						requests, bytes = len(front.requests()), front.sent.Load()
					}

					b.ReportMetric(float64(requests), "requests/image")
					b.ReportMetric(float64(bytes), "B/image")
				})
			}

			run("cold", func() *verify.Inspector { return newInspector(b, host, nil) })
			run("bases known", func() *verify.Inspector {
				i := newInspector(b, host, nil)
				if err := i.RefreshBases(ctx, kind.needs.Bases); err != nil {
					b.Fatal(err)
				}
				return i
			})

			known := newInspector(b, host, nil)
			judge(known)
			run("warm", func() *verify.Inspector { return known })
		}
	}
}

// The figures that docs/bases.md promises, so that a request more is noticed.
func TestRequestsPerImage(t *testing.T) {
	s := newScene(t)
	d := pushRaw(t, s.host, "plain", "1", rawImage{Layers: layersOf("a")})
	i := newInspector(t, s.host, nil)
	count := func(ref string) (requests []string) {
		s.front.set(nil)
		inspectOne(t, i, ref, attestor.Needs{})

		for _, r := range s.front.requests() {
			requests = append(requests, r[:strings.LastIndex(r, "/")])
		}
		return requests
	}

	manifests, blobs := "GET /v2/plain/manifests", "GET /v2/plain/blobs"
	for _, tt := range []struct{ name, ref, want string }{
		{"first, by tag: the ping, the manifest, the config", s.host + "/plain:1", "GET /v2 " + manifests + " " + blobs},
		{"again, by tag: where it points now", s.host + "/plain:1", manifests},
		{"again, by digest: nothing", s.host + "/plain@" + string(d), ""},
	} {
		if got := strings.Join(count(tt.ref), " "); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// A hundred requests for one fresh image are one for the registry.
func TestRequestsAreShared(t *testing.T) {
	s := newScene(t)
	release := make(chan struct{})
	arrived := make(chan struct{}, 200)
	s.front.set(func(_ http.ResponseWriter, r *http.Request) bool {
		if isManifest(r, "app") {
			arrived <- struct{}{}
			<-release
		}
		return false
	})

	i := newInspector(t, s.host, nil)
	ref := parse(t, s.host+"/app@"+string(s.app))
	errs := make(chan error, 100)

	for range 100 {
		go func() {
			_, err := i.Resolve(context.Background(), ref, attestor.Needs{})
			errs <- err
		}()
	}

	<-arrived
	close(release)

	for range 100 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}

	if n := len(arrived) + 1; n != 1 {
		t.Errorf("%d requests for the manifest, want 1", n)
	}
}
