package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/dependency"
	"github.com/attestor-gate/attestor/internal/google"
	"github.com/attestor-gate/attestor/vuln"
)

func importCommand() *cobra.Command {
	var image, platform, note, project, emulator string
	var remote bool
	c := &cobra.Command{
		Use:   "import FILE --image IMAGE --note NOTE (--emulator HOST:PORT | --to-project PROJECT)",
		Short: "Make a Grype, Trivy or OSV report count as a scan",
		Long: `Turns a report of Grype (-o json), Trivy (--format json) or osv-scanner (--format json) into the occurrences
that Container Analysis would hold, under a note of one's own. A policy counts them where it lists the note in
vulnerabilities.scan.trusted. FILE may be - for standard input. An earlier import for the image is replaced.`,
		Example: "  grype -o json IMAGE | attestor import - --image us-docker.pkg.dev/acme/prod/api@sha256:… --note projects/acme-security/notes/grype --to-project acme-security",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			img, err := attestor.ParseImage(image)
			if err != nil {
				return err
			}
			switch {
			case (emulator == "") == (project == ""):
				if emulator == "" {
					return errors.New("say where to: --emulator HOST:PORT, or --to-project PROJECT in Container Analysis")
				}
			case project == "":
				project = devProject
			}
			in, err := readReport(c.InOrStdin(), args[0], vuln.Target{Image: img, Platform: platform, Note: note})
			if err != nil {
				return err
			}
			em, err := google.FindEmulatorsAt(emulator, os.Getenv, remote)
			if err != nil {
				return err
			}
			g, err := google.Dial(c.Context(), em, newLogger(c, slog.LevelError), nil)
			if err != nil {
				return err
			}
			done, err := vuln.Upload(c.Context(), vuln.UploadConfig{Client: g.Grafeas, Project: project, CallTimeout: dependency.DefaultTimeout, Progress: progress(c.ErrOrStderr(), "storing")}, in)
			if err = errors.Join(err, g.Close()); err != nil {
				return &exit{code: attestor.ExitError, err: err}
			}
			fmt.Fprintf(c.OutOrStdout(), "%s: %d findings of %s stored, %d earlier ones replaced\n%s\n", img, done.Created, in.Scanner, done.Replaced, done.Discovery)
			return nil
		},
	}
	c.Flags().StringVar(&image, "image", "", "the manifest that was scanned, REPOSITORY@DIGEST; not an index")
	c.Flags().StringVar(&platform, "platform", "", "its platform, such as linux/arm64, where it is not linux/amd64")
	c.Flags().StringVar(&note, "note", "", "the note to file it under, projects/PROJECT/notes/NOTE")
	c.Flags().StringVar(&project, "to-project", "", "store it in this `PROJECT`'s Container Analysis")
	c.Flags().StringVar(&emulator, "emulator", "", "store it in the Google emulator at `HOST:PORT`, as of attestor dev")
	c.Flags().BoolVar(&remote, "allow-remote-emulator", false, "accept an emulator on another machine")
	_ = c.MarkFlagRequired("image")
	_ = c.MarkFlagRequired("note")
	return c
}

func readReport(stdin io.Reader, name string, t vuln.Target) (vuln.Imported, error) {
	if name == "-" {
		return vuln.Import(stdin, t)
	}
	f, err := os.Open(name)
	if err != nil {
		return vuln.Imported{}, err
	}
	defer f.Close()
	in, err := vuln.Import(f, t)
	if err != nil {
		return in, fmt.Errorf("%s: %w", name, err)
	}
	return in, nil
}
