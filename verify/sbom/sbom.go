// Package sbom finds and reads the bills of materials that are attached to an image: SPDX
// and CycloneDX documents as OCI referrers, under cosign's tags, and in the build
// attestations of an index. It reads the few members that policies judge, one package at a
// time, and says whose signature covers each document. Whether a document counts, it
// leaves to the policy.
package sbom

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"golang.org/x/sync/semaphore"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/plain"
	"github.com/attestor-gate/attestor/verify/signed"
)

const (
	// budget is how many bytes of documents the process holds at one time: one of the
	// largest in an envelope, or many of the usual size.
	budget = 48 << 20
	// maxDocuments is how many documents of one platform are read, maxBlobs how many blobs that may be
	// documents.
	maxDocuments = 8
	maxBlobs     = 64
	// maxImage is how many packages the documents of all platforms of an image list.
	maxImage = 300_000
)

// predicates are the types of statements that hold documents, each in every version: those of cosign and BuildKit, with
// a version as GitHub's attest action and in-toto's list of types have it (https://spdx.dev/Document/v3), and syft's own.
// Those in forms that are not read are among them, so that the reason says it: what the signer states in one of them may
// be what the policy denies.
func predicates() []string {
	return []string{
		"https://spdx.dev/Document", "https://cyclonedx.org/bom", "https://cyclonedx.org/schema", "https://syft.dev/bom",
	}
}

func known(predicateType string) bool { return signed.OfType(predicateType, predicates()) }

// media are the media types of documents by themselves. Those in forms that are not read
// are among them, so that the reason says it.
func media() []string {
	return []string{
		"application/spdx+json", "text/spdx+json", "text/spdx", "text/spdx+xml",
		"application/vnd.cyclonedx+json", "application/vnd.cyclonedx+xml", "application/vnd.syft+json",
	}
}

// Source finds documents. It is safe for concurrent use.
type Source struct {
	attached func() *signed.Checker
	budget   *semaphore.Weighted
	log      *slog.Logger
}

// New returns a Source that reads through a checker of signatures. attached is called with
// each look-up, since the checker itself reads through what a Source is a part of.
func New(attached func() *signed.Checker, log *slog.Logger) *Source {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Source{attached: attached, budget: semaphore.NewWeighted(budget), log: log}
}

// A Subject is the manifest whose documents are wanted.
type Subject struct {
	Image    attestor.Image
	Index    attestor.Image    // that the image was reached through; zero for none
	InIndex  []attestor.Digest // the index's build attestations about the image
	Siblings int               // runnable manifests of the image as a whole
}

// SBOMs returns the documents that are attached to a manifest, and reasons for those that
// do not count. A problem says that the documents are not known in full.
func (s *Source) SBOMs(
	ctx context.Context, of Subject, needs attestor.SBOMNeeds,
) (out []attestor.SBOM, notRead []attestor.Reason, problems []attestor.Problem) {
	c := &collection{
		source: s, of: of, rule: needs.SignedBy.Text(),
		left: min(MaxPackages, maxImage/max(1, of.Siblings)),
	}
	err := s.attached().Documents(ctx, of.Image, signed.Wanted{
		Rule: needs.SignedBy, Predicates: predicates(), Media: media(), Limit: MaxBytes, Number: maxBlobs,
		Index: of.Index, InIndex: of.InIndex, Budget: s.budget,
	}, c.read, c.refused)
	if err != nil {
		s.log.WarnContext(ctx, "SBOMs could not be read", slog.String("image", of.Image.String()),
			slog.Any("error", err))
		c.problem(unavailable(err))
	}

	return c.out, c.notRead, c.problems
}

// unavailable is the reason for a failure to read.
func unavailable(err error) attestor.Reason {
	r := attestor.Reason{
		Code: attestor.CodeSBOMUnavailable, Message: "the SBOMs that are attached to the image could not be read",
		Fix: "try again; if it persists, let the gate read the image's repository, or see the gate's log for the cause",
	}
	if e, ok := errors.AsType[*attestor.Error](err); ok {
		r.Message, r.Fix = r.Message+": "+e.Msg, e.Fix
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		r.Message += " in the time allowed"
	}
	return r
}

