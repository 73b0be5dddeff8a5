package admission

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/attestor-gate/attestor/internal/strictjson"
)

// readReview decodes what the API server sends. Kubernetes adds fields and writes null
// for empty lists. The API server itself compares names exactly, and so must this: an
// "Image" beside "image" is no image there.
func readReview(b []byte, v any) error {
	return strictjson.Decode(b, v, strictjson.Rules{Unknown: true, Null: true})
}

// The part of k8s.io/api's admission/v1 and core/v1 that is needed, with its names:
// the real modules would be 20 MB for six structs.

type review struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"`
	Request    *request  `json:"request,omitempty"`
	Response   *response `json:"response,omitempty"`
}

type request struct {
	UID         string         `json:"uid"`
	Kind        groupKind      `json:"kind"`
	Resource    groupResource  `json:"resource"`
	SubResource string         `json:"subResource"`
	Operation   string         `json:"operation"`
	Namespace   string         `json:"namespace"`
	DryRun      bool           `json:"dryRun"`
	Object      jsontext.Value `json:"object"`
}

type groupKind struct {
	Group   string `json:"group"`
	Version string `json:"version"`
	Kind    string `json:"kind"`
}

type groupResource struct {
	Group    string `json:"group"`
	Version  string `json:"version"`
	Resource string `json:"resource"`
}

type response struct {
	UID              string            `json:"uid"`
	Allowed          bool              `json:"allowed"`
	Status           *status           `json:"status,omitempty"`
	AuditAnnotations map[string]string `json:"auditAnnotations,omitempty"`
	Warnings         []string          `json:"warnings,omitempty"`
}

type status struct {
	Code    int32  `json:"code"`
	Message string `json:"message"`
	Reason  string `json:"reason,omitempty"`
}

type podSpec struct {
	Containers          []container `json:"containers"`
	InitContainers      []container `json:"initContainers"`
	EphemeralContainers []container `json:"ephemeralContainers"`
	Volumes             []volume    `json:"volumes"`
}

type container struct {
	Name  string `json:"name"`
	Image string `json:"image"`
}

// volume may be an image too, since Kubernetes 1.31; the files in it can be executed
// like a container's.
type volume struct {
	Name  string `json:"name"`
	Image *struct {
		Reference string `json:"reference"`
	} `json:"image"`
}

type template struct {
	Spec *podSpec `json:"spec"`
}

// podSpecOf finds the pod's specification in an object. A kind that is not listed may
// have one anywhere, and so is an error.
func podSpecOf(k groupKind, object []byte) (*podSpec, error) {
	var o struct {
		Spec     jsontext.Value `json:"spec"`
		Template *template      `json:"template"`
	}
	if err := readReview(object, &o); err != nil {
		return nil, fmt.Errorf("the object cannot be read: %w", err)
	}

	var spec *podSpec
	var err error

	// The kind decides where the specification is, never the object: one with a second
	// "template" of its own would hide its images there.
	switch k.Group + "/" + k.Kind {
	case "/Pod":
		err = readReview(o.Spec, &spec)
	case "/PodTemplate":
		if o.Template != nil {
			spec = o.Template.Spec
		}
	case "/ReplicationController",
		"apps/Deployment",
		"apps/ReplicaSet",
		"apps/StatefulSet",
		"apps/DaemonSet",
		"batch/Job":
		var s struct {
			Template *template `json:"template"`
		}
		if err = readReview(o.Spec, &s); err == nil && s.Template != nil {
			spec = s.Template.Spec
		}
	case "batch/CronJob":
		var s struct {
			JobTemplate struct {
				Spec struct {
					Template *template `json:"template"`
				} `json:"spec"`
			} `json:"jobTemplate"`
		}

		if err = readReview(o.Spec, &s); err == nil && s.JobTemplate.Spec.Template != nil {
			spec = s.JobTemplate.Spec.Template.Spec
		}
	default:
		return nil, errUnknownKind
	}

	if err != nil {
		return nil, fmt.Errorf("the object cannot be read: %w", err)
	}
	if spec == nil {
		return nil, errors.New("the object has no pod specification")
	}
	return spec, nil
}

var errUnknownKind = errors.New("this kind is not supported: the gate does not know where its images are")

// images lists every image of a pod, each once, in its order.
func (p *podSpec) images() []string {
	var out []string
	known := map[string]bool{}
	add := func(image string) {
		if !known[image] {
			known[image] = true
			out = append(out, image)
		}
	}

	for _, list := range [][]container{p.InitContainers, p.Containers, p.EphemeralContainers} {
		for _, c := range list {
			add(c.Image)
		}
	}

	for _, v := range p.Volumes {
		if v.Image != nil {
			add(v.Image.Reference)
		}
	}
	return out
}
