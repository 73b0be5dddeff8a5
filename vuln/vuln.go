// Package vuln looks up what vulnerability scanning knows of an image: the
// state of its scan and the findings, from Container Analysis, from an
// on-demand scan, or from another scanner's report that was imported.
//
// It decides which occurrences are about a manifest, and which scanner's report of
// the state of a scan counts. What is acceptable is left to the policy:
// thresholds, ages, exceptions and VEX trust are not this package's business.
package vuln

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	grafeas "cloud.google.com/go/grafeas/apiv1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/eol"
	"github.com/attestor-gate/attestor/internal/limit"
	"github.com/attestor-gate/attestor/internal/resource"
	"github.com/attestor-gate/attestor/internal/together"
)

// Config is what a [Scanner] needs.
type Config struct {
	Client       *grafeas.Client   // required; the caller's to close
	ScanProjects map[string]string // registry host, with its port, to Google project; wins over what a name says
	Now          func() time.Time  // required
	Ends         *eol.Table        // of distributions; nil: the built-in table
	Limit        limit.Call        // of one question, its retries included; 0: [limit.Default]

	// NoListLag is for a service whose lists show at once what was stored, as the
	// emulator's do. Container Analysis lists it only after some seconds, so that a
	// scan that finished less than [resource.ListLag] ago counts as running: a part
	// of its findings must not be taken for all.
	NoListLag bool

	Logger *slog.Logger // nil: nothing is logged
}

// Scanner asks Container Analysis. It is safe for concurrent use.
type Scanner struct {
	c          Config
	advisories *advisories
	jitter     func() float64 // 0 ≤ j < 1
	enumerates atomic.Bool    // the service refuses a filter by exclusion
	noUnions   atomic.Bool    // the service refuses a filter over several images

	mu    sync.Mutex
	polls map[string]*poll // guarded by mu
}

// New checks c.
func New(c Config) (*Scanner, error) {
	if c.Client == nil || c.Now == nil {
		return nil, errors.New("configuring the scanner: a client and a clock are required")
	}
	for host, project := range c.ScanProjects {
		if host == "" || project == "" || strings.Contains(host, "/") || strings.Contains(project, "/") {
			return nil, &attestor.Error{
				Kind: attestor.Invalid,
				Msg:  fmt.Sprintf("scanProjects: %q: %q is not a registry's host and a project", host, project),
				Fix:  "write HOST[:PORT]: PROJECT, without scheme, path or the word projects/",
			}
		}
	}

	c.ScanProjects = maps.Clone(c.ScanProjects)
	if c.Ends == nil {
		c.Ends = eol.Builtin()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Scanner{c: c, advisories: newAdvisories(c), jitter: rand.Float64, polls: map[string]*poll{}}, nil
}

// containerAnalysis describes Google's scanner, whose results Container Analysis keeps.
func containerAnalysis() attestor.ScannerInfo {
	return attestor.ScannerInfo{
		Name:     "Container Analysis",
		Note:     "projects/" + googleProject + "/notes/" + googleScanNote,
		Platform: "linux/amd64",
		Enable: "enable Artifact Analysis scanning for the repository" +
			" (gcloud services enable containerscanning.googleapis.com)",
		Refresh: "pull the image, which has it analysed again within a day: docker pull",
	}
}

// Scan is [Scanner.Scans] of one manifest.
func (s *Scanner) Scan(ctx context.Context, r attestor.ScanRequest) attestor.Scan {
	return s.Scans(ctx, []attestor.ScanRequest{r})[0]
}

// Scans returns what is known of the scans of manifests, in the order of the
// requests. Those in the same projects are read by one list where its filter stays
// short enough. A failed look-up is a state, [attestor.ScanUnavailable], with its
// reason. Where a scan has not finished, Scans waits up to the request's Wait, or
// until ctx ends; all who wait for the same answers share one poll.
func (s *Scanner) Scans(ctx context.Context, requests []attestor.ScanRequest) []attestor.Scan {
	out := make([]attestor.Scan, len(requests))
	var questions []question
	var waits []time.Duration
	var of []int
	for i, r := range requests {
		q, err := s.question(r)
		if err != nil {
			out[i] = unavailable(reasonOf(err))
			continue
		}
		questions, waits, of = append(questions, q), append(waits, r.Wait), append(of, i)
	}

	// Groups are of different projects or waits, and do not wait for each other.
	groups, place := grouped(questions, waits, of)
	var wg together.Group
	for n, g := range groups {
		wg.Go(func() {
			for i, scan := range s.lookUp(ctx, g) {
				out[place[n][i]] = scan
			}
		})
	}
	wg.Wait()

	for i := range out {
		out[i].Scanner = new(containerAnalysis())
	}
	return out
}

// lookUp returns the scans of a group, in the order of its questions.
func (s *Scanner) lookUp(ctx context.Context, g group) []attestor.Scan {
	if g.wait <= 0 {
		return scansOf(s.read(ctx, g))
	}

	// The time of the first read counts towards the wait.
	timer := time.NewTimer(g.wait)
	defer timer.Stop()

	first := s.read(ctx, g)
	if !again(first) {
		return scansOf(first)
	}
	return scansOf(s.wait(ctx, g, timer.C, first))
}

// A question is a request with the projects and names to look under.
type question struct {
	image    attestor.Image
	index    attestor.Image
	parent   attestor.Image // whose findings count, and whose scan does not
	needs    attestor.ScanNeeds
	projects []string
	uris     map[string]attestor.Digest // that an occurrence may name, and whose digest each is
}

// key is equal for requests that have the same answer.
func (q question) key() string {
	return fmt.Sprintf("%s %s %s %q %q %t", q.image, q.index, q.parent, q.projects, q.needs.Trusted, q.needs.Advisories)
}

// question checks a request and lists what to look for. An occurrence may name the
// image by any of its URIs, and nothing else: occurrences match by the whole URI.
func (s *Scanner) question(r attestor.ScanRequest) (question, error) {
	q := question{image: r.Image, needs: r.Needs, uris: map[string]attestor.Digest{}}
	if r.Image.IsZero() {
		return q, &attestor.Error{Kind: attestor.Invalid, Msg: "no image to look up the scan of"}
	}
	for _, u := range resource.URIs(r.Image) {
		q.uris[u] = r.Image.Digest()
	}

	q.index, q.parent = r.Index, r.Parent
	for _, index := range []*attestor.Image{&q.index, &q.parent} {
		if index.IsZero() || *index == r.Image {
			*index = attestor.Image{}
			continue
		}

		// An index vouches for its own children only, and those are of its repository.
		if index.Repository() != r.Image.Repository() {
			return q, &attestor.Error{
				Kind: attestor.Invalid,
				Msg:  fmt.Sprintf("%s is not of the repository of %s", index, r.Image),
			}
		}
		for _, u := range resource.URIs(*index) {
			q.uris[u] = index.Digest()
		}
	}

	// An image whose name does not give a project can still have scans in the projects
	// that its policy trusts.
	own, err := resource.Project(r.Image, s.c.ScanProjects)
	if err != nil && len(r.Needs.Projects) == 0 {
		return q, err
	}

	if err == nil {
		q.projects = append(q.projects, own)
	}
	for _, p := range r.Needs.Projects {
		q.projects = append(q.projects, strings.TrimPrefix(p, "projects/"))
	}

	slices.Sort(q.projects)
	q.projects = slices.Compact(q.projects)
	return q, nil
}

func unavailable(r attestor.Reason) attestor.Scan {
	return attestor.Scan{State: attestor.ScanUnavailable, Problem: &r}
}
