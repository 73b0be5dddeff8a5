package engine

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	artifactregistry "cloud.google.com/go/artifactregistry/apiv1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/attest"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/eol"
	"github.com/attestor-gate/attestor/internal/google"
	"github.com/attestor-gate/attestor/internal/limit"
	"github.com/attestor-gate/attestor/internal/objects"
	"github.com/attestor-gate/attestor/internal/referrers"
	"github.com/attestor-gate/attestor/internal/when"
	"github.com/attestor-gate/attestor/internal/witness"
	"github.com/attestor-gate/attestor/verify"
	"github.com/attestor-gate/attestor/verify/provenance"
	"github.com/attestor-gate/attestor/verify/sbom"
	"github.com/attestor-gate/attestor/verify/signed"
	"github.com/attestor-gate/attestor/verify/vex"
	"github.com/attestor-gate/attestor/vuln"
)

const (
	// baseTimeout bounds the look-up of one approved base.
	baseTimeout = 15 * time.Second
	// attestTimeout bounds signing and storing one attestation.
	attestTimeout = 20 * time.Second
)

// OpenStore opens the record that a configuration names, for a command that has no
// engine.
func OpenStore(ctx context.Context, c config.Config) (*audit.Store, error) {
	return openStore(ctx, c, dialKMS(os.Getenv))
}

func openStore(ctx context.Context, c config.Config, use kmsUse) (*audit.Store, error) {
	out, err := recordOf(c.Store)
	if err != nil {
		return nil, err
	}

	// The log's key is not read yet: it may be in Cloud KMS, and a gate that cannot reach it still records.
	out.Log, out.Receivers = logKey(c, use), receivers(c)
	if out.Log != nil && c.Log.Bucket != "" {
		if out.Log.Kept, err = objects.New(c.Log.Bucket, os.Getenv); err != nil {
			return nil, fmt.Errorf("log.bucket: %w", err)
		}
	}

	if out.Log != nil {
		if out.Log.Witnesses, err = witnesses(*c.Log); err != nil {
			return nil, err
		}
	}

	return audit.Open(ctx, out)
}

// witnesses are those that cosign the record's log.
func witnesses(l config.Log) ([]*witness.Client, error) {
	var out []*witness.Client
	for _, w := range l.Witnesses {
		client, err := witness.New(w.URL, w.Key, w.Private)
		if err != nil {
			return nil, fmt.Errorf("log.witnesses: %w", err)
		}
		out = append(out, client)
	}
	return out, nil
}

// recordOf says where the record is, by the configuration.
func recordOf(c config.Store) (audit.Config, error) {
	out := audit.Config{Now: time.Now, None: c.None, SQLite: c.SQLite, Connections: c.Connections}
	if c.Postgres != "" {
		b, err := os.ReadFile(c.Postgres)
		if err != nil {
			return out, fmt.Errorf("reading the connection string: %w", err)
		}
		out.PostgreSQL = strings.TrimSpace(string(b))
	}

	if c.Replica != "" {
		b, err := os.ReadFile(c.Replica)
		if err != nil {
			return out, fmt.Errorf("reading the replica's connection string: %w", err)
		}
		out.Replica = strings.TrimSpace(string(b))
	}

	return out, nil
}

// signatures breaks the construction cycle between the inspector, which has
// signatures checked, and the checker, which reads through the inspector's guarded
// connections.
type signatures struct{ *signed.Checker }

// attachments does so for the reader of referrers.
type attachments struct{ *referrers.Client }

// joinInspector makes the inspector and the checker of signatures.
func (e *Engine) joinInspector(guard google.Guard) error {
	c, late, lateReader := e.Config, &signatures{}, &attachments{}
	gathering := func(call when.Duration) limit.Call { return limit.Within(c.Limits.Deadline, call) }

	keys, err := builderKeys(c.BuilderKeys)
	if err != nil {
		return err
	}
	if e.ends, err = endsOfLife(c.EndOfLife); err != nil {
		return err
	}
	prov, err := provenance.New(provenance.Config{
		Grafeas: e.Google.Grafeas, ScanProjects: c.ScanProjects, Keys: keys, Registry: lateReader, Attached: late,
		Limit: gathering(c.Dependencies.Timeouts.ContainerAnalysis),
	})
	if err != nil {
		return err
	}

	// Only configured hosts are asked, each by its own circuit.
	hosts := Registries(c.Registries)
	hosts.Wrap = guardRegistries(c, e.calls, e.o.Wrap)
	e.Inspector, err = verify.New(verify.Config{
		Registries:   hosts,
		FetchTimeout: gathering(c.Dependencies.Timeouts.Registries).Duration(),
		// By half of the deadline at most, so that a slow base leaves time for the rest.
		BaseTimeout: min(baseTimeout, time.Duration(c.Limits.Deadline)/2),
		Uploads: &verify.ArtifactRegistry{
			Emulated: e.Google.Emulated,
			Limit:    gathering(c.Dependencies.Timeouts.ArtifactRegistry),
			Dial: func(ctx context.Context) (*artifactregistry.Client, error) {
				return artifactregistry.NewClient(ctx, guard.Options(google.ServiceRegistry, "")...)
			},
		},
		Signatures: late, Provenance: prov, History: e.Store, Ends: e.ends, Now: time.Now, Logger: e.log,
		SBOMs: sbom.New(func() *signed.Checker { return late.Checker }, e.log),
		VEX:   vex.New(func() *signed.Checker { return late.Checker }),
	})
	if err != nil {
		return err
	}

	lateReader.Client, err = referrers.New(referrers.Config{
		Transport: e.Inspector.Transport(), Remote: RemoteOptions(e.o.Version), Name: e.Inspector.NameOptions,
	})
	if err != nil {
		return err
	}

	// The checker reads through the same guarded connections.
	e.referrers = lateReader.Client
	late.Checker, err = signed.New(signed.Config{
		Transport:   e.Inspector.Transport(),
		Remote:      RemoteOptions(e.o.Version),
		Name:        e.Inspector.NameOptions,
		TrustedRoot: c.TrustedRoot,
		Keys:        signed.KMSKeys{Client: e.Google.KMS, Limit: gathering(c.Dependencies.Timeouts.KMS)},
		Now:         time.Now, Logger: e.log,
	})
	e.signatures = late.Checker
	return err
}

