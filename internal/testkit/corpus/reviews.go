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
		"kind":{"group":%q,"version":%q,"kind":%q},"resource":{"group":%[2]q,"version":%[3]q,"resource":"x"},`+
		`"operation":%[5]q,"userInfo":{"username":"admin"},"object":%[6]s}}`,
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

// reviews are pods and other resources. $GOOD stands for an image that was
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

	allowed := Want{Status: http.StatusOK, Allowed: true}
	no := func(says string) Want { return Want{Status: http.StatusOK, Says: says} }
	empty := string(Sum(nil))
	const unread = "the object cannot be read"
	for _, s := range []struct {
		name, spec string
		says       string // "": allowed
		old, mend  string // of the spec: the one difference from an allowed one
	}{
		{"attested", `{"containers":[{"image":"$GOOD"}]}`, "", "", ""},
		{"not attested", `{"containers":[{"image":"$BAD"}]}`, "$BAD has no valid attestation", "$BAD", "$GOOD"},
		{"a second container", `{"containers":[{"image":"$GOOD"},{"image":"$BAD"}]}`, "$BAD has no valid attestation",
			"$BAD", "$GOOD"},
		{"an init container", `{"containers":[{"image":"$GOOD"}],"initContainers":[{"image":"$BAD"}]}`,
			"$BAD has no valid attestation", "$BAD", "$GOOD"},
		{"an ephemeral container", `{"containers":[{"image":"$GOOD"}],"ephemeralContainers":[{"image":"$BAD"}]}`,
			"$BAD has no valid attestation", "$BAD", "$GOOD"},
		{"an image volume", `{"containers":[{"image":"$GOOD"}],"volumes":[{"name":"v","image":{"reference":"$BAD"}}]}`,
			"$BAD has no valid attestation", "$BAD", "$GOOD"},
		{"no containers", `{"containers":[]}`, "the pod has 0 images", `[]`, `[{"image":"$GOOD"}]`},
		{"names in capitals", `{"Containers":[{"image":"$GOOD"}]}`, "the pod has 0 images", "Containers", "containers"},
		{"no image", `{"containers":[{"name":"c"}]}`, "image is empty", `"name":"c"`, `"name":"c","image":"$GOOD"`},
		{"an image that is a number", `{"containers":[{"image":42}]}`, unread, "42", `"$GOOD"`},
		{"by tag", `{"containers":[{"image":"$TAG"}]}`, "$TAG is by tag", "$TAG", "$GOOD"},
		{"ungoverned", `{"containers":[{"image":"gcr.io/other/app@` + empty + `"}]}`,
			"no policy governs gcr.io/other/app", "gcr.io/other/app@" + empty, "$GOOD"},
		{"without a registry", `{"containers":[{"image":"nginx@` + empty + `"}]}`, "the registry is missing",
			"nginx@" + empty, "$GOOD"},
		{"101 images", tagged(101), "the pod has 101 images", `,{"image":"$TAG101@$DIGEST"}`, ``},
		{"null", `null`, "no pod specification", `null`, `{"containers":[{"image":"$GOOD"}]}`},
		{"a list", `[]`, unread, `[]`, `{"containers":[{"image":"$GOOD"}]}`},
	} {
		for _, kind := range []struct{ group, kind string }{{"", "Pod"}, {"apps", "Deployment"}, {"batch", "CronJob"}} {
			put := func(text, good, bad string) string {
				repository, digest, _ := strings.Cut(good, "@")
				return strings.NewReplacer("$GOOD", good, "$BAD", bad, "$TAG", repository+":1", "$DIGEST",
					digest).Replace(text)
			}
			name, want := s.name+", "+kind.kind, allowed
			if s.says != "" {
				want = no(s.says)
			}

			ask(name, want,
				func(good, bad string) Request { return Review(kind.group, kind.kind, put(s.spec, good, bad)) })
			if s.says == "" {
				continue
			}
			mended := strings.Replace(s.spec, s.old, s.mend, 1)
			ask(s.name+", mended, "+kind.kind, allowed,
				func(good, bad string) Request { return Review(kind.group, kind.kind, put(mended, good, bad)) })
			out[len(out)-1] = out[len(out)-1].mending("reviews/" + name)
		}
	}

	whole := func(good string) string { return ReviewOf("", "v1", "Pod", "CREATE", `{"spec":`+Pod(good)+`}`) }
	ask("whole", allowed, func(good, _ string) Request { return reviewed(whole(good)) })
	out[len(out)-1] = out[len(out)-1].mending("reviews/another version")
	const noKind, operations = "this kind is not supported", "restrict the webhook's rules to CREATE"
	for _, o := range []struct {
		name, says string
		object     func(good string) string
	}{
		{"another kind", noKind, func(good string) string {
			return ReviewOf("serving.knative.dev", "v1", "Service", "CREATE", Templated(Pod(good)))
		}},
		{"another's Pod", noKind, func(good string) string {
			return ReviewOf("evil.example", "v1", "Pod", "CREATE", `{"spec":`+Pod(good)+`}`)
		}},
		{"a kind in lower", noKind, func(good string) string {
			return ReviewOf("apps", "v1", "deployment", "CREATE", Templated(Pod(good)))
		}},
		{"no object", "the review has no object",
			func(string) string { return ReviewOf("", "v1", "Pod", "CREATE", `null`) }},
		{"an exec", operations, func(string) string { return ReviewOf("", "v1", "PodExecOptions", "CONNECT", `{}`) }},
		{"unknown operation", operations,
			func(good string) string { return ReviewOf("", "v1", "Pod", "PATCH", `{"spec":`+Pod(good)+`}`) }},
	} {
		ask(o.name, no(o.says), func(good, _ string) Request { return reviewed(o.object(good)) })
	}

	const noReview, noRequest = "the body is not an AdmissionReview",
		"not an AdmissionReview of admission.k8s.io/v1 with a request"
	for _, e := range []struct {
		name, says string
		edit       func(whole string) string
	}{
		{"nothing", noReview, func(string) string { return "" }},
		{"an array", noReview, func(string) string { return "[]" }},
		{"another version", noRequest,
			func(w string) string { return strings.Replace(w, "admission.k8s.io/v1", "admission.k8s.io/v1beta1", 1) }},
		{"no request", noRequest,
			func(string) string { return `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}` }},
		{"no uid", noRequest, func(w string) string { return strings.Replace(w, ReviewUID, "", 1) }},
		{"two reviews", noReview, func(w string) string { return w + w }},
		{"two objects", noReview,
			func(w string) string { return strings.Replace(w, `"object":`, `"object":{},"object":`, 1) }},
		{"cut short", noReview, func(w string) string { return w[:len(w)-3] }},
		{"very deep", noReview, func(w string) string {
			return strings.Replace(w, `"object":`, `"x":`+strings.Repeat("[", 100_000)+`,"object":`, 1)
		}},
	} {
		ask(e.name, refused(http.StatusBadRequest, e.says),
			func(good, _ string) Request { return reviewed(e.edit(whole(good))) })
	}

	ask("eight megabytes", refused(http.StatusRequestEntityTooLarge, "the body is too large"),
		func(good, _ string) Request { return reviewed(whole(good) + strings.Repeat(" ", 8<<20)) })
	sortCases(out)
	return out
}

// tagged is a specification of n attested images, each named in a way of its own.
func tagged(n int) string {
	var containers []string
	for i := range n {
		containers = append(containers, fmt.Sprintf(`{"image":"$TAG%d@$DIGEST"}`, i+1))
	}
	return `{"containers":[` + strings.Join(containers, ",") + `]}`
}
