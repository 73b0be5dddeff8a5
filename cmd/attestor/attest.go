package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/when"
	"github.com/attestor-gate/attestor/report"
)

type attestFlags struct {
	where      whereFlags
	dryRun     bool
	policies   []string // check only: judge by these files
	platforms  []string
	wait       time.Duration
	breakGlass string
	labels     map[string]string
	file       string
	scans      []string
	out        outputFlags
}

func attestCommand() *cobra.Command {
	f := &attestFlags{}
	c := &cobra.Command{
		Use:   "attest IMAGE…",
		Short: "Judge images and sign those that pass",
		Long: `Judges images by the policy that governs them, and signs an attestation for each that passes.

With --server it asks a service; without, the same engine runs in this process with the
credentials of whoever calls.`,
		Example: "  attestor attest --server https://gate.example us-docker.pkg.dev/acme/prod/api@sha256:…",
		RunE:    func(c *cobra.Command, images []string) error { return f.run(c, images) },
	}

	f.register(c)
	c.Flags().BoolVar(&f.dryRun, "dry-run", false, "judge, and sign nothing")
	c.Flags().StringVar(&f.breakGlass, "break-glass", "",
		"sign in spite of a refusal, for this `REASON`; recorded, and needs the right to")
	return c
}

func checkCommand() *cobra.Command {
	f := &attestFlags{dryRun: true}
	c := &cobra.Command{
		Use:     "check IMAGE…",
		Short:   "Judge images without signing",
		Long:    "Judges images as attest does, and signs nothing. --policy tries policies of one's own.",
		Example: "  attestor check --policy mine.yaml us-docker.pkg.dev/acme/prod/api:v7",
		RunE:    func(c *cobra.Command, images []string) error { return f.run(c, images) },
	}

	f.register(c)
	c.Flags().StringArrayVar(&f.policies, "policy", nil,
		"judge by this policy `FILE` instead of the configured ones (repeatable)")
	return c
}

func (f *attestFlags) register(c *cobra.Command) {
	f.where.register(c)
	f.out.register(c)
	c.Flags().StringVar(&f.file, "file", "", "judge the references in this `FILE`, one a line; - for standard input")

	// What is signed is what the policy is about: a caller narrows a dry run only.
	c.Flags().StringSliceVar(&f.platforms, "platform", nil,
		"judge these platforms only, such as linux/amd64; in a dry run")
	c.Flags().StringArrayVar(&f.scans, "scan", nil,
		"count this On-Demand `SCAN` too, if the policy trusts its project: projects/P/locations/L/scans/ID "+
			"(repeatable)")
	c.Flags().Var((*when.Duration)(&f.wait), "wait", "how long to wait for a scan that has not finished, such as 10m")
	c.Flags().StringToStringVar(&f.labels, "label", nil,
		"a label to record with the decision, `KEY=VALUE` (repeatable)")
}

func (f *attestFlags) run(c *cobra.Command, images []string) error {
	images, err := f.listed(c, images)
	if err != nil {
		return err
	}
	refs, err := parseReferences(images)
	if err != nil {
		return err
	}

	// A script whose variable is empty must not read as one that did not ask.
	if f.breakGlass == "" && given(c, "break-glass") {
		return errors.New("--break-glass has no reason: say why this cannot wait; it will be read in the audit report")
	}
	if f.breakGlass != "" && f.dryRun {
		return errors.New("--break-glass and --dry-run exclude each other")
	}
	if len(f.platforms) > 0 && !f.dryRun {
		return errors.New("--platform narrows a dry run only: " +
			"add --dry-run, or name the platforms in the policy, which says what is signed")
	}

	// The registries of the images are needed only where no configuration names any.
	j, err := f.where.judge(c, question{
		policies: f.policies, hosts: hostsOf(refs), options: engine.Options{Scans: f.scans},
	})
	if err != nil {
		return err
	}
	decisions, err := f.decide(c.Context(), j, refs)
	if closeErr := j.close(); err == nil {
		err = closeErr
	}

	if len(decisions) > 0 {
		// Links and commands lead to where the decision was made.
		f.out.links, f.out.explain = f.where.server, f.where.explain(c)
		if j.engine != nil && j.engine.Config.Store.None {
			f.out.explain = report.Unrecorded
		}
		if werr := f.out.write(c, decisions); werr != nil {
			return werr
		}
	}

	// The decisions are printed before the error: one image that failed hides none of the others.
	if err != nil {
		return err
	}
	return f.out.exit(decisions)
}

// maxListed bounds --file: what is more is a sweep, which audit does.
const maxListed = 1000

