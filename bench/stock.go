package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/attestor-gate/attestor/internal/samples"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

const (
	mediaManifest = "application/vnd.oci.image.manifest.v1+json"
	mediaIndex    = "application/vnd.oci.image.index.v1+json"
	mediaConfig   = "application/vnd.oci.image.config.v1+json"
	mediaLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"

	baseLayers, appLayers = 4, 6
	scanBatch             = 500 // images whose scans are written by one call
)

// stock makes images that nobody has seen yet: manifests and configs as BuildKit
// writes them, with a clean scan. No layer is stored, since none is read.
type stock struct {
	world *standin.World
	made  int
	tags  map[string]string // by digest
}

type digested struct {
	digest string
	size   int
}

// platform is one of an index; variant may be empty.
type platform struct{ architecture, variant string }

func amd64() platform       { return platform{architecture: "amd64"} }
func platforms() []platform { return []platform{amd64(), {"arm64", "v8"}, {"arm", "v7"}} }

// newStock pushes the approved base, for every platform.
func newStock(w *standin.World) (*stock, error) {
	s := &stock{world: w, tags: map[string]string{}}
	return s, s.base("base/debian", platforms())
}

// base pushes a base for some platforms, under the tag that policies approve.
func (s *stock) base(repository string, of []platform) error {
	var children []child
	for _, p := range of {
		d, err := s.image(repository, "", p, "", baseLayers, "base")
		if err != nil {
			return err
		}
		children = append(children, child{p, d})
	}
	_, err := s.index(repository, "12", children)
	return err
}

type child struct {
	platform
	digested
}

// fresh makes n images of a repository, tagged too, and returns their digests.
func (s *stock) fresh(ctx context.Context, repository, user string, n int) ([]string, error) {
	var out []string
	for range n {
		s.made++
		d, err := s.image(repository, fmt.Sprintf("t%d", s.made), amd64(), user, baseLayers+appLayers,
			fmt.Sprint(s.made))
		if err != nil {
			return nil, err
		}
		out = append(out, d.digest)
	}
	return out, s.scanned(ctx, repository, out)
}

// freshIndexes makes n indexes of three platforms.
func (s *stock) freshIndexes(ctx context.Context, repository string, n int) ([]string, error) {
	return s.indexes(ctx, repository, n, platforms())
}

// indexes makes n indexes of some platforms.
func (s *stock) indexes(ctx context.Context, repository string, n int, of []platform) ([]string, error) {
	var out, all []string
	for range n {
		s.made++
		var children []child
		for _, p := range of {
			d, err := s.image(repository, "", p, "65532:65532", baseLayers+appLayers, fmt.Sprint(s.made))
			if err != nil {
				return nil, err
			}
			children, all = append(children, child{p, d}), append(all, d.digest)
		}

		d, err := s.index(repository, fmt.Sprintf("t%d", s.made), children)
		if err != nil {
			return nil, err
		}
		out = append(out, d.digest)
	}
	return out, s.scanned(ctx, repository, all)
}

// image stores a config and a manifest. Images of one platform share their
// layers with the base and each other; what tells them apart is the config.
func (s *stock) image(repository, tag string, p platform, user string, layers int, id string) (digested, error) {
	var diffIDs []string
	var descriptors, history []map[string]any
	for i := range layers {
		name := fmt.Sprintf("%s%s layer %d", p.architecture, p.variant, i)
		diffIDs = append(diffIDs, sum([]byte(name+" unpacked")))
		descriptors = append(descriptors, map[string]any{"mediaType": mediaLayer, "digest": sum([]byte(name)),
			"size": 1 << 20})
		history = append(history, map[string]any{"created": "2026-11-01T00:00:00Z", "created_by": "COPY " + name})
	}

	runtime := map[string]any{
		"User": user, "Env": []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		"Entrypoint": []string{"/app/server"}, "Labels": map[string]string{"org.opencontainers.image.revision": id},
	}
	platform := map[string]any{"os": "linux", "architecture": p.architecture}
	if p.variant != "" {
		platform["variant"] = p.variant
	}

	config := map[string]any{
		"created": "2026-11-01T00:00:00Z", "config": runtime, "history": history,
		"rootfs":           map[string]any{"type": "layers", "diff_ids": diffIDs},
		"container_config": runtime, // as Docker's old builder wrote it, and peers read it
	}
	for k, v := range platform {
		config[k] = v
	}

	c, err := s.put(http.MethodPost, "/v2/"+repository+"/blobs/uploads/", "", config)
	if err != nil {
		return digested{}, err
	}
	manifest := map[string]any{"schemaVersion": 2, "mediaType": mediaManifest, "layers": descriptors,
		"config": map[string]any{"mediaType": mediaConfig, "digest": c.digest, "size": c.size}}
	return s.manifest(repository, tag, mediaManifest, manifest)
}

