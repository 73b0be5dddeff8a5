package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor/internal/samples"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

// A growth is how the cost of a decision depends on how much there is of something.
type growth struct {
	what   string
	linear bool // as is argued; otherwise the cost must stay the same
	points []grown
}

// grown is what decisions took where there was n of it.
type grown struct {
	n, decisions int
	cpu          time.Duration // of the gate, each; what it uses while idle is no part of it
	mallocs      float64       // each
	p50          time.Duration
	ready        time.Duration // after exec
	idle         float64       // CPU that an idle gate uses, in CPUs
}

// extent is how much there is of everything that costs may grow with, and how many decisions are made then.
type extent struct {
	decisions, policies, callers []int
	findings, platforms          []int
	asked                        int           // decisions of each of the first three; about the others fewer, the more there is
	idle                         time.Duration // for which a gate is looked at that nobody asks
}

func fullExtent() extent {
	return extent{
		decisions: []int{1_000, 10_000, 100_000}, policies: []int{1, 100, 1_000, 10_000},
		callers: []int{1, 500, 5_000, 50_000}, findings: []int{0, 100, 1_000, 5_000, 25_000},
		platforms: []int{1, 2, 4, 8, 16}, asked: 400, idle: 3 * time.Second,
	}
}

func quickExtent() extent {
	return extent{
		decisions: []int{100, 300}, policies: []int{1, 30}, callers: []int{1, 50}, findings: []int{0, 300},
		platforms: []int{1, 3}, asked: 20, idle: 100 * time.Millisecond,
	}
}

// grows measures all of them.
func (b *harness) grows(ctx context.Context) error {
	b.world.SetLatency(0)
	e := b.size.growth
	if b.recorded != "" {
		e.decisions = nil
		for n := range strings.SplitSeq(b.recorded, ",") {
			many, err := strconv.Atoi(n)
			if err != nil {
				return fmt.Errorf("-decisions: %w", err)
			}
			e.decisions = append(e.decisions, many)
		}
	}

	for _, g := range []struct {
		what   string
		linear bool
		ns     []int
		point  func(context.Context, int) (grown, error)
	}{
		{"decisions in the record", false, e.decisions, b.ofDecisions},
		{"policies", false, e.policies, b.ofPolicies},
		{"callers", false, e.callers, b.ofCallers},
		{"findings of the image", true, e.findings, b.ofFindings},
		{"platforms of the image", true, e.platforms, b.ofPlatforms},
	} {
		out := growth{what: g.what, linear: g.linear}
		for _, n := range g.ns {
			p, err := g.point(ctx, n)
			if err != nil {
				return fmt.Errorf("%d %s: %w", n, g.what, err)
			}
			out.points = append(out.points, p)
		}
		b.growths = append(b.growths, out)
	}
	return nil
}

// ofDecisions begins with a record of n decisions.
func (b *harness) ofDecisions(ctx context.Context, n int) (grown, error) {
	if b.recorder == "" {
		b.recorder = filepath.Join(b.dir, "record")
		cmd := exec.CommandContext(ctx, "go", "build", "-o", b.recorder, "./bench/record") //nolint:gosec // our own
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return grown{}, fmt.Errorf("building bench/record: %w: %s", err, clip(out))
		}
	}
	return b.point(ctx, n, standin.Options{}, nil, func(dir, _ string) error {
		cmd := exec.CommandContext(ctx, b.recorder, "-fill", "-decisions", strconv.Itoa(n), //nolint:gosec // our own
			"-sqlite", filepath.Join(dir, "decisions.db"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("filling the record: %w: %s", err, clip(out))
		}
		return nil
	})
}

// ofPolicies has n policies, one of which governs the images.
func (b *harness) ofPolicies(ctx context.Context, n int) (grown, error) {
	return b.point(ctx, n, standin.Options{More: "policyReload: 1h"}, nil, func(dir, config string) error {
		if n == 1 {
			return nil
		}
		others := filepath.Join(dir, "others")
		if err := os.Mkdir(others, 0o750); err != nil {
			return err
		}
		for i := 1; i < n; i++ {
			text := fmt.Sprintf(`apiVersion: attestor/v1
kind: GatePolicy
metadata: {name: other-%d}
spec:
  mode: enforce
  images: ["%s/other/team-%d/**"]
  base: {required: false}
  user: {nonRoot: true}
  vulnerabilities: {maximumFixableSeverity: MEDIUM, maximumUnfixableSeverity: HIGH}
  attestors: [%s]
`, i, b.world.Registry.Addr(), i, samples.Attestor)
			if err := os.WriteFile(filepath.Join(others, fmt.Sprintf("%d.yaml", i)), []byte(text), 0o600); err != nil {
				return err
			}
		}
		return edit(config, "policies: [policy.yaml]", "policies: [policy.yaml, others]")
	})
}

