package audit

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
)

// CloudRunLists gathers what gcloud lists of Cloud Run: services, jobs, worker pools, instances, and the revisions that
// they refer to. The zero value is empty.
type CloudRunLists struct {
	resources []listedResource
	revisions map[revisionKey]listedResource
}

// revisionKey names a revision: names are unique in a project and region.
type revisionKey struct{ namespace, region, name string }

// A listedResource is what is read of one element, in the form of the Knative API, which gcloud writes.
type listedResource struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name        string            `json:"name"`
		Namespace   string            `json:"namespace"`
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec *struct {
		containerList // of a revision or an instance
		Template      struct {
			Spec struct {
				containerList
				Template struct { // a job has its task's template within its own
					Spec containerList `json:"spec"`
				} `json:"template"`
			} `json:"spec"`
		} `json:"template"`
	} `json:"spec"`
	Status struct {
		CompletionTime    string          `json:"completionTime"` // of an execution that has ended
		Traffic           []trafficTarget `json:"traffic"`
		InstanceSplits    []trafficTarget `json:"instanceSplits"`
		LatestReady       string          `json:"latestReadyRevisionName"`
		LatestCreated     string          `json:"latestCreatedRevisionName"`
		ImageDigest       string          `json:"imageDigest"`
		ContainerStatuses []struct {
			Name        string `json:"name"`
			ImageDigest string `json:"imageDigest"`
		} `json:"containerStatuses"`
	} `json:"status"`
}

type containerList struct {
	Containers []podContainer `json:"containers"`
}

// A trafficTarget is a share of a service's traffic, or of a worker pool's instances.
type trafficTarget struct {
	RevisionName   string `json:"revisionName"`
	LatestRevision bool   `json:"latestRevision"`
	Percent        int64  `json:"percent"`
	Tag            string `json:"tag"`
}

// Add reads one document of `gcloud run services list --format json`, or of the lists of jobs, their executions,
// worker-pools, instances or revisions. An error of kind Invalid says that it is not complete, or is something else.
func (l *CloudRunLists) Add(r io.Reader) error {
	var all []listedResource
	dec := json.NewDecoder(io.LimitReader(r, maxDocument))
	err := dec.Decode(&all)
	if err == nil {
		_, err = dec.Token()
	}

	// The array must be complete, and the only value: a truncated file would look like a list of all that runs.
	if err != io.EOF || all == nil { //nolint:errorlint // the decoder returns io.EOF itself
		return &attestor.Error{
			Kind: attestor.Invalid,
			Msg:  "the file is not the complete output of gcloud run services list --format json",
			Fix:  "write the command's output to a file, and give that file", Err: err,
		}
	}

	for _, one := range all {
		switch {
		case one.Kind == "Revision":
			if l.revisions == nil {
				l.revisions = map[revisionKey]listedResource{}
			}
			l.revisions[one.key(one.Metadata.Name)] = one
		case one.Spec == nil:
			return &attestor.Error{
				Kind: attestor.Invalid,
				Msg: "the list holds a resource without a spec: it is not one of gcloud run … " +
					"list --format json",
				Fix: "give what gcloud run services list, jobs list, jobs executions list, worker-pools list, " +
					"instances list or revisions list writes",
			}
		default:
			l.resources = append(l.resources, one)
		}
	}
	return nil
}

func (r *listedResource) region() string { return r.Metadata.Labels["cloud.googleapis.com/location"] }

func (r *listedResource) key(revision string) revisionKey {
	return revisionKey{r.Metadata.Namespace, r.region(), revision}
}

// workload is what all containers of the resource have in common.
func (r *listedResource) workload(kind string) Workload {
	parts := slices.DeleteFunc(
		[]string{r.Metadata.Namespace, r.region(), r.Metadata.Name},
		func(s string) bool { return s == "" },
	)
	return Workload{
		Kind: kind, Name: strings.Join(parts, "/"),
		BinaryAuthorization: r.Metadata.Annotations["run.googleapis.com/binary-authorization"],
	}
}

// Workloads lists what serves: of a service or worker pool the revisions that get traffic or have a tag, of a job its
// template and the executions that have not ended, of an instance its containers. A revision that serves and is in no
// list is an error.
func (l *CloudRunLists) Workloads() Workloads {
	return func(yield func(Workload, error) bool) {
		if len(l.revisions) > 0 && len(l.resources) == 0 {
			yield(Workload{}, &attestor.Error{
				Kind: attestor.Invalid, Msg: "revisions alone do not say which of them serve",
				Fix: "give the output of gcloud run services list --format json, too",
			})
			return
		}

		for i := range l.resources {
			list, err := l.of(&l.resources[i])
			if err != nil {
				yield(Workload{}, err)
				return
			}
			for _, w := range list {
				if !yield(w, nil) {
					return
				}
			}
		}
	}
}

