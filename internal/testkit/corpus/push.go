package corpus

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/attestor-gate/attestor"
)

// PutBlob sends a blob to a registry over plain HTTP.
func PutBlob(ctx context.Context, client *http.Client, host, repo string, b []byte) error {
	return Put(ctx, client, http.MethodPost, fmt.Sprintf("http://%s/v2/%s/blobs/uploads/?digest=%s", host, repo,
		Sum(b)), octets, b)
}

// PutManifest sends a manifest as it is: what a client of the registry would
// refuse to send.
func PutManifest(ctx context.Context, client *http.Client, host, repo, ref, mediaType string, b []byte) error {
	return Put(ctx, client, http.MethodPut, fmt.Sprintf("http://%s/v2/%s/manifests/%s", host, repo, ref), mediaType, b)
}

// Put sends anything, and wants it created.
func Put(ctx context.Context, client *http.Client, method, url, contentType string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()

	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
	if err == nil && resp.StatusCode != http.StatusCreated {
		err = fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, b)
	}
	return err
}

// Load pushes what a case put into its place. Blobs that several cases share
// are pushed once for each repository.
func (p *Place) Load(ctx context.Context, client *http.Client) error {
	known := map[string]bool{}
	for _, b := range p.Blobs {
		if key := b.Repo + string(Sum(b.Bytes)); !known[key] {
			known[key] = true
			if err := PutBlob(ctx, client, p.Host, b.Repo, b.Bytes); err != nil {
				return err
			}
		}
	}

	for _, m := range p.Manifests {
		tag := m.Tag
		if tag == "" {
			tag = string(Sum(m.Bytes))
		}
		if err := PutManifest(ctx, client, p.Host, m.Repo, tag, m.MediaType, m.Bytes); err != nil {
			return err
		}
	}
	return nil
}

// Subjects are the digests that a scanner would have looked at.
func (p *Place) Subjects() []attestor.Digest {
	var out []attestor.Digest
	known := map[attestor.Digest]bool{}
	for _, m := range p.Manifests {
		if d := Sum(m.Bytes); m.Repo == p.Repo && !known[d] {
			known[d] = true
			out = append(out, d)
		}
	}
	return out
}
