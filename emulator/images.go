package emulator

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
)

// An image is a manifest of Artifact Registry: of the registry that the emulator was given, or one that occurrences are
// about.
type image struct {
	repository imageRepository
	pkg        string // "api", "team/api"
	digest     string
	tags       []string
	uploaded   time.Time // zero where nobody knows
	mediaType  string
	size       int64 // of what the manifest names
}

// An imageRepository is projects/PROJECT/locations/LOCATION/repositories/ID.
type imageRepository struct{ project, location, id string }

func (r imageRepository) name() string {
	return "projects/" + r.project + "/locations/" + r.location + "/repositories/" + r.id
}

// host is the registry that serves the repository.
func (r imageRepository) host() string { return r.location + "-docker.pkg.dev" }

// uri is the image's URL without a scheme.
func (i image) uri() string {
	return i.repository.host() + "/" + i.repository.project + "/" + i.repository.id + "/" + i.pkg + "@" + i.digest
}

// packageName is the resource name of the image's package. google.devtools.artifactregistry.v1.Package: "If the package
// ID part contains slashes, the slashes are escaped."
func (i image) packageName() string {
	return i.repository.name() + "/packages/" + strings.ReplaceAll(i.pkg, "/", "%2F")
}

func (i image) versionName() string { return i.packageName() + "/versions/" + i.digest }

// images are those of a repository, in order of package and digest.
func (e *Emulator) images(ctx context.Context, r imageRepository) ([]image, error) {
	found := map[string]image{}
	for _, i := range e.imagesByOccurrences(r) {
		found[i.pkg+"@"+i.digest] = i
	}

	// What the registry has is known better.
	if e.registry != nil {
		stored, err := e.imagesByRegistry(ctx, r)
		if err != nil {
			return nil, err
		}
		for _, i := range stored {
			found[i.pkg+"@"+i.digest] = i
		}
	}

	out := make([]image, 0, len(found))
	for _, i := range found {
		out = append(out, i)
	}
	slices.SortFunc(out, func(a, b image) int { return strings.Compare(a.pkg+"@"+a.digest, b.pkg+"@"+b.digest) })
	return out, nil
}

// imagesByOccurrences are the images of a repository that occurrences are about. The oldest of them says since when.
func (e *Emulator) imagesByOccurrences(r imageRepository) []image {
	prefix := r.host() + "/" + r.project + "/" + r.id + "/"
	seen := map[string]int{}
	var out []image
	e.store.mu.RLock()
	defer e.store.mu.RUnlock()

	for _, row := range e.store.list(tableOccurrences, "projects/"+r.project).after(0) {
		uri := strings.TrimPrefix(row.occ.resource, "https://")
		path, ok := strings.CutPrefix(uri, prefix)
		digest := digestOf(uri)
		if row.dead || !ok || digest == "" || row.occ.kind == grafeaspb.NoteKind_NOTE_KIND_UNSPECIFIED {
			continue
		}

		// Several occurrences are about one image. It was there since the oldest of them.
		if at, again := seen[uri]; again {
			if row.occ.created.Before(out[at].uploaded) {
				out[at].uploaded = row.occ.created
			}
			continue
		}

		seen[uri] = len(out)
		out = append(out, image{
			repository: r, pkg: strings.TrimSuffix(path, "@"+digest), digest: digest, uploaded: row.occ.created,
		})
	}
	return out
}

// imagesByRegistry are the tagged images that the registry has under PROJECT/REPOSITORY/, whatever the location. The
// distribution specification lists tags and no digests: what has no tag is found by its digest only.
func (e *Emulator) imagesByRegistry(ctx context.Context, r imageRepository) ([]image, error) {
	names, err := e.registryNames(ctx)
	if err != nil {
		return nil, err
	}

	var out []image
	for _, name := range names {
		pkg, ok := strings.CutPrefix(name, r.project+"/"+r.id+"/")
		if !ok {
			continue
		}
		tags, err := e.registryTags(ctx, name)
		if err != nil {
			return nil, err
		}

		// Several tags may name one digest: the image is listed once, with all of them.
		at := map[string]int{}
		for _, tag := range tags {
			i, ok, err := e.registryImage(ctx, r, pkg, tag)
			if err != nil {
				return nil, err
			}
			if !ok {
				continue // it was removed meanwhile
			}
			n, known := at[i.digest]
			if !known {
				n, at[i.digest] = len(out), len(out)
				out = append(out, i)
			}
			out[n].tags = append(out[n].tags, tag)
		}
	}
	return out, nil
}

