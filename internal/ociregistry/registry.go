// Package ociregistry is the registry inside `attestor dev`. It stores any manifest
// that is pushed, valid or not, since refusing bad images is the gate's job, and keeps
// its content in a directory where one is given. Blobs are go-containerregistry's; its
// manifests are not used, because it refuses malformed ones and forgets all of them at
// the end.
package ociregistry

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	ggcr "github.com/google/go-containerregistry/pkg/registry"
)

// maxManifest is several times what public registries accept.
const maxManifest = 16 << 20

// Registry serves the distribution specification. It is safe for concurrent use.
type Registry struct {
	blobs http.Handler
	dir   string // "" for memory only

	mu        sync.RWMutex
	manifests map[string]map[string]manifest // repository, then digest; guarded by mu
	tags      map[string]map[string]string   // repository, then tag, to a digest; guarded by mu
}

type manifest struct {
	MediaType string
	Body      []byte
	// Uploaded is when it was first pushed; zero in what older versions stored.
	Uploaded time.Time
}

// New returns a registry with what dir holds; "" keeps all in memory.
func New(dir string) (*Registry, error) {
	r := &Registry{dir: dir, manifests: map[string]map[string]manifest{}, tags: map[string]map[string]string{}}
	options := []ggcr.Option{ggcr.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug))}
	if dir != "" {
		// Blobs are files of their own; manifests and tags are one file, see save.
		blobs := filepath.Join(dir, "blobs")
		if err := os.MkdirAll(blobs, 0o750); err != nil {
			return nil, fmt.Errorf("making the registry's directory: %w", err)
		}

		options = append(options, ggcr.WithBlobHandler(ggcr.NewDiskBlobHandler(blobs)))
		if err := r.load(); err != nil {
			return nil, err
		}
	}
	r.blobs = ggcr.New(options...)
	return r, nil
}

var (
	manifestPath  = regexp.MustCompile(`^/v2/(.+)/manifests/([^/]+)$`)
	tagsPath      = regexp.MustCompile(`^/v2/(.+)/tags/list$`)
	referrersPath = regexp.MustCompile(`^/v2/(.+)/referrers/([^/]+)$`)
)

// ServeHTTP answers for manifests, tags and referrers, and leaves blobs to
// go-containerregistry.
func (r *Registry) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Docker-Distribution-API-Version", "registry/2.0")
	switch {
	case req.URL.Path == "/v2/_catalog":
		r.catalog(w, req)
	case manifestPath.MatchString(req.URL.Path):
		m := manifestPath.FindStringSubmatch(req.URL.Path)
		r.manifest(w, req, m[1], m[2])
	case tagsPath.MatchString(req.URL.Path):
		r.list(w, req, tagsPath.FindStringSubmatch(req.URL.Path)[1])
	case referrersPath.MatchString(req.URL.Path):
		m := referrersPath.FindStringSubmatch(req.URL.Path)
		r.referrers(w, m[1], m[2])
	default:
		r.blobs.ServeHTTP(w, req)
	}
}

// manifest answers requests for one manifest, by tag or digest.
func (r *Registry) manifest(w http.ResponseWriter, req *http.Request, repo, ref string) {
	switch req.Method {
	case http.MethodGet, http.MethodHead:
		m, digest, ok := r.find(repo, ref)
		if !ok {
			fail(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "no such manifest")
			return
		}

		w.Header().Set("Content-Type", m.MediaType)
		w.Header().Set("Docker-Content-Digest", digest)
		w.Header().Set("Content-Length", strconv.Itoa(len(m.Body)))
		if !m.Uploaded.IsZero() {
			w.Header().Set("Last-Modified", m.Uploaded.UTC().Format(http.TimeFormat))
		}
		if req.Method == http.MethodGet {
			_, _ = w.Write(m.Body)
		}
	case http.MethodPut:
		r.put(w, req, repo, ref)
	case http.MethodDelete:
		if !r.remove(repo, ref) {
			fail(w, http.StatusNotFound, "MANIFEST_UNKNOWN", "no such manifest")
			return
		}
		w.WriteHeader(http.StatusAccepted)
	default:
		fail(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "method not allowed")
	}
}

func (r *Registry) find(repo, ref string) (manifest, string, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()

	if digest, ok := r.tags[repo][ref]; ok {
		ref = digest
	}
	m, ok := r.manifests[repo][ref]
	return m, ref, ok
}

// put stores a manifest as it is, without parsing it.
func (r *Registry) put(w http.ResponseWriter, req *http.Request, repo, ref string) {
	body, err := io.ReadAll(io.LimitReader(req.Body, maxManifest+1))
	if err != nil || len(body) > maxManifest {
		fail(w, http.StatusRequestEntityTooLarge, "SIZE_INVALID", "a manifest has at most 16 MiB")
		return
	}

	sum := sha256.Sum256(body)
	digest := "sha256:" + hex.EncodeToString(sum[:])

	// OCI distribution specification, "Pushing Manifests": a push by digest must match
	// it. A tag has no colon.
	if strings.Contains(ref, ":") && ref != digest {
		fail(w, http.StatusBadRequest, "DIGEST_INVALID", "the manifest's digest is "+digest)
		return
	}

	m := manifest{MediaType: req.Header.Get("Content-Type"), Body: body, Uploaded: time.Now()}
	r.mu.Lock()
	if r.manifests[repo] == nil {
		r.manifests[repo], r.tags[repo] = map[string]manifest{}, map[string]string{}
	}

	// The same bytes again, such as for another tag, were uploaded when they first came.
	if old, ok := r.manifests[repo][digest]; ok {
		m.Uploaded = old.Uploaded
	}
	r.manifests[repo][digest] = m
	if ref != digest {
		r.tags[repo][ref] = digest
	}
	err = r.save()
	r.mu.Unlock()

	if err != nil {
		fail(w, http.StatusInternalServerError, "UNKNOWN", err.Error())
		return
	}

	// The header says to the client that referrers are kept, so that it pushes no
	// referrers tag.
	var subject struct {
		Subject struct{ Digest string } `json:"subject"`
	}

	if json.Unmarshal(body, &subject) == nil && subject.Subject.Digest != "" {
		w.Header().Set("OCI-Subject", subject.Subject.Digest)
	}

	w.Header().Set("Docker-Content-Digest", digest)
	w.Header().Set("Location", "/v2/"+repo+"/manifests/"+digest)
	w.WriteHeader(http.StatusCreated)
}

