package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/internal/google"
	"github.com/attestor-gate/attestor/internal/resource"
	"github.com/attestor-gate/attestor/vuln"
)

func importCommand() *cobra.Command {
	var image, imageFile, platform, note, project, emulator, format string
	var remote bool
	c := &cobra.Command{
		Use: "import FILE (--image IMAGE | --image-file FILE) --note NOTE [--to-project PROJECT] " +
			"[--emulator HOST:PORT]",
		Short: "Make a Grype, Trivy or OSV report count as a scan",
		Long: `Turns a report of Grype (-o json), Trivy (--format json) or osv-scanner (--format json) into the occurrences
that Container Analysis would hold, under a note of one's own. A policy counts them where it lists the note in
vulnerabilities.scan.trusted. FILE may be - for standard input. An earlier import for the image is replaced.`,
		Example: "  grype -o json IMAGE | attestor import - --image us-docker.pkg.dev/acme/prod/api@sha256:…" +
			" --note projects/acme-security/notes/grype --to-project acme-security",
		Args: wants(1, "which report, or - for standard input"),
		RunE: func(c *cobra.Command, args []string) error {
			if imageFile != "" {
				var err error
				if image, err = oneReference(imageFile); err != nil {
					return err
				}
			}
			ref, err := attestor.ParseReference(image)
			if err != nil {
				return err
			}
			img, err := pin(c.Context(), ref, false, newLogger(c, slog.LevelError))
			if err != nil {
				return err
			}

			// The report is compared with this digest and its layers: a report of another image is refused, whatever it
			// is called.
			if project, err = importProject(img, project, emulator); err != nil {
				return err
			}
			target := vuln.Target{
				Image: img, Platform: platform, Note: note,
				Layers: layersOf(c.Context(), img), Index: isIndex(c.Context(), img),
			}
			in, err := readReport(c.InOrStdin(), args[0], target)
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

			// Until the last finding is stored the scan reads as running, so that an import that is cut off passes
			// nothing.
			done, err := vuln.Upload(c.Context(), vuln.UploadConfig{
				Client: g.Grafeas, Project: project,
				Progress: progress(c.ErrOrStderr(), "storing"),
			}, in)
			if err = errors.Join(err, g.Close()); err != nil {
				return &exit{code: attestor.ExitError, err: err}
			}

			// A report that covers less than a whole scan is stored as what it is, and
			// whoever imports it sees what it lacks.
			if in.Lacks != "" {
				fmt.Fprintf(c.ErrOrStderr(), "%s: the scan counts as %s: %s\n", img, in.Coverage, in.Lacks)
			}
			if in.Database == nil {
				fmt.Fprintf(c.ErrOrStderr(),
					"%s: the report does not say how old the database of %s was: scan.maxAge goes by the scan's "+
						"time alone\n",
					img, in.Scanner)
			}
			return printImported(c.OutOrStdout(), format, ref, in, done)
		},
	}
	formatFlag(c, &format, "text", "json")
	c.Flags().StringVar(&image, "image", "", "the image that was scanned, by digest or tag; not an index")
	c.Flags().StringVar(&imageFile, "image-file", "",
		"read the image from this `FILE` of one line, as a pipeline's earlier step wrote it")
	c.Flags().StringVar(&platform, "platform", "", "its platform, such as linux/arm64, where it is not linux/amd64")
	c.Flags().StringVar(&note, "note", "", "the `NOTE` to file it under, projects/PROJECT/notes/NOTE")
	c.Flags().StringVar(&project, "to-project", "", "store it in this `PROJECT`'s Container Analysis, instead of the "+
		"image's own")
	c.Flags().StringVar(&emulator, "emulator", "", "store it in the Google emulator at `HOST:PORT`, as of attestor dev")
	c.Flags().BoolVar(&remote, "allow-remote-emulator", false, "accept an emulator on another machine")
	c.MarkFlagsOneRequired("image", "image-file")
	c.MarkFlagsMutuallyExclusive("image", "image-file")
	_ = c.MarkFlagRequired("note")
	return c
}