// registryNames are the repositories of the registry, in its own sense of the word.
func (e *Emulator) registryNames(ctx context.Context) ([]string, error) {
	if e.registry == nil {
		return nil, nil
	}
	var out struct{ Repositories []string }
	_, err := e.askRegistry(ctx, http.MethodGet, "/v2/_catalog", &out)
	return out.Repositories, err
}

func (e *Emulator) registryTags(ctx context.Context, name string) ([]string, error) {
	var out struct{ Tags []string }
	_, err := e.askRegistry(ctx, http.MethodGet, "/v2/"+name+"/tags/list", &out)
	return out.Tags, err
}

// registryImage is one image of the registry, by tag or digest, without its tags; false where there is none.
func (e *Emulator) registryImage(ctx context.Context, r imageRepository, pkg, ref string) (image, bool, error) {
	var m struct {
		Config    struct{ Size int64 }
		Layers    []struct{ Size int64 }
		Manifests []struct{ Size int64 }
	}
	h, err := e.askRegistry(ctx, http.MethodGet, manifestPath(r, pkg, ref), &m)
	if err != nil || h == nil {
		return image{}, false, err
	}

	out := image{
		repository: r, pkg: pkg, digest: h.Get("Docker-Content-Digest"), mediaType: h.Get("Content-Type"),
		size: m.Config.Size,
	}

	// Of an image the layers count, of an index the manifests of its children.
	for _, d := range slices.Concat(m.Layers, m.Manifests) {
		out.size += d.Size
	}
	if t, err := http.ParseTime(h.Get("Last-Modified")); err == nil {
		out.uploaded = t
	}
	return out, out.digest != "", nil
}

func manifestPath(r imageRepository, pkg, ref string) string {
	return "/v2/" + r.project + "/" + r.id + "/" + pkg + "/manifests/" + ref
}

// maxRegistryAnswer bounds a manifest or a list.
const maxRegistryAnswer = 32 << 20

// askRegistry calls the registry, which is in this process, and decodes a JSON answer. What is not there is no header
// and no error.
func (e *Emulator) askRegistry(ctx context.Context, method, path string, into any) (http.Header, error) {
	req, err := http.NewRequestWithContext(ctx, method, (&url.URL{Path: path}).String(), http.NoBody)
	if err != nil {
		return nil, errInternal("asking the registry: %v", err)
	}
	a := &registryAnswer{header: http.Header{}, status: http.StatusOK}
	e.registry.ServeHTTP(a, req)

	switch {
	case a.status == http.StatusNotFound:
		return nil, nil
	case a.status >= 300 || a.tooLong:
		return nil, errInternal("the registry answered %d to %s %s", a.status, method, path)
	}
	if raw, ok := into.(*[]byte); ok {
		*raw = a.body.Bytes()
		return a.header, nil
	}

	// A manifest need not be one: whatever was pushed is kept, and has no sizes.
	if err := json.Unmarshal(a.body.Bytes(), into); err != nil && !strings.Contains(path, "/manifests/") {
		return nil, errInternal("reading the registry's answer to %s: %v", path, err)
	}
	return a.header, nil
}

// putTag gives a manifest of the registry a tag.
func (e *Emulator) putTag(ctx context.Context, i image, tag string) error {
	var manifest []byte
	h, err := e.askRegistry(ctx, http.MethodGet, manifestPath(i.repository, i.pkg, i.digest), &manifest)
	if err != nil {
		return err
	}
	if h == nil {
		return notFound("Version %s not found.", i.versionName())
	}

	path := manifestPath(i.repository, i.pkg, tag)
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, path, bytes.NewReader(manifest))
	if err != nil {
		return errInternal("asking the registry: %v", err)
	}
	req.Header.Set("Content-Type", h.Get("Content-Type"))
	a := &registryAnswer{header: http.Header{}, status: http.StatusOK}
	if e.registry.ServeHTTP(a, req); a.status >= 300 {
		return errInternal("%s", fmt.Sprintf("the registry answered %d to PUT %s", a.status, path))
	}
	return nil
}

// registryAnswer is a response that stays in memory.
type registryAnswer struct {
	header  http.Header
	status  int
	body    bytes.Buffer
	tooLong bool
}

func (a *registryAnswer) Header() http.Header    { return a.header }
func (a *registryAnswer) WriteHeader(status int) { a.status = status }

func (a *registryAnswer) Write(b []byte) (int, error) {
	if a.body.Len()+len(b) > maxRegistryAnswer {
		a.tooLong = true
		return 0, io.ErrShortBuffer
	}
	return a.body.Write(b)
}
