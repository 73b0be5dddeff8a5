package audit

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
)

// The kinds of workloads.
const (
	KindPod        = "pod"
	KindService    = "service"
	KindJob        = "job"
	KindWorkerPool = "worker pool"
	KindInstance   = "instance"
)

// A Workload is one container that runs, or that its controller would start again.
type Workload struct {
	Kind      string `json:"kind"`
	Name      string `json:"name"`               // NAMESPACE/NAME of a pod, otherwise PROJECT/REGION/NAME as far as known
	Container string `json:"container"`          // its name; may be ""
	Revision  string `json:"revision,omitempty"` // of a service or worker pool, or the execution of a job; without its parent
	Serves    string `json:"serves,omitempty"`   // why the revision counts, such as "90 %, tag green", or "running"

	Image   string `json:"image"`   // as the definition names it
	Running string `json:"running"` // with the digest that the platform reports; without a report it is Image

	Namespace      string `json:"namespace,omitempty"`      // of a pod
	ServiceAccount string `json:"serviceAccount,omitempty"` // of a pod, in its namespace

	// BinaryAuthorization is which policy a Cloud Run resource asks for: "default", a platform policy's name, or "" for
	// none.
	BinaryAuthorization string `json:"binaryAuthorization,omitempty"`
}

// Workloads is a list of workloads. It ends with the first error, since a part of what runs would look like all of it.
type Workloads = iter.Seq2[Workload, error]

// RunningImages lists the image of each workload, by the digest that runs where that is known.
func RunningImages(all Workloads) References {
	return func(yield func(string, error) bool) {
		for w, err := range all {
			if !yield(w.Running, err) {
				return
			}
		}
	}
}

// PodsFound counts what a list of pods held. The zero value is empty.
type PodsFound struct {
	Pods      int // that run or are about to
	Finished  int // pods that have ended, and are not judged
	ByImageID int // containers whose image was taken from the runtime's imageID
	ByImage   int // containers whose image was taken from the pod's definition, since the runtime reports none
}

// String is one line for people.
func (f PodsFound) String() string {
	return fmt.Sprintf(
		"%s: %s by the digest that runs (imageID), %d by the pod's definition (image); %s ignored",
		describe.Plural(f.Pods, "pod"),
		describe.Plural(f.ByImageID, "image"),
		f.ByImage,
		describe.Plural(f.Finished, "finished pod"),
	)
}

