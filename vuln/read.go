package vuln

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/googleapis/gax-go/v2"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/resource"
	"github.com/attestor-gate/attestor/internal/together"
)

// The bounds of one look-up. Exceeding one is an error, never a shorter list.
const (
	pageSize    = 1000 // the most that Container Analysis gives
	maxPages    = 250
	maxFindings = 200_000
	maxPageSize = 64 << 20 // bytes
	maxReads    = 3        // of a list that changes while it is read
)

// read asks once about a group, in every project at the same time. Where the service refuses a list about several
// images, or the images have too many findings for one, each is asked about by itself.
func (s *Scanner) read(ctx context.Context, g group) []answer {
	one := func(g group) []answer {
		answers, err := s.readTogether(ctx, g)
		if err != nil {
			return failedAll(g, err)
		}
		return answers
	}

	switch {
	case len(g.questions) == 1:
		return one(g)
	case s.noUnions.Load():
		return s.singly(one, g, false)
	}

	answers, err := s.readTogether(ctx, g)
	switch {
	case err == nil:
		return answers
	case divisible(err):
		return s.singly(one, g, refusedForm(err))
	}
	return failedAll(g, err)
}

// readTogether reads the lists of a group. A list of one page is one call, and so
// one moment; after a longer one the scanners' discoveries are read again, to see
// that nothing changed meanwhile.
func (s *Scanner) readTogether(ctx context.Context, g group) ([]answer, error) {
	var found []collected
	var moved []bool
	for range maxReads {
		// Only a reading during which nothing changed counts; after three that
		// changed, the scanner is plainly still at work.
		var err error
		if found, err = s.collect(ctx, g); err != nil {
			return nil, err
		}
		if moved, err = s.changed(ctx, g, found); err != nil {
			return nil, err
		}
		if !slices.Contains(moved, true) {
			break
		}
	}

	// Publication dates may have to be looked up for each.
	answers := make([]answer, len(g.questions))
	var wg together.Group
	for i, q := range g.questions {
		if moved[i] {
			answers[i] = unstable()
			continue
		}
		wg.Go(func() { answers[i] = s.conclude(ctx, q, found[i]) })
	}
	wg.Wait()
	return answers, nil
}

// unstable is the answer about an image whose findings change while they are read.
func unstable() answer {
	scan := attestor.Scan{State: attestor.ScanRunning, Problem: &attestor.Reason{
		Code:    attestor.CodeScanRunning,
		Message: fmt.Sprintf("the findings changed during each of %d readings", maxReads),
		Fix:     "repeat the request when the scanner has finished",
	}}
	return answer{scan: scan, again: true}
}

// collected is what one or more lists hold about the question.
type collected struct {
	discoveries []discovery
	findings    []*gathered // of each project; one while a list is read
	secrets     []attestor.Secret
	systems     systems
	unread      unread
	unlisted    bool                         // kinds that this version does not know were not listed
	marks       map[string]string            // the discoveries, byte by byte, by name; nil: none
	long        map[string]map[string]string // marks of each project whose list had more than one page
}

// add keeps the facts of o and not o itself, so that memory is that of one page and of
// the findings.
func (c *collected) add(q question, o *grafeaspb.Occurrence) error {
	// The URI is compared as a whole: a suffix or a prefix would let an occurrence of
	// one image count for another.
	digest, ours := q.uris[o.GetResourceUri()]
	if !ours {
		return nil // the filter is a request: a service may answer with everything
	}

	if isDiscovery(o) {
		if c.marks == nil {
			c.marks = map[string]string{}
		}
		c.marks[o.GetName()] = mark(o)

		// A scan of the parent is a scan of one of its children, and does not say of which:
		// it must not count for this one.
		ofParent := !q.parent.IsZero() && digest == q.parent.Digest()
		if d, ok := q.discovery(o, digest); ok && !ofParent {
			c.discoveries = append(c.discoveries, d)
		}
	}

	if c.findings == nil {
		c.findings = []*gathered{{}}
	}
	c.findings[0].add(o, q.needs.Trusted)
	c.secrets = appendSecrets(c.secrets, o)
	c.unread.add(o)
	if err := c.systems.add(o); err != nil {
		return err
	}
	if c.findings[0].n+len(c.secrets) > maxFindings {
		return tooMuch(fmt.Sprintf("more than %d findings and secrets", maxFindings))
	}
	return nil
}

// collect reads the lists of all projects, and returns what they hold about each question. One that cannot be read
// fails all: its findings would be missing.
func (s *Scanner) collect(ctx context.Context, g group) ([]collected, error) {
	parts, pages := make([][]collected, len(g.projects)), make([]int, len(g.projects))
	group, ctx := errgroup.WithContext(ctx)
	for i, project := range g.projects {
		group.Go(together.Caught(func() (err error) {
			parts[i], pages[i], err = s.list(ctx, g, project)
			return err
		}))
	}

	if err := group.Wait(); err != nil {
		return nil, err
	}
	all := make([]collected, len(g.questions))
	for n := range all {
		all[n].long = map[string]map[string]string{}
		for i, project := range g.projects {
			all[n].join(parts[i][n])
			// One page is one answer of the server, and so of one moment.
			if pages[i] > 1 {
				all[n].long[project] = parts[i][n].marks
			}
		}
	}
	return all, nil
}

// join adds what another project's list holds.
func (c *collected) join(p collected) {
	c.discoveries = append(c.discoveries, p.discoveries...)
	c.findings = append(c.findings, p.findings...)
	c.secrets = append(c.secrets, p.secrets...)
	c.unread.join(p.unread)
	c.systems.join(p.systems)
	c.unlisted = c.unlisted || p.unlisted
}

