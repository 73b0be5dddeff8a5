package audit_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/testkit/registries"
)

// references are n pinned images.
func references(n int) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for i := range n {
			if !yield("us-docker.pkg.dev/acme/prod/api@"+string(digest(i)), nil) {
				return
			}
		}
	}
}

// judge answers by the digest alone, so that two sweeps must agree.
func judge(_ context.Context, ref attestor.Reference) (attestor.Decision, error) {
	img, ok := ref.Pinned()
	if !ok {
		return attestor.Decision{}, &attestor.Error{Kind: attestor.NotFound, Msg: "no such image"}
	}
	d := record(1, []attestor.Outcome{attestor.Pass, attestor.Deny, attestor.Undecided}[img.Digest()[len(img.Digest())-1]%3]).Decision
	d.Image.Reference, d.Image.Digest = img.String(), img.Digest()
	return d, nil
}

// outcomes collects what a sweep tells.
type outcomes struct{ verdicts map[string]attestor.Outcome }

func (o *outcomes) add(r audit.Result) error {
	if o.verdicts == nil {
		o.verdicts = map[string]attestor.Outcome{}
	}
	key, verdict := r.Reference, attestor.Outcome("failed: "+r.Failure)
	if r.Decision != nil {
		key, verdict = r.Decision.Image.Reference, r.Decision.Verdict
	}

	if _, twice := o.verdicts[key]; twice {
		return fmt.Errorf("%s was reported twice", key)
	}
	o.verdicts[key] = verdict
	return nil
}

func TestSweepJudgesEachDigestOnce(t *testing.T) {
	host := registries.Serve(t, registries.Memory(false))
	var repos []string
	for r := range 2 {
		repo := fmt.Sprintf("%s/acme/service-%d", host, r)
		repos = append(repos, repo)
		img, err := random.Image(64, 1)
		if err != nil {
			t.Fatal(err)
		}

		for tag := range 7 {
			if tag%3 == 0 {
				if img, err = random.Image(64, 1); err != nil {
					t.Fatal(err)
				}
			}

			ref, err := name.NewTag(fmt.Sprintf("%s:v%d", repo, tag))
			if err != nil {
				t.Fatal(err)
			}
			if err := remote.Write(ref, img); err != nil {
				t.Fatal(err)
			}
		}
	}

	var judged atomic.Int64
	var got outcomes
	s := audit.Sweep{
		Now: time.Now, Result: got.add,
		Resolve: func(ctx context.Context, ref attestor.Reference) (attestor.Image, error) {
			tag, err := name.NewTag(ref.String())
			if err != nil {
				return attestor.Image{}, err
			}
			d, err := remote.Head(tag, remote.WithContext(ctx))
			if err != nil {
				return attestor.Image{}, err
			}
			return ref.At(attestor.Digest(d.Digest.String())), nil
		},
		Judge: func(ctx context.Context, ref attestor.Reference) (attestor.Decision, error) {
			judged.Add(1)
			return judge(ctx, ref)
		},
	}

	loopback := func(h string) bool { return h == host }
	totals, err := s.Run(t.Context(), audit.TagsOf(t.Context(), repos, audit.RegistryOptions{Insecure: loopback, Transport: http.DefaultTransport}))
	if err != nil {
		t.Fatal(err)
	}

	if judged.Load() != 6 || totals.References != 14 || totals.Duplicates != 8 || totals.Images() != 6 || len(got.verdicts) != 6 {
		t.Errorf("judged %d, reported %d, %+v; want 6 of 14, with 8 duplicates", judged.Load(), len(got.verdicts), totals)
	}
}

