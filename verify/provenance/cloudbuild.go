package provenance

import (
	"context"
	"errors"
	"fmt"

	"github.com/googleapis/gax-go/v2"
	"google.golang.org/api/iterator"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	// Registers the Build message: a v0.1 occurrence has one packed as Any, and could
	// not be decoded without it.
	_ "cloud.google.com/go/cloudbuild/apiv1/v2/cloudbuildpb"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/cause"
	"github.com/attestor-gate/attestor/internal/resource"
)

const (
	// builderProject has the notes of Cloud Build's provenance. Only Cloud Build may
	// attach occurrences to them, and it does so in the project that built the
	// image: an occurrence of another note was written by somebody else, however
	// well signed the copy in it.
	builderProject = "verified-builder"

	pageSize       = 200
	maxPage        = 64 << 20 // bytes
	maxOccurrences = 1000
	maxPayload     = 8 << 20 // bytes of one statement
)

// cloudBuild reads BUILD occurrences. There are two or more per image: one
// for each version of the statement and each build.
func (s *Source) cloudBuild(
	ctx context.Context, images []attestor.Image, needs attestor.ProvenanceNeeds, c *collection,
) {
	const msg = "Cloud Build's provenance could not be read"
	project, err := resource.Project(images[0], s.c.ScanProjects)
	if err != nil || s.c.Grafeas == nil {
		// A policy that names its signer does not depend on Cloud Build. Any other
		// does, and a source that cannot be read is not an empty one.
		if needs.SignedBy == nil {
			c.fail(err, msg, "this gate is not configured to read it")
		}
		return
	}

	ctx, cancel := s.c.Limit.Start(ctx)
	defer cancel()

	var uris []string
	digests := map[string]attestor.Digest{} // by resource URI
	for _, img := range images {
		for _, uri := range resource.URIs(img) {
			uris = append(uris, uri)
			digests[uri] = img.Digest()
		}
	}

	it := s.c.Grafeas.ListOccurrences(ctx, &grafeaspb.ListOccurrencesRequest{
		Parent: "projects/" + project, Filter: resource.Filter([]string{"BUILD"}, uris), PageSize: pageSize,
	}, gax.WithGRPCOptions(grpc.MaxCallRecvMsgSize(maxPage))) // clients differ in their own bound: 4 MiB, or 2 GiB
	for n := 0; ; n++ {
		occ, err := it.Next()
		if errors.Is(err, iterator.Done) {
			return
		}

		// A page that fails leaves the rest unread. The statements of earlier pages
		// count: each was verified by itself.
		if err != nil {
			c.fail(
				fmt.Errorf("listing build occurrences: %w", err),
				msg+" in project "+project+because(err),
				fixList(err, project),
			)
			return
		}

		if n >= maxOccurrences {
			c.fail(
				nil,
				fmt.Sprintf("%s: more than %d occurrences", msg, maxOccurrences),
				"delete the image's BUILD occurrences of old builds",
			)
			return
		}
		s.take(occ, digests, c)
	}
}

// take adds the statement of one occurrence to c, or the cause why it does not
// count.
func (s *Source) take(occ *grafeaspb.Occurrence, digests map[string]attestor.Digest, c *collection) {
	// The filter is a request and proves nothing: a server may send others, which
	// are ignored.
	digest, ok := digests[occ.GetResourceUri()]
	if !ok || occ.GetBuild() == nil {
		return
	}

	// Anyone who may write occurrences in the project could copy a signed
	// envelope there, but only under a note of his own.
	if note, ok := resource.ParseName("notes", occ.GetNoteName()); !ok || note.Project != builderProject {
		c.reject(fmt.Sprintf("%s is not by Cloud Build", occ.GetNoteName()))
		return
	}

	// The structured fields beside the envelope are not signed, and so not read.
	p, err := s.statement(occ.GetEnvelope(), digest)
	if err != nil {
		c.reject(fmt.Sprintf("%s: %s", occ.GetNoteName(), err))
		return
	}
	c.add(p)
}

func because(err error) string {
	switch why := cause.Of(err); {
	case why.Kind == cause.Late:
		return " in the time allowed"
	case why.Lasts():
		return ": " + why.Why
	case status.Code(err) == codes.PermissionDenied:
		return ": permission denied"
	}
	return ""
}

func fixList(err error, project string) string {
	if because := cause.Of(err); because.Fix != "" {
		return because.Fix
	}
	if status.Code(err) == codes.PermissionDenied {
		return "gcloud projects add-iam-policy-binding " + project +
			" --member=serviceAccount:GATE --role=roles/containeranalysis.occurrences.viewer"
	}
	return "try again; if it persists, see the status of Container Analysis"
}

// statement verifies an envelope with the pinned keys and parses its payload.
func (s *Source) statement(env *grafeaspb.Envelope, digest attestor.Digest) (attestor.Provenance, error) {
	switch {
	case len(env.GetPayload()) == 0:
		return attestor.Provenance{}, errors.New("it is not signed")
	case len(env.GetPayload()) > maxPayload:
		return attestor.Provenance{}, fmt.Errorf(
			"it has %d bytes, at most %d are read", len(env.GetPayload()), maxPayload,
		)
	}

	// in-toto's validation model: the envelope is verified first, and only the
	// payload that verified is decoded.
	payload, keyID, err := s.verify(env)
	if err != nil {
		return attestor.Provenance{}, err
	}

	p, err := parse(payload, digest)
	if err != nil {
		return attestor.Provenance{}, err
	}
	p.Source, p.KeyID, p.SLSALevel = "cloud-build", keyID, cloudBuildLevel(p)
	p.Statement = attestor.DigestOf(payload)
	return p, nil
}
