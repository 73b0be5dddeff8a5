package audit

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/cause"
	"github.com/attestor-gate/attestor/internal/throttle"
)

// References is a list of images for a [Sweep]: references as people write them,
// which are parsed when the image is judged. It ends with the first error.
type References = iter.Seq2[string, error]

// MaxTagPage is how many bytes of one response to a list of tags are read.
const MaxTagPage = 64 << 20

const (
	maxLine     = 4096             // bytes of a line of a file of references
	maxDocument = 256 << 20        // bytes of a document of gcloud or kubectl
	listTimeout = 30 * time.Minute // of the tags of one repository, with waits
)

// LinesOf reads a file of references, one a line. It skips blank lines and lines
// that begin with "#".
func LinesOf(r io.Reader) References {
	return func(yield func(string, error) bool) {
		s := bufio.NewScanner(r)
		s.Buffer(make([]byte, 0, maxLine), maxLine)
		for n := 1; s.Scan(); n++ {
			line := strings.TrimSpace(s.Text())
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			if !yield(line, nil) {
				return
			}
		}

		if err := s.Err(); err != nil {
			yield("", &attestor.Error{
				Kind: attestor.Invalid,
				Msg: fmt.Sprintf("the file of references cannot be read, or has a line of more than %d bytes",
					maxLine),
				Fix: "write one reference a line",
				Err: err,
			})
		}
	}
}

// RegistryOptions say how to connect to registries.
type RegistryOptions struct {
	Remote   []remote.Option        // credentials and page size
	Insecure func(host string) bool // plain HTTP, for registries on loopback

	// Transport is required. It must refuse the addresses that no registry may lead to,
	// such as those of metadata servers: redirects, token servers and further pages are
	// what a registry says. Refused reports whether an error is such a refusal.
	Transport http.RoundTripper
	Refused   func(error) bool
}

// TagsOf lists the tags of repositories, page by page. A registry that throttles
// (429, or 503 with Retry-After) is tried again after the time that it names; if
// it goes on, the list ends with an error of kind TooMany.
func TagsOf(ctx context.Context, repositories []string, o RegistryOptions) References {
	return func(yield func(string, error) bool) {
		for _, repo := range repositories {
			if !tagsOf(ctx, repo, o, yield) {
				return
			}
		}
	}
}

func tagsOf(ctx context.Context, repository string, o RegistryOptions, yield func(string, error) bool) bool {
	var opts []name.Option
	if host, _, _ := strings.Cut(repository, "/"); o.Insecure != nil && o.Insecure(host) {
		opts = append(opts, name.Insecure)
	}
	repo, err := name.NewRepository(repository, append(opts, name.StrictValidation)...)
	if err != nil {
		yield("", &attestor.Error{
			Kind: attestor.Invalid,
			Msg:  fmt.Sprintf("%q is not a repository with its registry", short200(repository)),
			Fix:  "write it as HOST/PATH, such as us-docker.pkg.dev/PROJECT/REPOSITORY/IMAGE",
			Err:  err,
		})
		return false
	}

	options, err := o.options()
	if err != nil {
		yield("", fmt.Errorf("listing tags of %s: %w", repo, err))
		return false
	}
	p, err := remote.NewPuller(options...)
	if err != nil {
		yield("", fmt.Errorf("listing tags of %s: %w", repo, err))
		return false
	}

	// The lister uses its own context for the first page, so that the deadline is
	// given twice.
	whole, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()

	pages, err := p.Lister(whole, repo)
	turned := tokens{}
	for err == nil && pages.HasNext() {
		page, next := pages.Next(whole)
		if err = next; err != nil {
			break
		}

		// Before the page is used: a list that leads elsewhere, or round in a circle, is none.
		if page.Next != "" {
			if err = cmp.Or(sameHost(page.Next, repo.Registry), turned.to(page.Next)); err != nil {
				break
			}
		}
		for _, tag := range page.Tags {
			if !yield(repo.Name()+":"+tag, nil) {
				return false
			}
		}
	}

	if err != nil {
		yield("", listing(repo.Name(), err, o.Refused))
		return false
	}
	return true
}

// listing is the public error of a list of tags that failed. refused reports whether an error is a
// refusal of the transport; it may be nil.
func listing(repo string, err error, refused func(error) bool) error {
	host, _, _ := strings.Cut(repo, "/")
	e := &attestor.Error{
		Kind: attestor.Upstream, Code: attestor.CodeRegistryUnavailable, Err: err,
		Msg: "the tags of " + repo + " could not be listed: the registry " + host + " did not answer",
		Fix: "check that the registry runs and can be reached from here, then try again",
	}
	if why, fix := cause.Silence(host, err); why != "" {
		e.Msg, e.Fix = e.Msg+": "+why, fix
	}

	if errors.Is(err, errElsewhere) || refused != nil && refused(err) {
		e.Code = attestor.CodeRegistryNotAllowed
		e.Msg = "the tags of " + repo + " could not be listed: the registry " + host +
			" leads to a host or an answer " +
			"that is not allowed"
		e.Fix = "see the log; if the registry needs that host, name it under registries.companions in the configuration"
	}

	if t, ok := errors.AsType[*transport.Error](err); ok {
		e.Msg = fmt.Sprintf("the tags of %s could not be listed: the registry %s answered %d", repo, host, t.StatusCode)

		switch t.StatusCode {
		case http.StatusUnauthorized, http.StatusForbidden:
			e.Code, e.Msg = attestor.CodeRegistryDenied, "this identity may not list the tags of "+repo
			e.Fix = "grant it roles/artifactregistry.reader, or log in with docker login"
		case http.StatusNotFound:
			e.Kind, e.Msg = attestor.NotFound, "the repository "+repo+" does not exist"
			e.Fix = "check its name: registry, project and path are required"
		}
	}

	if t, ok := errors.AsType[*throttle.Error](err); ok {
		e.Kind, e.Code, e.After = attestor.TooMany, attestor.CodeRegistryBusy, t.After
		e.Msg = fmt.Sprintf("the registry %s throttles the listing of tags: it kept answering %d", host, t.Status)
		e.Fix = "try again later, or list fewer repositories at once"
	}
	return e
}

// RunningInKubernetes lists the images of the output of `kubectl get pods -A -o json`: of each pod that has not
// finished the digest that runs, if the runtime reports it, or the reference of its definition.
func RunningInKubernetes(r io.Reader) References { return RunningImages(PodWorkloads(r, nil)) }

// running pins an image to the digest in the runtime's image ID. The ID's
// repository is ignored: a node that pulled the same image from another one may
// report that.
func running(image, id string) string {
	_, digest, ok := strings.Cut(id, "@")
	if !ok {
		return image
	}
	if _, err := attestor.ParseDigest(digest); err != nil || strings.Contains(image, "@") {
		return image
	}

	// A colon after the last slash begins a tag; one before it, a port.
	if slash := strings.LastIndex(image, "/"); strings.Contains(image[slash+1:], ":") {
		image = image[:slash+1+strings.Index(image[slash+1:], ":")]
	}
	return image + "@" + digest
}

func short200(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}
