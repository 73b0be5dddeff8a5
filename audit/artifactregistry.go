package audit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"google.golang.org/api/artifactregistry/v1"
	"google.golang.org/api/option"
	googletransport "google.golang.org/api/transport/http"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/cause"
	"github.com/attestor-gate/attestor/internal/throttle"
)

// artifactPage is how many entries a page of Artifact Registry may have: "The maximum page size is 1,000."
const artifactPage = 1000

// ArtifactRegistry lists the repositories of images in a part of Artifact Registry by its API: one call for each
// location, and one for each thousand images' names of a repository. A list that fails, or that goes round, is an
// error: a part would look like all of it.
//
// Repositories of other formats are left out. So are virtual ones, which hold nothing of their own: what they serve is
// judged where it is stored. What a remote repository has stored is served from there, and is listed.
func ArtifactRegistry(ctx context.Context, r Registry, opts ...option.ClientOption) (Repositories, error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()

	// As with registries, what throttles is waited for, and an answer has a limit.
	base, _, err := googletransport.NewClient(ctx, append([]option.ClientOption{
		option.WithScopes(artifactregistry.CloudPlatformReadOnlyScope)}, opts...)...)
	if err != nil {
		return Repositories{}, listingArtifacts(r, "Artifact Registry", err)
	}
	patient := *base
	if patient.Transport == nil {
		patient.Transport = http.DefaultTransport
	}
	patient.Transport = throttle.Transport{Next: bounded{patient.Transport}, Tries: tagTries}
	s, err := artifactregistry.NewService(ctx, append(opts[:len(opts):len(opts)], option.WithHTTPClient(&patient))...)
	if err != nil {
		return Repositories{}, listingArtifacts(r, "Artifact Registry", err)
	}

	l := &artifactLister{ctx: ctx, of: r, api: s.Projects.Locations}
	if err := l.all(); err != nil {
		return Repositories{}, err
	}
	return Repositories{Names: l.found.list, Left: l.left}, nil
}

// An artifactLister lists one target.
type artifactLister struct {
	ctx   context.Context //nolint:containedctx // of one listing
	of    Registry
	api   *artifactregistry.ProjectsLocationsService
	found names
	left  []string
}

func (l *artifactLister) all() error {
	project := "projects/" + l.of.project
	switch {
	case l.of.repository != "":
		return l.named(project + "/locations/" + l.of.location + "/repositories/" + l.of.repository)
	case l.of.location != "":
		return l.inLocation(project, l.of.location)
	}

	var locations []string
	err := l.pages("the locations", func(token string) (string, error) {
		page, err := l.api.List(project).PageSize(artifactPage).PageToken(token).Context(l.ctx).Do()
		if err != nil {
			return "", err
		}
		for _, location := range page.Locations {
			locations = append(locations, location.LocationId)
		}
		return page.NextPageToken, nil
	})
	if err != nil {
		return err
	}
	for _, location := range locations {
		if err := l.inLocation(project, location); err != nil {
			return err
		}
	}
	return nil
}

// named lists one repository that a person named: of images, or it is an error.
func (l *artifactLister) named(resource string) error {
	repository, err := l.api.Repositories.Get(resource).Context(l.ctx).Do()
	if hasStatus(err, http.StatusNotFound) {
		return &attestor.Error{
			Kind: attestor.NotFound, Msg: "the repository " + l.of.target + " does not exist in Artifact Registry",
			Fix: "check its name: location, project and repository are required", Err: err,
		}
	}
	if err != nil {
		return listingArtifacts(l.of, "the repository", err)
	}

	if why := holdsNothing(repository); why != "" {
		return &attestor.Error{
			Kind: attestor.Invalid, Msg: l.of.target + " holds no images to list: " + why,
			Fix: "name a repository of format Docker; for a virtual one, those that it serves",
		}
	}
	return l.packages(resource)
}

