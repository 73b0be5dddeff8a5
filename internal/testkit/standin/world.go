package standin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"google.golang.org/api/iterator"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/ociregistry"
	"github.com/attestor-gate/attestor/internal/samples"
)

// World is everything that a gate talks to: a registry, and Google's services
// with the key, note and attestor of [samples.Prepare]. It is in memory. A test
// that needs a part of it takes that: [Services], [Server], or package registries.
type World struct {
	// Services talk to the emulator directly: without latency, and unrecorded by
	// Google (the emulator's own record has their calls). The emulator is behind
	// Google too; its own faults know gRPC's codes.
	*Services
	// Registry and Google are what the gate's calls arrive at.
	Registry, Google *Server
	// Clients fill the services with samples.
	Clients samples.Google
}

// New starts a world without latency or images. Close must be called.
func New(ctx context.Context) (w *World, err error) {
	w = &World{}

	// What was started until then is closed.
	defer func() {
		if err != nil {
			err = errors.Join(err, w.Close())
		}
	}()

	registry, err := ociregistry.New("")
	if err != nil {
		return nil, err
	}
	if w.Services, err = NewServices(ctx, emulator.Options{}); err != nil {
		return nil, err
	}

	if w.Registry, err = Listen(registry); err != nil {
		return nil, err
	}
	if w.Google, err = Listen(w.Handler()); err != nil {
		return nil, err
	}

	w.Clients = samples.Google{KMS: w.KMS, Grafeas: w.Grafeas, Binauthz: w.Binauthz}
	if err := w.Clients.Prepare(ctx); err != nil {
		return nil, fmt.Errorf("preparing the emulated services: %w", err)
	}

	// What preparing took is no call of the gate.
	w.Emulator.ResetCalls()
	return w, nil
}

// Close ends every call and connection.
func (w *World) Close() error {
	for _, s := range []*Server{w.Registry, w.Google} {
		if s != nil {
			s.Close()
		}
	}

	if w.Services == nil {
		return nil
	}
	return w.Services.Close() // and the connections of Clients
}

// SetLatency is of both servers.
func (w *World) SetLatency(d time.Duration) {
	w.Registry.SetLatency(d)
	w.Google.SetLatency(d)
}

// ResetCalls empties the records of both servers and of the emulator.
func (w *World) ResetCalls() {
	w.Registry.ResetCalls()
	w.Google.ResetCalls()
	w.Emulator.ResetCalls()
}

// ClearFaults removes every rule of both servers and of the emulator.
func (w *World) ClearFaults() {
	w.Registry.ClearFaults()
	w.Google.ClearFaults()
	w.Emulator.ClearFaults()
}

// Push writes an image (or, with an index, that) to REPOSITORY:TAG of the
// registry, has every platform scanned with that outcome, and returns the
// reference by digest. The calls it makes are recorded and delayed like others.
func (w *World) Push(ctx context.Context, repository, tag string, image v1.Image, index v1.ImageIndex,
	scan samples.Scan) (string, error) {
	ref, err := name.NewTag(w.Registry.Addr() + "/" + repository + ":" + tag)
	if err != nil {
		return "", err
	}
	var digest v1.Hash
	if index != nil {
		digest, err = index.Digest()
		err = errors.Join(err, remote.WriteIndex(ref, index, remote.WithContext(ctx)))
	} else {
		digest, err = image.Digest()
		err = errors.Join(err, remote.Write(ref, image, remote.WithContext(ctx)))
	}

	if err != nil {
		return "", fmt.Errorf("pushing %s: %w", ref, err)
	}
	children, err := samples.Sample{Image: image, Index: index}.Children()
	if err != nil {
		return "", err
	}

	// An index is scanned by its children.
	for _, d := range children {
		if err := w.Clients.WriteScan(ctx, "https://"+ref.Repository.Name()+"@"+d.String(), scan); err != nil {
			return "", fmt.Errorf("writing the scan of %s: %w", ref, err)
		}
	}
	return ref.Repository.Name() + "@" + digest.String(), nil
}

