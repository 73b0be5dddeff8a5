package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/google"
	"github.com/attestor-gate/attestor/internal/plain"
)

// maxAuthor is how much of an override's author is printed, in characters.
const maxAuthor = 200

func verifyCommand() *cobra.Command {
	f := &verifyFlags{}
	c := &cobra.Command{
		Use:   "verify IMAGE --attestor projects/P/attestors/A",
		Short: "Check whether a valid attestation of an image is stored",
		Long: `Looks for attestations of an image under an attestor's note, and checks payload, key and signature itself:
with the caller's own credentials, without asking a gate. With --server or --config it also says whether the image is
admitted by an override alone: by whom, and until when.

With --vsa it looks for verification summaries (SLSA VSA) instead, of this gate or any other producer: signed by --key or a
keyless identity, by the verifier of --verifier, about this image. The newest by each policy counts, and all of them must
be PASSED. -o dsse prints the envelope of one that satisfies, for slsa-verifier.`,
		Example: "  attestor verify us-docker.pkg.dev/acme/prod/api:v7 --attestor projects/acme-security/attestors/gate\n" +
			"  attestor verify us-docker.pkg.dev/acme/prod/api:v7 --vsa --key gate.pub --verifier " +
			"https://gate.example/attestor",
		Args: wants(1, "which image"),
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case f.vsa.on && len(f.attestors) > 0:
				return errors.New("--vsa and --attestor exclude each other: ask twice")
			case f.vsa.on:
				return f.runVSA(c, args[0])
			case len(f.attestors) == 0:
				return errors.New("want --attestor projects/P/attestors/A, or --vsa")
			case f.format == "dsse":
				return errors.New("-o dsse goes with --vsa")
			}
			return f.run(c, args[0])
		},
	}

	c.Flags().StringSliceVar(&f.attestors, "attestor", nil,
		"the attestor, projects/P/attestors/A (repeatable: all must have attested)")
	c.Flags().StringVar(&f.emulator, "emulator", "", "ask the Google emulator at `HOST:PORT`, as of attestor dev")
	c.Flags().BoolVar(&f.remote, "allow-remote-emulator", false, "accept an emulator on another machine")
	c.Flags().BoolVar(&f.plainHTTP, "plain-http", false, "resolve a tag over plain HTTP; loopback always is")
	f.record.where(c)
	c.Flags().Lookup("config").Usage = "look for overrides in the record of this configuration `FILE`"
	c.Flags().Lookup("server").Usage = "look for overrides at the service at this `URL`; attestations are verified here"
	formatFlag(c, &f.format, "text", "json", "dsse")
	f.vsa.register(c)
	return c
}

// find resolves the image, and finds the emulators that are asked about it.
func (f *verifyFlags) find(ctx context.Context, image string, log *slog.Logger) (
	ref attestor.Reference, img attestor.Image, em google.Emulators, err error,
) {
	if ref, err = attestor.ParseReference(image); err != nil {
		return ref, img, em, err
	}

	// An emulator's keys are worth nothing: it is used only if a flag or a variable names it.
	if em, err = google.FindEmulatorsAt(f.emulator, os.Getenv, f.remote); err != nil {
		return ref, img, em, err
	}

	// A tag is resolved once. What follows is about this digest, and the answer names it.
	img, err = pin(ctx, ref, f.plainHTTP, log)
	return ref, img, em, err
}

func (f *verifyFlags) run(c *cobra.Command, image string) error {
	for _, a := range f.attestors {
		if !config.IsAttestorName(a) {
			return fmt.Errorf("--attestor %q is not projects/PROJECT/attestors/NAME", a)
		}
	}

	log := newLogger(c, slog.LevelError)
	ref, img, em, err := f.find(c.Context(), image, log)
	if err != nil {
		return err
	}

	g, err := google.Dial(c.Context(), em, log, nil)
	if err != nil {
		return err
	}

	// A look-up that failed is an error, not "no attestation": the exit code tells them apart.
	standing, err := f.standing(c.Context(), g, img)
	if err = errors.Join(err, g.Close()); err != nil {
		return &exit{code: attestor.ExitError, err: err}
	}

	overrides, err := f.overridden(c, img, standing)
	if err != nil {
		err = fmt.Errorf("looking for overrides: %w", err)

		// A variable that is set for other commands must not make this one depend on a service.
		if given(c, "server") || given(c, "config") {
			return &exit{code: attestor.ExitError, err: err}
		}
		fmt.Fprintln(c.ErrOrStderr(), err)
	}
	return f.answer(c.OutOrStdout(), found{ref, img, standing, overrides})
}

