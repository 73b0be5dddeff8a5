package attestor_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
)

func TestIndexes(t *testing.T) {
	index := func(t *testing.T) *stages {
		s := newStages(t)
		s.resolved.Index = true
		s.resolved.Children = []attestor.Child{{Platform: "linux/amd64", Digest: digest(2)}, {Platform: "linux/arm64", Digest: digest(3)}}
		return s
	}

	t.Run("all judged", func(t *testing.T) {
		d, err := admit(t, index(t), nil)
		if err != nil || !d.IndexAttested || len(d.Attestations) != 3 || d.Attestations[2].Digest != digest(1) {
			t.Errorf("got %+v, %v", d, err)
		}
	})

	t.Run("some left out", func(t *testing.T) {
		s := index(t)
		s.resolved.Left = []attestor.Child{{Platform: "linux/s390x", Digest: digest(4)}}
		d, err := admit(t, s, nil)
		if err != nil || d.IndexAttested || len(d.Attestations) != 2 || len(d.Deploy) != 2 {
			t.Errorf("got %+v, %v", d, err)
		}

		for _, a := range d.Attestations {
			if a.Digest == digest(1) || a.Digest == digest(4) {
				t.Errorf("%s was attested", a.Digest)
			}
		}
	})

	t.Run("one refused", func(t *testing.T) {
		s := index(t)
		s.policy.status["user"] = attestor.StatusDeny
		d, err := admit(t, s, nil)
		if err != nil || d.Verdict != attestor.Deny || s.called("attest") != 0 {
			t.Errorf("got %+v, %v", d, err)
		}
	})

	t.Run("no child", func(t *testing.T) {
		s := index(t)
		s.resolved.Children = nil
		d, err := admit(t, s, nil)
		if err != nil || d.Verdict != attestor.Deny || s.called("attest") != 0 {
			t.Errorf("got %+v, %v", d, err)
		}
	})
}

func TestUpstreamFailuresAreDecisions(t *testing.T) {
	s := newStages(t)
	s.resolve = &attestor.Error{
		Kind: attestor.Upstream,
		Code: attestor.CodeRegistryDenied,
		Msg:  "the registry refused",
		Fix:  "grant roles/artifactregistry.reader",
	}
	d, err := admit(t, s, nil)
	if err != nil || d.Verdict != attestor.Undecided || d.Refusals()[0].Code != attestor.CodeRegistryDenied || d.Answer().HTTPStatus != 502 {
		t.Errorf("got %+v, %v", d, err)
	}

	s.resolve = &attestor.Error{Kind: attestor.Upstream, Code: attestor.CodeRegistryNotAllowed, Msg: "the registry is not configured"}
	if d, err = admit(t, s, nil); err != nil || d.Verdict != attestor.Deny || d.Answer().HTTPStatus != 422 {
		t.Errorf("a registry that may not be asked: %+v, %v", d, err)
	}

	s.resolve = &attestor.Error{Kind: attestor.NotFound, Msg: "no such image"}
	if _, err := admit(t, s, nil); attestor.KindOf(err) != attestor.NotFound {
		t.Errorf("an unknown image: %v", err)
	}
}

