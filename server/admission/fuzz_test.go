package admission_test

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"
)

// FuzzReview: no body panics; what is no review is a 4xx; and a pod is admitted
// only if an ordinary decoder finds images in it, each of them attested.
func FuzzReview(f *testing.F) {
	for _, spec := range []string{
		pod(good), pod(bad), pod(good, bad), `{"containers":[]}`, `{"Containers":[{"image":"` + good + `"}]}`,
		`{"containers":[{"image":"` + good + `"}],"initContainers":[{"image":"` + bad + `"}],"volumes":[{"image":{"reference":"` + bad + `"}}]}`,
	} {
		f.Add([]byte(reviewOf("", "v1", "Pod", "CREATE", `{"spec":`+spec+`}`)))
		f.Add([]byte(reviewOf("apps", "v1", "Deployment", "UPDATE", templated(spec))))
		f.Add([]byte(reviewOf("batch", "v1", "CronJob", "CREATE", `{"spec":{"jobTemplate":`+templated(spec)+`}}`)))
	}

	f.Add([]byte(reviewOf("", "v1", "Pod", "DELETE", `null`)))
	f.Add([]byte(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`))
	h := handler(f, cluster{}, nil)
	f.Fuzz(func(t *testing.T, body []byte) {
		r := httptest.NewRequest("POST", "/v1/admission", strings.NewReader(string(body)))
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != 200 {
			if w.Code < 400 || w.Code >= 500 {
				t.Fatalf("status %d for %q", w.Code, body)
			}
			return
		}

		var got answer
		if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Response.UID == "" {
			t.Fatalf("answer %s to %q", w.Body, body)
		}

		var in map[string]any
		if err := json.Unmarshal(body, &in); err != nil {
			t.Fatalf("%q was answered, and is not JSON", body)
		}
		if !got.Response.Allowed {
			if got.Response.Status.Message == "" {
				t.Fatalf("refused without a reason: %q", body)
			}
			return
		}

		request := member(in, "request")
		if operation := request["operation"]; operation == "DELETE" {
			return
		}

		kind := member(request, "kind")
		images := imagesOf(podPath(kind["kind"]), member(request, "object"))

		for _, image := range images {
			if image != good {
				t.Fatalf("admitted with %v: %q", images, body)
			}
		}

		if len(images) == 0 {
			t.Fatalf("admitted without an image: %q", body)
		}
	})
}

func member(v map[string]any, names ...string) map[string]any {
	for _, name := range names {
		v, _ = v[name].(map[string]any)
	}
	return v
}

// podPath is where a kind holds its pod.
func podPath(kind any) []string {
	switch kind {
	case "Pod":
		return []string{"spec"}
	case "PodTemplate":
		return []string{"template", "spec"}
	case "CronJob":
		return []string{"spec", "jobTemplate", "spec", "template", "spec"}
	}
	return []string{"spec", "template", "spec"}
}

// imagesOf lists a pod's images under exact names.
func imagesOf(path []string, object map[string]any) []any {
	var out []any
	spec := member(object, path...)

	for _, list := range []string{"containers", "initContainers", "ephemeralContainers"} {
		items, _ := spec[list].([]any)
		for _, item := range items {
			if c, ok := item.(map[string]any); ok {
				out = append(out, c["image"])
			}
		}
	}

	volumes, _ := spec["volumes"].([]any)
	for _, item := range volumes {
		if v, ok := item.(map[string]any); ok && v["image"] != nil {
			out = append(out, member(v, "image")["reference"])
		}
	}

	return out
}
