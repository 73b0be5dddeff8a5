// Package samples makes the images by which `attestor dev` shows what the gate
// admits and refuses. They are made from bytes in the program, so that their
// digests are the same on every machine.
package samples

import (
	"archive/tar"
	"bytes"
	_ "embed" // for Policy
	"fmt"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Policy is the policy that the samples are judged by. 127.0.0.1:5000 in it stands
// for the registry.
//
//go:embed policy.yaml
var Policy string

// Scan is the result of a sample's scan.
type Scan int

// The scans. With NotScanned, Container Analysis has no occurrence of the image.
const (
	NotScanned Scan = iota
	Clean
	FixableCritical
)

// A Sample is one image to push, and the verdict that the gate should give.
type Sample struct {
	Repository string // without registry
	Tag        string
	Image      v1.Image      // one of Image and Index
	Index      v1.ImageIndex // nil for an image
	Scan       Scan
	About      string // a clause that completes "this image …"
	Verdict    string // pass, deny or error under the sample policy
}

// BaseRepository holds the approved base, tag "12".
const BaseRepository = "base/debian"

// created is fixed: a timestamp of now would change every digest.
func created() time.Time { return time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC) }

// All makes every sample, the base first.
func All() ([]Sample, error) {
	base, err := image(empty.Image, "0",
		file{"etc/os-release", "ID=debian\nVERSION_ID=12\n"},
		file{"etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnonroot:x:65532:65532::/home/nonroot:/sbin/nologin\n"})
	if err != nil {
		return nil, err
	}

	other, err := image(empty.Image, "0", file{"etc/os-release", "ID=unknown\nVERSION_ID=1\n"})
	if err != nil {
		return nil, err
	}
	good, err := image(base, "65532:65532", file{"app/server", "the application\n"})
	if err != nil {
		return nil, err
	}

	root, err := image(base, "", file{"app/server", "the application, as root\n"})
	if err != nil {
		return nil, err
	}
	foreign, err := image(other, "65532:65532", file{"app/server", "the application, elsewhere\n"})
	if err != nil {
		return nil, err
	}

	vulnerable, err := image(base, "65532:65532", file{"app/server", "the application, with an old library\n"})
	if err != nil {
		return nil, err
	}
	fresh, err := image(base, "65532:65532", file{"app/server", "the application, pushed a moment ago\n"})
	if err != nil {
		return nil, err
	}

	armBase, err := forArm(image(empty.Image, "0",
		file{"etc/os-release", "ID=debian\nVERSION_ID=12\n"},
		file{"etc/arch", "arm64\n"}))
	if err != nil {
		return nil, err
	}

	arm, err := forArm(image(armBase, "", file{"app/server", "the application for arm64, as root\n"}))
	if err != nil {
		return nil, err
	}
	return []Sample{
		{BaseRepository, "12", nil, index(base, armBase), Clean, "is the approved base: two layers, two platforms", ""},
		{
			"app/good",
			"v1",
			good,
			nil,
			Clean,
			"is built on the approved base, runs as 65532 and has a clean scan",
			"pass",
		},
		{"app/root", "v1", root, nil, Clean, "sets no user, which is root", "deny"},
		{"app/foreign", "v1", foreign, nil, Clean, "is built on something else", "deny"},
		{"app/vulnerable", "v1", vulnerable, nil, FixableCritical, "has a CRITICAL finding with a fix", "deny"},
		{"app/unscanned", "v1", fresh, nil, NotScanned, "has not been scanned yet", "error"},
		{"app/multi", "v1", nil, index(good, arm), Clean, "has two platforms, one of which runs as root", "deny"},
	}, nil
}

// Children lists the digests of a sample that a scanner would look at.
func (s Sample) Children() ([]v1.Hash, error) {
	if s.Index == nil {
		h, err := s.Image.Digest()
		return []v1.Hash{h}, err
	}
	m, err := s.Index.IndexManifest()
	if err != nil {
		return nil, err
	}

	var out []v1.Hash
	for _, d := range m.Manifests {
		out = append(out, d.Digest)
	}
	return out, nil
}

type file struct{ name, content string }

// image adds one layer for each file to parent, and sets the user.
func image(parent v1.Image, user string, files ...file) (v1.Image, error) {
	img := mutate.ConfigMediaType(mutate.MediaType(parent, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, f := range files {
		layer, err := layer(f)
		if err != nil {
			return nil, err
		}

		history := v1.History{Created: v1.Time{Time: created()}, CreatedBy: "COPY " + f.name}
		if img, err = mutate.Append(img, mutate.Addendum{Layer: layer, History: history}); err != nil {
			return nil, fmt.Errorf("adding %s: %w", f.name, err)
		}
	}

	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", "amd64", v1.Time{Time: created()}
	config.Config.User = user
	return mutate.ConfigFile(img, config)
}

// index is one image for amd64 and one for arm64.
func index(amd64, arm64 v1.Image) v1.ImageIndex {
	return mutate.AppendManifests(
		mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
		mutate.IndexAddendum{
			Add:        amd64,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}},
		},
		mutate.IndexAddendum{
			Add:        arm64,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}},
		},
	)
}

func forArm(img v1.Image, err error) (v1.Image, error) {
	if err != nil {
		return nil, err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}

	config = config.DeepCopy()
	config.Architecture = "arm64"
	return mutate.ConfigFile(img, config)
}

// layer is an uncompressed tar, so that its bytes depend on no compressor.
func layer(f file) (v1.Layer, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := w.WriteHeader(&tar.Header{
		Name: f.name, Mode: 0o644, Size: int64(len(f.content)), ModTime: created(), Typeflag: tar.TypeReg,
	})
	if err != nil {
		return nil, err
	}

	if _, err := w.Write([]byte(f.content)); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return static.NewLayer(b.Bytes(), types.OCIUncompressedLayer), nil
}
