package vuln

import (
	"context"
	"slices"

	"github.com/attestor-gate/attestor/internal/probe"
	"github.com/attestor-gate/attestor/internal/resource"
)

// Probe asks for the scans of each project, as a decision does, at the same time. It reads one page of each.
func (s *Scanner) Probe(ctx context.Context, projects []string) []probe.Result {
	// Nothing is scanned under this name: the list is short, and as long as it takes to be allowed to read it.
	filter := resource.Filter([]string{"DISCOVERY"}, []string{"https://attestor.invalid/probe"})

	projects = slices.Compact(slices.Sorted(slices.Values(projects)))
	var questions []func() []probe.Result
	for _, project := range projects {
		questions = append(questions, func() []probe.Result {
			return []probe.Result{probe.Ask("Container Analysis", "project "+project,
				"containeranalysis.occurrences.list",
				s.c.Limit.Duration(), func() error {
					_, err := s.page(ctx, project, filter, "")
					return err
				})}
		})
	}
	return probe.Together(probesAtOnce, questions)
}

// probesAtOnce is how many projects are asked about at the same time.
const probesAtOnce = 8
