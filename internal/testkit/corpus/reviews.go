package corpus

import (
	"fmt"
	"net/http"
	"strings"
)

// ReviewUID is that of every review here.
const ReviewUID = "705ab4f5-6393-11e8-b7cc-42010a800002"

// ReviewOf is an AdmissionReview of an object.
func ReviewOf(group, version, kind, operation, object string) string {
	return fmt.Sprintf(`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":%q,
		"kind":{"group":%q,"version":%q,"kind":%q},"resource":{"group":%[2]q,"version":%[3]q,"resource":"x"},"operation":%[5]q,"userInfo":{"username":"admin"},"object":%[6]s}}`,
		ReviewUID, group, version, kind, operation, object)
}

// Pod is a pod's specification with a container for each image.
func Pod(images ...string) string {
	var containers []string
	for i, image := range images {
		containers = append(containers, fmt.Sprintf(`{"name":"c%d","image":%q}`, i, image))
	}
	return `{"containers":[` + strings.Join(containers, ",") + `]}`
}

// Templated is an object that holds a pod's specification where workloads do.
func Templated(spec string) string { return `{"spec":{"template":{"spec":` + spec + `}}}` }

// Review asks whether an object of a kind, made of a pod's specification, may
// be created.
func Review(group, kind, spec string) Request {
	object := Templated(spec)
	switch kind {
	case "Pod":
		object = `{"spec":` + spec + `}`
	case "CronJob":
		object = `{"spec":{"jobTemplate":` + object + `}}`
	}
	return reviewed(ReviewOf(group, "v1", kind, "CREATE", object))
}

func reviewed(body string) Request {
	r := Post("/v1/admission", body)
	r.To, r.Token = Admission, Anonymous
	return r
}

// reviews are pods and what is none. $GOOD stands for an image that was
// attested a moment ago, $BAD for one that was not.
func reviews() []Case {
	var out []Case
	ask := func(name string, want Want, request func(good, bad string) Request) {
		out = append(out, Case{Name: "reviews/" + name, Want: want, Arrange: func(p *Place) {
			p.Push(p.Good())
			bad := p.Good()
			bad.ConfigExtra = `"config":{}`
			p.PushTo(p.Repo, "bad", bad)
		}, Send: func(p *Place) []Request {
			d := p.Subjects()
			first := Attest(p.Ref(string(d[0])))
			first.Status = http.StatusOK
			return []Request{first, request(p.Ref(string(d[0])), p.Ref(string(d[1])))}
		}})
	}
	allowed, no := Want{Status: http.StatusOK, Allowed: true}, Want{Status: http.StatusOK}
	for _, s := range []struct {
		name, spec string
		want       Want
	}{
		{"attested", `{"containers":[{"image":"$GOOD"}]}`, allowed},
		{"not attested", `{"containers":[{"image":"$BAD"}]}`, no},
		{"a second container", `{"containers":[{"image":"$GOOD"},{"image":"$BAD"}]}`, no},
		{"an init container", `{"containers":[{"image":"$GOOD"}],"initContainers":[{"image":"$BAD"}]}`, no},
		{"an ephemeral container", `{"containers":[{"image":"$GOOD"}],"ephemeralContainers":[{"image":"$BAD"}]}`, no},
		{"an image volume", `{"containers":[{"image":"$GOOD"}],"volumes":[{"name":"v","image":{"reference":"$BAD"}}]}`, no},
		{"no containers", `{"containers":[]}`, no},
		{"names in capitals", `{"Containers":[{"image":"$GOOD"}]}`, no},
		{"no image", `{"containers":[{"name":"c"}]}`, no},
		{"an image that is a number", `{"containers":[{"image":42}]}`, no},
		{"by tag", `{"containers":[{"image":"$TAG"}]}`, no},
		{"ungoverned", `{"containers":[{"image":"gcr.io/other/app@sha256:` + Sum(nil).Hex() + `"}]}`, no},
		{"without a registry", `{"containers":[{"image":"nginx@sha256:` + Sum(nil).Hex() + `"}]}`, no},
		{"101 images", `{"containers":[` + strings.Join(distinct(101), ",") + `]}`, no},
		{"null", `null`, no},
		{"a list", `[]`, no},
	} {
		for _, kind := range []struct{ group, kind string }{{"", "Pod"}, {"apps", "Deployment"}, {"batch", "CronJob"}} {
			ask(s.name+", "+kind.kind, s.want, func(good, bad string) Request {
				tag, _, _ := strings.Cut(good, "@")
				return Review(kind.group, kind.kind, strings.NewReplacer("$GOOD", good, "$BAD", bad, "$TAG", tag+":1").Replace(s.spec))
			})
		}
	}
	whole := func(good string) string { return ReviewOf("", "v1", "Pod", "CREATE", `{"spec":`+Pod(good)+`}`) }
	for name, object := range map[string]func(good string) string{
		"another kind": func(good string) string {
			return ReviewOf("serving.knative.dev", "v1", "Service", "CREATE", Templated(Pod(good)))
		},
		"another's Pod": func(good string) string {
			return ReviewOf("evil.example", "v1", "Pod", "CREATE", `{"spec":`+Pod(good)+`}`)
		},
		"a kind in lower":   func(good string) string { return ReviewOf("apps", "v1", "deployment", "CREATE", Templated(Pod(good))) },
		"no object":         func(string) string { return ReviewOf("", "v1", "Pod", "CREATE", `null`) },
		"an exec":           func(string) string { return ReviewOf("", "v1", "PodExecOptions", "CONNECT", `{}`) },
		"unknown operation": func(good string) string { return ReviewOf("", "v1", "Pod", "PATCH", `{"spec":`+Pod(good)+`}`) },
	} {
		ask(name, no, func(good, _ string) Request { return reviewed(object(good)) })
	}
	for name, edit := range map[string]func(whole string) string{
		"nothing":         func(string) string { return "" },
		"an array":        func(string) string { return "[]" },
		"another version": func(w string) string { return strings.Replace(w, "admission.k8s.io/v1", "admission.k8s.io/v1beta1", 1) },
		"no request":      func(string) string { return `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}` },
		"no uid":          func(w string) string { return strings.Replace(w, ReviewUID, "", 1) },
		"two reviews":     func(w string) string { return w + w },
		"two objects":     func(w string) string { return strings.Replace(w, `"object":`, `"object":{},"object":`, 1) },
		"cut short":       func(w string) string { return w[:len(w)-3] },
		"very deep": func(w string) string {
			return strings.Replace(w, `"object":`, `"x":`+strings.Repeat("[", 100_000)+`,"object":`, 1)
		},
	} {
		ask(name, refused(http.StatusBadRequest, ""), func(good, _ string) Request { return reviewed(edit(whole(good))) })
	}
	ask("eight megabytes", refused(http.StatusRequestEntityTooLarge, ""), func(good, _ string) Request { return reviewed(whole(good) + strings.Repeat(" ", 8<<20)) })
	sortCases(out)
	return out
}

func distinct(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf(`{"image":"registry.example/governed/app%d@%s"}`, i, Sum(nil)))
	}
	return out
}
