package signed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sync/semaphore"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/referrers"
)

// Wanted says which documents [Checker.Documents] reads.
type Wanted struct {
	Rule       *attestor.SignedBy // whose signature counts; nil: nobody's
	Predicates []string           // types of in-toto statements, each in every version: see [OfType]
	Media      []string           // media types of documents by themselves, without parameters
	Limit      int64              // bytes of one document, or of a statement with it
	Number     int                // of documents

	// Index is the index that the image was reached through, and InIndex are its build
	// attestations about the image. The index's digest covers them, so that a signature of
	// the index by the rule's signer counts as one of theirs.
	Index   attestor.Image
	InIndex []attestor.Digest

	// Budget bounds the bytes of all documents that are held at one time. A document
	// waits for its share.
	Budget *semaphore.Weighted
}

// OfType reports whether a type of in-toto statements is one of some, in whatever version: https://spdx.dev/Document/v3
// is one of https://spdx.dev/Document. Whoever wants a type gets the versions that it does not know too: one that is left
// out unread would speak for the image by its silence.
func OfType(predicateType string, types []string) bool {
	return slices.ContainsFunc(types, func(t string) bool {
		return predicateType == t || strings.HasPrefix(predicateType, t+"/")
	})
}

// A Document is attached to an image.
type Document struct {
	Place         string          // where it is attached, for people
	Digest        attestor.Digest // of the blob that holds it
	PredicateType string          // as the place names it; "" for a document by itself
	// the whole statement, or the document by itself; not valid after the call that gets it
	Body   []byte
	Signer string // for people; "" if no signature satisfies the rule
}

// A Refused document was not read, or does not count, whatever it says.
type Refused struct {
	Place string
	Kind  Refusal
	Cause string // for people
}

// A Refusal is a kind of [Refused].
type Refusal int

// The refusals.
const (
	RefusedMalformed Refusal = iota
	RefusedOtherDigest
	RefusedTooLarge
	RefusedTooMany
)

// documents is one look-up.
type documents struct {
	c    *Checker
	img  attestor.Image
	want Wanted
	m    *material // nil: nobody's signature counts

	use    func(Document)
	refuse func(Refused)
	read   int   // documents
	unread error // the first failure to read one
}

// Documents calls use with each document that is attached to img, one at a time: signed
// or not, under the tags of cosign, as referrers, or in the index. Whether a document's
// statement is about img is for the caller to check, in the bytes that it reads. A
// document that cannot be used goes to refuse. An error says that not everything could be
// read.
func (c *Checker) Documents(
	ctx context.Context, img attestor.Image, want Wanted, use func(Document), refuse func(Refused),
) error {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()

	d := &documents{c: c, img: img, want: want, use: use, refuse: refuse}
	if want.Rule != nil {
		m, err := c.material(ctx, *want.Rule)
		if err != nil {
			return err
		}
		d.m = m
	}

	err := guard(func() error {
		d.tagged(ctx)
		d.referring(ctx)
		d.indexed(ctx)
		return nil
	})
	if err != nil {
		return err
	}
	return d.unread
}

// fail notes that something could not be read.
func (d *documents) fail(err error) {
	if d.unread == nil {
		d.unread = err
	}
}

// layers are those of a manifest that was fetched; none where there is no manifest that
// could hold a document.
func (d *documents) layers(place string, m *v1.Manifest, err error) []v1.Descriptor {
	switch flaw, flawed := errors.AsType[referrers.Flaw](err); {
	case errors.Is(err, referrers.ErrNone):
		return nil
	case flawed:
		d.refuse(Refused{place, RefusedMalformed, string(flaw)})
		return nil
	case err != nil:
		d.fail(err)
		return nil
	}

	// One of the rest may be a document that refuses the image.
	if len(m.Layers) > maxCandidates {
		d.refuse(Refused{place, RefusedTooMany, fmt.Sprintf("it has %d layers; at most %d are read", len(m.Layers),
			maxCandidates)})
		return m.Layers[:maxCandidates]
	}
	return m.Layers
}

// tagged reads what cosign attaches by tags: attestations, and documents without a
// signature.
func (d *documents) tagged(ctx context.Context) {
	stem := "tag sha256-" + d.img.Digest().Hex()
	m, err := d.c.registry.Tagged(ctx, d.img, "att")
	for _, l := range d.layers(stem+".att", m, err) {
		// The annotation is a hint of whoever wrote the tag, who could as well have left the
		// entry out.
		if l.MediaType == dsseMediaType && d.wanted(l.Annotations["predicateType"]) {
			d.take(ctx, stem+".att", l, form{envelope: true})
		}
	}

	m, err = d.c.registry.Tagged(ctx, d.img, "sbom")
	for _, l := range d.layers(stem+".sbom", m, err) {
		d.bare(ctx, stem+".sbom", l, "")
	}
}

// wanted reports whether statements of a type are asked for. One whose type is not said here may be of any.
func (d *documents) wanted(predicateType string) bool {
	return predicateType == "" || OfType(predicateType, d.want.Predicates)
}

