package corpus

import (
	"bytes"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/attestor-gate/attestor"
)

// A Scene is an image on a base whose layer it compressed again, run by a user
// that has a name, so that everything there is must be fetched to judge it.
type Scene struct {
	Repo              string
	Image, BaseImage  Image
	App, Base         attestor.Digest
	Manifest, Config  []byte
	Layer, ConfigPath string // of the registry's API
}

// NewScene is one whose image is in repo, and its base in repo+"/base".
func NewScene(repo string) Scene {
	// What a layer unpacks to is remembered by its digest, so that each scene
	// needs a layer of its own.
	content := Tar(File{"etc/", ""}, File{"etc/passwd", "# " + repo + "\napp:x:1000:1000::/:/bin/sh\n"})
	layer := Layer{Blob: Gzip(content), MediaType: OCILayer + "+gzip", DiffID: Sum(content)}
	again := Layer{Blob: Zstd(content), MediaType: OCILayer + "+zstd", DiffID: Sum(content)}
	s := Scene{
		Repo: repo, BaseImage: Image{Layers: []Layer{layer}},
		Image: Image{Layers: []Layer{again, TarLayer(File{"app", "1"})}, User: "app"},
	}

	s.App, s.Base = s.Image.Digest(), s.BaseImage.Digest()
	s.Manifest, s.Config = s.Image.Bytes()
	s.Layer, s.ConfigPath = "/v2/"+repo+"/blobs/"+string(Sum(again.Blob)), "/v2/"+repo+"/blobs/"+string(Sum(s.Config))
	return s
}

// IsManifest reports whether r asks for a manifest of the scene's image.
func (s Scene) IsManifest(r *http.Request) bool {
	return strings.HasPrefix(r.URL.Path, "/v2/"+s.Repo+"/manifests/")
}

