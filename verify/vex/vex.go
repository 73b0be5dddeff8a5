// Package vex finds and reads VEX documents about an image: OpenVEX and CycloneDX, as
// in-toto statements attached to it or as files, each signed by a signer that a policy
// names. What is not signed by that signer is not returned. Whether a statement excuses a
// finding it leaves to the policy.
package vex

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/plain"
	"github.com/attestor-gate/attestor/verify/signed"
)

const (
	// maxFile is the most bytes of a document's file.
	maxFile = 8 << 20
	// maxBundle is the most bytes of a file's signature.
	maxBundle = 1 << 20
	// maxStatements is how many statements about one image are kept of all documents.
	maxStatements = 10_000
)

// openVEX and cycloneDX are the predicate types of statements that hold documents, each in every version: as cosign
// writes them, and the libraries of each format. One of a version that is not known is read too: it may be newer than the
// others, and say that the image is affected.
func openVEX() []string { return []string{"https://openvex.dev/ns"} }

func cycloneDX() []string { return []string{"https://cyclonedx.org/vex", "https://cyclonedx.org/bom"} }

// Source finds statements. It is safe for concurrent use.
type Source struct{ checker func() *signed.Checker }

// New returns a Source that verifies with a checker of signatures, which is called for
// with each look-up: the checker itself reads through what a Source is a part of.
func New(checker func() *signed.Checker) *Source { return &Source{checker} }

// Statements returns what the documents of the sources say of an image. images are the
// manifest and the index that it was reached through. unread says of each source that it
// could not be read in full, and why: what it says may be worse than what is known.
func (s *Source) Statements(
	ctx context.Context, images []attestor.Image, needs attestor.VEXNeeds,
) (out []attestor.VEXStatement, unread []attestor.Reason) {
	for _, source := range needs.Sources {
		list, err := s.read(ctx, images, source)
		if err == nil && len(out)+len(list) > maxStatements {
			err = &attestor.Error{
				Kind: attestor.Upstream, Code: attestor.CodeVEXUnavailable,
				Msg: fmt.Sprintf("they hold more than %d statements about the image", maxStatements),
				Fix: "remove the documents that are not needed, or statements that others replace",
			}
		}
		if err != nil {
			unread = append(unread, unavailable(ctx, source, err))
			continue
		}
		out = append(out, list...)
	}
	return out, unread
}

// unavailable is the reason for a source that could not be read.
func unavailable(ctx context.Context, source attestor.VEXSource, err error) attestor.Reason {
	r := attestor.Reason{
		Code: attestor.CodeVEXUnavailable, Subject: plain.Clip(source.Text(), 200),
		Message: "the VEX documents could not be read",
		Fix: "try again; if it persists, let the gate read the image's repository, or see the gate's log " +
			"for the cause",
	}
	if e, ok := errors.AsType[*attestor.Error](err); ok {
		r.Message, r.Fix = r.Message+": "+e.Msg, e.Fix
	}
	if ctx.Err() != nil {
		r.Message += " in the time allowed"
	}

	return r
}

func (s *Source) read(
	ctx context.Context, images []attestor.Image, source attestor.VEXSource,
) ([]attestor.VEXStatement, error) {
	if source.File != "" {
		return s.file(ctx, images, source)
	}

	var out []attestor.VEXStatement
	for _, img := range images {
		// The checker returns statements whose signature satisfies the rule, and whose subject is the image; all of
		// them, since one that was not read may be newer and say that the image is affected.
		list, err := s.checker().EveryAttestation(ctx, img, source.SignedBy, append(openVEX(), cycloneDX()...))
		if err != nil {
			return nil, err
		}
		for _, st := range list {
			found, err := attached(st, images)
			if err != nil {
				return nil, malformed("a VEX document by "+st.Signer, err)
			}
			out = append(out, by(found, source, st.Signer, st.Payload)...)
		}
	}
	return out, nil
}

// file reads a document that its signer signed as a file (cosign sign-blob).
func (s *Source) file(
	ctx context.Context, images []attestor.Image, source attestor.VEXSource,
) ([]attestor.VEXStatement, error) {
	doc, err := readFile(source.File, maxFile)
	if err != nil {
		return nil, err
	}
	bundle, err := readFile(source.File+".sigstore.json", maxBundle)
	if err != nil {
		return nil, err
	}

	// Verified before anything of the document is decoded. A file that is not the signer's may stand where one was that
	// says worse, so that it is an error and not an absence.
	signer, err := s.checker().File(ctx, doc, bundle, source.SignedBy)
	if err != nil {
		return nil, err
	}
	found, err := document(doc, images)
	if err != nil {
		return nil, malformed("the VEX document "+source.File, err)
	}
	return by(found, source, signer, doc), nil
}

// by says whose statements they are, and which bytes the signer signed.
func by(
	list []attestor.VEXStatement, source attestor.VEXSource, signer string, signed []byte,
) []attestor.VEXStatement {
	document := attestor.DigestOf(signed)
	for i := range list {
		list[i].Source, list[i].Signer, list[i].Document = source.Text(), signer, document
	}
	return list
}

// malformed is the error for a document that its signer signed and that cannot be read in one way.
func malformed(what string, err error) error {
	return &attestor.Error{
		Kind: attestor.Upstream, Code: attestor.CodeVEXUnavailable, Msg: fmt.Sprintf("%s is malformed: %s", what,
			plain.Clip(err.Error(), 240)),
		Fix: "write the document again, and sign it", Err: err,
	}
}

func readFile(path string, limit int64) ([]byte, error) {
	fail := func(err error) ([]byte, error) {
		return nil, &attestor.Error{
			Kind: attestor.Upstream, Code: attestor.CodeVEXUnavailable, Msg: fmt.Sprintf("%q cannot be read", path),
			Fix: "put the file at this path, or correct spec.vulnerabilities.vex.sources[].file", Err: err,
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return fail(err)
	}
	defer f.Close()

	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return fail(err)
	}
	if int64(len(b)) > limit {
		return fail(fmt.Errorf("it has more than %d bytes", limit))
	}
	return b, nil
}