// collection is the result of one look-up.
type collection struct {
	source   *Source
	of       Subject
	rule     string
	left     int // packages
	out      []attestor.SBOM
	notRead  []attestor.Reason
	problems []attestor.Problem
}

func (c *collection) problem(r attestor.Reason) {
	c.problems = append(c.problems, attestor.Problem{
		Check: attestor.CheckPackages, Status: r.Code.Status(), Reason: r,
	})
}

// read reads one document.
func (c *collection) read(d signed.Document) {
	var doc attestor.SBOM
	var err error
	if d.PredicateType != "" {
		doc, err = ReadStatement(d.Body, c.of.Image.Digest(), c.left)
	} else {
		doc, err = Read(d.Body, c.left)
	}

	if err != nil {
		c.reject(d, err)
		return
	}

	// One document more than is read is a problem: it may list a denied package.
	if len(c.out) == maxDocuments {
		c.refused(signed.Refused{
			Place: d.Place, Kind: signed.RefusedTooMany,
			Cause: fmt.Sprintf("more than %d SBOMs are attached", maxDocuments),
		})
		return
	}

	// The bound is on all documents together, so that many small ones are no way around it.
	c.left -= len(doc.Packages)
	doc.Place, doc.Digest = d.Place, d.Digest
	if d.PredicateType != "" {
		doc.Statement = attestor.DigestOf(d.Body)
	}

	// A document without a signer stays a claim: SignedBy is what policies go by.
	if d.Signer != "" {
		doc.SignedBy, doc.Signer = c.rule, d.Signer
	}
	c.out = append(c.out, doc)
}

// reject notes a document that cannot be used. A statement of another kind is none of this
// package's.
func (c *collection) reject(d signed.Document, err error) {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		e = &Error{Malformed, err.Error()}
	}
	if e.Fault == NotSBOM {
		return
	}
	r := attestor.Reason{
		Subject: d.Place, Message: fmt.Sprintf("the SBOM at %s does not count: %s", d.Place, plain.Clip(e.Msg, 240)),
	}
	switch e.Fault {
	case Malformed:
		r.Code, r.Fix = attestor.CodeSBOMInvalid, "make the document again, with a tool that writes SPDX 2.3 or "+
			"CycloneDX in JSON"
	case Unsupported:
		r.Code, r.Fix = attestor.CodeSBOMFormat, "attach the document as SPDX 2.3 or CycloneDX 1 in JSON"
	case OtherDigest:
		r.Code, r.Fix = attestor.CodeSBOMOtherDigest, "attach to the image a document about the image itself"
	case TooLarge:
		r.Code, r.Fix = attestor.CodeSBOMTooLarge, "list packages only, and not files; or divide the image"
	}

	// What the trusted signer says and this version cannot read may refuse the image.
	if d.Signer != "" && e.Fault != OtherDigest || e.Fault == TooLarge {
		c.problem(r)
		return
	}
	c.notRead = append(c.notRead, r)
}

// refused notes a document that was not read.
func (c *collection) refused(f signed.Refused) {
	r := attestor.Reason{Subject: f.Place, Message: "the SBOM at " + f.Place + " does not count: " + f.Cause}
	switch f.Kind {
	case signed.RefusedMalformed:
		r.Code, r.Fix = attestor.CodeSBOMInvalid, "attach the document again"
	case signed.RefusedOtherDigest:
		r.Code, r.Fix = attestor.CodeSBOMOtherDigest, "attach to the image a document about the image itself"
	case signed.RefusedTooLarge:
		r.Code, r.Fix = attestor.CodeSBOMTooLarge, "list packages only, and not files; or divide the image"
		r.Message = strings.Replace(r.Message, "does not count", "was not read", 1)
		c.problem(r)
		return
	case signed.RefusedTooMany:
		r.Code, r.Fix = attestor.CodeSBOMTooMany, "delete the documents and referrers that are not needed"
		r.Message = "not everything that is attached to the image was read: " + f.Cause
		c.problem(r)
		return
	}

	c.notRead = append(c.notRead, r)
}