// A sweep that is killed half-way and resumed ends as one that was not.
func TestSweepResumes(t *testing.T) {
	const n = 200
	var whole outcomes
	want, err := audit.Sweep{Now: time.Now, Judge: judge, Result: whole.add}.Run(t.Context(), references(n))
	if err != nil {
		t.Fatal(err)
	}

	for _, cut := range []struct {
		name string
		harm func(t *testing.T, path string)
	}{
		{"interrupted", func(*testing.T, string) {}},
		{"killed while it wrote a line", func(t *testing.T, path string) {
			info, err := os.Stat(path)
			if err == nil {
				err = os.Truncate(path, info.Size()-7)
			}
			if err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(cut.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state")
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			reported := 0
			_, err := audit.Sweep{Now: time.Now, Judge: judge, State: path, Key: "k", Result: func(audit.Result) error {
				if reported++; reported == n/2 {
					cancel()
				}
				return nil
			}}.Run(ctx, references(n))
			if !errors.Is(err, context.Canceled) || reported < n/2 || reported == n {
				t.Fatalf("the sweep was not interrupted half-way: %d, %v", reported, err)
			}

			cut.harm(t, path)
			var judged atomic.Int64
			var got outcomes
			totals, err := audit.Sweep{Now: time.Now, State: path, Key: "k", Result: got.add,
				Judge: func(ctx context.Context, ref attestor.Reference) (attestor.Decision, error) {
					judged.Add(1)
					return judge(ctx, ref)
				}}.Run(t.Context(), references(n))
			if err != nil {
				t.Fatal(err)
			}

			if d := cmp.Diff(want, totals); d != "" {
				t.Errorf("the totals differ (-whole +resumed):\n%s", d)
			}
			if d := cmp.Diff(whole.verdicts, got.verdicts); d != "" {
				t.Errorf("the outcomes differ (-whole +resumed):\n%s", d)
			}

			if j := int(judged.Load()); j > n-reported+1 || j == 0 {
				t.Errorf("%d were judged again or for the first time, want about %d", j, n-reported)
			}
		})
	}
}

// A judge that resolves for itself, as a service does: two tags that turn out
// to be one image are reported once, in a resumed sweep too.
func TestSweepWithoutResolve(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	refs := audit.LinesOf(strings.NewReader("r.example.com/a:1\nr.example.com/a:2\nr.example.com/a:3\n"))
	for run := range 2 {
		var judged atomic.Int64
		var got outcomes
		totals, err := audit.Sweep{Now: time.Now, State: path, Key: "k", Most: 1, Result: got.add,
			Judge: func(ctx context.Context, ref attestor.Reference) (attestor.Decision, error) {
				judged.Add(1)
				n := 1
				if ref.Tag() == "3" {
					n = 2
				}

				pinned, err := attestor.ParseReference(ref.At(digest(n)).String())
				if err != nil {
					return attestor.Decision{}, err
				}
				return judge(ctx, pinned)
			}}.Run(t.Context(), refs)
		if err != nil {
			t.Fatal(err)
		}

		if totals.Images() != 2 || totals.Duplicates != 1 || len(got.verdicts) != 2 {
			t.Errorf("run %d: %+v, %d reported; want 2 images and 1 duplicate", run, totals, len(got.verdicts))
		}
		if run == 1 {
			if judged.Load() != 1 { // the duplicate, which left no line
				t.Errorf("%d were judged again, want 1", judged.Load())
			}
		}
		refs = audit.LinesOf(strings.NewReader("r.example.com/a:1\nr.example.com/a:2\nr.example.com/a:3\n"))
	}
}

// Artifacts that only a repository's list has are set apart, each digest once;
// what somebody names is judged whatever it is, and so is what cannot be read.
func TestSweepSetsArtifactsApart(t *testing.T) {
	pinned := func(n int) string { return "us-docker.pkg.dev/acme/prod/api@" + string(digest(n)) }
	tag := func(name string) string { return "us-docker.pkg.dev/acme/prod/api:" + name }
	names := map[string]int{tag("v1"): 1, tag("sha256-a.sig"): 2, tag("again"): 2, tag("sha256-image.sig"): 3, tag("unread"): 4}
	refs := func(yield func(string, error) bool) {
		for _, ref := range []string{tag("v1"), tag("sha256-a.sig"), tag("again"), tag("sha256-image.sig"), tag("unread"), pinned(2)} {
			if !yield(ref, nil) {
				return
			}
		}
	}

	kind := func(img attestor.Image) (string, error) {
		switch img.Digest() {
		case digest(2):
			return "signature", nil
		case digest(4):
			return "signature", errors.New("the registry is down")
		}
		return "", nil
	}

	for _, resolves := range []bool{true, false} {
		t.Run(fmt.Sprint(resolves), func(t *testing.T) {
			var mu sync.Mutex
			judged, apart := map[attestor.Digest]bool{}, []string{}
			s := audit.Sweep{
				Now: time.Now, Listed: func(ref string) bool { return !strings.Contains(ref, "@") },
				Result: func(r audit.Result) error {
					if r.Artifact != "" {
						apart = append(apart, r.Artifact)
					}
					return nil
				},
				Judge: func(_ context.Context, ref attestor.Reference) (attestor.Decision, error) {
					img, ok := ref.Pinned()
					if !ok {
						var err error
						if img, err = attestor.ParseImage(pinned(names[ref.String()])); err != nil {
							return attestor.Decision{}, err
						}
					}

					mu.Lock()
					judged[img.Digest()] = true
					mu.Unlock()
					d := record(1, attestor.Deny).Decision
					d.Image.Reference, d.Image.Digest = img.String(), img.Digest()
					if k, err := kind(img); err == nil {
						d.Image.Artifact = k
					}
					return d, nil
				},
			}
			if resolves {
				s.Resolve = func(_ context.Context, ref attestor.Reference) (attestor.Image, error) {
					if img, ok := ref.Pinned(); ok {
						return img, nil
					}
					return attestor.ParseImage(pinned(names[ref.String()]))
				}
				s.Artifact = func(_ context.Context, _ attestor.Reference, img attestor.Image) (string, error) { return kind(img) }
			}

			totals, err := s.Run(t.Context(), refs)
			if err != nil {
				t.Fatal(err)
			}
			want := audit.Totals{References: 6, Duplicates: 1, Refused: 4, Apart: 1}
			if diff := cmp.Diff(want, totals); diff != "" {
				t.Errorf("totals (-want +got):\n%s", diff)
			}

			if !slices.Equal(apart, []string{"signature"}) {
				t.Errorf("set apart: %q", apart)
			}
			for _, n := range []int{1, 2, 3, 4} { // 2 by its digest, which somebody named
				if !judged[digest(n)] {
					t.Errorf("image %d was not judged", n)
				}
			}
		})
	}
}