func (l *artifactLister) inLocation(project, location string) error {
	// The location is part of a host's name, to which tags are asked for.
	if !segmentID.MatchString(location) || strings.Contains(location, ".") {
		return listingArtifacts(l.of, "the locations", fmt.Errorf("%q is no location", short200(location)))
	}

	parent := project + "/locations/" + location
	var resources []string
	err := l.pages("the repositories in "+location, func(token string) (string, error) {
		page, err := l.api.Repositories.List(parent).PageSize(artifactPage).PageToken(token).Context(l.ctx).Do()
		if err != nil {
			return "", err
		}
		for _, repository := range page.Repositories {
			_, id, _ := strings.Cut(repository.Name, "/repositories/")
			if !segmentID.MatchString(id) {
				return "", fmt.Errorf("%q is no repository", short200(repository.Name))
			}
			if why := holdsNothing(repository); why != "" {
				l.left = append(l.left, location+"/"+id+" ("+why+")")
				continue
			}
			if resources = append(resources, parent+"/repositories/"+id); len(resources) > MaxRepositories {
				return "", fmt.Errorf("there are more than %d repositories", MaxRepositories)
			}
		}
		return page.NextPageToken, nil
	})
	if err != nil {
		return err
	}

	for _, resource := range resources {
		if err := l.packages(resource); err != nil {
			return err
		}
	}
	return nil
}

// holdsNothing says why a repository has no images of its own; "" where it may have.
func holdsNothing(r *artifactregistry.Repository) string {
	switch {
	case r.Format != "DOCKER":
		return "format " + short200(r.Format)
	case r.Mode == "VIRTUAL_REPOSITORY":
		return "virtual: what it serves is stored elsewhere"
	}
	return ""
}

// packages lists the names of images in one repository of Artifact Registry, which are what tags are listed of.
func (l *artifactLister) packages(resource string) error {
	part := strings.Split(resource, "/") // projects/P/locations/L/repositories/R
	host, path := part[3]+"-docker.pkg.dev", strings.Replace(l.of.project, ":", "/", 1)+"/"
	if gcrLocation(part[5]) == part[3] {
		host = part[5] // policies and scans know these images by gcr.io
	} else {
		path += part[5] + "/"
	}

	return l.pages("the images in "+part[3]+"/"+part[5], func(token string) (string, error) {
		page, err := l.api.Repositories.Packages.List(resource).PageSize(artifactPage).PageToken(token).
			Context(l.ctx).Do()
		if err != nil {
			return "", err
		}
		for _, p := range page.Packages {
			// Package.name: "If the package ID part contains slashes, the slashes are escaped."
			image, ok := strings.CutPrefix(p.Name, resource+"/packages/")
			image, err := url.PathUnescape(image)
			if err != nil || !ok {
				return "", fmt.Errorf("%q is no image of %s", short200(p.Name), resource)
			}
			if !strings.HasPrefix(image, l.of.prefix) {
				continue
			}
			if _, err := l.found.add(host, path+image); err != nil {
				return "", err
			}
		}
		return page.NextPageToken, nil
	})
}

// pages asks for page after page.
func (l *artifactLister) pages(what string, ask func(token string) (next string, err error)) error {
	turned := tokens{}
	for token := ""; ; {
		next, err := ask(token)
		if err == nil && next == "" {
			return nil
		}
		if err == nil {
			err = turned.to(next)
		}
		if err != nil {
			return listingArtifacts(l.of, what, err)
		}
		token = next
	}
}

// listingArtifacts is the public error of a list that failed.
func listingArtifacts(r Registry, what string, err error) error {
	if _, ok := errors.AsType[*attestor.Error](err); ok {
		return err
	}

	e := &attestor.Error{
		Kind: attestor.Upstream, Code: attestor.CodeRegistryUnavailable, Err: err,
		Msg: what + " of " + r.target + " could not be listed by Artifact Registry's API",
		Fix: "try again, or name the repositories, as arguments or one image a line in a --file",
	}
	c := cause.Of(err)
	if c.Why != "" {
		e.Msg, e.Fix = e.Msg+": "+c.Why, c.Fix
	}
	if c.Lasts() {
		e.Code = attestor.CodeRegistryDenied
	} else if hasStatus(err, http.StatusUnauthorized, http.StatusForbidden) {
		e.Code = attestor.CodeRegistryDenied
		e.Msg = "this identity may not list " + what + " of " + r.target + " by Artifact Registry's API"
		e.Fix = "grant it roles/artifactregistry.reader on the project, and enable artifactregistry.googleapis.com there"
	}
	if t, ok := errors.AsType[*throttle.Error](err); ok {
		e.Kind, e.Code, e.After = attestor.TooMany, attestor.CodeRegistryBusy, t.After
		e.Msg = fmt.Sprintf("Artifact Registry throttles the listing of %s: it kept answering %d", r.target, t.Status)
		e.Fix = "try again later"
	}
	return e
}