func TestTheIndexsScanIsTheFirstAMD64ChildsOnly(t *testing.T) {
	for _, tt := range []struct {
		name           string
		children, left []attestor.Child
		want           attestor.Digest // that may use it; "" for none
		nobodys        bool            // what is found on the index counts against every child
	}{
		{
			"first of several",
			[]attestor.Child{
				{Platform: "linux/arm64", Digest: digest(2)}, {Platform: "linux/amd64", Digest: digest(3)},
				{Platform: "linux/amd64/v3", Digest: digest(4)},
			},
			nil, digest(3), false,
		},
		{"a variant", []attestor.Child{{Platform: "linux/amd64/v2", Digest: digest(2)}}, nil, digest(2), false},
		{"none", []attestor.Child{{Platform: "linux/arm64", Digest: digest(2)}}, nil, "", true},
		{"none of two", []attestor.Child{{Platform: "linux/arm64", Digest: digest(2)}, {Platform: "linux/s390x", Digest: digest(3)}}, nil, "", true},
		{
			"none, and one left out", []attestor.Child{{Platform: "linux/arm64", Digest: digest(2)}},
			[]attestor.Child{{Platform: "linux/s390x", Digest: digest(3)}}, "", true,
		},
		{
			"the scanner's may have been left out", []attestor.Child{{Platform: "linux/amd64/v3", Digest: digest(2)}},
			[]attestor.Child{{Platform: "linux/amd64", Digest: digest(3)}}, "", false,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStages(t)
			s.resolved.Index, s.resolved.Children, s.resolved.Left = true, tt.children, tt.left
			if _, err := admit(t, s, nil); err != nil {
				t.Fatal(err)
			}

			for _, c := range tt.children {
				if got := s.called("scan by index: " + string(c.Digest)); (got == 1) != (c.Digest == tt.want) {
					t.Errorf("%s was looked up by the index %d times", c.Platform, got)
				}
				if got := s.called("findings of " + string(digest(1)) + " too: " + string(c.Digest)); (got == 1) != tt.nobodys {
					t.Errorf("for %s the index's findings were looked up %d times", c.Platform, got)
				}
			}
		})
	}
}

// The attestations of an index and its children are asked for together, and no
// digest twice; what is not known of one of them is known of none.
func TestNoDigestIsAskedAboutTwice(t *testing.T) {
	for name, tt := range map[string]struct {
		ref     string
		unknown attestor.Digest
		known   bool
		wrongly bool // it was not called an index at first
	}{
		"by digest, first called an image": {ref: repository + "@" + string(digest(1)), known: true, wrongly: true},
		"by digest":                        {ref: repository + "@" + string(digest(1)), known: true},
		"by tag":                           {ref: repository + ":v7", known: true},
		"by digest, the index failed":      {ref: repository + "@" + string(digest(1)), unknown: digest(1)},
		"by digest, a child failed":        {ref: repository + "@" + string(digest(1)), unknown: digest(3)},
		"by tag, a child failed":           {ref: repository + ":v7", unknown: digest(3)},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStages(t)
			s.resolved.Index, s.standing.Known, s.unknown, s.miscalled = true, true, tt.unknown, tt.wrongly
			s.resolved.Children = []attestor.Child{{Platform: "linux/amd64", Digest: digest(2)}, {Platform: "linux/arm64", Digest: digest(3)}}
			d, err := admit(t, s, func(r *attestor.Request) { r.Image = reference(t, tt.ref) })
			if err != nil || d.Verdict != attestor.Pass {
				t.Fatalf("%v, %v", d.Verdict, err)
			}

			for n := 1; n <= 3; n++ {
				most := 1
				if tt.wrongly && n == 1 {
					most = 2 // it may have been asked about alone, before it was known to have children
				}
				if got := s.called("standing of " + string(digest(n))); got > most || tt.known && got == 0 {
					t.Errorf("asked about digest %d %d times", n, got)
				}
			}

			most := 1
			if tt.wrongly {
				most = 2
			}
			if got := s.called("standing"); got < 1 || got > most {
				t.Errorf("the attestations were asked for %d times", got)
			}
			if s.known.Known != tt.known {
				t.Errorf("Attest was told that what stands is known: %t", s.known.Known)
			}
		})
	}
}

// Whatever an image is given by, its scan and its attestations are asked for
// while the registry is asked what it consists of, and that by digest.
func TestScanAndAttestationsAreAskedForMeanwhile(t *testing.T) {
	for _, ref := range []string{repository + ":v7", repository + "@" + string(digest(1))} {
		t.Run(ref, func(t *testing.T) {
			s := newStages(t)
			s.resolving = func(ctx context.Context) error {
				for s.called("scan") == 0 || s.called("standing") == 0 {
					if ctx.Err() != nil {
						return ctx.Err()
					}
					runtime.Gosched()
				}
				return nil
			}

			d, err := admit(t, s, func(r *attestor.Request) { r.Image = reference(t, ref) })
			if err != nil || d.Verdict != attestor.Pass || d.Image.Requested != ref {
				t.Errorf("got %+v, %v", d, err)
			}
			if s.called("resolve "+repository+"@"+string(digest(1))) != 1 || s.called("resolve") != 1 || s.called("scan") != 1 || s.called("standing") != 1 {
				t.Errorf("calls: %q", s.calls)
			}
		})
	}
}