// plainMedia is a media type without its parameters: CycloneDX writes application/vnd.cyclonedx+json; version=1.6. RFC
// 2045, 5.1: "The type, subtype, and parameter names are not case sensitive."
func plainMedia(mediaType string) string {
	t, _, _ := strings.Cut(mediaType, ";")
	return strings.ToLower(strings.TrimSpace(t))
}

// referring reads the referrers of the image.
func (d *documents) referring(ctx context.Context) {
	const place = "the list of referrers"
	list, err := d.c.registry.List(ctx, d.img, append([]string{bundleMediaType}, d.want.Media...)...)
	if flaw, ok := errors.AsType[referrers.Flaw](err); ok {
		d.refuse(Refused{place, RefusedMalformed, string(flaw)})
		return
	}
	if err != nil {
		d.fail(err)
		return
	}

	// What is left out may be a document that refuses the image.
	if !list.Whole() {
		d.refuse(Refused{place, RefusedTooMany, fmt.Sprintf("the image has more than %d referrers", referrers.Max)})
	}
	for _, r := range list.Referrers {
		if d.maybe(r) {
			d.referrer(ctx, r)
		}
	}
}

// maybe reports whether a referrer could be a document, by what the list says of it.
func (d *documents) maybe(r v1.Descriptor) bool {
	switch t := plainMedia(r.ArtifactType); {
	case strings.HasPrefix(t, bundleMediaType):
		return d.wanted(r.Annotations["dev.sigstore.bundle.predicateType"])
	case t == "", t == "application/vnd.oci.empty.v1+json", t == typeDocker, t == inTotoMedia, t == dsseMediaType,
		t == string(types.OCIConfigJSON), t == typeCosign, t == typeCosignAttested:
		return true
	default:
		return slices.Contains(d.want.Media, t)
	}
}

const (
	inTotoMedia = "application/vnd.in-toto+json"
	typeDocker  = "application/vnd.docker.attestation.manifest.v1+json"
	typeCosign  = "application/vnd.dev.cosign.artifact.sbom.v1+json" // of cosign attach sbom, as the config's type

	// typeCosignAttested is of cosign attest in its mode oci-1-1.
	typeCosignAttested = "application/vnd.dev.cosign.artifact.att.v1+json"
)

// referrer reads one referrer. The list's descriptor only says which manifest to fetch.
func (d *documents) referrer(ctx context.Context, r v1.Descriptor) {
	place := "referrer " + r.Digest.String()
	m, err := d.c.registry.Manifest(ctx, d.img, r)

	// A list that claims another image's document of this one is not believed.
	if _, ok := errors.AsType[referrers.Flaw](err); ok {
		d.refuse(Refused{place, RefusedOtherDigest, "its manifest refers to another digest"})
		return
	}
	if slices.Contains(d.want.InIndex, attestor.Digest(r.Digest.String())) {
		return // read from the index
	}
	for _, l := range d.layers(place, m, err) {
		// OCI image specification 1.0 has no artifactType, and 1.1 says of a manifest without one: "set to the config
		// descriptor mediaType value". The layers of both are read alike: one may be a document that refuses the image.
		artifact := cmp.Or(m.ArtifactType, string(m.Config.MediaType))
		switch {
		case strings.HasPrefix(string(l.MediaType), bundleMediaType):
			d.take(ctx, place, l, form{envelope: true, bundle: true})
		case l.MediaType == dsseMediaType:
			// An envelope without a bundle, as under the tag of attestations.
			if d.wanted(l.Annotations["predicateType"]) {
				d.take(ctx, place, l, form{envelope: true})
			}
		default:
			d.statementOrBare(ctx, place, l, artifact, "")
		}
	}
}

// indexed reads the build attestations in the index.
func (d *documents) indexed(ctx context.Context) {
	// A signature that is missing, or cannot be checked, leaves the documents claims.
	signer := ""
	if len(d.want.InIndex) > 0 && d.want.Rule != nil {
		if by, err := d.c.Check(ctx, d.want.Index, *d.want.Rule); err == nil {
			signer = by + ", who signed the index"
		}
	}

	for _, digest := range d.want.InIndex {
		// The index says which image it is about; older builders give it no subject.
		place := "build attestation " + string(digest)
		m, err := d.c.registry.Manifest(ctx, d.img,
			v1.Descriptor{Digest: v1.Hash{Algorithm: "sha256", Hex: digest.Hex()}})
		if _, ok := errors.AsType[referrers.Flaw](err); ok {
			err = nil
		}
		for _, l := range d.layers(place, m, err) {
			d.statementOrBare(ctx, place, l, "", signer)
		}
	}
}

// statementOrBare reads a layer that is a statement without envelope, or a document by
// itself. signer is whose signature covers it already.
func (d *documents) statementOrBare(ctx context.Context, place string, l v1.Descriptor, artifact, signer string) {
	if l.MediaType != inTotoMedia {
		d.bare(ctx, place, l, artifact)
		return
	}
	if d.wanted(l.Annotations["in-toto.io/predicate-type"]) {
		d.take(ctx, place, l, form{statement: true, signer: signer})
	}
}

