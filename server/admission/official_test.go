package admission_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"

	"github.com/attestor-gate/attestor/server/admission"
)

// official is Kubernetes' own decoder for reviews and what they hold.
type official struct{ decoder runtime.Decoder }

func newOfficial(t testing.TB) official {
	t.Helper()
	scheme := runtime.NewScheme()

	for _, add := range []func(*runtime.Scheme) error{admissionv1.AddToScheme, corev1.AddToScheme, appsv1.AddToScheme, batchv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return official{serializer.NewCodecFactory(scheme).UniversalDeserializer()}
}

func (o official) review(body []byte) (*admissionv1.AdmissionReview, error) {
	decoded, _, err := o.decoder.Decode(body, nil, nil)
	if err != nil {
		return nil, err
	}

	review, ok := decoded.(*admissionv1.AdmissionReview)
	if !ok {
		return nil, fmt.Errorf("a %T", decoded)
	}

	return review, nil
}

var errNoPod = errors.New("no pod specification")

// images lists what Kubernetes itself would run of a review's object.
func (o official) images(body []byte) ([]string, error) {
	review, err := o.review(body)
	if err != nil {
		return nil, err
	}
	if review.Request == nil {
		return nil, errNoPod
	}

	decoded, _, err := o.decoder.Decode(review.Request.Object.Raw, nil, nil)
	if err != nil {
		return nil, err
	}

	var spec corev1.PodSpec
	switch x := decoded.(type) {
	case *corev1.Pod:
		spec = x.Spec

	case *corev1.PodTemplate:
		spec = x.Template.Spec

	case *corev1.ReplicationController:
		if x.Spec.Template == nil {
			return nil, errNoPod
		}
		spec = x.Spec.Template.Spec

	case *appsv1.Deployment:
		spec = x.Spec.Template.Spec

	case *appsv1.ReplicaSet:
		spec = x.Spec.Template.Spec

	case *appsv1.StatefulSet:
		spec = x.Spec.Template.Spec

	case *appsv1.DaemonSet:
		spec = x.Spec.Template.Spec

	case *batchv1.Job:
		spec = x.Spec.Template.Spec

	case *batchv1.CronJob:
		spec = x.Spec.JobTemplate.Spec.Template.Spec

	default:
		return nil, errNoPod
	}

	var out []string
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for _, c := range list {
			out = append(out, c.Image)
		}
	}

	for _, c := range spec.EphemeralContainers {
		out = append(out, c.Image)
	}

	for _, v := range spec.Volumes {
		if v.Image != nil {
			out = append(out, v.Image.Reference)
		}
	}
	return unique(out), nil
}

