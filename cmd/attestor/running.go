package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor/audit"
)

// runningFlags say where what runs is listed.
type runningFlags struct {
	cloudRun []string
	pods     []string
	projects []string
	regions  []string
}

func (f *runningFlags) register(c *cobra.Command, project string) {
	c.Flags().StringArrayVar(
		&f.cloudRun,
		"cloud-run",
		nil,
		"what serves by this `FILE` of gcloud run services list --format json, or of jobs, jobs executions, "+
			"worker-pools, "+
			"instances or revisions list (repeatable)",
	)

	c.Flags().StringArrayVar(
		&f.pods,
		"pods",
		nil,
		"what runs by this `FILE` of kubectl get pods -A -o json (repeatable)",
	)

	c.Flags().StringArrayVar(&f.projects, project, nil,
		"what serves in this `PROJECT`, services, jobs and their executions, worker pools and instances, by the Cloud "+
			"Run API (repeatable)")
	c.Flags().StringArrayVar(&f.regions, "region", []string{"-"}, "of --"+project+"; - for all regions (repeatable)")
}

func (f *runningFlags) any() bool { return len(f.cloudRun)+len(f.pods)+len(f.projects) > 0 }

// where says in words which regions are asked.
func (f *runningFlags) where() string {
	if slices.Contains(f.regions, "-") {
		return "all regions"
	}
	return strings.Join(f.asked(), ", ")
}

// asked are the regions to ask, each once: all of them hold every other.
func (f *runningFlags) asked() []string {
	if slices.Contains(f.regions, "-") {
		return []string{"-"}
	}
	return slices.Compact(slices.Sorted(slices.Values(f.regions)))
}

// key names the sources, for a sweep's state.
func (f *runningFlags) key() []string {
	return slices.Concat(f.projects, []string{strings.Join(f.asked(), ",")}, f.cloudRun, f.pods)
}

// A runningSource is one place where what runs is listed.
type runningSource struct {
	expected  string // what it should hold, for messages
	name      string // of the file or project; "" for what all files of Cloud Run say together
	workloads audit.Workloads
	pods      *audit.PodsFound // of a list of pods, filled as it is read
	asked     string           // what was asked of a project
}

// note says how the source was read, once it was; "" if there is nothing to say.
func (s *runningSource) note() string {
	if s.pods != nil {
		return s.pods.String()
	}
	return s.asked
}

// sources opens every list. services keeps the definitions for their posture; it may be nil.
func (f *runningFlags) sources(c *cobra.Command, services *servicesFound) ([]runningSource, error) {
	// All files of Cloud Run are one source: a job and its executions may be in different files.
	var out []runningSource
	var lists audit.CloudRunLists
	for _, file := range f.cloudRun {
		text, err := readInput(c, file)
		if err != nil {
			return nil, err
		}
		if err := lists.Add(bytes.NewReader(text)); err != nil {
			return nil, fmt.Errorf("%s: %w", inputName(file), err)
		}
		if services != nil {
			services.listed(file, text)
		}
	}
	if len(f.cloudRun) > 0 {
		out = append(out, runningSource{
			expected: "a service, job, worker pool or instance with an image in " + strings.Join(
				f.cloudRun,
				", ",
			), workloads: lists.Workloads(),
		})
	}

	// Each list of pods is a source of its own, since its name says which cluster it is of.
	for _, file := range f.pods {
		name, path := podsOf(file)
		text, err := readInput(c, path)
		if err != nil {
			return nil, err
		}
		found := &audit.PodsFound{}
		out = append(out, runningSource{
			expected: "a running pod with an image in " + inputName(path), name: name,
			workloads: audit.PodWorkloads(bytes.NewReader(text), found), pods: found,
		})
	}

	// A project's definitions are kept for their posture only where that was asked for.
	for _, project := range f.projects {
		var visit func(audit.Definition)
		if services != nil && services.profile != nil {
			visit = services.seen
		}
		out = append(out, runningSource{
			expected: "a service, job, worker pool or instance with an image in the project " + project + ", in " +
				f.where(), name: project,
			workloads: servingInProject(c.Context(), project, f.asked(), visit),
			asked:     "Cloud Run of " + project + ": services, jobs, worker pools and instances in " + f.where(),
		})
	}
	return out, nil
}

// servingInProject asks the Cloud Run API with the caller's own credentials.
func servingInProject(
	ctx context.Context,
	project string,
	regions []string,
	visit func(audit.Definition),
) audit.Workloads {
	return audit.ServingInProject(ctx, project, regions, visit)
}

// podsOf cuts the name of a cluster, as in us-east1.prod=pods.json, off a list of its pods.
func podsOf(arg string) (cluster, file string) {
	if name, path, ok := strings.Cut(arg, "="); ok && !strings.ContainsAny(name, `/\`) && strings.Contains(name, ".") {
		return name, path
	}
	return "", arg
}

// maxInput bounds a list of what runs.
const maxInput = 256 << 20

// readInput reads a file, or standard input for -.
func readInput(c *cobra.Command, file string) ([]byte, error) {
	r := c.InOrStdin()
	if file != "-" {
		opened, err := os.Open(file)
		if err != nil {
			return nil, err
		}
		defer func() { _ = opened.Close() }() // it was only read
		r = opened
	}

	text, err := io.ReadAll(io.LimitReader(r, maxInput+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", inputName(file), err)
	}
	if len(text) > maxInput {
		return nil, fmt.Errorf(
			"reading %s: it has more than the %d MiB that are allowed",
			inputName(file),
			maxInput>>20,
		)
	}
	return text, nil
}
