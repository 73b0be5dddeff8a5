package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/google"
	"github.com/attestor-gate/attestor/verify"
)

type verifyFlags struct {
	attestors []string
	emulator  string
	remote    bool
	plainHTTP bool
	format    string
}

func verifyCommand() *cobra.Command {
	f := &verifyFlags{}
	c := &cobra.Command{
		Use:   "verify IMAGE --attestor projects/P/attestors/A",
		Short: "Does a valid attestation of this image stand?",
		Long: `Looks for attestations of an image under an attestor's note, and checks payload, key and signature itself:
with the caller's own credentials, without asking a gate.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return f.run(c, args[0]) },
	}

	c.Flags().StringSliceVar(&f.attestors, "attestor", nil,
		"the attestor, projects/P/attestors/A (repeatable: all must have attested)")
	c.Flags().StringVar(&f.emulator, "emulator", "", "ask the Google emulator at `HOST:PORT`, as of attestor dev")
	c.Flags().BoolVar(&f.remote, "allow-remote-emulator", false, "accept an emulator on another machine")
	c.Flags().BoolVar(&f.plainHTTP, "plain-http", false, "resolve a tag over plain HTTP; loopback always is")
	c.Flags().StringVarP(&f.format, "output", "o", "text", "text or json")
	_ = c.MarkFlagRequired("attestor")
	return c
}

func (f *verifyFlags) run(c *cobra.Command, image string) error {
	if f.format != "text" && f.format != "json" {
		return fmt.Errorf("-o %q: want text or json", f.format)
	}
	for _, a := range f.attestors {
		if !config.IsAttestorName(a) {
			return fmt.Errorf("--attestor %q is not projects/PROJECT/attestors/NAME", a)
		}
	}

	ref, err := attestor.ParseReference(image)
	if err != nil {
		return err
	}
	em, err := google.FindEmulatorsAt(f.emulator, os.Getenv, f.remote)
	if err != nil {
		return err
	}

	log := newLogger(c, slog.LevelError)
	img, err := f.resolve(c.Context(), ref, log)
	if err != nil {
		return err
	}

	g, err := google.Dial(c.Context(), em, log, nil)
	if err != nil {
		return err
	}
	standing, err := f.standing(c.Context(), g, img)
	if err = errors.Join(err, g.Close()); err != nil {
		return &exit{code: attestor.ExitError, err: err}
	}
	return f.answer(c.OutOrStdout(), img, standing)
}

// answer prints what was found. Its exit code is 0 only where every attestor
// has a valid attestation of this very digest.
func (f *verifyFlags) answer(w io.Writer, img attestor.Image, s attestor.Standing) error {
	missing, err := s.Missing(f.attestors, []attestor.Image{img})
	if err != nil {
		return &exit{code: attestor.ExitError, err: err}
	}
	if err := f.print(w, img, s, missing); err != nil {
		return err
	}

	if len(missing) > 0 {
		return &exit{code: attestor.ExitDeny}
	}
	return nil
}

// resolve asks the registry for the digest of a tag; a digest needs nobody.
func (f *verifyFlags) resolve(ctx context.Context, ref attestor.Reference, log *slog.Logger) (attestor.Image, error) {
	if img, ok := ref.Pinned(); ok {
		return img, nil
	}

	host, _, _ := strings.Cut(ref.Repository(), "/")
	c := config.Registries{Allowed: []string{host}}
	if f.plainHTTP {
		c.PlainHTTP = c.Allowed
	}

	inspector, err := verify.New(verify.Config{Registries: engine.Registries(c), Now: time.Now, Logger: log})
	if err != nil {
		return attestor.Image{}, err
	}

	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()

	// Nothing of the image is read but its digest: what is looked up goes by that.
	resolved, err := inspector.Resolve(ctx, ref, attestor.Needs{})
	return resolved.Image, err
}

func (f *verifyFlags) standing(ctx context.Context, g *google.Clients, img attestor.Image) (attestor.Standing, error) {
	v, err := engine.NewVerifier(g)
	if err != nil {
		return attestor.Standing{}, err
	}

	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return v.Standing(ctx, f.attestors, []attestor.Image{img})
}

func (f *verifyFlags) print(w io.Writer, img attestor.Image, s attestor.Standing, missing []string) error {
	if f.format == "json" {
		out := struct {
			Image   attestor.Image                `json:"image"`
			Valid   []attestor.Attestation        `json:"valid"`
			Invalid []attestor.InvalidAttestation `json:"invalid"`
		}{img, append([]attestor.Attestation{}, s.Valid...), append([]attestor.InvalidAttestation{}, s.Invalid...)}

		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		return enc.Encode(out)
	}

	fmt.Fprintln(w, img)
	for _, a := range missing {
		fmt.Fprintf(w, "  none   by %s\n", a)
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

	for _, a := range s.Invalid {
		fmt.Fprintf(w, "  not    %s: %s\n", a.Occurrence, a.Why)
	}
	return nil
}