func (s *stock) index(repository, tag string, children []child) (digested, error) {
	var entries []map[string]any
	for _, c := range children {
		p := map[string]any{"os": "linux", "architecture": c.architecture}
		if c.variant != "" {
			p["variant"] = c.variant
		}
		entries = append(entries, map[string]any{"mediaType": mediaManifest, "digest": c.digest,
			"size": c.size, "platform": p})
	}
	return s.manifest(repository, tag, mediaIndex, map[string]any{"schemaVersion": 2, "mediaType": mediaIndex,
		"manifests": entries})
}

func (s *stock) manifest(repository, tag, mediaType string, document any) (digested, error) {
	if tag == "" {
		tag = "untagged"
	}
	d, err := s.put(http.MethodPut, "/v2/"+repository+"/manifests/"+tag, mediaType, document)
	s.tags[d.digest] = tag
	return d, err
}

// put hands a document to the registry in this process, without a connection.
func (s *stock) put(method, path, mediaType string, document any) (digested, error) {
	b, err := json.Marshal(document)
	if err != nil {
		return digested{}, err
	}
	d := digested{sum(b), len(b)}

	// A blob in one request, which the distribution specification allows.
	if method == http.MethodPost {
		path += "?digest=" + d.digest
	}

	req := httptest.NewRequest(method, path, bytes.NewReader(b))
	req.Header.Set("Content-Type", mediaType)
	w := httptest.NewRecorder()
	s.world.Registry.ServeHTTP(w, req)
	if w.Code != http.StatusCreated {
		return digested{}, fmt.Errorf("storing %s: %d %s", path, w.Code, w.Body)
	}
	return d, nil
}

// scanned writes what Google's scanner writes of an image without findings.
func (s *stock) scanned(ctx context.Context, repository string, digests []string) error {
	for len(digests) > 0 {
		n := min(len(digests), scanBatch)
		var occurrences []*grafeaspb.Occurrence
		for _, d := range digests[:n] {
			occurrences = append(occurrences, &grafeaspb.Occurrence{
				ResourceUri: "https://" + s.world.Registry.Addr() + "/" + repository + "@" + d,
				NoteName:    "projects/goog-analysis/notes/PACKAGE_VULNERABILITY",
				Details: &grafeaspb.Occurrence_Discovery{Discovery: &grafeaspb.DiscoveryOccurrence{
					ContinuousAnalysis: grafeaspb.DiscoveryOccurrence_ACTIVE,
					AnalysisStatus:     grafeaspb.DiscoveryOccurrence_FINISHED_SUCCESS,
					AnalysisCompleted:  &grafeaspb.DiscoveryOccurrence_AnalysisCompleted{AnalysisType: []string{"OS"}},
					LastScanTime:       timestamppb.New(time.Now()),
				}},
			})
		}

		_, err := s.world.Grafeas.BatchCreateOccurrences(ctx, &grafeaspb.BatchCreateOccurrencesRequest{
			Parent: "projects/" + samples.Project, Occurrences: occurrences})
		if err != nil {
			return fmt.Errorf("writing scans: %w", err)
		}
		digests = digests[n:]
	}
	return nil
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(h[:])
}
