package provenance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/referrers"
	"github.com/attestor-gate/attestor/internal/resource"
)

const (
	bundleMedia = "application/vnd.dev.sigstore.bundle"

	// maxReferred bounds the bytes that are read of one image's referrers. Anyone who may push can attach as many as
	// there is room for.
	maxReferred = 32 << 20

	maxReferredLayers = 8 // of one manifest
)

// wantsReferred reports whether the referrers could have a statement that matters: of Cloud Build, better than those of
// Container Analysis. Google attaches the same statements to the image as it stores there.
func (s *Source) wantsReferred(images []attestor.Image, needs attestor.ProvenanceNeeds, c *collection) bool {
	if _, err := resource.Project(images[0], s.c.ScanProjects); err != nil || s.c.Registry == nil {
		return false
	}
	if len(needs.Builders) > 0 &&
		!slices.ContainsFunc(needs.Builders, func(b string) bool { return strings.HasPrefix(b, cloudBuildBuilder) }) {
		return false
	}
	return !slices.ContainsFunc(c.verified, func(p attestor.Provenance) bool { return p.SLSALevel >= 3 })
}

// referred reads Cloud Build's statements among the OCI referrers of the images.
func (s *Source) referred(ctx context.Context, images []attestor.Image, c *collection) {
	ctx, cancel := s.c.Limit.Start(ctx)
	defer cancel()

	left := int64(maxReferred)
	for _, img := range images {
		if err := s.referredOf(ctx, img, &left, c); err != nil {
			msg := "provenance among the referrers of the image could not be read"
			if errors.Is(err, context.DeadlineExceeded) {
				msg += " in the time allowed"
			}
			c.fail(err, msg, "try again; if it persists, let the gate read the image's repository")
			return
		}
	}
}

// referredOf adds the statements that refer to one image. An error says that not all of them could be read.
func (s *Source) referredOf(ctx context.Context, img attestor.Image, left *int64, c *collection) error {
	list, err := s.c.Registry.List(ctx, img, bundleMedia, "application/vnd.in-toto", "application/vnd.dsse")
	if flaw, ok := errors.AsType[referrers.Flaw](err); ok {
		c.reject("among the referrers: " + string(flaw))
		return nil
	}
	if err != nil {
		return err
	}

	for _, desc := range list.Referrers {
		m, err := s.c.Registry.Manifest(ctx, img, desc)
		_, flawed := errors.AsType[referrers.Flaw](err)
		switch {
		case flawed || errors.Is(err, referrers.ErrNone):
			continue // of another image, or no manifest: not about this one
		case err != nil:
			return err
		}

		for _, layer := range m.Layers[:min(len(m.Layers), maxReferredLayers)] {
			if err := s.referredLayer(ctx, img, layer, left, c); err != nil {
				return err
			}
		}
	}

	// The statement that the policy asks for may be one of the rest.
	if !list.Whole() {
		return &attestor.Error{
			Kind: attestor.Upstream, Code: attestor.CodeProvenanceUnavailable,
			Msg: fmt.Sprintf("of %d attached referrers, %d were read", list.Listed, len(list.Referrers)),
			Fix: "delete the referrers that are not needed",
		}
	}
	return nil
}

// referredLayer adds the statement of one layer, or the cause why it does not count.
func (s *Source) referredLayer(
	ctx context.Context, img attestor.Image, layer v1.Descriptor, left *int64, c *collection,
) error {
	if !holdsEnvelope(string(layer.MediaType)) {
		return nil
	}
	// The limit is that of one statement, until less than that is left for all of them.
	limit := min(maxPayload, *left)
	b, err := s.c.Registry.Blob(ctx, img, layer, limit)
	flaw, flawed := errors.AsType[referrers.Flaw](err)
	switch {
	case flawed && limit < maxPayload:
		return &attestor.Error{
			Kind: attestor.Upstream, Code: attestor.CodeProvenanceUnavailable,
			Msg: fmt.Sprintf("the statements among the referrers have more than %d bytes", maxReferred),
			Fix: "delete the referrers that are not needed",
		}
	case flawed:
		if layer.Size <= limit {
			*left -= limit // it was read until it was too large
		}
		c.reject("attached: " + string(flaw))
		return nil
	case err != nil:
		return err
	}
	*left -= int64(len(b))

	env, isProvenance := envelope(b)
	if !isProvenance {
		return nil
	}
	p, err := s.statement(env, img.Digest())
	if err != nil {
		c.reject("attached: " + err.Error())
		return nil //nolint:nilerr // the statement is refused, and the image's others are read
	}
	c.add(p)
	return nil
}

// holdsEnvelope reports whether a layer of this media type may be a signed statement. What it is, its bytes say.
func holdsEnvelope(mediaType string) bool {
	switch mediaType {
	case "application/vnd.in-toto+json", "application/vnd.dsse.envelope.v1+json":
		return true
	}
	return strings.HasPrefix(mediaType, bundleMedia)
}

// envelope decodes a DSSE envelope, bare or in a Sigstore bundle. isProvenance is false for what is none, and for
// statements of other kinds, such as SBOMs and signatures. Nothing of the envelope is verified yet: what it says of
// itself can only leave it out.
func envelope(b []byte) (env *grafeaspb.Envelope, isProvenance bool) {
	type dsseEnvelope struct {
		PayloadType string `json:"payloadType"`
		Payload     []byte `json:"payload"`
		Signatures  []struct {
			KeyID string `json:"keyid"`
			Sig   []byte `json:"sig"`
		} `json:"signatures"`
	}
	var doc struct {
		dsseEnvelope
		Bundled *dsseEnvelope `json:"dsseEnvelope"`
	}
	if json.Unmarshal(b, &doc) != nil {
		return nil, false
	}
	in := doc.dsseEnvelope
	if doc.Bundled != nil {
		in = *doc.Bundled
	}

	for _, reading := range readings(in.Payload) {
		var st statement
		if json.Unmarshal(reading, &st) == nil && strings.HasPrefix(st.PredicateType, "https://slsa.dev/provenance/") {
			isProvenance = true
		}
	}

	env = &grafeaspb.Envelope{PayloadType: in.PayloadType, Payload: in.Payload}
	for _, sig := range in.Signatures {
		env.Signatures = append(env.Signatures, &grafeaspb.EnvelopeSignature{Keyid: sig.KeyID, Sig: sig.Sig})
	}
	return env, isProvenance
}