// remove deletes a tag, or a manifest with its tags.
func (r *Registry) remove(repo, ref string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()

	if _, ok := r.tags[repo][ref]; ok {
		delete(r.tags[repo], ref)
		return r.save() == nil
	}
	if _, ok := r.manifests[repo][ref]; !ok {
		return false
	}

	delete(r.manifests[repo], ref)
	for tag, digest := range r.tags[repo] {
		if digest == ref {
			delete(r.tags[repo], tag)
		}
	}
	return r.save() == nil
}

// list answers with the tags, in pages of n where n is given.
func (r *Registry) list(w http.ResponseWriter, req *http.Request, repo string) {
	r.mu.RLock()
	_, known := r.manifests[repo]
	var tags []string
	for tag := range r.tags[repo] {
		tags = append(tags, tag)
	}

	r.mu.RUnlock()

	if !known {
		fail(w, http.StatusNotFound, "NAME_UNKNOWN", "no such repository")
		return
	}

	page, more := paginate(tags, req)
	if more {
		w.Header().Set(
			"Link",
			fmt.Sprintf(`</v2/%s/tags/list?n=%d&last=%s>; rel="next"`, repo, len(page), page[len(page)-1]),
		)
	}
	answer(w, "application/json", map[string]any{"name": repo, "tags": page})
}

func (r *Registry) catalog(w http.ResponseWriter, req *http.Request) {
	r.mu.RLock()
	var repos []string
	for repo := range r.manifests {
		repos = append(repos, repo)
	}

	r.mu.RUnlock()

	page, more := paginate(repos, req)
	if more {
		w.Header().Set("Link", fmt.Sprintf(`</v2/_catalog?n=%d&last=%s>; rel="next"`, len(page), page[len(page)-1]))
	}
	answer(w, "application/json", map[string]any{"repositories": page})
}

// paginate returns the page of n names after last, as the specification has it.
func paginate(all []string, req *http.Request) (page []string, more bool) {
	slices.Sort(all)
	if last := req.URL.Query().Get("last"); last != "" {
		i, found := slices.BinarySearch(all, last)
		if found {
			i++
		}
		all = all[i:]
	}

	if n, err := strconv.Atoi(req.URL.Query().Get("n")); err == nil && n > 0 && n < len(all) {
		return all[:n], true
	}

	// A list in JSON is never null.
	if all == nil {
		all = []string{}
	}
	return all, false
}

// referrers lists the manifests that have digest as their subject.
func (r *Registry) referrers(w http.ResponseWriter, repo, digest string) {
	type descriptor struct {
		MediaType    string            `json:"mediaType"`
		Digest       string            `json:"digest"`
		Size         int               `json:"size"`
		ArtifactType string            `json:"artifactType,omitempty"`
		Annotations  map[string]string `json:"annotations,omitempty"`
	}

	found := []descriptor{}
	r.mu.RLock()
	for d, m := range r.manifests[repo] {
		var parsed struct {
			ArtifactType string
			Annotations  map[string]string
			Subject      struct{ Digest string }
			Config       struct{ MediaType string }
		}

		if json.Unmarshal(m.Body, &parsed) == nil && parsed.Subject.Digest == digest {
			// OCI distribution specification, "Listing Referrers": without an
			// artifactType it is the config's media type.
			if parsed.ArtifactType == "" {
				parsed.ArtifactType = parsed.Config.MediaType
			}
			found = append(found, descriptor{m.MediaType, d, len(m.Body), parsed.ArtifactType, parsed.Annotations})
		}
	}

	r.mu.RUnlock()

	slices.SortFunc(found, func(a, b descriptor) int { return strings.Compare(a.Digest, b.Digest) })
	const index = "application/vnd.oci.image.index.v1+json"
	answer(w, index, map[string]any{"schemaVersion": 2, "mediaType": index, "manifests": found})
}

// saved is the content of the state file.
type saved struct {
	Manifests map[string]map[string]manifest
	Tags      map[string]map[string]string
}

// save writes the state file; the caller holds mu. The file is replaced as a whole, so
// that a crash leaves the old one or the new one.
func (r *Registry) save() error {
	if r.dir == "" {
		return nil
	}
	b, err := json.Marshal(saved{r.manifests, r.tags})
	if err != nil {
		return err
	}

	name := filepath.Join(r.dir, "manifests.json")
	if err := os.WriteFile(name+".new", b, 0o644); err != nil {
		return fmt.Errorf("saving the registry: %w", err)
	}
	return os.Rename(name+".new", name)
}

func (r *Registry) load() error {
	b, err := os.ReadFile(filepath.Join(r.dir, "manifests.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("loading the registry: %w", err)
	}

	s := saved{r.manifests, r.tags}
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("loading %s: %w", filepath.Join(r.dir, "manifests.json"), err)
	}
	return nil
}

func answer(w http.ResponseWriter, mediaType string, v any) {
	w.Header().Set("Content-Type", mediaType)
	_ = json.NewEncoder(w).Encode(v)
}

func fail(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"errors": []any{map[string]any{"code": code, "message": message}}})
}