// maxReferenceFile bounds a file of one reference.
const maxReferenceFile = 4096

// oneReference is the one line of a file. Of two images the report would be of one.
func oneReference(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", &attestor.Error{Kind: attestor.Invalid, Msg: fmt.Sprintf("--image-file: %v", err)}
	}

	defer f.Close()

	// One byte more than is allowed shows that a file is too long.
	text, err := io.ReadAll(io.LimitReader(f, maxReferenceFile+1))
	line := strings.TrimSpace(string(text))
	if err != nil || len(text) > maxReferenceFile || line == "" || strings.ContainsAny(line, "\r\n") {
		return "", &attestor.Error{
			Kind: attestor.Invalid, Msg: fmt.Sprintf("--image-file %s does not have exactly one line with an image",
				path),
			Fix: "write one reference by digest to it",
		}
	}

	return line, nil
}

// printImported says what was stored, and of which image.
func printImported(
	w io.Writer, format string, ref attestor.Reference, in vuln.Imported, done vuln.Uploaded,
) error {
	if format == "json" {
		return writeJSON(w, struct {
			Image     attestor.Image `json:"image"`
			Requested string         `json:"requested"`
			Scanner   string         `json:"scanner"`
			Coverage  string         `json:"coverage"`
			Lacks     string         `json:"lacks,omitempty"`
			Database  *time.Time     `json:"database,omitempty"`
			Secrets   int            `json:"secrets,omitempty"`
			Stored    int            `json:"stored"`
			Replaced  int            `json:"replaced"`
			Discovery string         `json:"discovery"`
		}{
			in.Target.Image, ref.Requested(), in.Scanner, fmt.Sprint(in.Coverage), in.Lacks, in.Database,
			len(in.Secrets), done.Created, done.Replaced, done.Discovery,
		})
	}

	printImage(w, ref, in.Target.Image)
	_, err := fmt.Fprintf(w, "  %s of %s stored, %d replaced\n  %s\n",
		describe.Plural(done.Created, "finding"), in.Scanner, done.Replaced, done.Discovery)
	return err
}

// importProject is the project that was named, else the image's own. An image whose name says none is, for the
// emulator, one of the sample project.
func importProject(img attestor.Image, named, emulator string) (string, error) {
	if named != "" {
		return named, nil
	}
	own, err := resource.Project(img, nil)
	switch {
	case err != nil && emulator != "":
		return devProject, nil
	case err != nil:
		return "", fmt.Errorf("%w; or say it with --to-project PROJECT", err)
	}
	return own, nil
}

// isIndex asks an image's registry whether the digest is an index's.
func isIndex(ctx context.Context, img attestor.Image) func() (bool, error) {
	return func() (bool, error) {
		i, err := newInspector(img.Registry(), false, nil)
		if err != nil {
			return false, err
		}
		defer i.CloseIdleConnections()

		ctx, cancel := context.WithTimeout(ctx, pinTimeout)
		defer cancel()
		return i.Index(ctx, img)
	}
}

// layersOf reads the config of an image from its registry, through the gate's own bounded reader.
func layersOf(ctx context.Context, img attestor.Image) func() ([]attestor.Digest, error) {
	return func() ([]attestor.Digest, error) {
		i, err := newInspector(img.Registry(), false, nil)
		if err != nil {
			return nil, err
		}
		defer i.CloseIdleConnections()

		ref, err := attestor.ParseReference(img.String())
		if err != nil {
			return nil, err
		}
		resolved, err := i.Resolve(ctx, ref, attestor.Needs{})
		if err != nil {
			return nil, err
		}

		// An index has no layers of its own: which child the scan was of would be a guess.
		if resolved.Index || len(resolved.Children) != 1 {
			return nil, fmt.Errorf("%s is not one image", img)
		}

		var out []attestor.Digest
		for _, l := range i.Inspect(ctx, resolved, resolved.Children[0], attestor.Needs{}).Layers {
			out = append(out, l.DiffID)
		}
		return out, nil
	}
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
