package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/audit/preflight"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/google"
)

type preflightFlags struct {
	running       runningFlags
	policy        string
	policyProject string
	emulator      string
	remote        bool
	plainHTTP     bool
	exitZero      bool
	format        string
}

func preflightCommand() *cobra.Command {
	f := &preflightFlags{}
	c := &cobra.Command{
		Use:   "preflight",
		Short: "List what an enforcing Binary Authorization policy would block of what runs",
		Long: `Applies a Binary Authorization policy to what runs, as if all of it were deployed again and the policy enforced: is each
image attested by the attestors that its rule requires, exempt by a pattern, or going to be blocked? Attestations are verified by
the attestors' keys, with the caller's own credentials, without asking a gate. Nothing is signed or changed.

The policy is that of --policy (as gcloud container binauthz policy export writes it), of --policy-project, or each --project's own.
Its rules by cluster need the cluster of each list of pods: --pods us-east1.prod=pods.json.`,
		Example: "  attestor audit preflight --project acme-prod\n" +
			"  attestor audit preflight --policy-project acme-prod --pods us-east1.prod=pods.json",
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c) },
	}

	f.running.register(c, "project")
	c.Flags().StringVar(
		&f.policy,
		"policy",
		"",
		"the Binary Authorization policy in this `FILE`, YAML or JSON; - for standard input",
	)
	c.Flags().StringVar(&f.policyProject, "policy-project", "", "the Binary Authorization policy of this `PROJECT`")
	c.Flags().StringVar(&f.emulator, "emulator", "", "ask the Google emulator at `HOST:PORT`, as of attestor dev")
	c.Flags().BoolVar(&f.remote, "allow-remote-emulator", false, "accept an emulator on another machine")
	c.Flags().BoolVar(&f.plainHTTP, "plain-http", false, "read images over plain HTTP; loopback always is")
	c.Flags().BoolVar(&f.exitZero, "exit-zero", false, "end with 0 where 1 would say that a container would be blocked")
	formatFlag(c, &f.format, "text", "json")
	c.MarkFlagsMutuallyExclusive("policy", "policy-project")
	return c
}

func (f *preflightFlags) run(c *cobra.Command) error {
	if !f.running.any() {
		return &attestor.Error{
			Kind: attestor.Invalid,
			Msg:  "no running workloads were named",
			Fix:  "give --project, --cloud-run or --pods",
		}
	}
	if f.policy == "" && f.policyProject == "" && len(f.running.cloudRun)+len(f.running.pods) > 0 {
		return &attestor.Error{
			Kind: attestor.Invalid, Msg: "files do not say which Binary Authorization policy governs what they list",
			Fix: "give --policy FILE or --policy-project PROJECT",
		}
	}

	em, err := google.FindEmulatorsAt(f.emulator, os.Getenv, f.remote)
	if err != nil {
		return err
	}
	log := newLogger(c, slog.LevelError)
	g, err := google.DialAnyhow(c.Context(), em, log, nil)
	if err != nil {
		return err
	}
	defer func() { _ = g.Close() }() // nothing was written

	report, err := f.judge(c, g, em, log)
	if err != nil {
		return err
	}
	if len(report.Findings) == 0 {
		return &attestor.Error{
			Kind: attestor.Invalid,
			Msg:  "nothing runs in what was named, so that nothing was checked",
		}
	}

	write := func() error { return report.WriteText(c.OutOrStdout()) }
	if f.format == "json" {
		write = func() error { return writeJSON(c.OutOrStdout(), report) }
	}
	if err := write(); err != nil {
		return err
	}

	// What would be blocked outweighs what could not be found out.
	switch {
	case report.Counts[preflight.Blocked] > 0:
		return endsWith(attestor.ExitDeny, f.exitZero)
	case report.Counts[preflight.Unknown] > 0:
		return &exit{code: attestor.ExitError}
	}
	return nil
}

// judge reads the policies and what runs, and applies the ones to the other.
func (f *preflightFlags) judge(
	c *cobra.Command,
	g *google.Clients,
	em google.Emulators,
	log *slog.Logger,
) (*preflight.Report, error) {
	policies := &preflightPolicies{flags: f, c: c, g: g, of: map[string]*preflight.Policy{}}
	subjects, err := f.subjects(c, policies)
	if err != nil {
		return nil, err
	}

	v, err := engine.NewVerifier(g)
	if err != nil {
		return nil, err
	}
	config := preflight.Config{
		Standing: v.Standing,
		Deployed: func(ctx context.Context, image string) (attestor.Image, error) {
			return deployed(ctx, image, f.plainHTTP, log)
		},
	}

	// Without it an image of Google's may be listed as blocked, and never the other way round.
	var unread error
	if policies.askSystem {
		config.System, unread = systemPolicy(c.Context(), em)
	}

	// Each workload is judged, whatever became of the others.
	report := preflight.Run(c.Context(), config, subjects)
	if unread != nil {
		report.Notes = append(report.Notes, attestor.Message(unread))
	}
	report.Notes = append(report.Notes, policies.notes...)
	return &report, nil
}