// miscounting answers about one manifest fewer, or one more, than it was asked about.
type miscounting struct {
	*stages
	by int
}

func (s miscounting) Scans(ctx context.Context, requests []attestor.ScanRequest) []attestor.Scan {
	scans := s.stages.Scans(ctx, requests)
	if len(requests) == 1 {
		return scans
	}
	return append(scans, scans...)[:len(scans)+s.by]
}

// An answer that is missing is no scan, and one too many could be of anything.
func TestEveryChildNeedsItsOwnScan(t *testing.T) {
	for by, want := range map[int]attestor.ScanState{
		0: attestor.ScanComplete, -1: attestor.ScanUnavailable, 1: attestor.ScanUnavailable,
	} {
		s := newStages(t)
		s.resolved.Index = true
		s.resolved.Children = []attestor.Child{
			{Platform: "linux/amd64", Digest: digest(2)}, {Platform: "linux/arm64", Digest: digest(3)},
		}
		g, err := attestor.NewGate(attestor.GateConfig{
			Policies: s, Inspector: s, Scanner: miscounting{s, by}, Attester: s, Recorder: s,
			NewID: func() string { return "id" }, Now: time.Now, Deadline: time.Minute, Settle: time.Minute,
		})
		if err != nil {
			t.Fatal(err)
		}

		r := attestor.Request{Image: reference(t, repository+":v7"), Caller: attestor.LocalCaller("me")}
		if _, err := g.Admit(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		for _, e := range s.records[len(s.records)-1].Evidence.Platforms {
			if e.Scan.State != want || (e.Scan.Problem != nil) != (by != 0) {
				t.Errorf("%d answers too many: the scan of %s is %q, problem %+v", by, e.Platform, e.Scan.State, e.Scan.Problem)
			}
		}
	}
}

// A tag that was pinned to nothing, or to an image of elsewhere, is no answer.
func TestATagIsPinnedToItsOwnRepository(t *testing.T) {
	for name, img := range map[string]attestor.Image{
		"nothing":   {},
		"elsewhere": reference(t, "us-docker.pkg.dev/acme/other/api:v7").At(digest(1)),
	} {
		s := newStages(t)
		s.resolved.Image = img
		if d, err := admit(t, s, nil); err == nil || s.called("resolve") != 0 || s.called("attest") != 0 {
			t.Errorf("%s: got %+v", name, d)
		}
	}
}

// A panic on a goroutine of its own would end the process, and every other request with it. Nothing is attested after one,
// whichever look-up it was.
func TestLookUpsThatPanic(t *testing.T) {
	one := []attestor.Child{{Platform: "linux/amd64", Digest: digest(1)}}
	several := []attestor.Child{{Platform: "linux/amd64", Digest: digest(2)}, {Platform: "linux/arm64", Digest: digest(3)}}
	for _, name := range []string{"pin", "resolve", "inspect", "scan", "standing"} {
		for _, children := range [][]attestor.Child{one, several} {
			s := newStages(t)
			s.resolved.Children, s.resolved.Index = children, len(children) > 1
			s.panics = name
			d, err := admitOrPanic(t, s)
			if err == nil || !strings.Contains(err.Error(), "a bug in "+name) || d.Verdict == attestor.Pass {
				t.Errorf("%s of %d: verdict %q, error %v; want an error that names the panic", name, len(children), d.Verdict, err)
			}
			if n := s.called("attest"); n > 0 {
				t.Errorf("%s of %d: attested %d times", name, len(children), n)
			}
		}
	}
}

// admitOrPanic is admit, with a panic on the request's own goroutine as an error, as the server has it.
func admitOrPanic(t *testing.T, s *stages) (d attestor.Decision, err error) {
	t.Helper()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return admit(t, s, nil)
}
