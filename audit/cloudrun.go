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
	runv1 "google.golang.org/api/run/v1"
	run "google.golang.org/api/run/v2"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/cause"
)

// A Definition is a Cloud Run service, job or worker pool, as the v2 API encodes it. IAM is its
// IAM policy; nil where this identity may not read it.
type Definition struct {
	Name string // projects/P/locations/L/services/S, jobs/J or workerPools/W
	Text []byte
	IAM  []byte
}

// ServingInProject lists by the Cloud Run API what serves in a project, in the regions given or, with "-", in all of
// them: of services and worker pools the revisions that get a share or have a tag, the templates of jobs and their
// executions that have not ended, instances. It
// calls visit with the definition of each before it lists the containers; visit may be nil, and then no IAM policy is
// read. A region that cannot be reached is an error, since a list without it would look complete.
func ServingInProject(
	ctx context.Context, project string, regions []string, visit func(Definition), opts ...option.ClientOption,
) Workloads {
	return func(yield func(Workload, error) bool) {
		opts, err := watched(ctx, opts)
		if err != nil {
			yield(Workload{}, fmt.Errorf("connecting to Cloud Run: %w", err))
			return
		}
		s, err := run.NewService(ctx, opts...)
		if err != nil {
			yield(Workload{}, fmt.Errorf("connecting to Cloud Run: %w", err))
			return
		}
		first, err := runv1.NewService(ctx, opts...)
		if err != nil {
			yield(Workload{}, fmt.Errorf("connecting to Cloud Run: %w", err))
			return
		}

		for _, region := range regions {
			l := &lister{
				ctx: ctx, locations: s.Projects.Locations, resolved: first.Projects.Locations.Revisions,
				parent: "projects/" + project + "/locations/" + region,
				visit:  visit, yield: yield,
			}
			for _, list := range []struct {
				kind string
				all  func() error
			}{{"services", l.services}, {"jobs", l.jobs}, {"worker pools", l.workerPools}, {"instances", l.instances}} {
				err := list.all()
				if errors.Is(err, errStopped) {
					return
				}
				if err != nil {
					yield(Workload{}, listingRun(list.kind, project, region, err))
					return
				}
			}
		}
	}
}

// A lister lists what serves under one parent.
type lister struct {
	ctx       context.Context //nolint:containedctx // of one listing
	locations *run.ProjectsLocationsService
	resolved  *runv1.ProjectsLocationsRevisionsService
	parent    string
	visit     func(Definition) // may be nil
	yield     func(Workload, error) bool
}

func (l *lister) services() error {
	return l.locations.Services.List(l.parent).Pages(l.ctx, func(page *run.GoogleCloudRunV2ListServicesResponse) error {
		if err := unreachable(page.Unreachable); err != nil {
			return err
		}

		for _, s := range page.Services {
			// IAM: "Requests for policies with any conditional role bindings must specify version 3."
			iam := l.locations.Services.GetIamPolicy(s.Name).OptionsRequestedPolicyVersion(3).Context(l.ctx)
			if err := l.visited(s.Name, s.MarshalJSON, iam.Do); err != nil {
				return err
			}

			var targets []trafficTarget
			for _, t := range s.TrafficStatuses {
				targets = append(targets, trafficTarget{t.Revision, t.Type == allocatedLatest, t.Percent, t.Tag})
			}
			var template []*run.GoogleCloudRunV2Container
			if s.Template != nil {
				template = s.Template.Containers
			}
			w := Workload{
				Kind:                KindService,
				Name:                shortName(s.Name),
				BinaryAuthorization: asksFor(s.BinaryAuthorization),
			}
			revision := func(name string) (*run.GoogleCloudRunV2Revision, error) {
				return l.locations.Services.Revisions.Get(s.Name + "/revisions/" + name).Context(l.ctx).Do()
			}
			if err := l.serving(w, targets, s.LatestReadyRevision, template, revision); err != nil {
				return err
			}
		}
		return nil
	})
}

