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
	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/resource"
)

// The bounds of one look-up. Reaching one is an error, never a shorter list.
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

// read asks once, in every project at the same time. A list of one page is one
// call and so one moment; of a longer one it is checked that the scanners'
// own word did not change while it was read.
func (s *Scanner) read(ctx context.Context, q question) answer {
	for range maxReads {
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
		Code: attestor.CodeScanRunning, Message: fmt.Sprintf("the findings changed during each of %d readings", maxReads),
		Fix: "repeat the request when the scanner has finished",
	}}
	return answer{scan: scan, again: true}
}

// collected is what one or more lists hold about the question.
type collected struct {
	discoveries []discovery
	findings    []attestor.Vulnerability
	marks       map[string]string            // the discoveries, byte by byte, by name; nil: none
	long        map[string]map[string]string // marks of each project whose list had more than one page
}

// add keeps the facts of o and lets go of the rest, so that memory is that of
// one page and of what was found.
func (c *collected) add(q question, o *grafeaspb.Occurrence) error {
	digest, ours := q.uris[o.GetResourceUri()]
	if !ours {
		return nil // a service that ignores filters answers with everything
	}
	if o.GetDiscovery() != nil {
		if c.marks == nil {
			c.marks = map[string]string{}
		}
		c.marks[o.GetName()] = mark(o)
		if d, ok := q.discovery(o, digest); ok {
			c.discoveries = append(c.discoveries, d)
		}
	}
	c.findings = appendFindings(c.findings, o, q.needs.Trusted)
	if len(c.findings) > maxFindings {
		return tooMuch(fmt.Sprintf("more than %d findings", maxFindings))
	}
	return nil
}

func (s *Scanner) collect(ctx context.Context, q question) (collected, error) {
	parts, pages := make([]collected, len(q.projects)), make([]int, len(q.projects))
	group, ctx := errgroup.WithContext(ctx)
	for i, project := range q.projects {
		group.Go(func() error {
			var err error
			pages[i], err = s.pages(ctx, project, q.filter, func(o *grafeaspb.Occurrence) error { return parts[i].add(q, o) })
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
		if pages[i] > 1 {
			all.long[q.projects[i]] = p.marks
		}
	}
	return all, nil
}

// changed reads the discoveries of long lists again: a scanner that writes
// findings says so in its discovery.
func (s *Scanner) changed(ctx context.Context, q question, before collected) (bool, error) {
	filter := resource.Filter([]string{"DISCOVERY"}, q.sortedURIs())
	for project, marks := range before.long {
		after := map[string]string{}
		_, err := s.pages(ctx, project, filter, func(o *grafeaspb.Occurrence) error {
			if _, ours := q.uris[o.GetResourceUri()]; ours && o.GetDiscovery() != nil {
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

// mark is equal for messages that are.
func mark(m proto.Message) string {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// pages calls each for every occurrence of a project's list and returns how
// many pages there were.
func (s *Scanner) pages(ctx context.Context, project, filter string, each func(*grafeaspb.Occurrence) error) (int, error) {
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

// walk turns pages, from the token of one to the next, until there is none.
func walk(turn func(token string) (string, error)) (int, error) {
	token := ""
	for n := 1; n <= maxPages; n++ {
		next, err := turn(token)
		if err != nil || next == "" {
			return n, err
		}
		if next == token {
			return n, &attestor.Error{
				Kind: attestor.Upstream, Code: attestor.CodeScanUnavailable,
				Msg: "the list of occurrences does not end: a page names itself as the next", Fix: "repeat the request",
			}
		}
		token = next
	}
	return maxPages, tooMuch(fmt.Sprintf("more than %d pages of occurrences", maxPages))
}

// page is one call with its own deadline: without one the client would try for
// ever.
func (s *Scanner) page(ctx context.Context, project, filter, token string) (*grafeaspb.ListOccurrencesResponse, error) {
	var seen capture
	err := analysis("list occurrences", project, occurrencesViewer).call(ctx, s.c.CallTimeout, func(ctx context.Context, opts ...gax.CallOption) error {
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
	// Not asked for, and so not expected; but a list that says it is not whole
	// must never read as one.
	if len(page.GetUnreachable()) > 0 {
		return nil, &attestor.Error{
			Kind: attestor.Upstream, Code: attestor.CodeScanUnavailable,
			Msg: fmt.Sprintf("the list of occurrences in project %s is not whole: %d locations could not be reached, %s first", project, len(page.GetUnreachable()), page.GetUnreachable()[0]),
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
