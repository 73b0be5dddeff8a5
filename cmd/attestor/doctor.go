package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/google"
	"github.com/attestor-gate/attestor/internal/probe"
)

func doctorCommand() *cobra.Command {
	var path, format string
	var remoteEmulator bool
	c := &cobra.Command{
		Use:   "doctor --config FILE",
		Short: "Check everything that a gate depends on, permission by permission",
		Long: `Asks each dependency of a gate by its configuration: registries and base images, Container Analysis, attestors and
their notes, signing keys, the log's key, the record's database, Pub/Sub, policies, identity issuers, the clock. Prints what is
wrong with its fix, then every question with its answer and the time that it took. Nothing is signed, stored or changed.

Permissions are those of whoever runs the command. To ask as the gate:
gcloud auth application-default login --impersonate-service-account GATE@PROJECT.iam.gserviceaccount.com`,
		Example: "  attestor doctor --config attestor.yaml\n  attestor doctor --config attestor.yaml -o json",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			conf, err := engine.LoadConfig(path, os.Getenv)
			if err != nil {
				return err
			}
			em, err := google.FindEmulators(os.Getenv, remoteEmulator)
			if err != nil {
				return err
			}

			// Results say what is wrong; the log of the parts would say it a second time.
			results, err := engine.Examine(c.Context(), engine.Options{
				Config: conf, Emulators: em, Logger: engine.NewLogger(io.Discard, 0, ""), Version: version,
			})
			if err != nil {
				return err
			}
			d := diagnose(results)
			if format == "json" {
				err = writeJSON(c.OutOrStdout(), d)
			} else {
				err = d.write(c.OutOrStdout())
			}
			if err != nil {
				return err
			}
			return d.end()
		},
	}

	c.Flags().StringVar(&path, "config", "", "the configuration `FILE`")
	c.Flags().BoolVar(&remoteEmulator, "allow-remote-emulator", false, "accept *_EMULATOR_HOST on another machine")
	formatFlag(c, &format, "text", "json")
	_ = c.MarkFlagRequired("config")
	return c
}

// A diagnosis is what `attestor doctor -o json` prints.
type diagnosis struct {
	// OK: nothing that images are decided on with is wrong. Warnings may be.
	OK     bool                `json:"ok"`
	Counts map[probe.State]int `json:"counts"`
	Asked  []finding           `json:"asked"`
}

// A finding is one question with its answer.
type finding struct {
	Dependency   string      `json:"dependency"`
	Subject      string      `json:"subject"`
	Question     string      `json:"question"`
	State        probe.State `json:"state"`
	Milliseconds int64       `json:"milliseconds"`
	Message      string      `json:"message,omitempty"`
	Fix          string      `json:"fix,omitempty"`
}

func diagnose(results []probe.Result) diagnosis {
	d := diagnosis{Counts: map[probe.State]int{}, Asked: []finding{}}
	for _, r := range results {
		f := finding{
			Dependency: r.Dependency, Subject: r.Subject, Question: r.Question,
			State: r.State(), Milliseconds: r.Took.Milliseconds(),
		}

		// The first fix alone: several would contradict each other on one line.
		for i, p := range problemsOf(r.Err) {
			if i > 0 {
				f.Message += "; "
			}
			f.Message += p.msg
			if f.Fix == "" {
				f.Fix = p.fix
			}
		}
		if f.State == probe.Slow {
			f.Message = fmt.Sprintf("the answer took %v; after %v there is none",
				r.Took.Round(time.Millisecond), r.Limit)
		}
		d.Counts[f.State]++
		d.Asked = append(d.Asked, f)
	}

	d.OK = d.Counts[probe.Fault]+d.Counts[probe.NoAnswer] == 0
	return d
}

// end is the exit code: what was found to be wrong outweighs what could not be found out.
func (d diagnosis) end() error {
	switch {
	case d.Counts[probe.Fault] > 0:
		return &exit{code: attestor.ExitDeny}
	case d.Counts[probe.NoAnswer] > 0:
		return &exit{code: attestor.ExitError}
	}
	return nil
}

// write prints what is wrong first, then everything that was asked.
func (d diagnosis) write(w io.Writer) error {
	p := &printer{w: w}
	p.printf("%s: %d asked", map[bool]string{true: "GOOD", false: "NOT GOOD"}[d.OK], len(d.Asked))
	for _, s := range []probe.State{probe.Fault, probe.NoAnswer, probe.Warning, probe.Slow} {
		if n := d.Counts[s]; n > 0 {
			p.printf(", %s", counted(n, s))
		}
	}
	p.printf("\n")

	for _, s := range []probe.State{probe.Fault, probe.NoAnswer, probe.Warning, probe.Slow} {
		for _, f := range d.Asked {
			if f.State != s {
				continue
			}
			p.printf("\n%s  %s, %s, %s\n", s, f.Dependency, f.Subject, f.Question)
			p.printf("  %s\n", f.Message)
			if f.Fix != "" {
				p.printf("  fix: %s\n", f.Fix)
			}
		}
	}

	// Everything that was asked follows, by what it was asked about.
	last := finding{}
	for _, f := range d.Asked {
		if f.Dependency != last.Dependency || f.Subject != last.Subject {
			p.printf("\n%s  %s\n", f.Dependency, f.Subject)
		}
		p.printf("  %-9s  %6d ms  %s\n", f.State, f.Milliseconds, f.Question)
		last = f
	}
	return p.err
}

// counted is "1 fault", "2 faults"; an adjective stays as it is.
func counted(n int, s probe.State) string {
	if s == probe.Slow {
		return fmt.Sprintf("%d %s", n, s)
	}
	return describe.Plural(n, string(s))
}

// A printer keeps the first error of writing.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}