// found is what is known of an image's attestations.
type found struct {
	ref       attestor.Reference
	img       attestor.Image
	standing  attestor.Standing
	overrides []attestor.StandingOverride // nil: no record was at hand
}

// overridden lists the open overrides that the valid attestations stand by; nil: no record is at hand. A record that
// was named and does not answer is an error, since an override would read like a pass.
func (f *verifyFlags) overridden(
	c *cobra.Command, img attestor.Image, s attestor.Standing,
) ([]attestor.StandingOverride, error) {
	if f.record.server != "" {
		cl, err := newClient(c, f.record.server, f.record.identity)
		if err != nil {
			return nil, err
		}
		open, err := cl.Overrides(c.Context(), img)
		if err = errors.Join(err, cl.Close()); err != nil || open == nil {
			return nil, err
		}
		return s.Overridden(open), nil
	}
	if f.record.config == "" {
		return nil, nil
	}

	// Without a service, the record is opened as whoever runs this.
	conf, err := engine.LoadConfig(f.record.config, os.Getenv)
	if err != nil || conf.Store.None {
		return nil, err
	}
	store, err := engine.OpenStore(c.Context(), conf)
	if err != nil {
		return nil, err
	}
	if err := readEarlier(c.Context(), store); err != nil {
		return nil, err
	}
	open, err := store.OpenOverrides(c.Context(), img)
	if err = errors.Join(err, store.Close()); err != nil {
		return nil, err
	}

	var all []attestor.StandingOverride
	for _, o := range open {
		all = append(all, o.Standing(time.Now()))
	}
	return s.Overridden(all), nil
}

// answer prints what was found. Its exit code is 0 only where every attestor
// has a valid attestation of this very digest.
func (f *verifyFlags) answer(w io.Writer, a found) error {
	missing, err := a.standing.Missing(f.attestors, []attestor.Image{a.img})
	if err != nil {
		return &exit{code: attestor.ExitError, err: err}
	}
	if err := f.print(w, a, missing); err != nil {
		return err
	}

	// One attestor that is missing is enough: Binary Authorization asks for all of them, too.
	if len(missing) > 0 {
		return &exit{code: attestor.ExitDeny}
	}
	return nil
}

func (f *verifyFlags) standing(ctx context.Context, g *google.Clients, img attestor.Image) (attestor.Standing, error) {
	v, err := engine.NewVerifier(g)
	if err != nil {
		return attestor.Standing{}, err
	}

	// Nothing else bounds the command: the lists of all attestors and their retries have this long.
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return v.Standing(ctx, f.attestors, []attestor.Image{img})
}

func (f *verifyFlags) print(w io.Writer, found found, missing []string) error {
	s := found.standing
	if f.format == "json" {
		return writeJSON(w, struct {
			Image     attestor.Image                `json:"image"`
			Requested string                        `json:"requested"`
			Valid     []attestor.Attestation        `json:"valid"`
			Invalid   []attestor.InvalidAttestation `json:"invalid"`
			Missing   []string                      `json:"missing"`            // attestors without a valid one
			Overrides []attestor.StandingOverride   `json:"overrides,omitzero"` // left out: no record was at hand
		}{
			found.img, found.ref.Requested(), append([]attestor.Attestation{}, s.Valid...),
			append([]attestor.InvalidAttestation{}, s.Invalid...), append([]string{}, missing...), found.overrides,
		})
	}

	printImage(w, found.ref, found.img)
	for _, a := range missing {
		fmt.Fprintf(w, "  missing attestation by %s\n", a)
	}
	for _, a := range s.Valid {
		fmt.Fprintf(
			w,
			"  valid  by %s since %s\n         key %s\n         %s\n",
			a.Attestor,
			a.Since.UTC().Format(time.RFC3339),
			a.PublicKeyID,
			a.Occurrence,
		)
	}

	// The attestation is valid all the same, here as for every deploy policy.
	for _, o := range found.overrides {
		fmt.Fprintf(w, "  override by %s, %s (decision %s)\n", plain.Clip(o.By, maxAuthor), o.Until(),
			plain.Clip(o.Decision, maxAuthor))
	}

	for _, a := range s.Invalid {
		fmt.Fprintf(w, "  not    %s: %s\n", a.Occurrence, a.Why)
	}
	return nil
}
