package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/api/iterator"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
)

// code is the outcome of a call in one word.
func code(err error) string { return status.Code(err).String() }

// askKeys: what the gate checks of each answer of Cloud KMS, and how a key that is switched off refuses.
func (t *trial) askKeys(ctx context.Context, w *world) error {
	sum := sha256.Sum256([]byte("trial"))
	request := &kmspb.AsymmetricSignRequest{
		Name: w.version, Digest: &kmspb.Digest{Digest: &kmspb.Digest_Sha256{Sha256: sum[:]}},
		DigestCrc32C: checksum(sum[:]),
	}
	signed, err := t.keys.AsymmetricSign(ctx, request)
	if err != nil {
		return fmt.Errorf("signing: %w", err)
	}
	public, err := t.keys.GetPublicKey(ctx, &kmspb.GetPublicKeyRequest{Name: w.version})
	if err != nil {
		return fmt.Errorf("reading the public key: %w", err)
	}
	t.found("kms-answers", "Does a signature's answer name the version, confirm the digest's checksum and carry the "+
		"signature's, "+
		"and the public key that of its PEM?",
		"true true true true", fmt.Sprint(signed.GetName() == w.version, signed.GetVerifiedDigestCrc32C(),
			proto.Equal(signed.GetSignatureCrc32C(), checksum(signed.GetSignature())),
			proto.Equal(public.GetPemCrc32C(), checksum([]byte(public.GetPem())))))

	// A checksum that does not fit means that the digest was damaged on its way.
	damaged := proto.CloneOf(request)
	damaged.DigestCrc32C.Value++
	_, err = t.keys.AsymmetricSign(ctx, damaged)
	t.found("kms-checksum", "Which error does a digest with a wrong checksum get?",
		codes.InvalidArgument.String(), code(err))

	state := func(s kmspb.CryptoKeyVersion_CryptoKeyVersionState) error {
		_, err := t.keys.UpdateCryptoKeyVersion(ctx, &kmspb.UpdateCryptoKeyVersionRequest{
			CryptoKeyVersion: &kmspb.CryptoKeyVersion{Name: w.version, State: s},
			UpdateMask:       &fieldmaskpb.FieldMask{Paths: []string{"state"}},
		})
		return err
	}

	// Disabled only, which can be undone.
	if err := state(kmspb.CryptoKeyVersion_DISABLED); err != nil {
		return fmt.Errorf("disabling the key: %w", err)
	}
	_, err = t.keys.AsymmetricSign(ctx, request)
	says := strings.Contains(status.Convert(err).Message(), "is not enabled, current state is: DISABLED")
	t.found("kms-disabled", "What does a disabled key answer, and does it name its state?",
		codes.FailedPrecondition.String()+" true",
		fmt.Sprint(code(err), " ", says))
	if err := state(kmspb.CryptoKeyVersion_ENABLED); err != nil {
		return fmt.Errorf("enabling the key: %w", err)
	}
	return nil
}

// askValidation: Binary Authorization counts what the gate signs, and not for another image.
func (t *trial) askValidation(ctx context.Context, w *world) error {
	image := t.image("validated")
	o, err := t.attestation(ctx, w, image, "")
	if err != nil {
		return err
	}
	t.found("validate-own", "Does the service verify what the gate signs?", "VERIFIED", t.verdict(ctx, w, o, image))
	t.found("validate-scheme", "The same, where the resource has a scheme?", "VERIFIED",
		t.verdict(ctx, w, o, "https://"+image))
	t.found("validate-other", "Does the attestation of one image count for another?", "ATTESTATION_NOT_VERIFIABLE",
		t.verdict(ctx, w, o, t.image("another")))
	return nil
}

// verdict is what Binary Authorization says of an attestation for a resource.
func (t *trial) verdict(ctx context.Context, w *world, o *grafeaspb.Occurrence, resource string) string {
	v, err := t.validate.ValidateAttestationOccurrence(ctx, &binaryauthorizationpb.ValidateAttestationOccurrenceRequest{
		Attestor: w.attestor, Attestation: o.GetAttestation(), OccurrenceNote: w.note, OccurrenceResourceUri: resource,
	})
	if err != nil {
		return code(err)
	}
	return v.GetResult().String()
}

