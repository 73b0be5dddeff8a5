package engine

import (
	"context"
	"strings"
	"time"

	grafeas "cloud.google.com/go/grafeas/apiv1"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/limit"
	"github.com/attestor-gate/attestor/server/watch"
)

// occurrences reads what a notification only names.
type occurrences struct {
	client *grafeas.Client
	limit  limit.Call
}

// Occurrence implements [watch.Occurrences].
func (o occurrences) Occurrence(ctx context.Context, name string) (watch.Occurrence, error) {
	ctx, cancel := o.limit.Start(ctx)
	defer cancel()

	got, err := o.client.GetOccurrence(ctx, &grafeaspb.GetOccurrenceRequest{Name: name})
	switch {
	case status.Code(err) == codes.NotFound:
		return watch.Occurrence{}, &attestor.Error{Kind: attestor.NotFound, Msg: "no such occurrence", Err: err}
	case err != nil:
		return watch.Occurrence{}, &attestor.Error{
			Kind: attestor.Upstream, Code: attestor.CodeScanUnavailable, Msg: "Container Analysis could not be asked",
			Err: err,
		}
	}

	// Resources that are not images by digest are ignored.
	img, err := attestor.ParseImage(strings.TrimPrefix(got.GetResourceUri(), "https://"))
	if err != nil {
		return watch.Occurrence{}, nil //nolint:nilerr // the zero image says so
	}

	// A finding has no state of its own: it exists. A discovery counts once its scan ended, however it did: whoever waits
	// for it waits no longer, and the gate judges by the state that it reads then.
	ended := true
	if discovery := got.GetDiscovery(); discovery != nil {
		switch discovery.GetAnalysisStatus() {
		case grafeaspb.DiscoveryOccurrence_FINISHED_SUCCESS, grafeaspb.DiscoveryOccurrence_FINISHED_FAILED,
			grafeaspb.DiscoveryOccurrence_FINISHED_UNSUPPORTED:
		default:
			ended = false
		}
	}
	return watch.Occurrence{Image: img, Finished: ended}, nil
}

// watch says what makes the gate judge again.
func (e *Engine) watch() *watch.Config {
	r := e.Config.Rejudge
	c := &watch.Config{
		Policies:    e.Policies,
		Occurrences: occurrences{e.Google.Grafeas, limit.Call(e.Config.Dependencies.Timeouts.ContainerAnalysis)},
		Artifact:    e.Inspector.Artifact,
		Pin:         e.Inspector.Pin,
		Enforce:     r.Revoke, Grace: time.Duration(r.Grace), Cap: r.Cap,
		Revoke:       e.Revoke,
		Subscription: r.Subscription,
	}

	// A nil topic in the interface would not be nil.
	if e.topic != nil {
		c.Publisher = e.topic
	}

	// Without a record nothing is known that could be judged again.
	if !e.Config.Store.None {
		c.History, c.Admissions, c.Overrides = e.Store, e.Store, e.Store
	}

	return c
}
