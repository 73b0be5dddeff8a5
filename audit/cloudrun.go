package audit

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"
	run "google.golang.org/api/run/v2"

	"github.com/attestor-gate/attestor"
)

// RunningInProject asks the Cloud Run API what a project runs: the image of
// every container of every service, in one region or, with "-", in all of
// them. A region that cannot be reached is an error, since a list without it
// would look complete.
func RunningInProject(ctx context.Context, project, region string, opts ...option.ClientOption) References {
	return ServicesInProject(ctx, project, region, nil, opts...)
}

// A Definition is a Cloud Run service as the v2 API prints it. IAM is its
// policy; nil where this identity may not read it.
type Definition struct {
	Name string // projects/P/locations/L/services/S
	Text []byte
	IAM  []byte
}

// ServicesInProject is [RunningInProject] that shows each service's definition
// before its images; seen may be nil, and then no IAM policy is asked for.
func ServicesInProject(ctx context.Context, project, region string, seen func(Definition), opts ...option.ClientOption) References {
	return func(yield func(string, error) bool) {
		s, err := run.NewService(ctx, opts...)
		if err != nil {
			yield("", fmt.Errorf("connecting to Cloud Run: %w", err))
			return
		}
		err = s.Projects.Locations.Services.List("projects/"+project+"/locations/"+region).Pages(ctx, func(page *run.GoogleCloudRunV2ListServicesResponse) error {
			if len(page.Unreachable) > 0 {
				return &attestor.Error{Kind: attestor.Upstream, Msg: "Cloud Run could not reach " + strings.Join(page.Unreachable, ", "), Fix: "try again, or name one region"}
			}
			for _, service := range page.Services {
				if seen != nil {
					d, err := definition(ctx, s, service)
					if err != nil {
						return err
					}
					seen(d)
				}
				if !images(service, yield) {
					return errStopped
				}
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStopped) {
			yield("", listingServices(project, err))
		}
	}
}

// errStopped ends the paging when the reader has had enough.
var errStopped = errors.New("stopped")

// definition adds who may call: the definition itself does not say.
func definition(ctx context.Context, s *run.Service, service *run.GoogleCloudRunV2Service) (Definition, error) {
	text, err := service.MarshalJSON()
	if err != nil {
		return Definition{}, fmt.Errorf("keeping a definition: %w", err)
	}
	d := Definition{Name: service.Name, Text: text}
	policy, err := s.Projects.Locations.Services.GetIamPolicy(service.Name).OptionsRequestedPolicyVersion(3).Context(ctx).Do()
	if g, ok := errors.AsType[*googleapi.Error](err); ok && (g.Code == 403 || g.Code == 404) {
		return d, nil
	}
	if err == nil {
		d.IAM, err = policy.MarshalJSON()
	}
	return d, err
}

func images(s *run.GoogleCloudRunV2Service, yield func(string, error) bool) bool {
	if s.Template == nil {
		return true
	}
	for _, c := range s.Template.Containers {
		if c.Image != "" && !yield(c.Image, nil) {
			return false
		}
	}
	return true
}

func listingServices(project string, err error) error {
	if _, ok := errors.AsType[*attestor.Error](err); ok {
		return err
	}
	e := &attestor.Error{Kind: attestor.Upstream, Msg: "the Cloud Run services of " + project + " could not be listed", Err: err}
	if g, ok := errors.AsType[*googleapi.Error](err); ok && (g.Code == 401 || g.Code == 403) {
		e.Msg, e.Fix = "this identity may not list the Cloud Run services of "+project, "grant it roles/run.viewer"
	}
	return e
}
