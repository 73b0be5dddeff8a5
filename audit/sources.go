package audit

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/throttle"
)

// References is a source of images for a [Sweep]: references as people write
// them, which are checked when they are judged. An error ends it.
type References = iter.Seq2[string, error]

// maxLine and maxDocument bound what is read from files, maxTagPage what a
// registry may answer at once, listTimeout how long one repository may take,
// with what the registry asks to wait.
const (
	maxLine     = 4096
	maxDocument = 256 << 20
	maxTagPage  = 64 << 20
	listTimeout = 30 * time.Minute
)

// LinesOf reads a file of references: one a line, blank lines and lines that
// begin with "#" left out.
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
			yield("", &attestor.Error{Kind: attestor.Invalid, Msg: "the file of references cannot be read, or has a line that is too long", Err: err})
		}
	}
}

// RegistryOptions say how registries are spoken to; Remote are ggcr's, and hold
// credentials and page size.
type RegistryOptions struct {
	Remote    []remote.Option
	Transport http.RoundTripper      // nil: ggcr's
	Insecure  func(host string) bool // plain HTTP, for registries on loopback
}

// TagsOf lists the tags of repositories, page by page. Where a registry asks to
// be asked later (429, or 503 with Retry-After), it waits as long as that says,
// several times; after that it is an error of kind TooMany.
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
		return yield("", &attestor.Error{Kind: attestor.Invalid, Msg: fmt.Sprintf("%q is not a repository with its registry", short200(repository)), Err: err}) && false
	}
	transport := o.Transport
	if transport == nil {
		transport = remote.DefaultTransport
	}

	// What the throttle has given up is an error, which is not tried again.
	patient := throttle.Transport{Next: bounded{transport}, Tries: tagTries}
	p, err := remote.NewPuller(append([]remote.Option{remote.WithTransport(patient),
		remote.WithRetryStatusCodes(http.StatusRequestTimeout, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout),
	}, o.Remote...)...)
	if err != nil {
		return yield("", fmt.Errorf("listing tags of %s: %w", repo, err)) && false
	}
	// The lister keeps the context that it began with for the first page.
	whole, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	pages, err := p.Lister(whole, repo)
	for err == nil && pages.HasNext() {
		page, next := pages.Next(whole)
		if err = next; err != nil {
			break
		}
		for _, tag := range page.Tags {
			if !yield(repo.Name()+":"+tag, nil) {
				return false
			}
		}
	}
	if err != nil {
		return yield("", listing(repo.Name(), err)) && false
	}
	return true
}

// listing says in public words why tags could not be listed.
func listing(repo string, err error) error {
	host, _, _ := strings.Cut(repo, "/")
	e := &attestor.Error{Kind: attestor.Upstream, Code: attestor.CodeRegistryUnavailable, Err: err,
		Msg: "the registry " + host + " did not answer, so that the tags of " + repo + " could not be listed", Fix: "see that it runs and can be reached from here, then try again"}
	if t, ok := errors.AsType[*transport.Error](err); ok {
		e.Msg = fmt.Sprintf("the registry %s answered %d, so that the tags of %s could not be listed", host, t.StatusCode, repo)
		switch t.StatusCode {
		case 401, 403:
			e.Code, e.Msg = attestor.CodeRegistryDenied, "the registry does not let this identity list the tags of "+repo
			e.Fix = "grant it roles/artifactregistry.reader, or log in with docker login"
		case 404:
			e.Kind, e.Msg, e.Fix = attestor.NotFound, "there is no repository "+repo, "check its name; registry, project and path are all needed"
		}
	}

	if t, ok := errors.AsType[*throttle.Error](err); ok {
		e.Kind, e.Code, e.After = attestor.TooMany, attestor.CodeRegistryBusy, t.After
		e.Msg = fmt.Sprintf("the registry %s limits how fast tags may be listed: it went on answering %d", host, t.Status)
		e.Fix = "try again later, or list fewer repositories at once"
	}
	return e
}