// perTeam is how many callers one team's file names.
const perTeam = 10

// ofCallers has n callers, one of which asks. The others are in teams' files.
func (b *harness) ofCallers(ctx context.Context, n int) (grown, error) {
	issuer := corpus.NewIssuer()
	keys := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(issuer.KeySet(corpus.Google)) // whoever has left needs none
	}))
	defer keys.Close()

	more := fmt.Sprintf(`identity:
  audience: %q
  issuers: [{issuer: %q, jwks: %q}]
  callers: [{email: %q, actions: [attest], images: ["**"]}]
`, corpus.Audience, corpus.Google, keys.URL, corpus.Administrator)
	if n > 1 {
		more += fmt.Sprintf("  teams: {directory: teams, allow: [{actions: [attest], images: [\"%s/other/{team}/**\"]}]}\n",
			b.world.Registry.Addr())
	}
	token := func(next http.RoundTripper) http.RoundTripper {
		return authorized{next, issuer.Token(corpus.Administrator)}
	}
	return b.point(ctx, n, standin.Options{More: more}, token, func(dir, _ string) error {
		teams := filepath.Join(dir, "teams")
		if err := os.Mkdir(teams, 0o750); err != nil {
			return err
		}
		for first := 1; first < n; first += perTeam {
			text := "callers:\n"
			for i := first; i < min(n, first+perTeam); i++ {
				text += fmt.Sprintf("  - {email: ci-%d@acme.iam.gserviceaccount.com, actions: [attest], "+
					"images: [\"%s/other/t%d/**\"]}\n", i, b.world.Registry.Addr(), first)
			}
			if err := os.WriteFile(filepath.Join(teams, fmt.Sprintf("t%d.yaml", first)), []byte(text), 0o600); err != nil {
				return err
			}
		}
		return nil
	})
}

// authorized sends a token along.
type authorized struct {
	next  http.RoundTripper
	token string
}

func (a authorized) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+a.token)
	return a.next.RoundTrip(r)
}

// point starts a gate once prepare has written what it grows by, and measures decisions about images without findings.
func (b *harness) point(ctx context.Context, n int, o standin.Options, wrap func(http.RoundTripper) http.RoundTripper,
	prepare func(dir, config string) error) (grown, error) {
	digests, err := b.stock.fresh(ctx, repository, "65532:65532", b.size.growth.asked+1)
	if err != nil {
		return grown{}, err
	}
	return b.grown(ctx, n, o, wrap, b.refs(digests), prepare)
}

// ofFindings asks about images with n findings each, which the policy allows.
func (b *harness) ofFindings(ctx context.Context, n int) (grown, error) {
	const of = "app/found"
	digests, err := b.stock.fresh(ctx, of, "65532:65532", b.fewer(n/100)+1)
	if err != nil {
		return grown{}, err
	}
	if err := b.stock.found(ctx, of, digests, n); err != nil {
		return grown{}, err
	}
	return b.grown(ctx, n, standin.Options{}, nil, b.of(of, digests), nil)
}

// ofPlatforms asks about indexes of n platforms.
func (b *harness) ofPlatforms(ctx context.Context, n int) (grown, error) {
	const of = "app/wide"
	all := manyPlatforms()
	if !b.wide {
		if err := b.stock.base("base/wide", all); err != nil {
			return grown{}, err
		}
		b.wide = true
	}
	digests, err := b.stock.indexes(ctx, of, b.fewer(n)+1, all[:n])
	if err != nil {
		return grown{}, err
	}
	policy := strings.Replace(standin.DefaultPolicy, "REGISTRY/base/debian", "REGISTRY/base/wide", 1)
	return b.grown(ctx, n, standin.Options{Policy: policy}, nil, b.of(of, digests), nil)
}

// fewer is how many decisions are enough where one costs many times as much as another.
func (b *harness) fewer(times int) int {
	return max(min(b.size.growth.asked, 4), b.size.growth.asked/max(1, times))
}

