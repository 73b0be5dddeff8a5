package summary

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/referrers"
	"github.com/attestor-gate/attestor/internal/vsa"
	"github.com/attestor-gate/attestor/internal/when"
)

// emptyType is the media type of the two bytes {}. OCI image specification, "Guidance for an Empty Descriptor".
const emptyType = "application/vnd.oci.empty.v1+json"

// How often a stored summary is looked for in the registry's list, and the pause before the second time, which doubles.
const (
	listTries = 5
	listPause = 100 * time.Millisecond
)

// put stores a summary and looks whether the registry lists and returns it.
func (p *Publisher) put(ctx context.Context, d draft) (found, error) {
	repo, err := p.repository(d.place)
	if err != nil {
		return found{}, err
	}
	manifest, err := p.manifest(ctx, d)
	if err != nil {
		return found{}, err
	}
	raw, err := json.Marshal(manifest)
	if err != nil {
		return found{}, err
	}
	digest := attestor.DigestOf(raw)

	pause := listPause
	for try := 1; ; try++ {
		if err := p.write(ctx, repo, d, raw, digest); err != nil {
			return found{}, p.failed(d.place, "store", err)
		}

		// What a consumer finds is what counts. On a registry without the referrers API the list is a tag, from which
		// another writer may have taken the entry: writing again adds it.
		all, err := p.find(ctx, d.place, []Key{d.key})
		if err != nil {
			return found{}, err
		}
		if i := slices.IndexFunc(all, func(f found) bool { return f.manifest == digest }); i >= 0 {
			return all[i], nil
		}
		if try == listTries {
			return found{}, fault(attestor.CodeSummaryNotStored,
				"the summary "+d.place.Sibling(digest).String()+" was stored, and the registry does not list it",
				"try again; if it persists, find out why the registry does not list referrers", nil)
		}
		if err := when.Sleep(ctx, pause); err != nil {
			return found{}, p.failed(d.place, "store", err)
		}
		pause *= 2
	}
}

// write puts blobs and manifest.
func (p *Publisher) write(
	ctx context.Context, repo name.Repository, d draft, manifest []byte, digest attestor.Digest,
) error {
	for _, blob := range []struct {
		bytes []byte
		media types.MediaType
	}{{[]byte("{}"), emptyType}, {d.bundle, bundleType}} {
		if err := remote.WriteLayer(repo, static.NewLayer(blob.bytes, blob.media), p.options(ctx)...); err != nil {
			return err
		}
	}
	put := func() error { return remote.Put(repo.Digest(string(digest)), raw{manifest}, p.options(ctx)...) }
	err := put()

	// Where the list of referrers is a tag, a registry may refuse one that names a manifest which somebody deleted. As
	// long as the entry is there, no summary of the image could be stored. What is gone needs no entry.
	if code := answered(err); code == http.StatusNotFound || code == http.StatusBadRequest {
		dropped, unread := p.dropGone(ctx, repo, d.place)
		if unread == nil && dropped {
			return put()
		}
	}
	return err
}

// manifest is the referrer: one layer with the bundle, and OCI's artifactType. The bytes follow from the decision, so
// that a repeated write is the same manifest.
func (p *Publisher) manifest(ctx context.Context, d draft) (*v1.Manifest, error) {
	subject, err := p.describe(ctx, d.image)
	if err != nil {
		return nil, err
	}

	describe := func(b []byte, media types.MediaType) v1.Descriptor {
		return v1.Descriptor{MediaType: media, Digest: hash(attestor.DigestOf(b)), Size: int64(len(b))}
	}
	return &v1.Manifest{
		SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: bundleType, Subject: subject,
		Config: describe([]byte("{}"), emptyType),
		Layers: []v1.Descriptor{describe(d.bundle, bundleType)},
		Annotations: map[string]string{
			"org.opencontainers.image.created":  d.predicate.TimeVerified.Format(time.RFC3339),
			"dev.sigstore.bundle.content":       "dsse-envelope",
			"dev.sigstore.bundle.predicateType": vsa.PredicateType,
		},
	}, nil
}