// bare reads a layer that is a document by itself. artifact is the artifact type of its
// manifest, for layers whose own type says nothing.
func (d *documents) bare(ctx context.Context, place string, l v1.Descriptor, artifact string) {
	if slices.Contains(d.want.Media, plainMedia(string(l.MediaType))) ||
		slices.Contains(d.want.Media, plainMedia(artifact)) {
		d.take(ctx, place, l, form{})
	}
}

// A form is how a blob holds a document. The zero value is a document by itself.
type form struct {
	envelope  bool   // a DSSE envelope,
	bundle    bool   // in a bundle
	statement bool   // an in-toto statement without envelope
	signer    string // whose signature covers the blob already
}

// take reads one blob within the budget, verifies its signature, and has it used.
func (d *documents) take(ctx context.Context, place string, l v1.Descriptor, f form) {
	if d.read++; d.read > d.want.Number {
		if d.read == d.want.Number+1 {
			d.refuse(Refused{place, RefusedTooMany, fmt.Sprintf("more than %d documents are attached", d.want.Number)})
		}
		return
	}

	// Base64 makes four bytes of three; the rest of an envelope or a bundle is small.
	limit := d.want.Limit
	if f.envelope {
		limit += limit/3 + maxSignature
	}
	if l.Size < 0 || l.Size > limit {
		d.refuse(Refused{place, RefusedTooLarge, fmt.Sprintf("it has %d bytes, at most %d are read", l.Size, limit)})
		return
	}

	// Documents of several decisions queue here, before anything of theirs is held.
	if err := d.want.Budget.Acquire(ctx, l.Size); err != nil {
		d.fail(fmt.Errorf("waiting for memory to read %s in: %w", l.Digest, err))
		return
	}
	defer d.want.Budget.Release(l.Size)

	b, err := d.blob(ctx, l)
	if flaw, ok := errors.AsType[referrers.Flaw](err); ok {
		d.refuse(Refused{place, RefusedMalformed, string(flaw)})
		return
	}
	if err != nil {
		d.fail(err)
		return
	}

	doc := Document{Place: place, Digest: attestor.Digest(l.Digest.String()), Body: b, Signer: f.signer}
	if f.envelope || f.statement {
		doc.PredicateType = inTotoMedia
	}
	if f.envelope {
		doc.Body, doc.Signer, err = d.unwrap(ctx, b, l.Annotations, f)
		if errors.Is(err, errHeavy) {
			d.refuse(Refused{place, RefusedTooLarge, fmt.Sprintf("it has %d bytes: %v", len(b), err)})
			return
		}
		if err != nil {
			d.refuse(Refused{place, RefusedMalformed, explain(err)})
			return
		}
	}
	d.use(doc)
}

// blob fetches a blob into memory of the size that its descriptor says.
func (d *documents) blob(ctx context.Context, l v1.Descriptor) ([]byte, error) {
	r, err := d.c.registry.Open(ctx, d.img, l, l.Size)
	if err != nil {
		return nil, err
	}
	defer r.Close()

	b := make([]byte, l.Size)
	if _, err := io.ReadFull(r, b); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			return nil, referrers.Flaw("it has fewer bytes than its manifest says")
		}
		return nil, fmt.Errorf("reading blob %s: %w", l.Digest, err)
	}

	// The digest is compared at the end of the body, which has to be read.
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading blob %s: %w", l.Digest, err)
	}
	return b, nil
}

// errHeavy is the refusal of a document that the libraries would have to verify.
var errHeavy = fmt.Errorf("of those that a certificate signs, or a log lists, at most %d are read", maxAttestation)

// unwrap returns the statement in an envelope, and who signed it by the rule.
func (d *documents) unwrap(
	ctx context.Context, raw []byte, annotations map[string]string, f form,
) (body []byte, signer string, err error) {
	// With a certificate or a log, the libraries verify. They hold a document several times
	// over, so that it has to be smaller.
	if d.m != nil && (d.m.verifier == nil || d.m.log) {
		if len(raw) > maxAttestation {
			return nil, "", errHeavy
		}

		var st Statement
		if f.bundle {
			st, err = d.c.verifyBundle(ctx, d.img, raw, d.m)
		} else {
			st, err = d.c.attestation(ctx, d.img, raw, annotations, d.m)
		}
		if err == nil {
			return st.Payload, st.Signer, nil
		}
	}

	o, err := open(raw, f.bundle)
	if err != nil || o.payloadType != inTotoMedia {
		return nil, "", rejection("it is malformed")
	}
	if d.m == nil || d.m.verifier == nil || d.m.log {
		return o.payload, "", nil
	}

	// DSSE protocol: the signature is made over PAE(payloadType, payload), so that nothing of
	// the payload is believed that the key did not sign.
	for _, sig := range o.signatures {
		if len(sig) > 0 && d.m.verifier.verifies(sig, o.message) == nil {
			return o.payload, "key " + d.m.keyID, nil
		}
	}
	return o.payload, "", nil
}