// of lists the containers of one resource that run.
func (l *CloudRunLists) of(r *listedResource) ([]Workload, error) {
	outer := r.Spec.Template.Spec
	switch r.Kind {
	case "Job":
		return containersOf(r.workload(KindJob), outer.Template.Spec.Containers, nil), nil
	case "Execution":
		return r.execution(outer.Containers), nil
	case "Instance":
		digests := map[string]string{}
		for _, s := range r.Status.ContainerStatuses {
			digests[s.Name] = s.ImageDigest
		}
		return containersOf(r.workload(KindInstance), r.Spec.Containers, digests), nil
	case "WorkerPool":
		return l.serving(r, r.workload(KindWorkerPool), r.Status.InstanceSplits)
	case "Service":
		return l.serving(r, r.workload(KindService), r.Status.Traffic)
	}

	// A definition without a kind has no state: what it names is all that is known.
	return containersOf(
		r.workload(KindService),
		slices.Concat(outer.Containers, outer.Template.Spec.Containers),
		nil,
	), nil
}

// execution lists the containers of an execution of a job, unless it has ended.
func (r *listedResource) execution(containers []podContainer) []Workload {
	if r.Status.CompletionTime != "" {
		return nil
	}
	of := *r
	of.Metadata.Name = cmp.Or(r.Metadata.Labels["run.googleapis.com/job"], r.Metadata.Name)
	w := of.workload(KindJob)
	w.Revision, w.Serves = r.Metadata.Name, serves
	return containersOf(w, containers, nil)
}

// serving lists the containers of the revisions that serve.
func (l *CloudRunLists) serving(r *listedResource, w Workload, targets []trafficTarget) ([]Workload, error) {
	template := r.Spec.Template.Spec.Containers

	// Without a status it is a definition that nobody deployed yet, or whose first revision never became ready.
	if len(targets) == 0 && r.Status.LatestReady == "" {
		return containersOf(w, template, nil), nil
	}

	var out []Workload
	for _, s := range servingRevisions(targets, r.Status.LatestReady) {
		w.Revision, w.Serves = s.name, s.why
		revision, known := l.revisions[r.key(s.name)]
		switch {
		case known && revision.Spec != nil:
			out = append(
				out,
				containersOf(
					w,
					revision.Spec.Containers,
					digestOfOne(revision.Spec.Containers, revision.Status.ImageDigest),
				)...)

		// The template describes the revision that was created last, and no other.
		case s.name == r.Status.LatestCreated:
			out = append(out, containersOf(w, template, nil)...)
		default:
			return nil, &attestor.Error{
				Kind: attestor.Invalid,
				Msg: fmt.Sprintf("the %s %s serves the revision %s (%s), whose images are in none of the lists",
					w.Kind, short200(w.Name), short200(s.name), s.why),
				Fix: "give the output of gcloud run revisions list --format json with a further --cloud-run",
			}
		}
	}
	return out, nil
}

// A servingRevision is a revision with the reasons why it counts.
type servingRevision struct{ name, why string }

// servingRevisions lists the revisions that get a share or have a tag, each once. latest is the latest ready revision.
// A revision with a tag has an address of its own, whatever its share.
func servingRevisions(targets []trafficTarget, latest string) []servingRevision {
	if len(targets) == 0 && latest != "" {
		return []servingRevision{{latest, "latest ready"}}
	}

	var out []servingRevision
	for _, t := range targets {
		name := t.RevisionName
		if name == "" && t.LatestRevision {
			name = latest
		}
		why := ""
		switch {
		case t.Percent > 0 && t.Tag != "":
			why = fmt.Sprintf("%d %%, tag %s", t.Percent, t.Tag)
		case t.Percent > 0:
			why = fmt.Sprintf("%d %%", t.Percent)
		case t.Tag != "":
			why = "tag " + t.Tag
		default:
			continue
		}

		i := slices.IndexFunc(out, func(s servingRevision) bool { return s.name == name })
		if i < 0 {
			out = append(out, servingRevision{name, why})
		} else {
			out[i].why += ", " + why
		}
	}
	return out
}

// containersOf is w once for each container with an image. digests are what the platform reports by container.
func containersOf(w Workload, containers []podContainer, digests map[string]string) []Workload {
	var out []Workload
	for _, c := range containers {
		if c.Image == "" {
			continue
		}
		one := w
		one.Container, one.Image, one.Running = c.Name, c.Image, running(c.Image, digests[c.Name])
		out = append(out, one)
	}
	return out
}

// digestOfOne says which container a revision's only digest belongs to: to the only one, or to the only one with its
// repository. Nothing is guessed: other containers keep the reference of their definition.
func digestOfOne(containers []podContainer, image string) map[string]string {
	repository, _, ok := strings.Cut(image, "@")
	if !ok {
		return nil
	}

	var fits []string
	for _, c := range containers {
		if len(containers) == 1 || withoutTag(c.Image) == repository {
			fits = append(fits, c.Name)
		}
	}
	if len(fits) != 1 {
		return nil
	}
	return map[string]string{fits[0]: image}
}

// withoutTag is a reference without tag and digest.
func withoutTag(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if slash := strings.LastIndex(image, "/"); strings.Contains(image[slash+1:], ":") {
		image = image[:slash+1+strings.Index(image[slash+1:], ":")]
	}
	return image
}

// RunningInCloudRun lists what serves by one document of gcloud; see [CloudRunLists].
func RunningInCloudRun(r io.Reader) References {
	var l CloudRunLists
	if err := l.Add(r); err != nil {
		return func(yield func(string, error) bool) { yield("", err) }
	}
	return RunningImages(l.Workloads())
}

// AddText is [CloudRunLists.Add] of a text.
func (l *CloudRunLists) AddText(text []byte) error { return l.Add(bytes.NewReader(text)) }
