package summary_test

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/attestor-gate/attestor/internal/vsa"
)

// A bundled is a bundle as a consumer without a library reads it.
type bundled struct {
	MediaType            string `json:"mediaType"`
	VerificationMaterial struct {
		PublicKey struct {
			Hint string `json:"hint"`
		} `json:"publicKey"`
	} `json:"verificationMaterial"`
	DSSE json.RawMessage `json:"dsseEnvelope"`
}

// bundle fetches a referrer's only layer.
func (w *world) bundle(ref name.Digest) bundled {
	w.t.Helper()
	img, err := remote.Image(ref)
	w.Must(err)
	layers, err := img.Layers()
	w.Must(err)
	if len(layers) != 1 {
		w.t.Fatalf("%s has %d layers", ref, len(layers))
	}
	r, err := layers[0].Compressed()
	w.Must(err)
	defer r.Close()
	b, err := io.ReadAll(r)
	w.Must(err)
	var out bundled
	w.Must(json.Unmarshal(b, &out))
	return out
}

// envelope writes the bare DSSE envelope to a file, as slsa-verifier wants it.
func (w *world) envelope(ref string) string {
	w.t.Helper()
	d, err := name.NewDigest(ref)
	w.Must(err)
	path := filepath.Join(w.t.TempDir(), "vsa.dsse.json")
	w.Must(os.WriteFile(path, w.bundle(d).DSSE, 0o600))
	return path
}

func (w *world) statement(ref name.Digest) vsa.Statement {
	w.t.Helper()
	var env struct {
		Payload    []byte           `json:"payload"`
		Signatures []map[string]any `json:"signatures"`
	}
	w.Must(json.Unmarshal(w.bundle(ref).DSSE, &env))
	if len(env.Signatures) != 1 || !slices.Contains(keys(env.Signatures[0]), "sig") || len(env.Signatures[0]) != 1 {
		w.t.Errorf("the signatures are %v, want one with nothing but sig", env.Signatures)
	}
	s, err := vsa.Parse(env.Payload)
	w.Must(err)
	return s
}

func keys(m map[string]any) (out []string) {
	for k := range m {
		out = append(out, k)
	}
	return out
}
