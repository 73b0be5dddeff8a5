package engine_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// baseImage is what dev's sample policy approves, once it is pushed as
// base/debian:12.
func baseImage(tb testing.TB) v1.Image {
	tb.Helper()
	return imageOn(tb, empty.Image, "0",
		entry{"etc/os-release", "ID=debian\nVERSION_ID=12\n"},
		entry{"etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnonroot:x:65532:65532::/home/nonroot:/sbin/nologin\n"})
}

// entry is a file in an image.
type entry struct{ name, content string }

// imageOn adds one layer for each file to parent, and sets the user.
func imageOn(tb testing.TB, parent v1.Image, user string, entries ...entry) v1.Image {
	tb.Helper()
	img := mutate.ConfigMediaType(mutate.MediaType(parent, types.OCIManifestSchema1), types.OCIConfigJSON)
	var err error

	for _, e := range entries {
		var b bytes.Buffer
		tw := tar.NewWriter(&b)
		err = errors.Join(tw.WriteHeader(&tar.Header{Name: e.name, Mode: 0o644, Size: int64(len(e.content)), Typeflag: tar.TypeReg}))
		if err == nil {
			_, err = tw.Write([]byte(e.content))
		}
		if err = errors.Join(err, tw.Close()); err != nil {
			tb.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, static.NewLayer(b.Bytes(), types.OCIUncompressedLayer)); err != nil {
			tb.Fatal(err)
		}
	}
	return configured(tb, img, func(c *v1.ConfigFile) { c.OS, c.Architecture, c.Config.User = "linux", "amd64", user })
}

// configured edits an image's config.
func configured(tb testing.TB, img v1.Image, edit func(*v1.ConfigFile)) v1.Image {
	tb.Helper()
	c, err := img.ConfigFile()
	if err != nil {
		tb.Fatal(err)
	}

	c = c.DeepCopy()
	edit(c)
	if img, err = mutate.ConfigFile(img, c); err != nil {
		tb.Fatal(err)
	}

	return img
}

// indexOf is an index of images, each with the platform of its config.
func indexOf(tb testing.TB, images ...v1.Image) v1.ImageIndex {
	tb.Helper()
	var entries []mutate.IndexAddendum

	for _, img := range images {
		c, err := img.ConfigFile()
		if err != nil {
			tb.Fatal(err)
		}
		entries = append(entries, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: c.Platform()}})
	}
	return mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), entries...)
}
