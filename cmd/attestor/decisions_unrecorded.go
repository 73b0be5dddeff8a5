package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/attest"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/google"
	"github.com/attestor-gate/attestor/internal/plain"
	"github.com/attestor-gate/attestor/internal/when"
)

// unrecordedFlags say which attestations are compared with which record.
type unrecordedFlags struct {
	config, format string
	since          when.Duration
	remote         bool
}

func decisionsUnrecordedCommand() *cobra.Command {
	var f unrecordedFlags
	c := &cobra.Command{
		Use: "unrecorded", Short: "Find attestations that no recorded decision explains", Args: noArguments,
		Long: `Lists the valid attestations of the configuration's attestors that no pass and no override in the record names: after a
database was put back to an earlier state or a replica was promoted, the attestations whose decisions were lost; at any
other time, what somebody else made with the gate's key or note. Such an attestation admits its image all the same.

It reads everything under each attestor's note, verifies it as admission does, and asks the record about each. To have a
decision for what was lost, send the image to the gate again: the attestation stays, and a decision names it. Otherwise
revoke it.`,
		Example: "  attestor decisions unrecorded --config attestor.yaml --since 1d\n" +
			"  attestor decisions unrecorded --config attestor.yaml -o images > lost.txt",
		RunE: func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	c.Flags().StringVar(&f.config, "config", "", "the configuration `FILE`; attestor.yaml where there is one")
	c.Flags().Var(&f.since, "since", "only attestations that are younger than this, such as 1d")
	c.Flags().BoolVar(&f.remote, "allow-remote-emulator", false, "accept an emulator on another machine")
	formatFlag(c, &f.format, "text", "json", "images")
	return c
}

func (f *unrecordedFlags) run(c *cobra.Command) (err error) {
	conf, err := configured(f.config)
	if err != nil {
		return err
	}
	if len(conf.Attestors) == 0 || conf.Store.None {
		return errors.New("the configuration has no attestors or no record: there is nothing to compare")
	}
	em, err := google.FindEmulators(os.Getenv, f.remote)
	if err != nil {
		return err
	}
	g, err := google.Dial(c.Context(), em, newLogger(c, slog.LevelError), nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	store, err := engine.OpenStore(c.Context(), conf)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()

	n, err := f.compare(c.Context(), conf, g, store, c.OutOrStdout())
	if err != nil {
		// What was listed is not all, and an empty list would say that everything is recorded.
		return &exit{code: attestor.ExitError, err: fmt.Errorf("not every attestation was compared: %w", err)}
	}
	return n.answer(c.ErrOrStderr())
}

// compared counts attestations by what the record says of them.
type compared map[audit.Ground]int

// compare asks the record about each attestation, and writes those that it says nothing of.
func (f *unrecordedFlags) compare(
	ctx context.Context, conf config.Config, g *google.Clients, store *audit.Store, w io.Writer,
) (compared, error) {
	v, err := engine.NewVerifier(g)
	if err != nil {
		return nil, err
	}

	// Without --since every attestation is compared, whatever its age.
	out, from := compared{}, time.Time{}
	if f.since > 0 {
		from = time.Now().Add(-time.Duration(f.since))
	}
	for _, name := range conf.AttestorNames() {
		for a, err := range v.Under(ctx, name) {
			if err != nil {
				return nil, err
			}

			// One whose age is not known is compared.
			if !a.Since.IsZero() && a.Since.Before(from) {
				continue
			}
			ground, err := store.GroundOf(ctx, a.Attestation)
			if err != nil {
				return nil, err
			}
			out[ground]++
			if ground != audit.Unrecorded {
				continue
			}
			if err := f.write(w, a); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// Where the image is not known, its digest is what can be looked up.
func (f *unrecordedFlags) write(w io.Writer, a attest.Placed) error {
	image := a.Image.String()
	if a.Image.IsZero() {
		image = string(a.Digest)
	}
	var err error
	switch f.format {
	case "json":
		err = json.NewEncoder(w).Encode(struct {
			Image string `json:"image"`
			attestor.Attestation
		}{image, a.Attestation})
	case "images":
		_, err = fmt.Fprintln(w, image)
	default:
		_, err = fmt.Fprintf(w, "%s\n  by %s since %s\n  %s\n", image, a.Attestor, a.Since.UTC().Format(time.RFC3339),
			plain.Text(a.Occurrence))
	}
	return err
}

// answer says how many there are. The exit code is 0 only where the record explains every attestation.
func (n compared) answer(w io.Writer) error {
	all := n[audit.Recorded] + n[audit.Underway] + n[audit.Unrecorded]
	fmt.Fprintf(w, "%s compared with the record: %d that no decision explains\n",
		describe.Plural(all, "attestation"), n[audit.Unrecorded])
	if n[audit.Underway] > 0 {
		fmt.Fprintf(w, "%s of decisions that were begun and have not ended: ask again when they have\n",
			describe.Plural(n[audit.Underway], "attestation"))
	}

	switch {
	case n[audit.Unrecorded] > 0:
		return &exit{code: attestor.ExitDeny}
	case n[audit.Underway] > 0:
		return &exit{code: attestor.ExitError}
	}
	return nil
}
