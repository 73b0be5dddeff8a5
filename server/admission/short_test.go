package admission_test

import (
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/server/admission"
)

// The name that a refusal advises is one that is read, of the image that the node would have pulled.
func TestShortNamesAreCompleted(t *testing.T) {
	digest := "@sha256:" + strings.Repeat("a", 64)
	for short, want := range map[string]string{
		"nginx": "docker.io/library/nginx", "nginx:1.27": "docker.io/library/nginx", "acme/api": "docker.io/acme/api",
		"acme/api:v1": "docker.io/acme/api", "nginx" + digest: "docker.io/library/nginx",

		"r.example/app:v1": "", "localhost/app:v1": "", "localhost:5000/app": "", "": "", "UPPER": "", "a b": "", "https://r.example/a": "",
	} {
		got := admission.Whole(short)
		if want == "" && got != "" || want != "" && !strings.Contains(got, "write "+want+"@sha256:…") {
			t.Errorf("%q: %q, want %q", short, got, want)
		}
		if want != "" {
			if _, err := attestor.ParseReference(want + digest); err != nil {
				t.Errorf("%q: the advice is not read: %v", short, err)
			}
		}
	}
}