// listed adds the references of --file, for where no shell can put them into
// the arguments. An empty file is no pass.
func (f *attestFlags) listed(c *cobra.Command, images []string) ([]string, error) {
	if f.file != "" {
		r := c.InOrStdin()
		if f.file != "-" {
			file, err := os.Open(f.file)
			if err != nil {
				return nil, err
			}
			defer file.Close()
			r = file
		}

		for ref, err := range audit.LinesOf(r) {
			if err != nil {
				return nil, err
			}

			// The bound is that of one command. More images belong to a sweep, which resumes and slows down.
			if images = append(images, ref); len(images) > maxListed {
				return nil, fmt.Errorf("--file: more than %d images: use attestor audit", maxListed)
			}
		}
	}

	switch {
	case len(images) == 0 && f.file != "":
		return nil, &attestor.Error{
			Kind: attestor.Invalid, Msg: "expected a reference, one a line, in " + inputName(f.file) + ", found none",
			Fix: "blank lines and lines that begin with # are skipped",
		}
	case len(images) == 0:
		return nil, errors.New("say which image: as an argument, or in a --file that has one a line")
	}
	return images, nil
}

func parseReferences(images []string) ([]attestor.Reference, error) {
	var refs []attestor.Reference
	var errs []error
	for _, s := range images {
		ref, err := attestor.ParseReference(s)
		if err != nil {
			errs = append(errs, err)
		}
		refs = append(refs, ref)
	}
	return refs, errors.Join(errs...)
}

// hostsOf are the registries of images, each as often as it comes.
func hostsOf(refs []attestor.Reference) []string {
	var out []string
	for _, r := range refs {
		host, _, _ := strings.Cut(r.Repository(), "/")
		out = append(out, host)
	}
	return out
}

// decide judges four images at once and keeps their order.
func (f *attestFlags) decide(ctx context.Context, j *judge, refs []attestor.Reference) ([]attestor.Decision, error) {
	if err := attestor.CheckLabels(f.labels); err != nil {
		return nil, err
	}

	decisions := make([]attestor.Decision, len(refs))
	errs := make([]error, len(refs))

	// Only a few at once: every image asks several services.
	slots := make(chan struct{}, 4)
	var wg sync.WaitGroup
	for i, ref := range refs {
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			decisions[i], errs[i] = j.admit(ctx, attestor.Request{
				Image: ref, DryRun: f.dryRun, Platforms: f.platforms,
				Wait: f.wait, BreakGlass: f.breakGlass, Labels: f.labels,
			})
			if errs[i] != nil && len(refs) > 1 {
				errs[i] = fmt.Errorf("%s: %w", ref, errs[i])
			}
		})
	}

	wg.Wait()
	var answered []attestor.Decision
	for i := range decisions {
		if errs[i] == nil {
			answered = append(answered, decisions[i])
		}
	}
	return answered, errors.Join(errs...)
}

// outputFlags are those of every command that prints decisions.
type outputFlags struct {
	format   string
	file     outputFile
	also     alsoFlag
	exitZero bool
	links    string // the service that has pages of the decisions; "": none
	explain  string // [report.Options.Explain]
}

func (o *outputFlags) register(c *cobra.Command) {
	reportFlag(c, &o.format, report.OfDecisions, report.Text)
	c.Flags().Var(&o.file, "output-file", "write the decisions as JSON to this `FILE` too")
	c.Flags().Var(&o.also, "also", "write the decisions in another format to a file, `FORMAT=FILE` (repeatable)")
	c.Flags().BoolVar(&o.exitZero, "exit-zero", false, "end with 0 where 1 would say that an image was refused")
}

func (o *outputFlags) write(c *cobra.Command, decisions []attestor.Decision) error {
	d := report.Decisions(decisions)

	// A file that cannot be written hides no decision: the answer is printed all the same.
	var written error
	if o.file != "" {
		written = writeFile(string(o.file), 0o644, func(w io.Writer) error {
			return report.Write(w, report.JSON, d, report.Options{})
		})
	}

	options := reportOptions(c.OutOrStdout())
	options.Links, options.Explain = o.links, o.explain
	if err := report.Write(c.OutOrStdout(), report.Format(o.format), d, options); err != nil {
		return errors.Join(written, err)
	}
	if written != nil {
		return written
	}

	options.Colour = false
	for _, also := range o.also {
		err := writeFile(also.file, 0o644, func(w io.Writer) error { return report.Write(w, also.format, d, options) })
		if err != nil {
			return err
		}
	}
	return nil
}

// exit is the worst of the answers: a refusal outweighs what could not be
// decided, as everywhere.
func (o *outputFlags) exit(decisions []attestor.Decision) error {
	code := attestor.ExitPass
	for _, d := range decisions {
		switch c := d.Answer().ExitCode; {
		case c == attestor.ExitDeny:
			code = c
		case c != attestor.ExitPass && code != attestor.ExitDeny:
			code = c
		}
	}

	return endsWith(code, o.exitZero)
}