func (l *lister) workerPools() error {
	return l.locations.WorkerPools.List(
		l.parent,
	).Pages(
		l.ctx,
		func(page *run.GoogleCloudRunV2ListWorkerPoolsResponse) error {
			for _, p := range page.WorkerPools {
				iam := l.locations.WorkerPools.GetIamPolicy(p.Name).OptionsRequestedPolicyVersion(3).Context(l.ctx)
				if err := l.visited(p.Name, p.MarshalJSON, iam.Do); err != nil {
					return err
				}

				var targets []trafficTarget
				for _, t := range p.InstanceSplitStatuses {
					targets = append(targets, trafficTarget{t.Revision, t.Type == splitLatest, t.Percent, ""})
				}
				var template []*run.GoogleCloudRunV2Container
				if p.Template != nil {
					template = p.Template.Containers
				}
				w := Workload{
					Kind:                KindWorkerPool,
					Name:                shortName(p.Name),
					BinaryAuthorization: asksFor(p.BinaryAuthorization),
				}
				revision := func(name string) (*run.GoogleCloudRunV2Revision, error) {
					return l.locations.WorkerPools.Revisions.Get(p.Name + "/revisions/" + name).Context(l.ctx).Do()
				}
				if err := l.serving(w, targets, p.LatestReadyRevision, template, revision); err != nil {
					return err
				}
			}
			return nil
		},
	)
}

// How a share says that it goes to whichever revision is the latest.
const (
	allocatedLatest = "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST"
	splitLatest     = "INSTANCE_SPLIT_ALLOCATION_TYPE_LATEST"
)

// serving lists the containers of the revisions that serve. Each is read by its name: the template describes the
// revision that was created last, which may serve nothing.
func (l *lister) serving(
	w Workload, targets []trafficTarget, latest string, template []*run.GoogleCloudRunV2Container,
	get func(name string) (*run.GoogleCloudRunV2Revision, error),
) error {
	latest = latest[strings.LastIndex(latest, "/")+1:]
	if len(targets) == 0 && latest == "" {
		return l.containers(w, template, nil)
	}

	for _, s := range servingRevisions(targets, latest) {
		name := s.name[strings.LastIndex(s.name, "/")+1:]
		revision, err := get(name)
		if err != nil {
			return fmt.Errorf("reading the revision %s of %s: %w", name, w.Name, err)
		}
		digests, err := l.digests(w, name, revision.Containers)
		if err != nil {
			return fmt.Errorf("reading the revision %s of %s: %w", name, w.Name, err)
		}
		w.Revision, w.Serves = name, s.why
		if err := l.containers(w, revision.Containers, digests); err != nil {
			return err
		}
	}
	return nil
}

// digests asks the first version of the API for the digest that a tag had when the revision was made: "ImageDigest
// holds the resolved digest … regardless of whether a tag or digest was originally specified". The tag may have moved
// since.
func (l *lister) digests(
	w Workload,
	revision string,
	containers []*run.GoogleCloudRunV2Container,
) (map[string]string, error) {
	tagged := func(c *run.GoogleCloudRunV2Container) bool { return c.Image != "" && !strings.Contains(c.Image, "@") }
	part := strings.Split(w.Name, "/")
	if len(part) != 3 || !slices.ContainsFunc(containers, tagged) {
		return nil, nil
	}

	name := "projects/" + part[0] + "/locations/" + part[1] + "/revisions/" + revision
	r, err := l.resolved.Get(name).Context(l.ctx).Do()
	switch {
	case hasStatus(err, http.StatusForbidden, http.StatusNotFound):
		return nil, nil // the reference by tag stays, and is shown as such
	case err != nil:
		return nil, err
	case r.Status == nil:
		return nil, nil
	}

	names := make([]podContainer, len(containers))
	for i, c := range containers {
		names[i] = podContainer{Name: c.Name, Image: c.Image}
	}
	return digestOfOne(names, r.Status.ImageDigest), nil
}

func (l *lister) jobs() error {
	return l.locations.Jobs.List(l.parent).Pages(l.ctx, func(page *run.GoogleCloudRunV2ListJobsResponse) error {
		for _, j := range page.Jobs {
			iam := l.locations.Jobs.GetIamPolicy(j.Name).OptionsRequestedPolicyVersion(3).Context(l.ctx)
			if err := l.visited(j.Name, j.MarshalJSON, iam.Do); err != nil {
				return err
			}
			w := Workload{Kind: KindJob, Name: shortName(j.Name), BinaryAuthorization: asksFor(j.BinaryAuthorization)}
			if j.Template != nil && j.Template.Template != nil {
				if err := l.containers(w, j.Template.Template.Containers, nil); err != nil {
					return err
				}
			}
			if j.ExecutionCount == 0 {
				continue
			}
			if err := l.executions(w, j.Name); err != nil {
				return err
			}
		}
		return nil
	})
}

