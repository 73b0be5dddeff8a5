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

// A Definition is a Cloud Run service or job, as the v2 API encodes it. IAM is its
// IAM policy; nil where this identity may not read it.
type Definition struct {
	Name string // projects/P/locations/L/services/S, or jobs/J
	Text []byte
	IAM  []byte
}

// DefinitionsInProject lists by the Cloud Run API the images of a project: those
// of every container of every service and every job, in one region or, with "-",
// in all of them. It calls visit with each definition before it lists its images;
// visit may be nil, and then no IAM policy is read. A region that cannot be
// reached is an error, since a list without it would look complete.
func DefinitionsInProject(
	ctx context.Context, project, region string, visit func(Definition), opts ...option.ClientOption,
) References {
	return func(yield func(string, error) bool) {
		s, err := run.NewService(ctx, opts...)
		if err != nil {
			yield("", fmt.Errorf("connecting to Cloud Run: %w", err))
			return
		}

		l := &lister{
			ctx:       ctx,
			locations: s.Projects.Locations,
			parent:    "projects/" + project + "/locations/" + region,
			visit:     visit,
			yield:     yield,
		}

		kind := "services"
		if err = l.services(); err == nil {
			kind = "jobs"
			err = l.jobs()
		}
		if err != nil && !errors.Is(err, errStopped) {
			yield("", listingRun(kind, project, err))
		}
	}
}

// A lister lists the services and jobs of one parent.
type lister struct {
	ctx       context.Context //nolint:containedctx // of one listing
	locations *run.ProjectsLocationsService
	parent    string
	visit     func(Definition) // may be nil
	yield     func(string, error) bool
}

func (l *lister) services() error {
	return l.locations.Services.List(l.parent).Pages(l.ctx, func(page *run.GoogleCloudRunV2ListServicesResponse) error {
		// ListServicesResponse.unreachable: "the regions that could not be reached". The
		// page is served all the same, without their services.
		if len(page.Unreachable) > 0 {
			return &attestor.Error{
				Kind: attestor.Upstream,
				Msg:  "Cloud Run could not reach " + strings.Join(page.Unreachable, ", "),
				Fix:  "try again, or name one region",
			}
		}

		for _, s := range page.Services {
			var containers []*run.GoogleCloudRunV2Container
			if s.Template != nil {
				containers = s.Template.Containers
			}

			iam := l.locations.Services.GetIamPolicy(s.Name).OptionsRequestedPolicyVersion(3).Context(l.ctx)
			if err := l.one(s.Name, s.MarshalJSON, iam.Do, containers); err != nil {
				return err
			}
		}
		return nil
	})
}

// jobs fails as a whole where a region cannot be reached: ListJobsResponse has no
// field for that.
func (l *lister) jobs() error {
	return l.locations.Jobs.List(l.parent).Pages(l.ctx, func(page *run.GoogleCloudRunV2ListJobsResponse) error {
		for _, j := range page.Jobs {
			var containers []*run.GoogleCloudRunV2Container
			if j.Template != nil && j.Template.Template != nil {
				containers = j.Template.Template.Containers
			}

			iam := l.locations.Jobs.GetIamPolicy(j.Name).OptionsRequestedPolicyVersion(3).Context(l.ctx)
			if err := l.one(j.Name, j.MarshalJSON, iam.Do, containers); err != nil {
				return err
			}
		}
		return nil
	})
}

// errStopped ends the paging when the consumer of the list stops.
var errStopped = errors.New("stopped")

// one calls visit with a definition and its IAM policy, which is not part of it,
// and then lists its images.
func (l *lister) one(
	name string,
	marshal func() ([]byte, error),
	iam func(...googleapi.CallOption) (*run.GoogleIamV1Policy, error),
	containers []*run.GoogleCloudRunV2Container,
) error {
	if l.visit != nil {
		text, err := marshal()
		if err != nil {
			return fmt.Errorf("encoding a definition: %w", err)
		}
		d := Definition{Name: name, Text: text}

		// Without the policy the definition is still worth checking: IAM stays nil,
		// and the posture reports the callers as not known.
		switch policy, err := iam(); {
		case hasStatus(err, http.StatusForbidden, http.StatusNotFound):
		case err != nil:
			return err
		default:
			if d.IAM, err = policy.MarshalJSON(); err != nil {
				return fmt.Errorf("encoding an IAM policy: %w", err)
			}
		}
		l.visit(d)
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

// listingRun is the public error of a list of services or jobs that failed.
func listingRun(kind, project string, err error) error {
	if _, ok := errors.AsType[*attestor.Error](err); ok {
		return err
	}

	e := &attestor.Error{
		Kind: attestor.Upstream,
		Msg:  "the Cloud Run " + kind + " of " + project + " could not be listed",
		Fix:  "try again, or name one region",
		Err:  err,
	}
	if hasStatus(err, http.StatusUnauthorized, http.StatusForbidden) {
		e.Msg = "this identity may not list the Cloud Run " + kind + " of " + project
		e.Fix = "grant it roles/run.viewer"
	}
	return e
}
