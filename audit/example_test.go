package audit_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)

	store, err := audit.Open(ctx, audit.Config{SQLite: filepath.Join(dir, "decisions.db"), Now: time.Now})
	if err != nil {
		panic(err)
	}
	defer store.Close()

	for i, verdict := range []attestor.Outcome{attestor.Pass, attestor.Deny} {
		r := record(i, verdict)
		if err := store.Begin(ctx, r); err != nil {
			panic(err)
		}
		if _, err := store.Finish(ctx, r); err != nil {
			panic(err)
		}
	}

	page, err := store.List(ctx, audit.Filter{Verdict: attestor.Deny}, audit.DefaultPageSize, "")
	if err != nil {
		panic(err)
	}
	for _, d := range page.Decisions {
		fmt.Println(d.Verdict, d.Image.Requested)
	}
	// Output: deny us-docker.pkg.dev/acme/prod/api:v7
}