// RunningInCloudRun reads what `gcloud run services list --format json`, or
// jobs list, prints: the image of every container of every service or job.
func RunningInCloudRun(r io.Reader) References {
	type spec struct {
		Containers []struct {
			Image string `json:"image"`
		} `json:"containers"`
	}
	type definition struct {
		Spec struct {
			Template struct {
				Spec struct {
					spec
					Template struct { // a job's task stands one template deeper
						Spec spec `json:"spec"`
					} `json:"template"`
				} `json:"spec"`
			} `json:"template"`
		} `json:"spec"`
	}
	return documents(r, "gcloud run services list --format json", "", func(d definition, yield func(string) bool) bool {
		outer := d.Spec.Template.Spec
		for _, c := range slices.Concat(outer.Containers, outer.Template.Spec.Containers) {
			if c.Image != "" && !yield(c.Image) {
				return false
			}
		}
		return true
	})
}

// RunningInKubernetes reads what `kubectl get pods -A -o json` prints: for each
// container what runs by digest, where the runtime says so, else its reference.
func RunningInKubernetes(r io.Reader) References {
	type container struct {
		Name  string `json:"name"`
		Image string `json:"image"`
	}
	type status struct {
		Name    string `json:"name"`
		ImageID string `json:"imageID"`
	}
	type pod struct {
		Spec struct {
			Containers          []container `json:"containers"`
			InitContainers      []container `json:"initContainers"`
			EphemeralContainers []container `json:"ephemeralContainers"`
		} `json:"spec"`
		Status struct {
			Containers          []status `json:"containerStatuses"`
			InitContainers      []status `json:"initContainerStatuses"`
			EphemeralContainers []status `json:"ephemeralContainerStatuses"`
		} `json:"status"`
	}
	return documents(r, "kubectl get pods -A -o json", "items", func(p pod, yield func(string) bool) bool {
		ids := map[string]string{}
		for _, list := range [][]status{p.Status.Containers, p.Status.InitContainers, p.Status.EphemeralContainers} {
			for _, s := range list {
				ids[s.Name] = s.ImageID
			}
		}
		for _, list := range [][]container{p.Spec.InitContainers, p.Spec.Containers, p.Spec.EphemeralContainers} {
			for _, c := range list {
				if ref := running(c.Image, ids[c.Name]); ref != "" && !yield(ref) {
					return false
				}
			}
		}
		return true
	})
}

// running pins an image to the digest that the runtime says it runs. The id's
// repository is left aside: nodes share layers, and may name another one.
func running(image, id string) string {
	_, digest, ok := strings.Cut(id, "@")
	if !ok {
		return image
	}
	if _, err := attestor.ParseDigest(digest); err != nil || strings.Contains(image, "@") {
		return image
	}
	if slash := strings.LastIndex(image, "/"); strings.Contains(image[slash+1:], ":") {
		image = image[:slash+1+strings.Index(image[slash+1:], ":")]
	}
	return image + "@" + digest
}

// documents decodes an array of T one element at a time: the array itself, or
// that of one field of an object.
func documents[T any](r io.Reader, made, field string, each func(T, func(string) bool) bool) References {
	return func(yield func(string, error) bool) {
		dec := json.NewDecoder(io.LimitReader(r, maxDocument))
		more := true
		err := enter(dec, field)
		for err == nil && more && dec.More() {
			var v T
			if err = dec.Decode(&v); err == nil {
				more = each(v, func(s string) bool { return yield(s, nil) })
			}
		}
		if err == nil && more {
			_, err = dec.Token() // the closing bracket: a file that was cut short is no whole answer
		}
		if err != nil && more {
			yield("", &attestor.Error{Kind: attestor.Invalid, Msg: "this is not what " + made + " prints", Fix: "write its output to a file, and give that", Err: err})
		}
	}
}

// enter moves to the first element of the array.
func enter(dec *json.Decoder, field string) error {
	want := func(d json.Delim) error {
		t, err := dec.Token()
		if err == nil && t != d {
			err = fmt.Errorf("found %v, want %v", t, d)
		}
		return err
	}
	if field == "" {
		return want('[')
	}
	if err := want('{'); err != nil {
		return err
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return err
		}
		if key == field {
			return want('[')
		}
		var skipped json.RawMessage
		if err := dec.Decode(&skipped); err != nil {
			return err
		}
	}
	return fmt.Errorf("no field %q", field)
}

func short200(s string) string {
	if len(s) > 200 {
		return s[:200] + "…"
	}
	return s
}
