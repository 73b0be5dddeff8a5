package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/attest"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/google"
	"github.com/attestor-gate/attestor/policy"
	"github.com/attestor-gate/attestor/posture"
	"github.com/attestor-gate/attestor/report"
)

type postureFlags struct {
	profile    string
	iam        []string
	projectIAM []string
	region     string
	attestors  []string
	policy     string
	emulator   string
	remote     bool
	format     string
	exitZero   bool
	fix        bool
}

func postureCommand() *cobra.Command {
	f := &postureFlags{}
	c := &cobra.Command{
		Use:   "posture FILE…",
		Short: "Judge Cloud Run definitions and Dockerfiles against the hardening rules",
		Long: `Judges Cloud Run services and jobs: YAML or JSON as gcloud run services describe --format export prints
it, the v2 API's JSON, and Terraform plans as terraform show -json prints them; Dockerfiles and .dockerignore, by their names; - is
stdin; of a folder all such files in it and beneath. Terraform's source is refused: pass the plan. A rule whose evidence was not given is
skipped and says what would give it.`,
		Example: "  attestor posture --profile hipaa --iam api-iam.json api.yaml\n" +
			"  terraform show -json plan | attestor posture -",
		Args: wants(0, "which definitions, or - for standard input"),
		RunE: f.run,
	}

	c.Flags().StringVar(&f.profile, "profile", "baseline", "baseline, hipaa, strict, or a `FILE`")
	c.Flags().StringArrayVar(&f.iam, "iam", nil,
		"a service's IAM policy: `[NAME=]FILE`, as gcloud run services get-iam-policy prints it (repeatable)")
	c.Flags().StringArrayVar(&f.projectIAM, "project-iam", nil,
		"the project's IAM policy: `FILE`, as gcloud projects get-iam-policy prints it (repeatable)")
	c.Flags().StringVar(&f.region, "region", "", "the region of definitions that do not say theirs")
	c.Flags().StringSliceVar(&f.attestors, "attestor", nil,
		"ask whether images are attested by projects/P/attestors/A (repeatable: all must have attested)")
	c.Flags().StringVar(&f.policy, "policy", "", "the policy whose approved bases Dockerfiles must use: `FILE`")
	c.Flags().StringVar(&f.emulator, "emulator", "", "ask the Google emulator at `HOST:PORT`, as of attestor dev")
	c.Flags().BoolVar(&f.remote, "allow-remote-emulator", false, "accept an emulator on another machine")
	reportFlag(c, &f.format, report.OfPosture, report.Text)
	c.Flags().BoolVar(&f.fix, "fix", false,
		"write the fixes that need no choice into the YAML and JSON files, show them as a diff on stderr, and "+
			"judge the result")
	c.Flags().BoolVar(&f.exitZero, "exit-zero", false, "end with 0 where 1 would say that there are findings")

	return c
}

func (f *postureFlags) run(c *cobra.Command, args []string) error {
	for _, a := range f.attestors {
		if !config.IsAttestorName(a) {
			return fmt.Errorf("--attestor %q is not projects/PROJECT/attestors/NAME", a)
		}
	}

	if f.emulator != "" && len(f.attestors) == 0 {
		return errors.New("--emulator says where to ask for attestations: name the --attestor too")
	}

	// Everything is read before anything is judged: a file that cannot be read is an error and not a missing finding.
	profile, err := posture.LoadProfile(f.profile)
	if err != nil {
		return err
	}

	in, err := f.input(c.InOrStdin(), args)
	if err != nil {
		return err
	}

	conf := posture.Config{Profile: profile, Now: time.Now}
	if f.policy != "" {
		if conf.Bases, err = approvedBases(f.policy); err != nil {
			return err
		}
	}

	if len(f.attestors) > 0 {
		em, err := google.FindEmulatorsAt(f.emulator, os.Getenv, f.remote)
		if err != nil {
			return err
		}
		g, err := google.Dial(c.Context(), em, newLogger(c, slog.LevelError), nil)
		if err != nil {
			return &exit{code: attestor.ExitError, err: err}
		}
		defer func() { _ = g.Close() }() // only read from

		// Attestations are verified here, by payload, key and signature. That an occurrence exists proves nothing.
		v, err := engine.NewVerifier(g)
		if err != nil {
			return err
		}
		conf.Attested = attest.AttestedBy{Of: v, Attestors: f.attestors}
	}

	judge, err := posture.New(conf)
	if err != nil {
		return err
	}

	// What is judged is what the files hold after they were fixed.
	if f.fix {
		if in, err = fixFiles(c, judge, in); err != nil {
			return err
		}
	}

	judged, err := judge.Judge(c.Context(), in)
	if err != nil {
		return err
	}

	if err := writeReport(c, f.format, report.Services(judged, posture.Meanings())); err != nil {
		return err
	}

	// --exit-zero is about findings. What could not be decided still ends with 3, and anything unknown is a denial.
	switch judged.Verdict {
	case attestor.Pass:
		return nil
	case attestor.Undecided:
		return &exit{code: attestor.ExitError}
	}
	return endsWith(attestor.ExitDeny, f.exitZero)
}

