package main

import (
	"archive/tar"
	"bytes"
	"io"
	"net"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/rogpeppe/go-internal/testscript"
)

// pushImage pushes an image for linux/amd64 that runs as 65532:65532, with one
// layer for each text. Equal texts make equal layers.
//
//	push REPOSITORY:TAG TEXT…
func pushImage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: push REPOSITORY:TAG TEXT…")
	}

	ref, err := name.ParseReference(args[0], name.Insecure)
	ts.Check(err)

	img := v1.Image(empty.Image)
	for _, text := range args[1:] {
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return textLayer(text) })
		ts.Check(err)
		img, err = mutate.AppendLayers(img, layer)
		ts.Check(err)
	}

	config, err := img.ConfigFile()
	ts.Check(err)
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Config.User = "linux", "amd64", "65532:65532"
	img, err = mutate.ConfigFile(img, config)
	ts.Check(err)
	ts.Check(remote.Write(ref, img))
}

// textLayer is a tar of one file, which holds text.
func textLayer(text string) (io.ReadCloser, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "text", Mode: 0o644, Size: int64(len(text))}); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(w, text); err != nil {
		return nil, err
	}

	return io.NopCloser(&b), w.Close()
}

// freeAddress sets a variable to an address of loopback that nobody listens on,
// for a registry that keeps its name across restarts.
//
//	freeaddress NAME
func freeAddress(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: freeaddress NAME")
	}

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv(args[0], ln.Addr().String())
	ts.Check(ln.Close())
}
