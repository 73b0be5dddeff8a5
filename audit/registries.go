package audit

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/cause"
	"github.com/attestor-gate/attestor/internal/throttle"
)

const (
	// MaxRepositories is how many repositories of images one target may have.
	MaxRepositories = 200_000

	maxListPages = 5_000 // of one list of repositories
)

// A Registry is a target that holds repositories of images: a registry, a part of one,
// a project, or a repository of Artifact Registry.
type Registry struct {
	target string // as a person wrote it
	host   string
	prefix string // of the names that belong to the target; "" or ending in "/"

	// Of Artifact Registry only, which has an API of its own. Without a location all of
	// them are meant, and without a repository all of a location.
	project, location, repository string
}

// String is the target as it was written.
func (r Registry) String() string { return r.target }

// Host is the registry's, with its port; "" for all of a project.
func (r Registry) Host() string { return r.host }

// Artifact reports whether the registry is Google's, and is listed by Artifact Registry's API.
func (r Registry) Artifact() bool { return r.project != "" }

var (
	projectID = regexp.MustCompile(`^(?:[a-z0-9][a-z0-9.-]*:)?[a-z0-9][a-z0-9-]*$`)
	segmentID = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*$`)
)

// ProjectRegistry is all of a project's repositories in Artifact Registry.
func ProjectRegistry(project string) (Registry, error) {
	if !projectID.MatchString(project) {
		return Registry{}, &attestor.Error{
			Kind: attestor.Invalid, Msg: fmt.Sprintf("%q is not the id of a project", short200(project)),
			Fix: "name it as Google Cloud does: acme-prod",
		}
	}
	return Registry{target: "the project " + project, project: project}, nil
}

// ParseRegistry parses a target of an audit. whole is true for one that holds repositories of images, and
// false for one of these repositories. In Artifact Registry the depth of the path says which:
// LOCATION-docker.pkg.dev/PROJECT and …/PROJECT/REPOSITORY hold repositories, and so does
// gcr.io/PROJECT. Of other registries it is a host without a path. A slash at the end says
// in any registry that the repositories below are meant.
func ParseRegistry(target string) (r Registry, whole bool, err error) {
	path, below := strings.CutSuffix(target, "/")
	host, path, _ := strings.Cut(path, "/")
	r = Registry{target: target, host: host}

	location, ofLocation := strings.CutSuffix(host, "-docker.pkg.dev")
	switch {
	case ofLocation && segmentID.MatchString(location) && !strings.Contains(location, "."):
		r.location = location
	case gcrLocation(host) != "":
		r.location, r.repository = gcrLocation(host), host
	default:
		if path == "" && !below && !isHost(host) || path != "" && !below {
			return Registry{}, false, nil
		}
		if path != "" {
			r.prefix = path + "/"
		}
		if _, err := name.NewRegistry(host, name.StrictValidation); err != nil || host == "" {
			return Registry{}, false, notRegistry(target, err)
		}
		return r, true, nil
	}

	// Only domains have dots: example.com/project is one project.
	segments := strings.Split(path, "/")
	r.project, segments = segments[0], segments[1:]
	if strings.Contains(r.project, ".") && len(segments) > 0 {
		r.project, segments = r.project+":"+segments[0], segments[1:]
	}
	if r.repository == "" && len(segments) > 0 {
		r.repository, segments = segments[0], segments[1:]
	}

	switch {
	case len(segments) > 0 && !below:
		return Registry{}, false, nil // of images
	case !projectID.MatchString(r.project), r.repository != "" && !segmentID.MatchString(r.repository):
		return Registry{}, false, notRegistry(target, nil)
	case len(segments) > 0:
		r.prefix = strings.Join(segments, "/") + "/"
	}
	return r, true, nil
}

// gcrLocation is where Artifact Registry keeps what a host of gcr.io serves, in a repository with the host's name.
func gcrLocation(host string) string {
	switch host {
	case "gcr.io", "us.gcr.io":
		return "us"
	case "eu.gcr.io":
		return "europe"
	case "asia.gcr.io":
		return "asia"
	}
	return ""
}

// isHost reports whether a word alone can only mean a registry: it has a dot, or is this machine. nginx and nginx:1.25
// are images to people, and nobody is asked for them.
func isHost(word string) bool {
	host, port, _ := strings.Cut(word, ":")
	return (strings.Contains(host, ".") || host == "localhost") && strings.Trim(port, "0123456789") == ""
}

func notRegistry(target string, err error) error {
	return &attestor.Error{
		Kind: attestor.Invalid,
		Msg:  fmt.Sprintf("%q is not a registry, nor a project or repository of Artifact Registry", short200(target)),
		Fix:  "write it as us-docker.pkg.dev/PROJECT, us-docker.pkg.dev/PROJECT/REPOSITORY, HOST, or HOST/PATH/",
		Err:  err,
	}
}

// Repositories are what was found in a registry.
type Repositories struct {
	Names []string // of repositories of images, with their host, each once
	Left  []string // what was found and is not among them, each with the reason
}

// Catalog lists the repositories of a registry by its catalog (GET /v2/_catalog). Many registries answer that to
// nobody: the error says so. The catalog has what this identity may see.
func Catalog(ctx context.Context, r Registry, o RegistryOptions) (Repositories, error) {
	var opts []name.Option
	if o.Insecure != nil && o.Insecure(r.host) {
		opts = append(opts, name.Insecure)
	}
	reg, err := name.NewRegistry(r.host, append(opts, name.StrictValidation)...)
	if err != nil {
		return Repositories{}, notRegistry(r.target, err)
	}
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	l := &catalog{of: r, registry: reg, turned: tokens{}}
	l.options, err = o.options()
	if err == nil {
		l.options = append(l.options, remote.WithPageSize(catalogPage), remote.WithContext(ctx))
		err = l.all(ctx)
	}
	if err != nil {
		return Repositories{}, cataloguing(r, err, o.Refused)
	}
	below := func(full string) bool { return strings.HasPrefix(full, r.host+"/"+r.prefix) }
	return Repositories{Names: slices.DeleteFunc(l.found.list, func(n string) bool { return !below(n) })}, nil
}

// catalogPage is how many names a page of a catalog is asked to have.
const catalogPage = 1000

// A catalog is one that is being read.
type catalog struct {
	of       Registry
	registry name.Registry
	options  []remote.Option
	turned   tokens
	found    names
	last     string // name
	read     int    // names in the last page
	fresh    int    // of them, those that were not there before
}

func (c *catalog) all(ctx context.Context) error {
	p, err := remote.NewPuller(c.options...)
	if err != nil {
		return err
	}
	pages, err := p.Catalogger(ctx, c.registry)
	if err != nil {
		return err
	}
	for pages.HasNext() {
		page, err := pages.Next(ctx)
		if err != nil {
			return err
		}
		if err := c.add(page.Repos); err != nil {
			return err
		}
		if page.Next == "" {
			break
		}
		if err := sameHost(page.Next, c.registry); err != nil {
			return err
		}
		if err := c.turned.to(page.Next); err != nil {
			return err
		}
	}

	// Not every registry says that there is a further page. So what comes after the last name is asked for, until
	// nothing does.
	for c.read > 0 {
		full := c.read >= catalogPage
		if err := c.turned.to("after " + c.last); err != nil {
			return err
		}
		further, err := remote.CatalogPage(c.registry, c.last, catalogPage, c.options...)
		if err != nil {
			return err
		}
		if err := c.add(further); err != nil {
			return err
		}

		// A registry that begins anew does not know pages. A full one may then be a part.
		if c.read > 0 && c.fresh == 0 {
			if full {
				return errors.New("the catalog ends with a full page, and does not go on from there")
			}
			return nil
		}
	}
	return nil
}

// add takes a page's names. What the registry says is data: each must be the name of a repository.
func (c *catalog) add(page []string) error {
	c.read, c.fresh = len(page), 0
	for _, path := range page {
		c.last = path
		fresh, err := c.found.add(c.of.host, path)
		if err != nil {
			return err
		}
		if fresh {
			c.fresh++
		}
	}
	return nil
}

// errElsewhere is a next page that another host is said to have.
var errElsewhere = errors.New("the next page of the list is said to be at another host")

// sameHost refuses a next page elsewhere. The client checks the Link header, and not the field of the body that it also
// follows.
func sameHost(next string, reg name.Registry) error {
	u, err := url.Parse(next)
	if err != nil {
		return err
	}
	if u.Host != reg.RegistryStr() || u.Scheme != reg.Scheme() {
		return errElsewhere
	}
	return nil
}

// cataloguing is the public error of a catalog that could not be read to its end. It is never NotFound: a registry
// without a catalog is there, and what it holds could not be found out.
func cataloguing(r Registry, err error, refused func(error) bool) error {
	if _, ok := errors.AsType[*attestor.Error](err); ok {
		return err
	}

	const byFile = "name its repositories, as arguments or one image a line in a --file"
	e := &attestor.Error{
		Kind: attestor.Upstream, Code: attestor.CodeRegistryUnavailable, Err: err,
		Msg: "the repositories of " + r.host + " could not be listed: its catalog (/v2/_catalog) has no answer that " +
			"can be read",
		Fix: "check that the registry runs and can be reached from here, or " + byFile,
	}
	if why, fix := cause.Silence(r.host, err); why != "" {
		e.Msg = "the repositories of " + r.host + " could not be listed: the registry did not answer: " + why
		e.Fix = fix
	}
	if errors.Is(err, errElsewhere) || refused != nil && refused(err) {
		e.Code = attestor.CodeRegistryNotAllowed
		e.Msg = "the repositories of " + r.host + " could not be listed: the registry leads to a host or an answer that " +
			"is not allowed"
		e.Fix = byFile
	}

	if t, ok := errors.AsType[*transport.Error](err); ok {
		e.Msg = fmt.Sprintf("the repositories of %s could not be listed: the registry answered %d", r.host, t.StatusCode)
		switch t.StatusCode {
		case http.StatusUnauthorized, http.StatusForbidden:
			e.Code = attestor.CodeRegistryDenied
			e.Msg = "the registry " + r.host + " does not show this identity its catalog (/v2/_catalog)"
			e.Fix = "log in as somebody who may read it, or " + byFile
		case http.StatusNotFound, http.StatusMethodNotAllowed:
			e.Msg = "the registry " + r.host + " has no catalog (/v2/_catalog), by which its repositories could be listed"
			e.Fix = byFile
		}
	}

	if t, ok := errors.AsType[*throttle.Error](err); ok {
		e.Kind, e.Code, e.After = attestor.TooMany, attestor.CodeRegistryBusy, t.After
		e.Msg = fmt.Sprintf("the registry %s throttles the listing of its repositories: it kept answering %d",
			r.host, t.Status)
		e.Fix = "try again later"
	}
	return e
}

// names are repositories, each once, in the order in which they were found.
type names struct {
	list  []string
	known map[string]bool
}

func (n *names) add(host, path string) (fresh bool, err error) {
	full := host + "/" + path
	if _, err := name.NewRepository(full, name.StrictValidation); err != nil {
		return false, &attestor.Error{
			Kind: attestor.Upstream, Code: attestor.CodeRegistryUnavailable, Err: err,
			Msg: fmt.Sprintf("%s lists %q, which cannot be the name of a repository", host, short200(path)),
			Fix: "name the repositories, as arguments or one image a line in a --file",
		}
	}
	if n.known[full] {
		return false, nil
	}
	if len(n.list) == MaxRepositories {
		return false, &attestor.Error{
			Kind: attestor.Upstream,
			Msg:  fmt.Sprintf("%s has more than the %d repositories of one target", host, MaxRepositories),
			Fix:  "name parts of them, as arguments or one image a line in a --file",
		}
	}

	if n.known == nil {
		n.known = map[string]bool{}
	}
	n.known[full] = true
	n.list = append(n.list, full)
	return true, nil
}

// tokens are what named the pages of one list so far.
type tokens map[string]bool

// to notes that a list goes on with a page. One that was there before would come for ever, and a list without an end is
// none.
func (t tokens) to(next string) error {
	if t[next] {
		return errors.New("a list names a page again that it had before")
	}
	if len(t) >= maxListPages {
		return fmt.Errorf("a list has more than %d pages", maxListPages)
	}
	t[next] = true
	return nil
}

// options are those of a client of registries, which waits where one throttles.
func (o RegistryOptions) options() ([]remote.Option, error) {
	if o.Transport == nil {
		return nil, errors.New("asking registries: no transport is given")
	}

	// The transport waits and retries where the registry throttles. 429 is
	// therefore not among the codes that go-containerregistry retries: together
	// they would multiply the attempts.
	patient := throttle.Transport{Next: bounded{o.Transport}, Tries: tagTries}
	return append([]remote.Option{
		remote.WithTransport(patient),
		remote.WithRetryStatusCodes(
			http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway,
			http.StatusServiceUnavailable, http.StatusGatewayTimeout,
		),
	}, o.Remote...), nil
}
