package verify

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	artifactregistry "cloud.google.com/go/artifactregistry/apiv1"
	"cloud.google.com/go/artifactregistry/apiv1/artifactregistrypb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/cause"
	"github.com/attestor-gate/attestor/internal/limit"
)

// ArtifactRegistry knows upload times of images in Google's Artifact Registry,
// gcr.io names included. It is an [UploadTimes], safe for concurrent use. Dial is
// required.
type ArtifactRegistry struct {
	// Dial makes the client at the first question: few policies need it. Its error
	// is every later question's answer too.
	Dial     func(ctx context.Context) (*artifactregistry.Client, error)
	Limit    limit.Call // of one question; 0: [limit.Default]
	Emulated bool       // Google's services are emulated, but not this one: every upload time is unknown

	once   sync.Once
	client *artifactregistry.Client
	err    error
}

// Uploaded implements [UploadTimes].
func (a *ArtifactRegistry) Uploaded(ctx context.Context, img attestor.Image) (time.Time, error) {
	unknown := func(err error, fix, format string, args ...any) (time.Time, error) {
		return time.Time{}, fault(attestor.CodeUploadTimeUnknown, fmt.Sprintf(format, args...), fix, err)
	}

	// The real service must not be asked about what an emulated gate judges.
	if a.Emulated {
		return unknown(nil, "", "Artifact Registry is not emulated, so that the upload time is not known")
	}

	// The client outlives the request that happened to be the first.
	a.once.Do(func() { a.client, a.err = a.Dial(context.WithoutCancel(ctx)) })
	if a.err != nil {
		return unknown(a.err, "", "Artifact Registry cannot be asked")
	}

	ctx, cancel := a.Limit.Start(ctx)
	defer cancel()

	resource, ok := dockerImage(img)
	if !ok {
		return unknown(nil, "keep the image in Artifact Registry, or remove scope.maxUploadAge from the policy",
			"%s keeps no upload times that can be asked for", img.Registry())
	}

	found, err := a.client.GetDockerImage(ctx, &artifactregistrypb.GetDockerImageRequest{Name: resource})
	because := cause.Of(err)
	if because.Lasts() {
		return unknown(err, because.Fix, "Artifact Registry could not be asked when %s was uploaded: %s", img, because.Why)
	}
	switch status.Code(err) {
	case codes.OK:
	case codes.PermissionDenied:
		return unknown(err, "grant the gate's service account roles/artifactregistry.reader on the repository",
			"Artifact Registry refuses to say when %s was uploaded", img)
	case codes.NotFound:
		return unknown(err, "push the image again", "Artifact Registry has no record of %s", img)
	default:
		return unknown(err, cmp.Or(because.Fix, "try again"), "Artifact Registry could not be asked when %s was uploaded", img)
	}

	// What came back must be about the digest that was asked about.
	if !strings.HasSuffix(found.GetName(), "@"+string(img.Digest())) || !found.GetUploadTime().IsValid() ||
		found.GetUploadTime().AsTime().IsZero() {
		return unknown(nil, "try again", "Artifact Registry gave no upload time for %s", img)
	}
	return found.GetUploadTime().AsTime(), nil
}

// dockerImage is the resource name of an image:
// projects/P/locations/L/repositories/R/dockerImages/IMAGE@DIGEST, with the
// slashes of a nested IMAGE escaped.
func dockerImage(img attestor.Image) (string, bool) {
	repository, path, ok := ArtifactRepository(img.Repository())
	if !ok || path == "" {
		return "", false
	}
	return fmt.Sprintf("%s/dockerImages/%s@%s", repository, url.PathEscape(path), img.Digest()), true
}

// ArtifactRepository is the resource name, projects/P/locations/L/repositories/R,
// of the repository of Artifact Registry that a name such as
// us-docker.pkg.dev/P/R/IMAGE is in, gcr.io names included, and the rest of the name.
func ArtifactRepository(name string) (repository, path string, ok bool) {
	host, path, _ := strings.Cut(name, "/")
	project, path, _ := cutProject(path)
	location := ""
	switch host {
	case "gcr.io", "us.gcr.io":
		location, repository = "us", host
	case "eu.gcr.io":
		location, repository = "europe", host
	case "asia.gcr.io":
		location, repository = "asia", host
	default:
		if location, ok = strings.CutSuffix(host, "-docker.pkg.dev"); !ok || strings.Contains(location, ".") {
			return "", "", false
		}
		repository, path, _ = strings.Cut(path, "/")
	}

	if project == "" || location == "" || repository == "" {
		return "", "", false
	}
	return fmt.Sprintf("projects/%s/locations/%s/repositories/%s", project, location, repository), path, true
}

// cutProject takes the project off a path. A project of a domain has two
// segments there: example.com/project is example.com:project.
func cutProject(path string) (project, rest string, ok bool) {
	project, rest, ok = strings.Cut(path, "/")
	if strings.Contains(project, ".") {
		domain := project
		project, rest, ok = strings.Cut(rest, "/")
		project = domain + ":" + project
	}
	return project, rest, ok
}

// uploadedAt is when a base was uploaded, which does not change.
type uploadedAt struct{ time.Time }

// keptUploads is how many of them are remembered.
const keptUploads = 1024

// dated finds out since when a base may be out of date that no tag was ever seen
// to name: its tags cannot have moved on before it was uploaded. The record of
// its registry says when that was, and not the base or the image, whose authors
// write what they like. Without it, the age is not known.
func (i *Inspector) dated(ctx context.Context, m match) match {
	if m.base == nil || m.approval.full() || m.entry.MaxBehind <= 0 {
		return m // it is current, or no age is allowed
	}
	if m.approval.superseded != nil || m.approval.undated != "" {
		return m // it was found out before
	}

	img := m.base.image(m.base.root())
	if at, ok := i.bases.uploads.Get(img.String()); ok {
		m.approval.superseded = new(at.Time)
		return m
	}

	at, p := i.uploaded(ctx, img)
	if p != nil {
		m.approval.undated = p.Message
		return m
	}

	i.bases.uploads.Put(img.String(), uploadedAt{*at}, 1)
	m.approval.superseded = at
	return m
}
