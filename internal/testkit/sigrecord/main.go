// Record signs an image with a real cosign and keeps what it pushed, so that
// the tests of verify/signed read genuine signatures without the program:
//
//	go run ./internal/testkit/sigrecord -cosign PATH -out verify/signed/testdata/cosign-cli/v2
//
// Everything happens on loopback: a registry in this process, a key made on
// the spot whose private half is thrown away, no transparency log. The program
// is built from its own module, since other modules may not install it:
//
//	module scratch; require github.com/sigstore/cosign/v2 v2.6.5
//	go build github.com/sigstore/cosign/v2/cmd/cosign
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

func main() {
	cosign := flag.String("cosign", "cosign", "the program")
	out := flag.String("out", "", "the directory to write")
	var services sigstore
	flag.StringVar(&services.fulcio, "fulcio", "", "sign without keys, by this Fulcio and by -rekor and -tsa, in a "+
		"network of its own")
	flag.StringVar(&services.rekor, "rekor", "", "Rekor's server, the POSIX one")
	flag.StringVar(&services.tsa, "tsa", "", "the timestamp authority's server")
	flag.Parse()
	if err := run(context.Background(), *cosign, *out, &services); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// A push is one manifest as it was put.
type push struct {
	Reference string `json:"reference"` // a tag or a digest
	MediaType string `json:"mediaType"`
	Manifest  string `json:"manifest"`
}

// A recording is what a test needs to put it all back.
type recording struct {
	Version  string            `json:"version"` // of the program
	Commands []string          `json:"commands"`
	Images   map[string]string `json:"images"` // how it was signed, and the digest
	Pushes   []push            `json:"pushes"`
	Blobs    map[string][]byte `json:"blobs"` // of signatures and bundles, by digest
}

// recorder is a registry that remembers manifests.
type recorder struct {
	http.Handler
	mu     sync.Mutex
	pushes []push // guarded by mu
}

func (r *recorder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if _, ref, ok := strings.Cut(req.URL.Path, "/manifests/"); ok && req.Method == http.MethodPut {
		body, err := io.ReadAll(io.LimitReader(req.Body, 4<<20))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}

		r.mu.Lock()
		r.pushes = append(r.pushes, push{Reference: ref, MediaType: req.Header.Get("Content-Type"),
			Manifest: string(body)})
		r.mu.Unlock()
		req.Body = io.NopCloser(strings.NewReader(string(body)))
	}
	r.Handler.ServeHTTP(w, req)
}

func run(ctx context.Context, cosign, out string, services *sigstore) error {
	if out == "" {
		return errors.New("want -out DIRECTORY")
	}
	cosign, err := filepath.Abs(cosign)
	if err != nil {
		return err
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	rec := &recorder{Handler: registry.New(registry.WithReferrersSupport(true),
		registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)))}
	srv := &http.Server{Handler: rec, ReadHeaderTimeout: time.Minute}
	go func() { _ = srv.Serve(l) }()
	defer func() { _ = srv.Close() }()

	repo, err := name.NewRepository(l.Addr().String() + "/base/debian")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "record")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()

	s := &session{cosign: cosign, dir: dir, repo: repo, rec: recording{Images: map[string]string{},
		Blobs: map[string][]byte{}}}
	if services.fulcio != "" {
		err = s.keyless(ctx, services)
	} else {
		err = s.all(ctx)
	}

	if err != nil {
		return err
	}
	s.rec.Pushes = rec.pushes
	if err := s.blobs(); err != nil {
		return err
	}
	return s.write(out)
}

type session struct {
	cosign, dir string
	repo        name.Repository
	rec         recording
}

// version asks the program for its own.
func (s *session) version(ctx context.Context) error {
	version, err := s.command(ctx, "version", "--json")
	if err != nil {
		return err
	}
	var v struct {
		GitVersion string `json:"gitVersion"`
	}

	if err := json.Unmarshal([]byte(version), &v); err != nil {
		return fmt.Errorf("parsing version: %w", err)
	}
	s.rec.Version = v.GitVersion
	return nil
}

func (s *session) predicate() (path string, err error) {
	path = filepath.Join(s.dir, "predicate.json")
	const slsa = `{"builder":{"id":"https://builder.example.com"},"buildType":"x",` +
		`"invocation":{"configSource":{"uri":"git+https://github.com/acme/app@refs/heads/main",` +
		`"digest":{"sha1":"2ce3f90facdb51aeb950d5bc641e981be61fdf48"}}}}`
	return path, os.WriteFile(path, []byte(slsa), 0o600)
}