// askAttestations: what makes an attestation a duplicate, and whether it can be changed.
func (t *trial) askAttestations(ctx context.Context, w *world) error {
	image := t.image("attested")
	create := func(comment string) (*grafeaspb.Occurrence, error) {
		o, err := t.attestation(ctx, w, image, comment)
		if err != nil {
			return nil, err
		}
		return t.create(ctx, o)
	}

	made, err := create("")
	if err != nil {
		return fmt.Errorf("creating an attestation: %w", err)
	}

	// Once the same, once another payload: which of them is refused says what makes a duplicate.
	_, same := create("")
	_, other := create(`,"optional":{"trial":"2"}`)
	unique := "none"
	switch {
	case status.Code(other) == codes.AlreadyExists:
		unique = "note+resource"
	case status.Code(same) == codes.AlreadyExists:
		unique = "note+resource+payload"
	case same != nil || other != nil:
		return fmt.Errorf("creating further attestations: %w", errors.Join(same, other))
	}
	t.report.Behaviour.Uniqueness = unique
	t.found("attestation-unique", "What makes an attestation ALREADY_EXISTS?", "note+resource", unique)

	changed := proto.CloneOf(made)
	changed.Remediation = "trial"
	_, err = t.grafeas.UpdateOccurrence(ctx, &grafeaspb.UpdateOccurrenceRequest{
		Name: made.GetName(), Occurrence: changed, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"remediation"}},
	})
	refused := err != nil
	t.report.Behaviour.RefuseUpdates = &refused
	t.found("attestation-update", "Can an attestation be updated?", "OK", code(err))
	return nil
}

// askBatches: several attestations in one call, one list for several images, and deletion, which revokes.
func (t *trial) askBatches(ctx context.Context, w *world) error {
	images := []string{t.image("first of a batch"), t.image("second of a batch")}
	batch := &grafeaspb.BatchCreateOccurrencesRequest{Parent: t.parent}
	for _, image := range images {
		o, err := t.attestation(ctx, w, image, "")
		if err != nil {
			return err
		}
		batch.Occurrences = append(batch.Occurrences, o)
	}
	batched := t.make(ctx, func(ctx context.Context) error {
		made, err := t.grafeas.BatchCreateOccurrences(ctx, batch)
		for _, o := range made.GetOccurrences() { // by their names: a list need not show them yet
			t.later("an occurrence", func(ctx context.Context) error {
				return t.grafeas.DeleteOccurrence(ctx, &grafeaspb.DeleteOccurrenceRequest{Name: o.GetName()})
			})
		}
		return err
	})
	refused := batched != nil
	t.report.Behaviour.RefuseBatches = &refused
	t.found("batch", "Can two attestations be created in one call?", codes.OK.String(), code(batched))
	if refused { // the lists below need them
		for _, o := range batch.GetOccurrences() {
			if _, err := t.create(ctx, o); err != nil {
				return fmt.Errorf("creating an attestation: %w", err)
			}
		}
	}

	// Lists may lag behind: what they are to count must be there first.
	for _, image := range images {
		if err := t.visible(ctx, w, image); err != nil {
			return err
		}
	}
	union := t.count(ctx, w.note, fmt.Sprintf("(resourceUrl = %q) OR (resourceUrl = %q)", images[0], images[1]))
	unions := union == codes.InvalidArgument.String()
	t.report.Behaviour.RefuseUnions = &unions
	t.found("filter-union", "How many attestations does a filter list that names two images?", "2", union)

	// The name is needed to delete one, and a batch that failed gave none.
	var first *grafeaspb.Occurrence
	for it := t.grafeas.ListNoteOccurrences(ctx, &grafeaspb.ListNoteOccurrencesRequest{Name: w.note,
		Filter: t.suffix(images[0])}); first == nil; {
		o, err := it.Next()
		if err != nil {
			return fmt.Errorf("listing: %w", err)
		}
		first = o
	}
	deleted := t.grafeas.DeleteOccurrence(ctx, &grafeaspb.DeleteOccurrenceRequest{Name: first.GetName()})
	kept := deleted != nil
	t.report.Behaviour.RefuseDeletes = &kept
	t.found("attestation-delete", "Can an attestation be deleted?", codes.OK.String(), code(deleted))
	return nil
}

// suffix is the filter for an image's digest.
func (t *trial) suffix(image string) string {
	return fmt.Sprintf("has_suffix(resourceUrl, %q)", image[len(image)-71:])
}

// visible waits until a list shows an image's attestation.
func (t *trial) visible(ctx context.Context, w *world, image string) error {
	return t.poll(ctx, "a list", t.lag, func(ctx context.Context) (bool, error) {
		switch n := t.count(ctx, w.note, t.suffix(image)); n {
		case "1":
			return true, nil
		case "0":
			return false, nil
		default:
			return false, fmt.Errorf("listing: %s", n)
		}
	})
}

