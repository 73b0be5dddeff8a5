package attest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"cloud.google.com/go/iam/apiv1/iampb"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/probe"
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
// checked, because Container Analysis does not report it.
func (a *Attester) Preflight(ctx context.Context) error {
	var errs []error
	for _, r := range a.Probe(ctx) {
		if r.Err != nil {
			errs = append(errs, r.Err)
		}
	}
	return summary(errs)
}

// Probe asks, for every configured attestor at once, all that Preflight is about,
// and returns each question with its answer. A question that depends on another is
// left out where that one failed.
func (a *Attester) Probe(ctx context.Context) []probe.Result {
	var questions []func() []probe.Result
	for _, c := range a.c.Attestors {
		questions = append(questions, func() []probe.Result { return a.probe(ctx, a.attestors[c.Name]) })
	}
	return probe.Together(atOnce, questions)
}

// Dependencies, as results name them.
const (
	onKey       = "signing key"
	onAttestors = "Binary Authorization"
	onNotes     = "Container Analysis"
)

// probe asks about one attestor.
func (a *Attester) probe(ctx context.Context, c AttestorConfig) []probe.Result {
	var results []probe.Result
	ask := func(dependency, subject, question string, f func() error) bool {
		r := probe.Ask(dependency, subject, question, a.c.Limit.Duration(), f)
		results = append(results, r)
		return r.Err == nil
	}

	// The key is read anew: a version that was disabled since shows here.
	toLoad, toSign := c.Signer.permissions()
	loaded := ask(onKey, c.Signer.where(), cmp.Or(toLoad, "it can be read"), func() error {
		_, err := c.Signer.load(ctx, true)
		return err
	})
	if loaded && toSign != "" {
		ask(onKey, c.Signer.where(), toSign, func() error { return c.Signer.mayUse(ctx) })
	}

	// Without the attestor there is no note and no list of keys to check further.
	var t *trust
	found := ask(onAttestors, c.Name, "binaryauthorization.attestors.get", func() (err error) {
		t, err = a.verifier.trust(ctx, c.Name, a.c.Now())
		return err
	})
	if !found {
		return results
	}

	if loaded {
		ask(onAttestors, c.Name, "the attestor has the public half of the signing key", func() error {
			_, _, err := a.match(ctx, c, t)
			return err
		})
	}

	// A note that does not exist grants nothing; asking would report a second obstacle
	// for the same cause.
	if ask(onNotes, t.note, "containeranalysis.notes.get", func() error { return a.noteExists(ctx, c, t.note) }) {
		results = append(results, a.mayAttach(ctx, t.note)...)
	}
	return results
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
		return fault(attestor.CodeAttestorUnavailable, "note "+note+" could not be read", again, err)
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
func (a *Attester) mayAttach(ctx context.Context, note string) []probe.Result {
	var resp *iampb.TestIamPermissionsResponse
	asked := probe.Ask(onNotes, note, attachPermission+", "+listPermission, a.c.Limit.Duration(), func() (err error) {
		ctx, cancel := a.c.Limit.Start(ctx)
		defer cancel()

		resp, err = a.c.Analysis.TestIamPermissions(ctx, &iampb.TestIamPermissionsRequest{
			Resource: note, Permissions: []string{attachPermission, listPermission},
		})
		switch {
		case err == nil:
			return nil
		case status.Code(err) == codes.PermissionDenied:
			return fault(attestor.CodeAttestorDenied, "the gate may not ask for its permissions on note "+note,
				"grant the gate's identity roles/containeranalysis.notes.attacher on "+note, err)
		case isNotFound(err):
			return fault(attestor.CodeAttestorUnavailable, "note "+note+" does not exist",
				"create the note that the attestor names", err)
		}
		return fault(attestor.CodeAttestorUnavailable, "the gate's permissions on note "+note+" could not be read",
			again, err)
	})
	if asked.Err != nil {
		return []probe.Result{asked}
	}

	var results []probe.Result
	for _, p := range []struct{ permission, what, role string }{
		{attachPermission, "attach attestations to", "roles/containeranalysis.notes.attacher"},
		{listPermission, "list the attestations of", "roles/containeranalysis.notes.occurrences.viewer"},
	} {
		one := asked
		one.Question = p.permission
		if !slices.Contains(resp.GetPermissions(), p.permission) {
			one.Err = fault(attestor.CodeAttestorDenied, "the gate may not "+p.what+" note "+note,
				fmt.Sprintf("grant the gate's identity %s on %s", p.role, note), nil)
		}
		results = append(results, one)
	}
	return results
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
