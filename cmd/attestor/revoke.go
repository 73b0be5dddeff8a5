package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/engine"
)

func revokeCommand() *cobra.Command {
	var where whereFlags
	var reason string
	c := &cobra.Command{
		Use:   "revoke IMAGE --reason TEXT",
		Short: "Delete this gate's attestations of an image",
		Long:  "Deletes the attestations that this gate made of an image, and records that with the reason. Doing it again is no error.",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			img, err := attestor.ParseImage(args[0])
			if err != nil {
				return err
			}
			revoked, err := revoke(c, &where, img, reason)
			if err != nil {
				return err
			}
			printRevoked(c.OutOrStdout(), img, revoked)
			return nil
		},
	}

	where.register(c)
	c.Flags().StringVar(&reason, "reason", "", "why; recorded")
	_ = c.MarkFlagRequired("reason")
	return c
}

// revoke asks the service where one is named, else the engine.
func revoke(c *cobra.Command, where *whereFlags, img attestor.Image, reason string) ([]attestor.Attestation, error) {
	if where.server != "" {
		cl, err := where.client(c)
		if err != nil {
			return nil, err
		}
		revoked, err := cl.Revoke(c.Context(), img, reason)
		return revoked, errors.Join(err, cl.Close())
	}

	e, err := where.engine(c, nil, engine.Options{})
	if err != nil {
		return nil, err
	}
	me := engine.LocalCaller()
	record, err := e.Revoke(c.Context(), attestor.Revocation{
		Image: img, Reason: reason, Caller: attestor.CallerRef{Subject: me.Subject, Issuer: me.Issuer},
	})
	return record.Attestations, errors.Join(err, e.Close())
}

func printRevoked(w io.Writer, img attestor.Image, revoked []attestor.Attestation) {
	if len(revoked) == 0 {
		fmt.Fprintf(w, "%s: nothing of this gate's stood\n", img)
	}
	for _, a := range revoked {
		fmt.Fprintf(w, "%s: revoked %s\n", img, a.Occurrence)
	}
}
