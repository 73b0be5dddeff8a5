package provenance

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/api/iterator"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	// The Any in a v0.1 statement's copy is of this package's Build.
	_ "cloud.google.com/go/cloudbuild/apiv1/v2/cloudbuildpb"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/resource"
)

const (
	// builderProject is where the notes of Cloud Build's provenance stand. Only
	// Cloud Build may attach occurrences to them, and it does so in the project
	// that the image was built in: a copy elsewhere, however well signed, is
	// somebody else's.
	builderProject = "verified-builder"
	pageSize       = 200
	maxOccurrences = 1000
	maxPayload     = 8 << 20
)

// cloudBuild reads BUILD occurrences. There are two or more per image: one
// for each version of the statement and each build.
func (s *Source) cloudBuild(ctx context.Context, images []attestor.Image, needs attestor.ProvenanceNeeds, c *collection) {
	const msg = "Cloud Build's provenance could not be read"
	project, err := resource.Project(images[0], s.c.ScanProjects)
	if err != nil || s.c.Grafeas == nil {
		if needs.SignedBy == nil {
			c.fail(err, msg, "this gate is not configured to read it")
		}
		return // statements by whom the policy names are what counts
	}
	ctx, cancel := context.WithTimeout(ctx, s.c.CallTimeout)
	defer cancel()
	var uris []string
	about := map[string]attestor.Digest{}
	for _, img := range images {
		for _, uri := range resource.URIs(img) {
			uris = append(uris, uri)
			about[uri] = img.Digest()
		}
	}
	it := s.c.Grafeas.ListOccurrences(ctx, &grafeaspb.ListOccurrencesRequest{
		Parent: "projects/" + project, Filter: resource.Filter([]string{"BUILD"}, uris), PageSize: pageSize,
	})
	for n := 0; ; n++ {
		occ, err := it.Next()
		if errors.Is(err, iterator.Done) {
			return
		}
		if err != nil {
			c.fail(fmt.Errorf("listing build occurrences: %w", err), msg+" in project "+project+because(err), fixList(err, project))
			return
		}
		if n >= maxOccurrences {
			c.fail(nil, fmt.Sprintf("%s: more than %d occurrences", msg, maxOccurrences), "delete those of old builds")
			return
		}
		// The filter is a request, not a proof: a server may answer more.
		digest, ok := about[occ.GetResourceUri()]
		if !ok || occ.GetBuild() == nil {
			continue
		}
		if note, ok := resource.ParseName("notes", occ.GetNoteName()); !ok || note.Project != builderProject {
			c.reject(fmt.Sprintf("%s is not by Cloud Build", occ.GetNoteName()))
			continue
		}
		p, err := s.occurrence(occ, digest)
		if err != nil {
			c.reject(fmt.Sprintf("%s: %s", occ.GetNoteName(), err))
			continue
		}
		c.add(p)
	}
}

func because(err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), status.Code(err) == codes.DeadlineExceeded:
		return " in the time allowed"
	case status.Code(err) == codes.PermissionDenied:
		return ": permission denied"
	}
	return ""
}

func fixList(err error, project string) string {
	if status.Code(err) == codes.PermissionDenied {
		return fmt.Sprintf("gcloud projects add-iam-policy-binding %s --member=serviceAccount:GATE --role=roles/containeranalysis.occurrences.viewer", project)
	}
	return "try again; if it persists, see the status of Container Analysis"
}

// occurrence verifies one, and parses what was signed. The structured fields
// of the occurrence are not looked at.
func (s *Source) occurrence(occ *grafeaspb.Occurrence, digest attestor.Digest) (attestor.Provenance, error) {
	env := occ.GetEnvelope()
	switch {
	case env == nil || len(env.GetPayload()) == 0:
		return attestor.Provenance{}, errors.New("it is not signed")
	case len(env.GetPayload()) > maxPayload:
		return attestor.Provenance{}, fmt.Errorf("it has %d bytes, at most %d are read", len(env.GetPayload()), maxPayload)
	}
	payload, keyID, err := s.verify(env)
	if err != nil {
		return attestor.Provenance{}, err
	}
	p, err := parse(payload, digest)
	if err != nil {
		return attestor.Provenance{}, err
	}
	p.Source, p.KeyID, p.SLSALevel = "cloud-build", keyID, cloudBuildLevel(p)
	return p, nil
}
