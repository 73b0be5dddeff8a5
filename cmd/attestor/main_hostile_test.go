package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
)

// signBadly is `signbadly REFERENCE`: it pushes cosign's signature tags of an
// image, and of an index's children, with everything that is known to crash;
// and referrers that explode or have parts missing.
func signBadly(ts *testscript.TestScript, _ bool, args []string) {
	ref, err := name.ParseReference(args[0], name.Insecure)
	ts.Check(err)
	desc, err := remote.Get(ref)
	ts.Check(err)
	digests := []attestor.Digest{attestor.Digest(desc.Digest.String())}
	if index, err := desc.ImageIndex(); err == nil {
		m, err := index.IndexManifest()
		ts.Check(err)
		for _, child := range m.Manifests {
			digests = append(digests, attestor.Digest(child.Digest.String()))
		}
	}

	host, repo := ref.Context().RegistryStr(), ref.Context().RepositoryStr()
	put := func(tag string, layers []string, extra string) {
		config := []byte("{}")
		ts.Check(corpus.PutBlob(context.Background(), http.DefaultClient, host, repo, config))
		m := fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":%s,"layers":[%s]%s}`, corpus.OCIManifest,
			corpus.Desc(corpus.OCIConfig, config, ""), strings.Join(layers, ","), extra)
		if tag == "" {
			tag = string(corpus.Sum(m))
		}

		ts.Check(corpus.PutManifest(context.Background(), http.DefaultClient, host, repo, tag, corpus.OCIManifest, m))
	}

	layer := func(mediaType string, b []byte, extra string) string {
		ts.Check(corpus.PutBlob(context.Background(), http.DefaultClient, host, repo, b))
		return corpus.Desc(mediaType, b, extra)
	}

	hostile := corpus.HostileAnnotations()
	referrers := append(corpus.MalformedBundles([]byte(`{}`)), corpus.GzipOf(io.LimitReader(corpus.Zeros{}, 200<<20)))

	for _, d := range digests {
		var signatures []string
		for _, what := range slices.Sorted(maps.Keys(hostile)) {
			set := map[string]string{corpus.SignatureKey: "AAAA"}
			maps.Copy(set, hostile[what])
			signatures = append(signatures, layer(corpus.SimpleMedia, corpus.Simple("", d), `"annotations":`+string(corpus.JSON(set))))
		}

		put("sha256-"+d.Hex()+".sig", signatures, "")
		for _, b := range referrers {
			put("", []string{layer(corpus.BundleMedia, b, "")}, `,"subject":`+corpus.DescOf(corpus.OCIManifest, d, len(desc.Manifest), ""))
		}
	}
}