// A pod is what is read of one.
type pod struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"metadata"`
	Spec struct {
		ServiceAccountName  string         `json:"serviceAccountName"`
		Containers          []podContainer `json:"containers"`
		InitContainers      []podContainer `json:"initContainers"`
		EphemeralContainers []podContainer `json:"ephemeralContainers"`
	} `json:"spec"`
	Status struct {
		Phase               string      `json:"phase"`
		Containers          []podStatus `json:"containerStatuses"`
		InitContainers      []podStatus `json:"initContainerStatuses"`
		EphemeralContainers []podStatus `json:"ephemeralContainerStatuses"`
	} `json:"status"`
}

type podContainer struct {
	Name  string `json:"name"`
	Image string `json:"image"`
}

type podStatus struct {
	Name    string `json:"name"`
	ImageID string `json:"imageID"`
}

// finished reports whether all containers of the pod have ended for good. Of the five phases only these two say so:
// "Unknown" and any other word count as running.
func (p *pod) finished() bool { return p.Status.Phase == "Succeeded" || p.Status.Phase == "Failed" }

// PodWorkloads reads the output of `kubectl get pods -A -o json`: every container of every pod that has not finished.
// found is filled as the list is read; it may be nil. A list that the API server cut into pages, of which this is not
// the last, is an error.
func PodWorkloads(r io.Reader, found *PodsFound) Workloads {
	if found == nil {
		found = &PodsFound{}
	}
	return func(yield func(Workload, error) bool) {
		stopped, err := podList(json.NewDecoder(io.LimitReader(r, maxDocument)), func(p *pod) bool {
			if p.finished() {
				found.Finished++
				return true
			}
			found.Pods++
			return p.workloads(found, func(w Workload) bool { return yield(w, nil) })
		})
		if err == nil || stopped {
			return
		}

		if _, public := err.(*attestor.Error); !public { //nolint:errorlint // podList wraps nothing
			err = &attestor.Error{
				Kind: attestor.Invalid, Msg: "the file is not the complete output of kubectl get pods -A -o json",
				Fix: "write the command's output to a file, and give that file", Err: err,
			}
		}
		yield(Workload{}, err)
	}
}

// workloads lists a pod's containers until yield says no.
func (p *pod) workloads(found *PodsFound, yield func(Workload) bool) bool {
	ids := map[string]string{}
	for _, list := range [][]podStatus{p.Status.Containers, p.Status.InitContainers, p.Status.EphemeralContainers} {
		for _, s := range list {
			ids[s.Name] = s.ImageID
		}
	}

	namespace := cmp.Or(p.Metadata.Namespace, "default")
	for _, list := range [][]podContainer{p.Spec.InitContainers, p.Spec.Containers, p.Spec.EphemeralContainers} {
		for _, c := range list {
			if c.Image == "" {
				continue
			}

			w := Workload{
				Kind: KindPod, Name: namespace + "/" + p.Metadata.Name, Container: c.Name, Image: c.Image,
				Running: running(c.Image, ids[c.Name]), Namespace: namespace,
				ServiceAccount: cmp.Or(p.Spec.ServiceAccountName, "default"),
			}
			if reported(ids[c.Name]) {
				found.ByImageID++
			} else {
				found.ByImage++
			}
			if !yield(w) {
				return false
			}
		}
	}
	return true
}

// reported reports whether a runtime's image ID names a digest.
func reported(id string) bool {
	_, digest, ok := strings.Cut(id, "@")
	_, err := attestor.ParseDigest(digest)
	return ok && err == nil
}

// podList reads a list of pods to its last byte. stopped says that each wanted no more.
func podList(dec *json.Decoder, each func(*pod) bool) (stopped bool, err error) {
	if err := delimiter(dec, '{'); err != nil {
		return false, err
	}

	listed := false
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return false, err
		}

		switch key {
		case "items":
			listed = true
			if stopped, err = podItems(dec, each); stopped || err != nil {
				return stopped, err
			}
		case "metadata":
			var m struct {
				Continue string `json:"continue"`
			}
			if err := dec.Decode(&m); err != nil {
				return false, err
			}

			// Kubernetes API conventions, "Retrieving large results sets in chunks": a list with continue is not
			// complete.
			if m.Continue != "" {
				return false, &attestor.Error{
					Kind: attestor.Invalid, Msg: "the list of pods is one page of several: its metadata has continue",
					Fix: "write the output of kubectl get pods -A -o json, which has all pages",
				}
			}
		default:
			var skipped json.RawMessage
			if err := dec.Decode(&skipped); err != nil {
				return false, err
			}
		}
	}

	if !listed {
		return false, fmt.Errorf("no field %q", "items")
	}
	if err := delimiter(dec, '}'); err != nil {
		return false, err
	}

	// The list must be the only value: pods of a second one, as of another cluster, would be left out without a word.
	if _, err := dec.Token(); err == nil {
		return false, errors.New("another value follows the list")
	} else if err != io.EOF { //nolint:errorlint // the decoder returns io.EOF itself
		return false, err
	}
	return false, nil
}

func podItems(dec *json.Decoder, each func(*pod) bool) (stopped bool, err error) {
	if err := delimiter(dec, '['); err != nil {
		return false, err
	}

	for dec.More() {
		var p pod
		if err := dec.Decode(&p); err != nil {
			return false, err
		}
		if p.Kind != "" && p.Kind != "Pod" {
			return false, &attestor.Error{
				Kind: attestor.Invalid, Msg: fmt.Sprintf("the list holds a %s, and is not one of pods",
					short200(p.Kind)),
				Fix: "write the output of kubectl get pods -A -o json",
			}
		}
		if !each(&p) {
			return true, nil
		}
	}

	return false, delimiter(dec, ']')
}

func delimiter(dec *json.Decoder, want json.Delim) error {
	t, err := dec.Token()
	if err == nil && t != want {
		err = fmt.Errorf("found %v, want %v", t, want)
	}
	return err
}