// Owns reports whether r asks for anything of the scene's image or base.
func (s Scene) Owns(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/v2/"+s.Repo+"/") }

// SceneNeeds is the policy by which everything of a scene is fetched.
const sceneNeeds = `
  base:
    required: true
    approved: [{name: b, repository: $REPO/base, tags: ["1"]}]
  user: {nonRoot: true, names: resolve}
  vulnerabilities: {maximumFixableSeverity: MEDIUM, maximumUnfixableSeverity: HIGH}`

// stage puts a scene into the place, with front before its registry.
func stage(p *Place, front func(s Scene, w http.ResponseWriter, r *http.Request) bool) {
	s := NewScene(p.Repo)
	p.PushTo(p.Repo+"/base", "1", s.BaseImage)
	p.Push(s.Image)
	if front != nil {
		p.Front = func(w http.ResponseWriter, r *http.Request) bool { return front(s, w, r) }
	}
}

// byDigest asks for the scene's image by its digest, so that no answer of the
// registry's decides what is asked about.
func byDigest(p *Place) []Request { return []Request{Attest(p.Ref(string(NewScene(p.Repo).App)))} }

// Lies are answers to requests about a [Scene].
func Lies() []Lie { return slices.Concat(liesAboutManifests(), liesAboutLayers()) }

func lies() []Case {
	out := []Case{{Name: "registry/tells the truth about the scene", Policy: sceneNeeds, Want: admitted(),
		Send: byDigest, Arrange: func(p *Place) { stage(p, nil) }}}
	for _, tt := range Lies() {
		if strings.Contains(tt.Name, "ping") {
			continue // one ping serves every repository of a registry
		}
		out = append(out, Case{Name: "registry/" + tt.Name, Policy: sceneNeeds, Want: judged(tt.Codes...),
			Send: byDigest, Arrange: func(p *Place) { stage(p, tt.Answer) }})
	}
	return out
}

func serve(w http.ResponseWriter, mediaType string, b []byte) bool {
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	_, _ = w.Write(b)
	return true
}

// A Lie is an answer that no honest registry gives.
type Lie struct {
	Name   string
	Answer func(s Scene, w http.ResponseWriter, r *http.Request) bool // false: not about this
	Codes  []attestor.Code
}

func liesAboutManifests() []Lie {
	var endless io.Reader = Zeros{}
	return []Lie{
		{"another manifest than asked for", func(s Scene, w http.ResponseWriter, r *http.Request) bool {
			return s.IsManifest(r) &&
				serve(w, OCIManifest, bytes.Replace(s.Manifest, []byte("tar+zstd"), []byte("tar+gzip"), 1))
		}, []attestor.Code{attestor.CodeContentMismatch}},
		{"a manifest that a header vouches for", func(s Scene, w http.ResponseWriter, r *http.Request) bool {
			w.Header().Set("Docker-Content-Digest", string(s.App))
			return s.IsManifest(r) &&
				serve(w, DockerSchema1, bytes.Replace(s.Manifest, []byte("tar+zstd"), []byte("tar+gzip"), 1))
		}, []attestor.Code{attestor.CodeContentMismatch}},
		{"another config of the same size", func(s Scene, w http.ResponseWriter, r *http.Request) bool {
			return r.URL.Path == s.ConfigPath && serve(w, "application/octet-stream",
				bytes.Replace(s.Config, []byte(`"User":"app"`), []byte(`"User":"100"`), 1))
		}, []attestor.Code{attestor.CodeContentMismatch}},
		{"a longer config", func(s Scene, w http.ResponseWriter, r *http.Request) bool {
			return r.URL.Path == s.ConfigPath &&
				serve(w, "application/octet-stream", append(s.Config[:len(s.Config):len(s.Config)], ' '))
		}, []attestor.Code{attestor.CodeContentMismatch}},
		{"a truncated config", func(s Scene, w http.ResponseWriter, r *http.Request) bool {
			return r.URL.Path == s.ConfigPath && serve(w, "application/octet-stream", s.Config[:len(s.Config)-1])
		}, []attestor.Code{attestor.CodeContentMismatch}},
		{"a config that breaks off", func(s Scene, w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != s.ConfigPath {
				return false
			}
			w.Header().Set("Content-Length", strconv.Itoa(len(s.Config)))
			_, _ = w.Write(s.Config[:10])
			return true
		}, []attestor.Code{attestor.CodeRegistryUnavailable}},
		{"an endless config", func(s Scene, w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != s.ConfigPath {
				return false
			}
			_, _ = io.Copy(w, endless)
			return true
		}, []attestor.Code{attestor.CodeContentMismatch}},
		{"an endless manifest", func(s Scene, w http.ResponseWriter, r *http.Request) bool {
			if !s.IsManifest(r) {
				return false
			}
			_, _ = io.Copy(w, endless)
			return true
		}, []attestor.Code{attestor.CodeTooLarge}},
		{"a manifest said to be enormous", func(s Scene, w http.ResponseWriter, r *http.Request) bool {
			if !s.IsManifest(r) {
				return false
			}
			w.Header().Set("Content-Length", "1099511627776")
			return true
		}, []attestor.Code{attestor.CodeTooLarge}},
		{"an endless answer to the ping", func(s Scene, w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != "/v2/" {
				return false
			}
			_, _ = io.Copy(w, endless)
			return true
		}, nil},
	}
}

func liesAboutLayers() []Lie {
	var endless io.Reader = Zeros{}
	return []Lie{
		{"an endless layer", func(s Scene, w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != s.Layer {
				return false
			}
			_, _ = io.Copy(w, endless)
			return true
		}, []attestor.Code{attestor.CodeUserLookupFailed, attestor.CodeContentMismatch}},
		{"another layer", func(s Scene, w http.ResponseWriter, r *http.Request) bool {
			return r.URL.Path == s.Layer && serve(w, "application/octet-stream",
				Zstd(Tar(File{"etc/", ""}, File{"etc/passwd", "app:x:1001:1000::/:/bin/sh\n"})))
		}, []attestor.Code{attestor.CodeUserLookupFailed, attestor.CodeContentMismatch}},
		{"a page instead of a layer", func(s Scene, w http.ResponseWriter, r *http.Request) bool {
			return r.URL.Path == s.Layer && serve(w, "text/html", []byte("<html>log in</html>"))
		}, []attestor.Code{attestor.CodeUserLookupFailed, attestor.CodeContentMismatch}},
		{"a layer that cannot be unpacked instead of one that can", func(s Scene, w http.ResponseWriter,
			r *http.Request) bool {
			return r.URL.Path == s.Layer && serve(w, "application/octet-stream", Gzip([]byte("x"))[:12])
		}, []attestor.Code{attestor.CodeUserLookupFailed, attestor.CodeContentMismatch}},
		{"a layer of another compression", func(s Scene, w http.ResponseWriter, r *http.Request) bool {
			return r.URL.Path == s.Layer && serve(w, "application/octet-stream", EmptyXz())
		}, []attestor.Code{attestor.CodeUserLookupFailed, attestor.CodeContentMismatch}},
		{"a layer that breaks off", func(s Scene, w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != s.Layer {
				return false
			}
			w.Header().Set("Content-Length", "100")
			_, _ = w.Write([]byte{0x28, 0xb5, 0x2f, 0xfd})
			return true
		}, []attestor.Code{attestor.CodeUserLookupFailed, attestor.CodeRegistryUnavailable}},
		{"packed answers that were not asked for", func(s Scene, w http.ResponseWriter, r *http.Request) bool {
			if !s.IsManifest(r) {
				return false
			}
			w.Header().Set("Content-Encoding", "gzip")
			return serve(w, OCIManifest, Gzip(s.Manifest))
		}, []attestor.Code{attestor.CodeContentMismatch}},
		{"an HTML page for everything", func(s Scene, w http.ResponseWriter, r *http.Request) bool {
			return s.Owns(r) && serve(w, "text/html", []byte("<html>log in</html>"))
		}, []attestor.Code{attestor.CodeContentMismatch}},
		{"an enormous error", func(s Scene, w http.ResponseWriter, r *http.Request) bool {
			if !s.IsManifest(r) {
				return false
			}
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = io.Copy(w, io.LimitReader(endless, 8<<20))
			return true
		}, []attestor.Code{attestor.CodeRegistryUnavailable}},
	}
}