// list reads the list of one project. The language of filters is documented by examples only, and none of them
// excludes a kind. A service that refuses the form is asked for the kinds that are judged, from then on at once, and
// the answer says so.
func (s *Scanner) list(ctx context.Context, g group, project string) ([]collected, int, error) {
	if !s.enumerates.Load() {
		parts := make([]collected, len(g.questions))
		n, err := s.fill(ctx, g, project, g.filter, parts)
		if status.Code(err) != codes.InvalidArgument {
			return parts, n, err
		}
	}

	parts := make([]collected, len(g.questions))
	for i := range parts {
		parts[i].unlisted = true
	}
	n, err := s.fill(ctx, g, project, g.known, parts)
	if err == nil {
		s.enumerates.Store(true)
	}
	return parts, n, err
}

// changed reads the discoveries of long lists again, and reports of each question whether they changed: a scanner that
// writes findings updates its discovery.
func (s *Scanner) changed(ctx context.Context, g group, before []collected) ([]bool, error) {
	moved := make([]bool, len(g.questions))
	filter := resource.Filter([]string{"DISCOVERY"}, g.uris())
	for _, project := range g.projects {
		if _, long := before[0].long[project]; !long {
			continue
		}

		after := make([]collected, len(g.questions))
		if _, err := s.fill(ctx, g, project, filter, after); err != nil {
			return nil, err
		}
		for i := range moved {
			moved[i] = moved[i] || !maps.Equal(before[i].long[project], after[i].marks)
		}
	}
	return moved, nil
}

// mark is equal for equal messages.
func mark(m proto.Message) string {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// fill reads a project's list into the parts, one for each question, and returns how many pages there were.
func (s *Scanner) fill(ctx context.Context, g group, project, filter string, parts []collected) (int, error) {
	return s.pages(ctx, project, filter, maxPages*len(g.questions), func(o *grafeaspb.Occurrence) error {
		// An occurrence about an index may count for several of its children.
		for i, q := range g.questions {
			if err := parts[i].add(q, o); err != nil {
				return err
			}
		}
		return nil
	})
}

// pages calls each for every occurrence of a project's list and returns how
// many pages there were.
func (s *Scanner) pages(
	ctx context.Context,
	project, filter string,
	most int,
	each func(*grafeaspb.Occurrence) error,
) (int, error) {
	return walk(most, func(token string) (string, error) {
		page, err := s.page(ctx, project, filter, token)
		if err != nil {
			return "", err
		}
		for _, o := range page.GetOccurrences() {
			if err := each(o); err != nil {
				return "", err
			}
		}
		return page.GetNextPageToken(), nil
	})
}

// walk reads pages, each by the token of the one before, until there is none. More than most is an error.
func walk(most int, turn func(token string) (string, error)) (int, error) {
	token := ""
	for n := 1; n <= most; n++ {
		next, err := turn(token)
		if err != nil || next == "" {
			return n, err
		}

		// A list that turns in a circle would hold the request until its deadline.
		if next == token {
			return n, &attestor.Error{
				Kind: attestor.Upstream, Code: attestor.CodeScanUnavailable,
				Msg: "the list of occurrences does not end: a page gives its own token as the next one",
				Fix: "repeat the request; if it keeps failing see https://status.cloud.google.com",
			}
		}
		token = next
	}
	return most, tooMuch(fmt.Sprintf("more than %d pages of occurrences", most))
}

// page is one call with its own deadline, without which the client would retry until
// the request ends.
func (s *Scanner) page(ctx context.Context, project, filter, token string) (*grafeaspb.ListOccurrencesResponse, error) {
	var seen capture
	op := analysis("list occurrences", project, occurrencesViewer)
	err := op.call(ctx, s.c.Limit, func(ctx context.Context, opts ...gax.CallOption) error {
		req := &grafeaspb.ListOccurrencesRequest{Parent: "projects/" + project, Filter: filter}
		opts = append(opts, gax.WithGRPCOptions(grpc.MaxCallRecvMsgSize(maxPageSize), grpc.ForceCodecV2(&seen)))
		_, _, err := s.c.Client.ListOccurrences(ctx, req, opts...).InternalFetch(pageSize, token)
		return err
	})
	if err != nil {
		return nil, err
	}

	page := seen.last()
	if page == nil {
		return nil, errors.New("listing occurrences: an answer without content")
	}

	// Partial success was not asked for, and so is not expected; but a list that says
	// it is incomplete must never be read as complete.
	if len(page.GetUnreachable()) > 0 {
		return nil, &attestor.Error{
			Kind: attestor.Upstream, Code: attestor.CodeScanUnavailable,
			Msg: fmt.Sprintf(
				"the list of occurrences in project %s is incomplete: %s could not be reached (unreachable: %d)",
				project,
				page.GetUnreachable()[0],
				len(page.GetUnreachable()),
			),
			Fix: "repeat the request; if it keeps failing see https://status.cloud.google.com",
		}
	}
	return page, nil
}

// errTooMuch marks a look-up that exceeded its bounds.
var errTooMuch = errors.New("too many occurrences")

func tooMuch(what string) error {
	return &attestor.Error{
		Kind: attestor.Upstream, Code: attestor.CodeScanUnavailable, Err: errTooMuch,
		Msg: fmt.Sprintf("there are %s for this image, which is more than the gate reads", what),
		Fix: "build the image on a smaller or newer base",
	}
}