// executions lists the containers of a job's executions that have not ended: each goes on with the images that the job
// had when it began, whatever its template says since.
func (l *lister) executions(w Workload, job string) error {
	w.Serves = serves
	return l.locations.Jobs.Executions.List(job).Pages(l.ctx, func(page *run.GoogleCloudRunV2ListExecutionsResponse) error {
		for _, e := range page.Executions {
			// Execution.completionTime: "the time when the execution was completed". It is never set for one that runs.
			if e.CompletionTime != "" || e.Template == nil {
				continue
			}
			w.Revision = e.Name[strings.LastIndex(e.Name, "/")+1:]
			if err := l.containers(w, e.Template.Containers, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// serves is why an execution counts.
const serves = "running"

func (l *lister) instances() error {
	return l.locations.Instances.List(
		l.parent,
	).Pages(
		l.ctx,
		func(page *run.GoogleCloudRunV2ListInstancesResponse) error {
			for _, i := range page.Instances {
				digests := map[string]string{}
				for _, s := range i.ContainerStatuses {
					digests[s.Name] = s.ImageDigest
				}
				w := Workload{
					Kind:                KindInstance,
					Name:                shortName(i.Name),
					BinaryAuthorization: asksFor(i.BinaryAuthorization),
				}
				if err := l.containers(w, i.Containers, digests); err != nil {
					return err
				}
			}
			return nil
		},
	)
}

// unreachable is an error if a page lacks regions. ListServicesResponse.unreachable: "For global requests, returns the
// list of regions that could not be reached within the deadline." The page is served all the same, without them.
func unreachable(regions []string) error {
	if len(regions) == 0 {
		return nil
	}
	return &attestor.Error{
		Kind: attestor.Upstream,
		Msg:  "Cloud Run could not reach " + strings.Join(regions, ", "),
		Fix:  "try again, or name the regions with --region",
	}
}

// shortName is PROJECT/REGION/NAME of projects/P/locations/L/KIND/NAME.
func shortName(name string) string {
	part := strings.Split(name, "/")
	if len(part) != 6 {
		return name
	}
	return part[1] + "/" + part[3] + "/" + part[5]
}

// asksFor is the policy that a resource asks Binary Authorization for.
func asksFor(b *run.GoogleCloudRunV2BinaryAuthorization) string {
	switch {
	case b == nil:
		return ""
	case b.UseDefault:
		return "default"
	}
	return b.Policy
}

// errStopped ends the paging when the consumer of the list stops.
var errStopped = errors.New("stopped")

// visited calls visit with a definition and its IAM policy, which is not part of it.
func (l *lister) visited(
	name string,
	marshal func() ([]byte, error),
	iam func(...googleapi.CallOption) (*run.GoogleIamV1Policy, error),
) error {
	if l.visit == nil {
		return nil
	}
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
	return nil
}

func (l *lister) containers(w Workload, containers []*run.GoogleCloudRunV2Container, digests map[string]string) error {
	for _, c := range containers {
		if c.Image == "" {
			continue
		}
		w.Container, w.Image, w.Running = c.Name, c.Image, running(c.Image, digests[c.Name])
		if !l.yield(w, nil) {
			return errStopped
		}
	}
	return nil
}

func hasStatus(err error, codes ...int) bool {
	g, ok := errors.AsType[*googleapi.Error](err)
	return ok && slices.Contains(codes, g.Code)
}

// listingRun is the public error of a list that failed. An empty list in its place would read as "nothing runs there".
func listingRun(kind, project, region string, err error) error {
	if _, ok := errors.AsType[*attestor.Error](err); ok {
		return err
	}

	where := project
	if region != "-" {
		where += " in " + region
	}
	e := &attestor.Error{
		Kind: attestor.Upstream,
		Msg:  "the Cloud Run " + kind + " of " + where + " could not be listed",
		Fix:  "try again, or name the regions with --region",
		Err:  err,
	}
	c := cause.Of(err)
	if c.Why != "" {
		e.Msg, e.Fix = e.Msg+": "+c.Why, c.Fix
	}
	if !c.Lasts() && hasStatus(err, http.StatusUnauthorized, http.StatusForbidden) {
		e.Msg = "this identity may not list the Cloud Run " + kind + " of " + where
		e.Fix = "grant it roles/run.viewer"
	}
	return e
}
