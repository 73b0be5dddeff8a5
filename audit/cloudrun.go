package audit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"
	run "google.golang.org/api/run/v2"

	"github.com/attestor-gate/attestor"
)

// RunningInProject asks the Cloud Run API what a project runs: the image of
// every container of every service and every job, in one region or, with "-",
// in all of them. A region that cannot be reached is an error, since a list
// without it would look complete.
func RunningInProject(ctx context.Context, project, region string, opts ...option.ClientOption) References {
	return DefinitionsInProject(ctx, project, region, nil, opts...)
}

// A Definition is a Cloud Run service or job as the v2 API prints it. IAM is
// its policy; nil where this identity may not read it.
type Definition struct {
	Name string // projects/P/locations/L/services/S, or jobs/J
	Text []byte
	IAM  []byte
}

// DefinitionsInProject is [RunningInProject] that shows each definition before
// its images; seen may be nil, and then no IAM policy is asked for.
func DefinitionsInProject(ctx context.Context, project, region string, seen func(Definition), opts ...option.ClientOption) References {
	return func(yield func(string, error) bool) {
		s, err := run.NewService(ctx, opts...)
		if err != nil {
			yield("", fmt.Errorf("connecting to Cloud Run: %w", err))
			return
		}
		l := &lister{ctx: ctx, locations: s.Projects.Locations, parent: "projects/" + project + "/locations/" + region, seen: seen, yield: yield}
		what := "services"
		if err = l.services(); err == nil {
			what = "jobs"
			err = l.jobs()
		}
		if err != nil && !errors.Is(err, errStopped) {
			yield("", listingRun(what, project, err))
		}
	}
}

// A lister reads what one parent has.
type lister struct {
	ctx       context.Context //nolint:containedctx // of one listing
	locations *run.ProjectsLocationsService
	parent    string
	seen      func(Definition) // may be nil
	yield     func(string, error) bool
}

func (l *lister) services() error {
	return l.locations.Services.List(l.parent).Pages(l.ctx, func(page *run.GoogleCloudRunV2ListServicesResponse) error {
		if len(page.Unreachable) > 0 {
			return &attestor.Error{Kind: attestor.Upstream, Msg: "Cloud Run could not reach " + strings.Join(page.Unreachable, ", "), Fix: "try again, or name one region"}
		}
		for _, s := range page.Services {
			var containers []*run.GoogleCloudRunV2Container
			if s.Template != nil {
				containers = s.Template.Containers
			}
			if err := l.one(s.Name, s.MarshalJSON, l.locations.Services.GetIamPolicy(s.Name).OptionsRequestedPolicyVersion(3).Context(l.ctx).Do, containers); err != nil {
				return err
			}
		}
		return nil
	})
}

// jobs fails as a whole where a region cannot be reached: the API has no place
// to say so in part of an answer.
func (l *lister) jobs() error {
	return l.locations.Jobs.List(l.parent).Pages(l.ctx, func(page *run.GoogleCloudRunV2ListJobsResponse) error {
		for _, j := range page.Jobs {
			var containers []*run.GoogleCloudRunV2Container
			if j.Template != nil && j.Template.Template != nil {
				containers = j.Template.Template.Containers
			}
			if err := l.one(j.Name, j.MarshalJSON, l.locations.Jobs.GetIamPolicy(j.Name).OptionsRequestedPolicyVersion(3).Context(l.ctx).Do, containers); err != nil {
				return err
			}
		}
		return nil
	})
}

// errStopped ends the paging when the reader has had enough.
var errStopped = errors.New("stopped")

// one shows a definition, with who may call, which it does not say itself, and
// then its images.
func (l *lister) one(name string, marshal func() ([]byte, error), iam func(...googleapi.CallOption) (*run.GoogleIamV1Policy, error), containers []*run.GoogleCloudRunV2Container) error {
	if l.seen != nil {
		text, err := marshal()
		if err != nil {
			return fmt.Errorf("keeping a definition: %w", err)
		}
		d := Definition{Name: name, Text: text}
		switch policy, err := iam(); {
		case hasStatus(err, http.StatusForbidden, http.StatusNotFound):
		case err != nil:
			return err
		default:
			if d.IAM, err = policy.MarshalJSON(); err != nil {
				return fmt.Errorf("keeping a policy: %w", err)
			}
		}
		l.seen(d)
	}
	for _, c := range containers {
		if c.Image != "" && !l.yield(c.Image, nil) {
			return errStopped
		}
	}
	return nil
}

func hasStatus(err error, codes ...int) bool {
	g, ok := errors.AsType[*googleapi.Error](err)
	return ok && slices.Contains(codes, g.Code)
}

func listingRun(what, project string, err error) error {
	if _, ok := errors.AsType[*attestor.Error](err); ok {
		return err
	}
	e := &attestor.Error{Kind: attestor.Upstream, Msg: "the Cloud Run " + what + " of " + project + " could not be listed", Fix: "try again, or name one region", Err: err}
	if hasStatus(err, http.StatusUnauthorized, http.StatusForbidden) {
		e.Msg, e.Fix = "this identity may not list the Cloud Run "+what+" of "+project, "grant it roles/run.viewer"
	}
	return e
}
