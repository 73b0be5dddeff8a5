// Command tekton says whether Tekton takes a task or a pipeline: it reads it strictly, and validates it as Tekton's
// admission webhook does. It exits with 1 for one that Tekton refuses.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	"knative.dev/pkg/apis"
	"sigs.k8s.io/yaml"
)

// maxFile bounds what is read.
const maxFile = 1 << 20

func main() {
	if err := validate(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "tekton:", err)
		os.Exit(1)
	}
}

func validate(in io.Reader) error {
	// One byte beyond the bound shows that the file is too long: its beginning may be good where the whole is not.
	text, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	switch {
	case err != nil:
		return err
	case len(text) > maxFile:
		return fmt.Errorf("the file has more than %d bytes", maxFile)
	}

	// The kind is read leniently, to know the type that is read strictly.
	var kind struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := yaml.Unmarshal(text, &kind); err != nil {
		return err
	}

	var object interface {
		SetDefaults(ctx context.Context)
		Validate(ctx context.Context) *apis.FieldError
	}
	switch kind.APIVersion + " " + kind.Kind {
	case "tekton.dev/v1 Task":
		object = &v1.Task{}
	case "tekton.dev/v1 Pipeline":
		object = &v1.Pipeline{}
	default:
		return fmt.Errorf("%s %s is not read", kind.APIVersion, kind.Kind)
	}
	if err := yaml.UnmarshalStrict(text, object); err != nil {
		return err
	}

	ctx := apis.WithinCreate(context.Background())
	object.SetDefaults(ctx)
	if fault := object.Validate(ctx); fault != nil {
		return fault
	}
	return nil
}