// fixFiles writes the fixes into the files, shows what changed, and returns the input with the files as they are then.
func fixFiles(c *cobra.Command, judge *posture.Judge, in posture.Input) (posture.Input, error) {
	// Standard input cannot be written back.
	if slices.ContainsFunc(in.Definitions, func(s posture.Source) bool { return s.Name == "-" }) {
		return in, errors.New("--fix writes files: name them instead of -")
	}

	files, err := judge.Fix(c.Context(), in)
	if err != nil {
		return in, err
	}

	for _, f := range files {
		i := slices.IndexFunc(in.Definitions, func(s posture.Source) bool { return s.Name == f.Name })
		old := in.Definitions[i].Text
		fmt.Fprintf(c.ErrOrStderr(), "%s# fixed: %s\n", diff.Diff(f.Name, old, f.Name+" (fixed)", f.Text),
			strings.Join(f.Fixed, ", "))

		err := writeFile(f.Name, 0o644, func(w io.Writer) error {
			_, err := w.Write(f.Text)
			return err
		})
		if err != nil {
			return in, err
		}
		in.Definitions[i].Text = f.Text
	}

	return in, nil
}

// approvedBases are the bases of the one policy in a file.
func approvedBases(file string) ([]attestor.ApprovedBase, error) {
	set, err := policy.Load(file)
	if err != nil {
		return nil, err
	}
	if n := len(set.All()); n != 1 {
		return nil, fmt.Errorf("--policy %s: one policy is required, the file has %d", file, n)
	}

	// A policy that asks for no base approves none, and so leaves nothing to compare with.
	bases := set.All()[0].Needs().Bases
	if len(bases) == 0 {
		return nil, fmt.Errorf("--policy %s approves no base: it needs base.required and base.approved", file)
	}

	return bases, nil
}

var serviceName = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$`)

// input reads every file, and says of all that cannot be read.
func (f *postureFlags) input(stdin io.Reader, args []string) (posture.Input, error) {
	in := posture.Input{Region: f.region}
	var errs []error
	one := func(name string) posture.Source {
		text, err := readBounded(stdin, name)
		errs = append(errs, err)
		return posture.Source{Name: name, Text: text}
	}

	for _, arg := range args {
		names, err := definitionsIn(arg)
		errs = append(errs, err)
		for _, name := range names {
			in.Definitions = append(in.Definitions, one(name))
		}
	}

	// A name with an equals sign may be a file's: only a valid name of a service is cut off.
	for _, arg := range f.iam {
		service, file, named := strings.Cut(arg, "=")
		if !named || !serviceName.MatchString(service) {
			service, file = "", arg
		}

		in.IAM = append(in.IAM, posture.IAM{Service: service, Source: one(file)})
	}

	for _, name := range f.projectIAM {
		in.ProjectIAM = append(in.ProjectIAM, one(name))
	}

	return in, errors.Join(errs...)
}

// maxPostureFile is one byte more than is judged, so that a longer file is refused by
// its size rather than judged by its beginning.
const maxPostureFile = 8<<20 + 1

func readBounded(stdin io.Reader, name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(io.LimitReader(stdin, maxPostureFile))
	}

	f, err := os.Open(name) //nolint:gosec // the user's own choice
	if err != nil {
		return nil, err
	}

	defer f.Close()

	return io.ReadAll(io.LimitReader(f, maxPostureFile))
}
