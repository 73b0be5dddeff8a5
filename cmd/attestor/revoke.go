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
		Short: "Delete this gate's attestations of an image",
		Long: `Deletes the attestations that this gate made of an image, and records that with the reason. A tag is resolved once,
and the answer names the digest; a service looks it up for whoever may read the repository. Doing it again is no error.`,
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
	c.Flags().StringVar(&reason, "reason", "", "why; recorded")
	_ = c.MarkFlagRequired("reason")
	return c
}

// revoke asks the service where one is named, else the engine. What is revoked is what the tag names now, which is
// looked up once: nothing is revoked by tag.
func revoke(
	c *cobra.Command, where *whereFlags, ref attestor.Reference, reason string,
) (attestor.Image, []attestor.Attestation, error) {
	if where.server != "" {
		cl, err := where.client(c)
		if err != nil {
			return attestor.Image{}, nil, err
		}
		img, revoked, err := pinAndRevoke(c.Context(), ref, cl.Pin, func(ctx context.Context, img attestor.Image) ([]attestor.Attestation, error) {
			return cl.Revoke(ctx, img, reason)
		})
		return img, revoked, errors.Join(err, cl.Close())
	}

	e, err := where.engine(c, question{})
	if err != nil {
		return attestor.Image{}, nil, err
	}

	// In this process the caller is whoever runs it: the rights are those of the credentials, and the record has the name.
	me := engine.LocalCaller()
	img, revoked, err := pinAndRevoke(c.Context(), ref, e.Inspector.Pin, func(ctx context.Context, img attestor.Image) ([]attestor.Attestation, error) {
		record, err := e.Revoke(ctx, attestor.Revocation{
			Image: img, Reason: reason, Caller: attestor.CallerRef{Subject: me.Subject, Issuer: me.Issuer},
		})
		return record.Attestations, err
	})
	return img, revoked, errors.Join(err, e.Close())
}

func pinAndRevoke(
	ctx context.Context, ref attestor.Reference,
	pin func(context.Context, attestor.Reference) (attestor.Image, error),
	remove func(context.Context, attestor.Image) ([]attestor.Attestation, error),
) (attestor.Image, []attestor.Attestation, error) {
	img, err := pin(ctx, ref)
	if err != nil {
		return attestor.Image{}, nil, err
	}

	// On error, too, the caller is told which digest was meant, and what was revoked of it.
	revoked, err := remove(ctx, img)
	return img, revoked, err
}

func printRevoked(
	w io.Writer, format string, ref attestor.Reference, img attestor.Image, revoked []attestor.Attestation,
) error {
	if format == "json" {
		return writeJSON(w, struct {
			Image     attestor.Image         `json:"image"`
			Requested string                 `json:"requested"`
			Revoked   []attestor.Attestation `json:"revoked"`
		}{img, ref.Requested(), append([]attestor.Attestation{}, revoked...)})
	}

	printImage(w, ref, img)
	if len(revoked) == 0 {
		fmt.Fprintln(w, "  no attestation of this gate stood")
	}
	for _, a := range revoked {
		fmt.Fprintf(w, "  revoked %s\n", a.Occurrence)
	}
	return nil
}
