package posture_test

import (
	"context"
	"fmt"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/posture"
)

func ExampleJudge_Judge() {
	profile, _ := posture.Builtin("baseline")
	judge, err := posture.New(posture.Config{Profile: profile, Now: time.Now})
	if err != nil {
		panic(err)
	}

	report, err := judge.Judge(context.Background(), posture.Input{Definitions: []posture.Source{{Name: "service.yaml", Text: []byte(`
apiVersion: serving.knative.dev/v1
kind: Service
metadata:
  name: api
spec:
  template:
    spec:
      containers:
        - image: us-docker.pkg.dev/p/r/api:latest
`)}}})

	if err != nil {
		panic(err)
	}

	for _, f := range report.Findings {
		if f.Status == attestor.StatusDeny {
			fmt.Println(f.Rule)
		}
	}
	// Output:
	// INGRESS_RESTRICTED
	// DEDICATED_SERVICE_ACCOUNT
	// MAX_INSTANCES
	// RESOURCE_LIMITS
	// IMAGE_BY_DIGEST
	// BINARY_AUTHORIZATION
}
