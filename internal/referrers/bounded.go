package referrers

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"path"
)

// maxCommas is how many commas a manifest or a list of referrers may have. An element of an array can have one byte, and
// take more than a hundred where it is decoded.
const maxCommas = 200_000

// errTooLarge and errTooMany end a body that exceeds its limits.
var (
	errTooLarge = fmt.Errorf("the registry's manifest or list of referrers has more than %d bytes", MaxManifest)
	errTooMany  = fmt.Errorf("the registry's manifest or list of referrers has more than %d commas", maxCommas)
)

// Asks reports whether a request is for a kind of content, manifests, blobs or referrers: OCI distribution specification,
// /v2/<name>/<kind>/<reference>. Parts of a repository's name may be called so, too: the place in the path decides.
func Asks(r *http.Request, kind string) bool { return path.Base(path.Dir(r.URL.Path)) == kind }

// capped limits the bodies of manifests and lists of referrers to MaxManifest. The
// registry library reads them whole (up to 100 MiB) before anyone can look at them.
type capped struct {
	next http.RoundTripper
}

func (t *capped) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}

	// Blobs have limits of their own where they are read.
	if Asks(r, "manifests") || Asks(r, "referrers") {
		resp.Body = &counted{&bounded{resp.Body, MaxManifest, errTooLarge}, maxCommas}
	}
	return resp, nil
}

// bounded returns an error where it stops, so that a truncated document is
// never taken for the whole.
type bounded struct {
	io.ReadCloser
	left int64
	over error
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, b.over
	}

	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return 0, b.over
	}
	return n, err
}

// counted returns an error after so many commas.
type counted struct {
	io.ReadCloser
	left int
}

func (c *counted) Read(p []byte) (int, error) {
	if c.left < 0 {
		return 0, errTooMany
	}

	n, err := c.ReadCloser.Read(p)
	if c.left -= bytes.Count(p[:n], []byte{','}); c.left < 0 {
		return 0, errTooMany
	}
	return n, err
}