func unique(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// reviews are all that are recorded, by file.
func reviews(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob(recorded + "/*.json")
	if err != nil || len(files) < 14 {
		t.Fatalf("%d recorded reviews, %v", len(files), err)
	}

	out := map[string][]byte{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		out[strings.TrimSuffix(filepath.Base(f), ".json")] = b
	}

	return out
}

// What Kubernetes' decoder sees in the reviews that an API server sent is what
// this package sees, of every kind of workload and every place of an image.
func TestRecordedReviewsByTheOfficialDecoder(t *testing.T) {
	t.Parallel()
	o := newOfficial(t)
	workloads := 0

	for name, body := range reviews(t) {
		review, err := o.review(body)
		if err != nil || review.Request == nil {
			t.Fatalf("%s: %v", name, err)
		}
		if review.Request.Operation == admissionv1.Delete {
			continue // it has no object
		}

		want, wantErr := o.images(body)
		got, err := admission.Sees(body)
		if errors.Is(wantErr, errNoPod) {
			if err == nil {
				t.Errorf("%s has no pod, and was read as one with %v", name, got)
			}
			continue
		}

		workloads++
		if diff := cmp.Diff(want, unique(got)); wantErr != nil || err != nil || diff != "" || len(want) < 5 {
			t.Errorf("%s: %v, %v, %d images (-official +ours):\n%s", name, wantErr, err, len(want), diff)
		}
	}

	if workloads != 12 {
		t.Errorf("%d workloads: this test would prove too little", workloads)
	}
}

// The answers to them are what the official decoder reads as such, and are
// right: nothing here is attested but by name.
func TestAnswersAreReadByTheOfficialDecoder(t *testing.T) {
	t.Parallel()
	o, h := newOfficial(t), handler(t, cluster{}, nil)

	for name, body := range reviews(t) {
		sent, err := o.review(body)
		if err != nil {
			t.Fatal(err)
		}

		r := httptest.NewRequest("POST", "/v1/admission", bytes.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		got, err := o.review(w.Body.Bytes())
		if err != nil || got.Response == nil || got.Response.UID != sent.Request.UID {
			t.Fatalf("%s: %d %s, %v", name, w.Code, w.Body, err)
		}

		switch deletion := sent.Request.Operation == admissionv1.Delete; {
		case got.Response.Allowed != deletion:
			t.Errorf("%s: allowed is %t", name, got.Response.Allowed)
		case !deletion && (got.Response.Result == nil || got.Response.Result.Code != 403 || got.Response.Result.Message == ""):
			t.Errorf("%s: refused without a reason: %+v", name, got.Response.Result)
		}
	}
}

// Whatever is done to a review, an image that Kubernetes would run is one that
// this package sees, or it refuses to look at all.
func TestNothingHidesFromTheOfficialDecoder(t *testing.T) {
	t.Parallel()
	o := newOfficial(t)
	const hidden = "registry.example/team/hidden:v1"
	tricks := []func(r *rand.Rand, s string) string{
		func(r *rand.Rand, s string) string { // a name in another case
			return at(r, s, `"image"`, func(string) string { return []string{`"Image"`, `"IMAGE"`, `"imag\u0065"`}[r.IntN(3)] })
		},
		func(r *rand.Rand, s string) string { // a name twice
			return at(r, s, `"image"`, func(x string) string { return `"image": "` + hidden + `", ` + x })
		},
		func(r *rand.Rand, s string) string { // a list twice
			return at(r, s, `"containers"`, func(x string) string { return x + `: [{"name": "h", "image": "` + hidden + `"}], ` + x })
		},
		func(r *rand.Rand, s string) string { // a list in another case
			return at(r, s, `"containers"`, func(x string) string {
				return `"Containers": [{"name": "h", "image": "` + hidden + `"}], ` + x
			})
		},
		func(r *rand.Rand, s string) string { // a specification twice
			return at(r, s, `"spec"`, func(x string) string {
				return x + `: {"containers": [{"name": "h", "image": "` + hidden + `"}]}, ` + x
			})
		},
		func(r *rand.Rand, s string) string { // another kind than it says
			return at(r, s, `"kind": "`, func(x string) string { return x + []string{"X", "Pod", "Deployment"}[r.IntN(3)] })
		},
		func(r *rand.Rand, s string) string { // a byte
			i := r.IntN(len(s))
			return s[:i] + string(rune(32+r.IntN(95))) + s[i+1:]
		},
		func(r *rand.Rand, s string) string { return at(r, s, `[`, func(string) string { return `null, [` }) },
		func(r *rand.Rand, s string) string {
			return at(r, s, `": "`, func(string) string { return `": 1, "x": "` })
		},
	}

	r := rand.New(rand.NewPCG(8, 8)) //nolint:gosec // the same every time
	seen, refused := 0, 0

	for name, body := range reviews(t) {
		for range 40 {
			mutated := tricks[r.IntN(len(tricks))](r, string(body))
			want, err := o.images([]byte(mutated))
			if err != nil {
				continue // Kubernetes would not have sent it
			}

			got, err := admission.Sees([]byte(mutated))
			if err != nil {
				refused++
				continue
			}

			seen++
			for _, image := range want {
				if !slices.Contains(got, image) {
					t.Fatalf("%s: %s is run and not seen, in\n%s", name, image, mutated)
				}
			}
		}
	}

	if seen < 100 || refused < 30 {
		t.Errorf("%d were seen and %d refused: this test would prove too little", seen, refused)
	}
}

// at changes one of the places of a text.
func at(r *rand.Rand, s, what string, change func(string) string) string {
	n := strings.Count(s, what)
	if n == 0 {
		return s
	}

	skip, start := r.IntN(n), 0
	for range skip {
		start += strings.Index(s[start:], what) + len(what)
	}

	i := start + strings.Index(s[start:], what)
	return s[:i] + change(what) + s[i+len(what):]
}