// of names images of any repository.
func (b *harness) of(repository string, digests []string) (out []string) {
	for _, d := range digests {
		out = append(out, b.world.Registry.Addr()+"/"+repository+"@"+d)
	}
	return out
}

// manyPlatforms are sixteen, the usual ones first.
func manyPlatforms() []platform {
	return append(platforms(), []platform{
		{"386", ""}, {"ppc64le", ""}, {"s390x", ""}, {"riscv64", ""}, {"arm", "v6"}, {"arm", "v5"}, {"mips64le", ""},
		{"loong64", ""}, {"mips64", ""}, {"mipsle", ""}, {"mips", ""}, {"ppc64", ""}, {"amd64", "v3"},
	}...)
}

// grown starts a gate and asks about images: about the first for everything that a process needs once, about the others to
// measure.
func (b *harness) grown(ctx context.Context, n int, o standin.Options, wrap func(http.RoundTripper) http.RoundTripper,
	images []string, prepare func(dir, config string) error) (g grown, err error) {
	dir, err := os.MkdirTemp(b.dir, "growth")
	if err != nil {
		return grown{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }() // a record may be large

	o.More = limits + "\n" + o.More
	config, err := b.configure(dir, o)
	if err != nil {
		return grown{}, err
	}
	if prepare != nil {
		if err := prepare(dir, config); err != nil {
			return grown{}, err
		}
	}

	p, err := serve(ctx, b.binary, config, b.world.Env())
	if err != nil {
		return grown{}, err
	}
	defer p.stop()
	c := client(1)
	defer c.CloseIdleConnections()
	if wrap != nil {
		c.Transport = wrap(c.Transport)
	}
	s := newGate(p)
	if err := s.ask(ctx, c, images[0], passes); err != nil {
		return grown{}, err
	}
	return b.measured(ctx, s, c, n, images[1:])
}

// measured asks about images one after the other.
func (b *harness) measured(ctx context.Context, s *subject, c *http.Client, n int, images []string) (grown, error) {
	quiet, err := s.used(ctx)
	if err != nil {
		return grown{}, err
	}
	select {
	case <-time.After(b.size.growth.idle):
	case <-ctx.Done():
		return grown{}, ctx.Err()
	}

	// What the process does by the clock is measured by itself, and is no part of a decision.
	before, err := s.used(ctx)
	if err != nil {
		return grown{}, err
	}
	idle := (before.cpu - quiet.cpu).Seconds() / b.size.growth.idle.Seconds()

	var times []time.Duration
	start := time.Now()
	for _, image := range images {
		begun := time.Now()
		if err := s.ask(ctx, c, image, passes); err != nil {
			return grown{}, err
		}
		times = append(times, time.Since(begun))
	}
	took := time.Since(start)

	after, err := s.used(ctx)
	if err != nil {
		return grown{}, err
	}
	b.quiet()
	cpu := (after.cpu - before.cpu).Seconds() - idle*took.Seconds()
	each := float64(len(images))
	return grown{
		n: n, decisions: len(images), cpu: time.Duration(max(0, cpu) / each * float64(time.Second)),
		mallocs: (after.mallocs - before.mallocs) / each, p50: percentile(times, .5), ready: s.ready, idle: idle,
	}, nil
}

// found writes n findings for each image, of a severity that policies allow.
func (s *stock) found(ctx context.Context, repository string, digests []string, n int) error {
	for _, d := range digests {
		uri := "https://" + s.world.Registry.Addr() + "/" + repository + "@" + d
		var all []*grafeaspb.Occurrence
		for i := range n {
			all = append(all, corpus.Finding(uri, fmt.Sprintf("CVE-2026-%d", 10_000+i), grafeaspb.Severity_LOW,
				corpus.Vulnerable(func(_ *grafeaspb.VulnerabilityOccurrence,
					p *grafeaspb.VulnerabilityOccurrence_PackageIssue) {
					p.AffectedPackage = fmt.Sprintf("library-%d", i%400)
				})))
		}
		for batch := range slices.Chunk(all, 1000) {
			_, err := s.world.Grafeas.BatchCreateOccurrences(ctx, &grafeaspb.BatchCreateOccurrencesRequest{
				Parent: "projects/" + samples.Project, Occurrences: batch,
			})
			if err != nil {
				return fmt.Errorf("writing findings: %w", err)
			}
		}
	}
	return nil
}