// subjects lists what runs, each with its policy.
func (f *preflightFlags) subjects(c *cobra.Command, policies *preflightPolicies) ([]preflight.Subject, error) {
	sources, err := f.running.sources(c, nil)
	if err != nil {
		return nil, err
	}

	var out []preflight.Subject
	for _, s := range sources {
		// Before the first workload is listed: a source without a policy ends the command, and not half of a report.
		policy, err := policies.governing(s)
		if err != nil {
			return nil, err
		}
		for w, err := range s.workloads {
			if err != nil {
				return nil, &exit{code: exitFor(err), err: err}
			}
			subject := preflight.Subject{Workload: w, Policy: policy}
			if w.Kind == audit.KindPod {
				subject.Cluster = s.name
			}
			out = append(out, subject)
		}
		if note := s.note(); note != "" {
			policies.notes = append(policies.notes, note)
		}
	}
	return out, nil
}

// preflightPolicies reads each policy once.
type preflightPolicies struct {
	flags     *preflightFlags
	c         *cobra.Command
	g         *google.Clients
	of        map[string]*preflight.Policy // by project; "" for the file's
	askSystem bool                         // one of them exempts Google's own images
	notes     []string
}

// governing is the policy of a source: the one that was named, or the project's own.
func (p *preflightPolicies) governing(s runningSource) (*preflight.Policy, error) {
	// Files name no project: their policy is one that a flag names.
	project := p.flags.policyProject
	if project == "" && p.flags.policy == "" {
		project = s.name
	}
	if known := p.of[project]; known != nil {
		return known, nil
	}

	policy, err := p.read(project)
	if err != nil {
		return nil, &exit{code: exitFor(err), err: err}
	}
	p.of[project] = policy
	p.askSystem = p.askSystem || policy.AsksSystemPolicy()
	return policy, nil
}

func (p *preflightPolicies) read(project string) (*preflight.Policy, error) {
	if p.flags.policy != "" {
		text, err := readInput(p.c, p.flags.policy)
		if err != nil {
			return nil, err
		}
		return preflight.ReadPolicy(bytes.NewReader(text), inputName(p.flags.policy))
	}

	read, err := engine.BinauthzPolicy(p.c.Context(), p.g, project)
	if err != nil {
		return nil, err
	}
	return preflight.NewPolicy(read, "projects/"+project+"/policy")
}

func systemPolicy(ctx context.Context, em google.Emulators) (*preflight.Policy, error) {
	read, err := engine.SystemPolicy(ctx, em)
	if err != nil {
		return nil, err
	}
	return preflight.NewPolicy(read, read.GetName())
}

// deployed finds the manifest that Cloud Run checks: it resolves an index to its linux/amd64 child.
func deployed(ctx context.Context, image string, plainHTTP bool, log *slog.Logger) (attestor.Image, error) {
	ref, err := attestor.ParseReference(image)
	if err != nil {
		return attestor.Image{}, err
	}

	// The image's own registry is the only one that may be asked.
	host, _, _ := strings.Cut(ref.Repository(), "/")
	i, err := newInspector(host, plainHTTP, log)
	if err != nil {
		return attestor.Image{}, err
	}
	defer i.CloseIdleConnections()

	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()

	// Cloud Run runs linux/amd64, and Binary Authorization judges the manifest that runs.
	r, err := i.Resolve(ctx, ref, attestor.Needs{Platforms: []string{cloudRunPlatform}})
	switch {
	case err != nil:
		return attestor.Image{}, err
	case len(r.Problems) > 0:
		return attestor.Image{}, &attestor.Error{
			Kind: attestor.Upstream,
			Code: r.Problems[0].Code,
			Msg:  r.Problems[0].Message,
		}
	case !r.Index:
		return r.Image, nil
	case len(r.Children) == 0:
		return attestor.Image{}, &attestor.Error{
			Kind: attestor.Upstream,
			Msg:  fmt.Sprintf("the index %s has no child for %s", r.Image, cloudRunPlatform),
		}
	}
	return r.Image.Sibling(r.Children[0].Digest), nil
}

// cloudRunPlatform is the only one that Cloud Run runs.
const cloudRunPlatform = "linux/amd64"