// builderKeys reads the configured keys; without any, Google's pinned ones hold.
func builderKeys(configured []config.BuilderKey) ([]provenance.Key, error) {
	var keys []provenance.Key
	for _, k := range configured {
		b, err := os.ReadFile(k.File)
		if err != nil {
			return nil, fmt.Errorf("builderKeys: %w", err)
		}
		keys = append(keys, provenance.Key{ID: k.ID, PEM: b, Raw: k.Raw})
	}
	return keys, nil
}

// endsOfLife reads the configured table; without one, that of the release holds.
func endsOfLife(c config.EndOfLife) (*eol.Table, error) {
	if c.Table == "" {
		return eol.Builtin(), nil
	}
	return eol.Load(c.Table)
}

// RemoteOptions are how registries are asked: by which credentials, as whom.
func RemoteOptions(version string) []remote.Option {
	return []remote.Option{remote.WithAuthFromKeychain(keychain()), remote.WithUserAgent("attestor/" + version)}
}

// Registries are the hosts that an inspector may ask, and no others.
func Registries(c config.Registries) verify.Registries {
	// Plain HTTP is for hosts that the configuration names for it.
	out := verify.Registries{Keychain: keychain()}
	for _, host := range c.Hosts() {
		r := verify.Registry{Host: host, Companions: c.Companions[host]}
		if c.Plain(host) {
			r.Scheme = "http"
		}
		out.Hosts = append(out.Hosts, r)
	}
	return out
}

func (e *Engine) newScanner(ctx context.Context) (attestor.Scanner, error) {
	c := e.Config
	scanner, err := vuln.New(vuln.Config{
		Client: e.Google.Grafeas, ScanProjects: c.ScanProjects, Now: time.Now, Logger: e.log, Ends: e.ends,
		Limit:     limit.Within(c.Limits.Deadline, c.Dependencies.Timeouts.ContainerAnalysis),
		NoListLag: e.Google.Emulated,
	})
	if err != nil {
		return nil, err
	}
	e.scanner = scanner
	return e.withNamedScans(ctx, scanner)
}

func newAttester(
	c config.Config,
	g *google.Clients,
	journal attest.Journal,
	log *slog.Logger,
) (*attest.Attester, error) {
	var attestors []attest.AttestorConfig
	for _, a := range c.Attestors {
		signer, err := newSigner(c, a, g)
		if err != nil {
			return nil, fmt.Errorf("attestor %s: %w", a.Name, err)
		}
		attestors = append(attestors, attest.AttestorConfig{
			Name: a.Name, Signer: signer, AttestationProject: a.Project, PublicKeyID: a.PublicKeyID,
		})
	}

	// An attestation has two thirds of the time to settle: what comes after it has the rest.
	t := c.Dependencies.Timeouts
	return attest.New(attest.Config{
		Grafeas: g.Grafeas, Analysis: g.Analysis, BinAuthz: g.Binauthz,
		Attestors: attestors, Journal: journal, Now: time.Now, Logger: log,
		Limit:   limit.Within(c.Limits.Settle, max(t.ContainerAnalysis, t.BinaryAuthorization)),
		Timeout: min(attestTimeout, time.Duration(c.Limits.Settle)/3*2),
	})
}

func newSigner(c config.Config, a config.Attestor, g *google.Clients) (attest.Signer, error) {
	if a.KMS == "" {
		return attest.NewKeyFileSigner(a.KeyFile)
	}
	return attest.NewKMSSigner(g.KMS, a.KMS, limit.Within(c.Limits.Settle, c.Dependencies.Timeouts.KMS))
}

// NewVerifier checks attestations with the credentials of whoever runs this, and
// without a configuration.
func NewVerifier(g *google.Clients) (*attest.Verifier, error) {
	return attest.NewVerifier(attest.VerifierConfig{
		Grafeas: g.Grafeas, BinAuthz: g.Binauthz, Now: time.Now,
	})
}
