package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/engine"
)

func revokeCommand() *cobra.Command {
	var where whereFlags
	var reason, format string
	c := &cobra.Command{
		Use:   "revoke IMAGE --reason TEXT",
		Short: "Delete this gate's attestations and verification summaries of an image",
		Long: `Deletes the attestations and verification summaries that this gate made of an image, and records that with the reason. A
tag is resolved once, and the answer names the digest; a service looks it up for whoever may read the repository. Doing it
again is no error. Summaries that a registry refuses to delete are named, and the exit code is 3.`,
		Example: "  attestor revoke us-docker.pkg.dev/acme/prod/api:v7 --reason \"leaked credentials, ticket 4711\"",
		Args:    wants(1, "which image"),
		RunE: func(c *cobra.Command, args []string) error {
			ref, err := attestor.ParseReference(args[0])
			if err != nil {
				return err
			}

			img, revoked, err := revoke(c, &where, ref, reason)
			if err != nil {
				// Whoever tries again means this image, also if the tag moves.
				if _, pinned := ref.Pinned(); !pinned && !img.IsZero() {
					fmt.Fprintf(c.ErrOrStderr(), "%s names %s\n", ref, img)
				}
				return err
			}
			return printRevoked(c.OutOrStdout(), format, ref, img, revoked)
		},
	}

	where.register(c)
	formatFlag(c, &format, "text", "json")
	c.Flags().StringVar(&reason, "reason", "", "why, as a `TEXT` that is recorded")
	_ = c.MarkFlagRequired("reason")
	return c
}

// revoke asks the service where one is named, else the engine. What is revoked is what the tag names now, which is
// looked up once: nothing is revoked by tag.
func revoke(
	c *cobra.Command, where *whereFlags, ref attestor.Reference, reason string,
) (attestor.Image, attestor.Deleted, error) {
	if where.server != "" {
		cl, err := where.client(c)
		if err != nil {
			return attestor.Image{}, attestor.Deleted{}, err
		}
		img, revoked, err := pinAndRevoke(c.Context(), ref, cl.Pin, func(ctx context.Context,
			img attestor.Image) (attestor.Deleted, error) {
			return cl.Revoke(ctx, img, reason)
		})
		return img, revoked, errors.Join(err, cl.Close())
	}

	e, err := where.engine(c, question{})
	if err != nil {
		return attestor.Image{}, attestor.Deleted{}, err
	}

	// In this process the caller is whoever runs it: the rights are those of the credentials, and the record has the
	// name.
	me := engine.LocalCaller()
	img, revoked, err := pinAndRevoke(c.Context(), ref, e.Inspector.Pin, func(ctx context.Context,
		img attestor.Image) (attestor.Deleted, error) {
		record, err := e.Revoke(ctx, attestor.Revocation{
			Image: img, Reason: reason, Caller: attestor.CallerRef{Subject: me.Subject, Issuer: me.Issuer},
		})
		return attestor.Deleted{Attestations: record.Attestations, Summaries: record.Summaries, Left: record.Left}, err
	})
	return img, revoked, errors.Join(err, e.Close())
}

func pinAndRevoke(
	ctx context.Context, ref attestor.Reference,
	pin func(context.Context, attestor.Reference) (attestor.Image, error),
	remove func(context.Context, attestor.Image) (attestor.Deleted, error),
) (attestor.Image, attestor.Deleted, error) {
	img, err := pin(ctx, ref)
	if err != nil {
		return attestor.Image{}, attestor.Deleted{}, err
	}

	// On error, too, the output names the digest that was meant, and what was revoked of it.
	revoked, err := remove(ctx, img)
	return img, revoked, err
}

func printRevoked(
	w io.Writer, format string, ref attestor.Reference, img attestor.Image, revoked attestor.Deleted,
) error {
	// What is left is printed: the image is no longer admitted, but a verifier of summaries still accepts it.
	failed := error(nil)
	if len(revoked.Left) > 0 {
		failed = &exit{code: attestor.ExitError, err: fmt.Errorf("%d verification summaries are left",
			len(revoked.Left))}
	}
	if format == "json" {
		return errors.Join(writeJSON(w, struct {
			Image     attestor.Image         `json:"image"`
			Requested string                 `json:"requested"`
			Revoked   []attestor.Attestation `json:"revoked"`
			Summaries []attestor.Summary     `json:"summaries,omitempty"`
			Left      []attestor.LeftSummary `json:"left,omitempty"`
		}{img, ref.Requested(), append([]attestor.Attestation{}, revoked.Attestations...), revoked.Summaries,
			revoked.Left}), failed)
	}

	printImage(w, ref, img)
	if len(revoked.Attestations) == 0 {
		fmt.Fprintln(w, "  no attestation of this gate stood")
	}
	for _, a := range revoked.Attestations {
		fmt.Fprintf(w, "  revoked %s\n", a.Occurrence)
	}
	for _, s := range revoked.Summaries {
		fmt.Fprintf(w, "  revoked summary %s\n", s.Reference)
	}
	for _, l := range revoked.Left {
		fmt.Fprintf(w, "  left    summary %s: %s\n          %s\n", l.Reference, l.Why, l.Fix)
	}
	return failed
}
