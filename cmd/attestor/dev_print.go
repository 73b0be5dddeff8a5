package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/attestor-gate/attestor/internal/google"
	"github.com/attestor-gate/attestor/internal/samples"
)

// prepareGoogle makes key, note and attestor, as an operator would with gcloud.
func prepareGoogle(ctx context.Context, g *google.Clients) error {
	return samples.Google{KMS: g.KMS, Grafeas: g.Grafeas, Binauthz: g.Binauthz}.Prepare(ctx)
}

// printParts says what runs where.
func printParts(w io.Writer, p *devParts, policies []string) {
	fmt.Fprintf(
		w,
		"service    http://%s\nregistry   %s\nGoogle     %s (Container Analysis, Cloud KMS, Binary Authorization; emulated)\nattestor   %s\npolicy     %s\n",
		p.service.Addr(),
		p.registry.Addr(),
		p.google.Addr(),
		devAttestor,
		strings.Join(policies, " "),
	)
}

// printSamples says what there is and what to try.
func printSamples(w io.Writer, p *devParts, pushed []samples.Sample) {
	registry, service := p.registry.Addr().String(), "http://"+p.service.Addr().String()
	fmt.Fprintln(w, "\nimages")
	for _, s := range pushed {
		fmt.Fprintf(w, "  %-*s  %s\n", len(registry)+18, registry+"/"+s.Repository+":"+s.Tag, s.About)
	}

	self := os.Args[0]
	fmt.Fprintf(w, "\ntry\n")
	fmt.Fprintf(w, "  %s attest --server %s %s/app/good:v1\n", self, service, registry)
	fmt.Fprintf(w, "  %s attest --server %s %s/app/root:v1\n", self, service, registry)
	fmt.Fprintf(
		w,
		"  curl -s %s/v1/attest -H 'Content-Type: application/json' -d '{\"image\": \"%s/app/vulnerable:v1\"}'\n",
		service,
		registry,
	)

	fmt.Fprintf(
		w,
		"  %s verify --emulator %s --attestor %s %s/app/good:v1\n\n",
		self,
		p.google.Addr(),
		devAttestor,
		registry,
	)
}