// describe is the descriptor of the image that was judged.
func (p *Publisher) describe(ctx context.Context, img attestor.Image) (*v1.Descriptor, error) {
	repo, err := p.repository(img)
	if err != nil {
		return nil, err
	}
	desc, err := remote.Head(repo.Digest(string(img.Digest())), p.options(ctx)...)
	if err != nil {
		return nil, p.failed(img, "read", err)
	}
	return &v1.Descriptor{MediaType: desc.MediaType, Digest: hash(img.Digest()), Size: desc.Size}, nil
}

// raw is a manifest that is stored as it is.
type raw struct{ bytes []byte }

// RawManifest implements [remote.Taggable].
func (r raw) RawManifest() ([]byte, error) { return r.bytes, nil }

// MediaType says what it is.
func (r raw) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }

// A refusedError says that a registry does not let this identity delete.
type refusedError struct {
	why, fix string
	err      error
}

func (e *refusedError) Error() string { return e.why }

func (e *refusedError) Unwrap() error { return e.err }

// DeletePermission is what deleting takes in Artifact Registry.
const DeletePermission = "artifactregistry.versions.delete"

// remove deletes a statement and looks whether it is gone. A [refusedError] says that the registry does not allow it.
func (p *Publisher) remove(ctx context.Context, f found) error {
	repo, err := p.repository(f.place)
	if err != nil {
		return err
	}

	// The list comes first: a registry without the API may refuse every later list that names a manifest that is gone.
	// What is off the list is found by nobody, whether it can be deleted or not.
	if err := p.unlist(ctx, repo, f); err != nil {
		return err
	}
	ref := repo.Digest(string(f.manifest))
	err = remote.Delete(ref, p.options(ctx)...)
	code := answered(err)
	switch {
	case code == http.StatusNotFound: // somebody else was faster
	case code == http.StatusUnauthorized, code == http.StatusForbidden:
		return &refusedError{
			why: "this identity may not delete " + ref.String(), err: err,
			fix: "grant the gate's identity " + DeletePermission + " (roles/artifactregistry.repoAdmin) on the " +
				"repository, " +
				"and delete it: crane delete " + ref.String(),
		}
	case code == http.StatusMethodNotAllowed, code == http.StatusNotImplemented, code == http.StatusBadRequest:
		return &refusedError{
			why: "the registry does not allow the deletion of " + ref.String(), err: err,
			fix: "allow deletion in the registry, and delete it: crane delete " + ref.String(),
		}
	case err != nil:
		return p.failed(f.place, "delete a summary of", err)
	}

	// Only its absence means that nobody can read a pass any more.
	_, err = remote.Head(ref, p.options(ctx)...)
	switch {
	case answered(err) == http.StatusNotFound:
		return nil
	case err != nil:
		return p.failed(f.place, "look for a deleted summary of", err)
	}
	return fault(attestor.CodeSummaryNotStored, ref.String()+" is still readable after its deletion", "try again", nil)
}

// unlist takes a statement out of the fallback tag of a registry without the referrers API. OCI distribution
// specification, "Deleting Manifests": "When deleting a manifest … that contains a subject, and the referrers API
// returns a 404, clients SHOULD … remove the descriptor from the referrers list."
func (p *Publisher) unlist(ctx context.Context, repo name.Repository, f found) error {
	is := func(d v1.Descriptor) bool { return d.Digest.String() == string(f.manifest) }
	_, err := p.relist(ctx, repo, f.place, func(d v1.Descriptor) (bool, error) { return is(d), nil })
	if code := answered(err); code != http.StatusNotFound && code != http.StatusBadRequest {
		return err
	}

	// The rest of the list names something that is gone, and the registry refuses it for that.
	_, err = p.relist(ctx, repo, f.place, func(d v1.Descriptor) (bool, error) {
		if is(d) {
			return true, nil
		}
		return p.gone(ctx, repo, d)
	})
	return err
}

// dropGone takes out of the fallback tag what the registry says it does not have, and reports whether there was any.
func (p *Publisher) dropGone(ctx context.Context, repo name.Repository, place attestor.Image) (bool, error) {
	return p.relist(ctx, repo, place, func(d v1.Descriptor) (bool, error) { return p.gone(ctx, repo, d) })
}

