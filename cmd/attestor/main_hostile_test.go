package main

import (
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/rogpeppe/go-internal/testscript"
)

// hostileAnnotations are written by whoever may push; each took down a process
// that gave it to a library as it was.
var hostileAnnotations = []map[string]string{
	{},
	{"dev.cosignproject.cosign/signature": "\n"},
	{"dev.cosignproject.cosign/signature": "AAAA", "dev.sigstore.cosign/bundle": "{}"},
	{"dev.cosignproject.cosign/signature": "AAAA", "dev.sigstore.cosign/bundle": "null"},
	{"dev.cosignproject.cosign/signature": "AAAA", "dev.sigstore.cosign/bundle": `{"SignedEntryTimestamp":"AA==","Payload":{"body":1,"integratedTime":1,"logIndex":1,"logID":"00"}}`},
	{"dev.cosignproject.cosign/signature": "AAAA", "dev.sigstore.cosign/bundle": `{"Payload":{"body":{},"integratedTime":1}}`},
	{"dev.cosignproject.cosign/signature": "AAAA", "dev.sigstore.cosign/bundle": `{"Payload":{"body":"e30=","integratedTime":1,"logID":"00"}}`},
	{"dev.cosignproject.cosign/signature": "AAAA", "dev.sigstore.cosign/certificate": "\n", "dev.sigstore.cosign/chain": "\n"},
	{"dev.cosignproject.cosign/signature": "AAAA", "dev.sigstore.cosign/certificate": "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"},
	{"dev.cosignproject.cosign/signature": "AAAA", "dev.sigstore.cosign/rfc3161timestamp": "{}"},
	{"dev.cosignproject.cosign/signature": "AAAA", "dev.sigstore.cosign/rfc3161timestamp": "null"},
}

// signBadly is `signbadly REFERENCE`: it pushes cosign's signature tags of an
// image, and of an index's children, with everything that is known to crash.
func signBadly(ts *testscript.TestScript, _ bool, args []string) {
	ref, err := name.ParseReference(args[0], name.Insecure)
	ts.Check(err)
	desc, err := remote.Get(ref)
	ts.Check(err)
	digests := []v1.Hash{desc.Digest}
	if index, err := desc.ImageIndex(); err == nil {
		m, err := index.IndexManifest()
		ts.Check(err)
		for _, child := range m.Manifests {
			digests = append(digests, child.Digest)
		}
	}
	for _, digest := range digests {
		payload := `{"critical":{"identity":{"docker-reference":""},"image":{"docker-manifest-digest":"` + digest.String() + `"},"type":"cosign container image signature"},"optional":null}`
		img := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
		for _, set := range hostileAnnotations {
			img, err = mutate.Append(img, mutate.Addendum{Layer: static.NewLayer([]byte(payload), "application/vnd.dev.cosign.simplesigning.v1+json"), Annotations: set})
			ts.Check(err)
		}
		ts.Check(remote.Write(ref.Context().Tag(strings.Replace(digest.String(), ":", "-", 1)+".sig"), img))
	}
}