// askLists: how soon a list shows what was created, the filters that the gate sends, and pages.
func (t *trial) askLists(ctx context.Context, w *world) error {
	image := t.image("listed")
	o, err := t.attestation(ctx, w, image, "")
	if err != nil {
		return err
	}
	start := time.Now()
	if _, err := t.create(ctx, o); err != nil {
		return fmt.Errorf("creating an attestation: %w", err)
	}
	bySuffix := fmt.Sprintf("has_suffix(resourceUrl, %q)", image[len(image)-71:])
	if err := t.appears(ctx, w, bySuffix, start); err != nil {
		return err
	}

	for _, f := range []struct{ id, filter, assumed string }{
		{"filter-suffix", bySuffix, "1"},
		{"filter-equals", fmt.Sprintf("(kind = \"ATTESTATION\") AND ((resourceUrl = %q) OR (resourceUrl = %q))",
			"https://"+image, image), "1"},
		{"filter-other", fmt.Sprintf("has_suffix(resourceUrl, %q)", strings.Repeat("0", 64)), "0"},
		{"filter-unknown", "severe", codes.InvalidArgument.String()},
	} {
		t.found(f.id, "How many attestations does a note list for a filter of this form, or which error?", f.assumed,
			t.count(ctx, w.note, f.filter))
	}

	it := t.grafeas.ListNoteOccurrences(ctx, &grafeaspb.ListNoteOccurrencesRequest{Name: w.note, PageSize: 1})
	_, err = it.Next()
	t.found("page-token", "Is a page of one of several followed by a token?", "true",
		fmt.Sprint(err == nil && it.PageInfo().Token != ""))
	_, err = t.grafeas.ListNoteOccurrences(ctx, &grafeaspb.ListNoteOccurrencesRequest{Name: w.note,
		PageToken: "nonsense"}).Next()
	t.found("page-token-unknown", "Which error does a page token get that the service never gave?",
		codes.InvalidArgument.String(), code(err))
	return nil
}

// appears waits until a list shows one entry.
func (t *trial) appears(ctx context.Context, w *world, filter string, start time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, t.lag)
	defer cancel()
	for first := true; ; first = false {
		n := t.count(ctx, w.note, filter)
		if n != "0" && n != "1" {
			return fmt.Errorf("listing: %s", n)
		}
		if n == "1" {
			lag := time.Since(start).Round(100 * time.Millisecond)
			if first {
				lag = 0 // the first list had it
			}
			t.report.Behaviour.ListLag = lag.String()
			t.found("list-lag", "Does the first list after a creation show it, or after how long?", "0s", lag.String())
			return nil
		}

		select {
		case <-ctx.Done():
			return fmt.Errorf("a new attestation is not in its note's list: %w", ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// count is how many occurrences a note lists, or the error's code.
func (t *trial) count(ctx context.Context, note, filter string) string {
	n := 0
	for it := t.grafeas.ListNoteOccurrences(ctx, &grafeaspb.ListNoteOccurrencesRequest{Name: note,
		Filter: filter}); ; n++ {
		_, err := it.Next()
		if errors.Is(err, iterator.Done) {
			return fmt.Sprint(n)
		}
		if err != nil {
			return code(err)
		}
	}
}

// askNotes: who may attach to a note, of which the gate's trust in Google's own notes depends.
func (t *trial) askNotes(ctx context.Context, w *world) error {
	attach := func(note string) error {
		o := &grafeaspb.Occurrence{
			NoteName: note, ResourceUri: "https://" + t.image("scanned"),
			Details: &grafeaspb.Occurrence_Discovery{Discovery: &grafeaspb.DiscoveryOccurrence{
				AnalysisStatus: grafeaspb.DiscoveryOccurrence_FINISHED_SUCCESS,
			}},
		}
		_, err := t.create(ctx, o)
		return err
	}

	t.found("note-missing", "Which error does an occurrence of a note that does not exist get?",
		codes.NotFound.String(),
		code(attach(t.parent+"/notes/"+t.run+"-none")))
	t.found("note-kind", "Which error does an occurrence of another kind than its note's get?",
		codes.InvalidArgument.String(), code(attach(w.note)))

	// The one that matters most: a project that could write this would declare its own images scanned.
	err := attach("projects/goog-analysis/notes/PACKAGE_VULNERABILITY")
	refused := err != nil
	t.report.Behaviour.NoProviderNotes = &refused
	t.found("note-of-google", "Can anybody attach a finished scan to the note of Google's scanner?",
		codes.PermissionDenied.String(), code(err))
	return nil
}
