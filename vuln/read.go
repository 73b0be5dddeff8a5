package vuln

import (
	"context"
	"errors"
	"fmt"
	"maps"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/googleapis/gax-go/v2"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/resource"
)

// The bounds of one look-up. Exceeding one is an error, never a shorter list.
const (
	pageSize    = 1000 // the most that Container Analysis gives
	maxPages    = 250
	maxFindings = 200_000
	maxPageSize = 64 << 20 // bytes
	maxReads    = 3        // of a list that changes while it is read
)

// An answer is a scan and whether asking again may turn out otherwise.
type answer struct {
	scan  attestor.Scan
	again bool
}

// read asks once, in every project at the same time. A list of one page is one call,
// and so one moment; after a longer one the scanners' discoveries are read again, to
// see that nothing changed meanwhile.
func (s *Scanner) read(ctx context.Context, q question) answer {
	for range maxReads {
		// Only a reading during which nothing changed counts; after three that
		// changed, the scanner is plainly still at work.
		found, err := s.collect(ctx, q)
		if err == nil {
			var changed bool
			if changed, err = s.changed(ctx, q, found); err == nil && changed {
				continue
			}
		}

		if err != nil {
			return answer{scan: unavailable(reasonOf(err)), again: transient(err)}
		}
		return s.conclude(ctx, q, found)
	}

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
	c.systems.add(o)
	c.unread.add(o)
	if c.findings[0].n+len(c.secrets) > maxFindings {
		return tooMuch(fmt.Sprintf("more than %d findings and secrets", maxFindings))
	}
	return nil
}

// collect reads the lists of all projects. One that cannot be read fails all: its
// findings would be missing.
func (s *Scanner) collect(ctx context.Context, q question) (collected, error) {
	parts, pages := make([]collected, len(q.projects)), make([]int, len(q.projects))
	group, ctx := errgroup.WithContext(ctx)
	for i, project := range q.projects {
		group.Go(func() error {
			var err error
			pages[i], err = s.list(ctx, q, project, &parts[i])
			return err
		})
	}

	if err := group.Wait(); err != nil {
		return collected{}, err
	}
	all := collected{long: map[string]map[string]string{}}
	for i, p := range parts {
		all.discoveries = append(all.discoveries, p.discoveries...)
		all.findings = append(all.findings, p.findings...)
		all.secrets = append(all.secrets, p.secrets...)
		all.unread.join(p.unread)
		all.systems.join(p.systems)
		all.unlisted = all.unlisted || p.unlisted
		// One page is one answer of the server, and so of one moment.
		if pages[i] > 1 {
			all.long[q.projects[i]] = p.marks
		}
	}
	return all, nil
}

// list reads the list of one project into c. The language of filters is documented by examples only, and none of them
// excludes a kind. A service that refuses the form is asked for the kinds that are judged, from then on at once, and
// the answer says so.
func (s *Scanner) list(ctx context.Context, q question, project string, c *collected) (int, error) {
	add := func(o *grafeaspb.Occurrence) error { return c.add(q, o) }
	if !s.enumerates.Load() {
		n, err := s.pages(ctx, project, q.filter, add)
		if status.Code(err) != codes.InvalidArgument {
			return n, err
		}
	}

	*c = collected{unlisted: true}
	n, err := s.pages(ctx, project, q.known, add)
	if err == nil {
		s.enumerates.Store(true)
	}
	return n, err
}

// changed reads the discoveries of long lists again: a scanner that writes findings
// updates its discovery.
func (s *Scanner) changed(ctx context.Context, q question, before collected) (bool, error) {
	filter := resource.Filter([]string{"DISCOVERY"}, q.sortedURIs())
	for project, marks := range before.long {
		after := map[string]string{}
		_, err := s.pages(ctx, project, filter, func(o *grafeaspb.Occurrence) error {
			if _, ours := q.uris[o.GetResourceUri()]; ours && isDiscovery(o) {
				after[o.GetName()] = mark(o)
			}
			return nil
		})
		if err != nil || !maps.Equal(marks, after) {
			return true, err
		}
	}
	return false, nil
}

// mark is equal for equal messages.
func mark(m proto.Message) string {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// pages calls each for every occurrence of a project's list and returns how
// many pages there were.
func (s *Scanner) pages(
	ctx context.Context,
	project, filter string,
	each func(*grafeaspb.Occurrence) error,
) (int, error) {
	return walk(func(token string) (string, error) {
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

// walk reads pages, each by the token of the one before, until there is none.
func walk(turn func(token string) (string, error)) (int, error) {
	token := ""
	for n := 1; n <= maxPages; n++ {
		next, err := turn(token)
		if err != nil || next == "" {
			return n, err
		}

		// A list that turns in a circle would hold the request until its deadline.
		if next == token {
			return n, &attestor.Error{
				Kind: attestor.Upstream, Code: attestor.CodeScanUnavailable,
				Msg: "the list of occurrences does not end: a page gives its own token as the next one",
				Fix: "repeat the request",
			}
		}
		token = next
	}
	return maxPages, tooMuch(fmt.Sprintf("more than %d pages of occurrences", maxPages))
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

func tooMuch(what string) error {
	return &attestor.Error{
		Kind: attestor.Upstream, Code: attestor.CodeScanUnavailable,
		Msg: fmt.Sprintf("there are %s for this image, which is more than the gate reads", what),
		Fix: "build the image on a smaller or newer base",
	}
}