// gone reports whether a registry says that it does not have a manifest. The error says that it is not known.
func (p *Publisher) gone(ctx context.Context, repo name.Repository, d v1.Descriptor) (bool, error) {
	_, err := remote.Head(repo.Digest(d.Digest.String()), p.options(ctx)...)
	if answered(err) == http.StatusNotFound {
		return true, nil
	}
	return false, err
}

// relist removes entries from the fallback tag of an image, and reports whether there were any. It leaves a tag alone
// that is not there, or is no list.
func (p *Publisher) relist(
	ctx context.Context, repo name.Repository, place attestor.Image, gone func(v1.Descriptor) (bool, error),
) (bool, error) {
	tag := repo.Tag("sha256-" + place.Digest().Hex())
	desc, err := remote.Get(tag, p.options(ctx)...)
	if answered(err) == http.StatusNotFound {
		return false, nil
	}
	if err != nil {
		return false, p.failed(place, "read the referrers of", err)
	}

	var index v1.IndexManifest
	unread := json.Unmarshal(desc.Manifest, &index)
	if unread != nil || index.MediaType != types.OCIImageIndex || len(index.Manifests) > referrers.Max {
		return false, nil //nolint:nilerr // somebody's tag that is no list, or one that is not read either
	}
	var kept []v1.Descriptor
	for _, d := range index.Manifests {
		remove, err := gone(d)
		if err != nil {
			return false, p.failed(place, "read the referrers of", err)
		}
		if !remove {
			kept = append(kept, d)
		}
	}
	if len(kept) == len(index.Manifests) {
		return false, nil
	}

	index.Manifests = append([]v1.Descriptor{}, kept...) // an empty list is [] and not null
	b, err := json.Marshal(index)
	if err != nil {
		return false, err
	}
	if err := remote.Put(tag, list{b}, p.options(ctx)...); err != nil {
		return false, p.failed(place, "write the referrers of", err)
	}
	return true, nil
}

// list is the index of a fallback tag.
type list struct{ bytes []byte }

// RawManifest implements [remote.Taggable].
func (l list) RawManifest() ([]byte, error) { return bytes.Clone(l.bytes), nil }

// MediaType says what it is.
func (l list) MediaType() (types.MediaType, error) { return types.OCIImageIndex, nil }

// answered is the registry's answer; 0 for none.
func answered(err error) int {
	if e, ok := errors.AsType[*transport.Error](err); ok {
		return e.StatusCode
	}
	return 0
}

// MayDelete reports, as an error with the permission that is missing, that this identity or the registry does not allow
// deletions in a repository. It asks for the deletion of a digest that no manifest has, and so deletes nothing.
func (p *Publisher) MayDelete(ctx context.Context, repository string) error {
	repo, err := name.NewRepository(repository, p.c.Name(hostOf(repository))...)
	if err != nil {
		return fmt.Errorf("the repository %q: %w", repository, err)
	}
	ctx, cancel := context.WithTimeout(ctx, p.c.Timeout)
	defer cancel()

	nothing := repo.Digest("sha256:" + strings.Repeat("0", 64))
	err = remote.Delete(nothing, p.options(ctx)...)
	switch answered(err) {
	case http.StatusNotFound, http.StatusOK, http.StatusAccepted:
		return nil
	case http.StatusUnauthorized, http.StatusForbidden:
		return &attestor.Error{
			Kind: attestor.Upstream, Code: attestor.CodeSummaryNotDeleted, Err: err,
			Msg: "this identity may not delete in " + repository + " (" + DeletePermission +
				"), so that replaced and " +
				"revoked summaries stay there",
			Fix: "grant the gate's identity " + DeletePermission + " (roles/artifactregistry.repoAdmin) on " +
				"the repository",
		}
	case http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return &attestor.Error{
			Kind: attestor.Upstream, Code: attestor.CodeSummaryNotDeleted, Err: err,
			Msg: "the registry does not allow deletions in " + repository + ", so that replaced and revoked " +
				"summaries stay there",
			Fix: "allow deletion in the registry, or name a repository of another one in attest.vsa.repository",
		}
	}
	if err != nil {
		return fault(attestor.CodeSummaryUnavailable, "whether "+repository+" allows deletions could not be found out",
			"try again", err)
	}
	return nil
}

func hostOf(repository string) string {
	host, _, _ := strings.Cut(repository, "/")
	return host
}