// Samples pushes the images of [samples.All], with their scans.
func (w *World) Samples(ctx context.Context) ([]samples.Sample, error) {
	return w.Clients.Push(ctx, w.Registry.Addr())
}

// Attestations lists what stands in Container Analysis of an image by digest
// under the attestor's note, valid or not: `attestor verify` and package attest
// judge that.
func (w *World) Attestations(ctx context.Context, image string) ([]*grafeaspb.Occurrence, error) {
	it := w.Grafeas.ListNoteOccurrences(ctx, &grafeaspb.ListNoteOccurrencesRequest{
		Name: samples.Note, Filter: fmt.Sprintf("resourceUrl=%q", image), PageSize: 1000,
	})

	var out []*grafeaspb.Occurrence
	for {
		o, err := it.Next()
		if errors.Is(err, iterator.Done) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("listing attestations: %w", err)
		}
		out = append(out, o)
	}
}

// Env is what points a gate's process at the emulated services; append it to
// the environment of [os/exec.Cmd].
func (w *World) Env() []string {
	return []string{
		"CONTAINERANALYSIS_EMULATOR_HOST=" + w.Google.Addr(),
		"CLOUD_KMS_EMULATOR_HOST=" + w.Google.Addr(),
		"BINARYAUTHORIZATION_EMULATOR_HOST=" + w.Google.Addr(),
	}
}

// Options shape what [World.WriteConfig] writes. The zero value works.
type Options struct {
	// Policy is a whole policy file, in which REGISTRY stands for the registry's
	// address; "" is DefaultPolicy.
	Policy string
	// Store is the value of the key store; "" is {sqlite: decisions.db}.
	Store string
	// More is appended to attestor.yaml as it is, such as "limits: {queue: 1}".
	More string
}

// DefaultPolicy governs app/** and wants the sample base by its layers, non-root,
// a clean scan, and an attestation.
const DefaultPolicy = `apiVersion: attestor/v1
kind: GatePolicy
metadata: {name: production}
spec:
  mode: enforce
  images: ["REGISTRY/app/**"]
  base:
    required: true
    evidence: layers-exact
    approved:
      - {name: debian, repository: "REGISTRY/base/debian", tags: ["12"], maxBehind: 14d}
  user: {nonRoot: true}
  vulnerabilities: {maximumFixableSeverity: MEDIUM, maximumUnfixableSeverity: HIGH}
  attestors: [projects/dev/attestors/gate]
`

// WriteConfig writes attestor.yaml and policy.yaml to dir, and returns the path
// of the first: `attestor serve --config PATH` with [World.Env] runs against
// this world, on a free port of loopback, which it logs
// as "listen" with the message "listening".
func (w *World) WriteConfig(dir string, o Options) (string, error) {
	if o.Policy == "" {
		o.Policy = DefaultPolicy
	}
	if o.Store == "" {
		o.Store = "{sqlite: decisions.db}"
	}

	registry := w.Registry.Addr()
	config := fmt.Sprintf(`listen: 127.0.0.1:0
policies: [policy.yaml]
attestors: [{name: %s, kms: %s}]
registries: {allowed: [%q]}
scanProjects: {%q: %s}
store: %s
%s
`, samples.Attestor, samples.Key, registry, registry, samples.Project, o.Store, o.More)

	// Beside each other: relative paths begin at the configuration's directory.
	path := filepath.Join(dir, "attestor.yaml")
	if err := os.WriteFile(filepath.Join(dir, "policy.yaml"),
		[]byte(strings.ReplaceAll(o.Policy, "REGISTRY", registry)), 0o600); err != nil {
		return "", fmt.Errorf("writing the policy: %w", err)
	}
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		return "", fmt.Errorf("writing the configuration: %w", err)
	}
	return path, nil
}
