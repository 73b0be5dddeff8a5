package attestor

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// maxReferenceLength is far above what any registry accepts (255 for a
// repository, 128 for a tag, 71 for a digest).
const maxReferenceLength = 1024

var digestPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// pathSegment is the distribution specification's grammar, and a domain with
// a colon is no part of it.
var pathSegment = regexp.MustCompile(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$`)

// A Digest is a checked content digest, "sha256:" and 64 lower-case hex
// digits. The zero value names nothing.
type Digest string

// ParseDigest accepts only the canonical form of a SHA-256 digest; other
// algorithms cannot be attested to and are refused.
func ParseDigest(s string) (Digest, error) {
	if !digestPattern.MatchString(s) {
		return "", &Error{
			Kind: Invalid,
			Msg:  fmt.Sprintf("%q is not a digest: want sha256: and 64 lower-case hex digits", clip(s)),
		}
	}
	return Digest(s), nil
}

// DigestOf computes the digest of bytes.
func DigestOf(b []byte) Digest {
	sum := sha256.Sum256(b)
	return Digest("sha256:" + hex.EncodeToString(sum[:]))
}

// Hex returns the digest without its algorithm.
func (d Digest) Hex() string { return strings.TrimPrefix(string(d), "sha256:") }

// A Reference is what a caller asks about: a canonical repository with a tag,
// or with a digest. It cannot hold both: a digest given beside a tag wins.
type Reference struct {
	requested  string
	repository string
	tag        string
	digest     Digest
}

// ParseReference checks and canonicalises what a caller wrote. It demands a
// registry and a tag or a digest, since a default would be a guess about what
// is to be admitted.
func ParseReference(s string) (Reference, error) {
	invalid := func(format string, args ...any) (Reference, error) {
		return Reference{}, &Error{Kind: Invalid, Msg: fmt.Sprintf(format, args...)}
	}
	switch {
	case s == "":
		return invalid("image is empty: want REGISTRY/REPOSITORY@sha256:… or REGISTRY/REPOSITORY:TAG")
	case len(s) > maxReferenceLength:
		return invalid("image reference has %d characters, at most %d are allowed", len(s), maxReferenceLength)
	case strings.Contains(s, "://"):
		return invalid("image %q has a scheme: remove %q", clip(s), s[:strings.Index(s, "://")+3])
	}

	// Printable ASCII alone: no control character, and no letter that only looks like another.
	for _, r := range s {
		if r <= ' ' || r > '~' {
			return invalid("image %q contains a character that no reference has: %q", clip(s), r)
		}
	}

	// name.NewDigest drops a tag beside the digest without checking it, so
	// that the text before "@" is parsed by itself.
	rest, digest, pinned := strings.Cut(s, "@")

	// A digest names one content; a tag beside it is checked and dropped.
	if pinned {
		d, err := ParseDigest(digest)
		if err != nil {
			return Reference{}, err
		}
		repo := rest
		if tag, err := name.NewTag(rest, name.StrictValidation); err == nil {
			repo = strings.TrimSuffix(rest, ":"+tag.TagStr())
		}

		r, err := parseRepository(repo)
		if err != nil {
			return Reference{}, err
		}
		return Reference{requested: s, repository: r, digest: d}, nil
	}

	if i := strings.LastIndex(s, "/"); i >= 0 && !strings.Contains(s[i:], ":") {
		return invalid("image %q has neither tag nor digest: add :TAG or @sha256:…", clip(s))
	}
	colon := strings.LastIndex(s, ":")
	if colon < 0 {
		return invalid("image %q has neither tag nor digest: add :TAG or @sha256:…", clip(s))
	}

	// A port has a colon too, but no tag does without one after the last slash.
	r, err := parseRepository(s[:colon])
	if err != nil {
		return Reference{}, err
	}

	tag, err := name.NewTag(s, name.StrictValidation)
	if err != nil {
		return invalid("image %q is not a reference: %s", clip(s), firstLine(err))
	}
	return Reference{requested: s, repository: r, tag: tag.TagStr()}, nil
}

// parseRepository returns the canonical name of a repository: registry always
// present, Docker Hub under index.docker.io.
func parseRepository(s string) (string, error) {
	invalid := func(why string) (string, error) {
		return "", &Error{
			Kind: Invalid,
			Msg: fmt.Sprintf(
				"%q is not a repository with its registry, such as us-docker.pkg.dev/project/repository/image: %s",
				clip(s), why,
			),
		}
	}

	// Without this, team/image would silently mean Docker Hub's.
	host, path, ok := strings.Cut(s, "/")
	if !ok || (!strings.ContainsAny(host, ".:") && host != "localhost") {
		return invalid("the registry is missing")
	}

	r, err := name.NewRepository(s, name.StrictValidation)
	if err != nil {
		return invalid(firstLine(err))
	}

	// go-containerregistry checks characters only: a path of dots would be
	// resolved by the HTTP client and name another repository than was judged.
	for segment := range strings.SplitSeq(path, "/") {
		if !pathSegment.MatchString(segment) {
			return invalid(fmt.Sprintf("%q is not a path segment", clip(segment)))
		}
	}
	return r.Name(), nil
}

// Requested is the caller's text, for display only.
func (r Reference) Requested() string { return r.requested }

// Repository is canonical: registry and path, no tag, no digest.
func (r Reference) Repository() string { return r.repository }

// Tag is empty where the reference is by digest.
func (r Reference) Tag() string { return r.tag }

// Pinned returns the image, where the reference is by digest.
func (r Reference) Pinned() (Image, bool) {
	if r.digest == "" {
		return Image{}, false
	}
	return Image{repository: r.repository, digest: r.digest}, true
}

// pinned is the reference to an image by its digest.
func (i Image) pinned() Reference {
	return Reference{requested: i.String(), repository: i.repository, digest: i.digest}
}

// At pins the reference to what its tag was resolved to.
func (r Reference) At(d Digest) Image { return Image{repository: r.repository, digest: d} }

// String is canonical: REPOSITORY@DIGEST, or REPOSITORY:TAG.
func (r Reference) String() string {
	if r.digest != "" {
		return r.repository + "@" + string(r.digest)
	}
	return r.repository + ":" + r.tag
}

// An Image is a repository and the digest of a manifest or index in it:
// canonical, comparable, and the only thing that is judged or signed. The
// zero value names nothing and is refused wherever an Image is taken.
type Image struct {
	repository string
	digest     Digest
}

// ParseImage accepts REPOSITORY@sha256:…, without a tag.
func ParseImage(s string) (Image, error) {
	ref, err := ParseReference(s)
	if err != nil {
		return Image{}, err
	}
	img, ok := ref.Pinned()

	// Text that is not canonical would be another name for the same image in records and comparisons.
	if !ok || img.String() != s {
		return Image{}, &Error{
			Kind: Invalid,
			Msg:  fmt.Sprintf("image %q is not canonical: want REGISTRY/REPOSITORY@sha256:…", clip(s)),
		}
	}
	return img, nil
}

// Repository is canonical: registry and path.
func (i Image) Repository() string { return i.repository }

// Registry is the host, with its port where it has one.
func (i Image) Registry() string {
	host, _, _ := strings.Cut(i.repository, "/")
	return host
}

// Digest is that of the manifest or index.
func (i Image) Digest() Digest { return i.digest }

// Sibling is another manifest of the same repository: an index's child.
func (i Image) Sibling(d Digest) Image { return Image{repository: i.repository, digest: d} }

// IsZero reports whether the image names nothing.
func (i Image) IsZero() bool { return i.repository == "" || i.digest == "" }

// String is REPOSITORY@DIGEST.
func (i Image) String() string {
	if i.IsZero() {
		return ""
	}
	return i.repository + "@" + string(i.digest)
}

// MarshalText writes the canonical form.
func (i Image) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// UnmarshalText accepts the canonical form only, or nothing.
func (i *Image) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*i = Image{}
		return nil
	}
	img, err := ParseImage(string(b))
	if err != nil {
		return err
	}
	*i = img
	return nil
}

// clip keeps hostile input from filling a message.
func clip(s string) string {
	if len(s) > 200 {
		return strings.ToValidUTF8(s[:200], "") + "…"
	}
	return s
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return clip(line)
}
