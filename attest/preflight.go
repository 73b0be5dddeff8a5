package attest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cloud.google.com/go/iam/apiv1/iampb"
	"golang.org/x/sync/errgroup"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestor-gate/attestor"
)

const (
	attachPermission = "containeranalysis.notes.attachOccurrence"
	listPermission   = "containeranalysis.notes.listOccurrences"
)

// Preflight reports, for every configured attestor at once, each obstacle to
// attesting: an attestor or note that does not exist, a signing key that the
// attestor does not have, a permission that is missing. It signs and stores
// nothing. The error is an [attestor.Error] of kind Unavailable that lists all
// obstacles. The right to create occurrences in the attestations' project is not
// checked, because no API reports it.
func (a *Attester) Preflight(ctx context.Context) error {
	problems := make([][]error, len(a.c.Attestors))
	var g errgroup.Group
	g.SetLimit(atOnce)
	for i, c := range a.c.Attestors {
		g.Go(func() error {
			problems[i] = a.preflight(ctx, a.attestors[c.Name])
			return nil
		})
	}

	if err := g.Wait(); err != nil {
		return err
	}
	return summary(slices.Concat(problems...))
}

// preflight lists the obstacles of one attestor.
func (a *Attester) preflight(ctx context.Context, c AttestorConfig) []error {
	var errs []error
	add := func(err error) bool {
		if err != nil {
			errs = append(errs, err)
		}
		return err == nil
	}

	// The key is read anew: a version that was disabled since shows here.
	_, err := c.Signer.load(ctx, true)
	loaded := add(err)
	if loaded {
		add(c.Signer.mayUse(ctx))
	}

	// Without the attestor there is no note and no list of keys to check further.
	t, err := a.verifier.trust(ctx, c.Name, a.c.Now())
	if !add(err) {
		return errs
	}

	if loaded {
		_, _, err := a.match(ctx, c, t)
		add(err)
	}

	// A note that does not exist grants nothing; asking would report a second obstacle
	// for the same cause.
	if add(a.noteExists(ctx, c, t.note)) {
		add(a.mayAttach(ctx, t.note))
	}
	return errs
}

// noteExists reads the note, which must be one for attestations.
func (a *Attester) noteExists(ctx context.Context, c AttestorConfig, note string) error {
	ctx, cancel := a.c.Limit.Start(ctx)
	defer cancel()

	n, err := a.c.Grafeas.GetNote(ctx, &grafeaspb.GetNoteRequest{Name: note})
	switch {
	case isNotFound(err):
		return fault(
			attestor.CodeAttestorUnavailable,
			fmt.Sprintf("note %s of attestor %s does not exist", note, c.Name),
			"create an attestation note of that name",
			err,
		)
	case status.Code(err) == codes.PermissionDenied:
		return fault(
			attestor.CodeAttestorDenied,
			"the gate may not read note "+note,
			"grant the gate's identity roles/containeranalysis.notes.attacher on "+note,
			err,
		)
	case err != nil:
		return fault(attestor.CodeAttestorUnavailable, "note "+note+" could not be read", "try again", err)
	case n.GetAttestation() == nil:
		return fault(
			attestor.CodeAttestorUnavailable,
			fmt.Sprintf("note %s of attestor %s is not an attestation note", note, c.Name),
			"give the attestor an attestation note",
			nil,
		)
	}
	return nil
}

// mayAttach asks for the permissions that attesting takes, without using them.
func (a *Attester) mayAttach(ctx context.Context, note string) error {
	ctx, cancel := a.c.Limit.Start(ctx)
	defer cancel()

	resp, err := a.c.Analysis.TestIamPermissions(ctx, &iampb.TestIamPermissionsRequest{
		Resource: note, Permissions: []string{attachPermission, listPermission},
	})
	if err != nil {
		return fault(
			attestor.CodeAttestorUnavailable,
			"the gate's permissions on note "+note+" could not be read",
			"try again",
			err,
		)
	}

	var missing []error
	for _, p := range []struct{ permission, what, role string }{
		{attachPermission, "attach attestations to", "roles/containeranalysis.notes.attacher"},
		{listPermission, "list the attestations of", "roles/containeranalysis.notes.occurrences.viewer"},
	} {
		if !slices.Contains(resp.GetPermissions(), p.permission) {
			missing = append(missing, fault(attestor.CodeAttestorDenied, "the gate may not "+p.what+" note "+note,
				fmt.Sprintf("grant the gate's identity %s on %s", p.role, note), nil))
		}
	}
	return summary(missing)
}

// summary joins all problems into one error, whose code is the first one's.
func summary(errs []error) error {
	if len(errs) == 0 {
		return nil
	}
	out := &attestor.Error{Kind: attestor.Unavailable, Err: errors.Join(errs...)}
	var msgs, fixes []string
	for _, err := range errs {
		e, ok := errors.AsType[*attestor.Error](err)
		if !ok {
			e = &attestor.Error{
				Code: attestor.CodeAttestorUnavailable,
				Msg:  "the attestors could not be checked in the time allowed",
				Fix:  "try again",
			}
		}

		if out.Code == "" {
			out.Code = e.Code
		}
		msgs = append(msgs, e.Msg)
		if e.Fix != "" && !slices.Contains(fixes, e.Fix) {
			fixes = append(fixes, e.Fix)
		}
	}
	out.Msg, out.Fix = strings.Join(msgs, "; "), strings.Join(fixes, "; ")
	return out
}