// all makes a key and signs a fresh image in each way.
func (s *session) all(ctx context.Context) error {
	if err := s.version(ctx); err != nil {
		return err
	}
	if _, err := s.command(ctx, "generate-key-pair"); err != nil {
		return err
	}

	predicate, err := s.predicate()
	if err != nil {
		return err
	}

	// Version 3 uploads by its signing configuration, unless a flag says not to.
	local := []string{"--key", "cosign.key", "--tlog-upload=false", "--yes"}
	if strings.HasPrefix(s.rec.Version, "v3") {
		local = append(local, "--use-signing-config=false")
	}

	for _, way := range []struct {
		name string
		args []string
	}{
		{"sign-classic", []string{"sign", "--new-bundle-format=false"}},
		{"sign-bundle", []string{"sign", "--new-bundle-format=true"}},
		{"attest-classic", []string{"attest", "--new-bundle-format=false", "--type", "slsaprovenance",
			"--predicate", predicate}},
		{"attest-bundle", []string{"attest", "--new-bundle-format=true", "--type", "slsaprovenance",
			"--predicate", predicate}},
	} {
		if err := s.sign(ctx, way.name, append(way.args, local...)...); err != nil {
			return err
		}
	}
	return nil
}

// sign pushes a fresh image and has it signed.
func (s *session) sign(ctx context.Context, name string, args ...string) error {
	img, err := random.Image(64, 1)
	if err != nil {
		return err
	}
	d, err := img.Digest()
	if err != nil {
		return err
	}

	ref := s.repo.Digest(d.String())
	if err := remote.Write(ref, img, remote.WithContext(ctx)); err != nil {
		return fmt.Errorf("pushing image: %w", err)
	}
	if _, err := s.command(ctx, append(args, ref.Name())...); err != nil {
		return err
	}
	s.rec.Images[name] = d.String()
	return nil
}

// command runs the program in the scratch directory, with an environment of
// its own.
func (s *session) command(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()

	cmd := exec.CommandContext(ctx, s.cosign, args...) //nolint:gosec // the program that the developer named
	cmd.Dir = s.dir
	cmd.Env = []string{"HOME=" + s.dir, "COSIGN_PASSWORD=", "PATH=" + os.Getenv("PATH")}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	b, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("running cosign %s: %w: %s", strings.Join(args, " "), err, stderr.String())
	}

	text := "cosign " + strings.Join(args, " ")
	text = strings.ReplaceAll(text, s.dir+"/", "")
	s.rec.Commands = append(s.rec.Commands, strings.ReplaceAll(text, s.repo.RegistryStr(), "REGISTRY"))
	return string(b), nil
}

// blobs fetches what the manifests name.
func (s *session) blobs() error {
	for _, p := range s.rec.Pushes {
		var m v1.Manifest
		if err := json.Unmarshal([]byte(p.Manifest), &m); err != nil {
			return err
		}
		for _, d := range append(m.Layers, m.Config) {
			if d.Digest.Hex == "" {
				continue
			}
			layer, err := remote.Layer(s.repo.Digest(d.Digest.String()))
			if err != nil {
				return err
			}

			r, err := layer.Compressed()
			if err != nil {
				return fmt.Errorf("fetching %s: %w", d.Digest, err)
			}
			b, err := io.ReadAll(r)
			if err := errors.Join(err, r.Close()); err != nil {
				return err
			}
			s.rec.Blobs[d.Digest.String()] = b
		}
	}
	return nil
}

func (s *session) write(out string) error {
	if err := os.MkdirAll(out, 0o750); err != nil {
		return err
	}
	b, err := json.MarshalIndent(s.rec, "", " ")
	if err != nil {
		return err
	}

	if err := os.WriteFile(filepath.Join(out, "recording.json"), append(b, '\n'), 0o600); err != nil {
		return err
	}
	for _, name := range []string{"cosign.pub", "trusted_root.json"} {
		trusted, err := os.ReadFile(filepath.Join(s.dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // the one of the two that this session has no use for
		}
		if err == nil {
			//nolint:gosec // the directory that the developer named
			err = os.WriteFile(filepath.Join(out, name), trusted, 0o600)
		}

		if err != nil {
			return err
		}
	}
	return nil
}
