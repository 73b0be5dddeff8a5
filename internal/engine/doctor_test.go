package engine_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	artifactregistry "cloud.google.com/go/artifactregistry/apiv1"
	"cloud.google.com/go/artifactregistry/apiv1/artifactregistrypb"
	"cloud.google.com/go/iam/apiv1/iampb"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"cloud.google.com/go/pubsub/v2/pstest"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/google"
	"github.com/attestor-gate/attestor/internal/limit"
	"github.com/attestor-gate/attestor/internal/probe"
	"github.com/attestor-gate/attestor/internal/samples"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/internal/when"
)

const logKeyVersion = "projects/dev/locations/global/keyRings/gate/cryptoKeys/log/cryptoKeyVersions/1"

// iamOf answers TestIamPermissions with what it holds.
type iamOf struct {
	iampb.UnimplementedIAMPolicyServer
	held []string
	err  error
}

func (i *iamOf) TestIamPermissions(
	_ context.Context, r *iampb.TestIamPermissionsRequest,
) (*iampb.TestIamPermissionsResponse, error) {
	held := slices.DeleteFunc(slices.Clone(r.GetPermissions()), func(p string) bool { return !slices.Contains(i.held, p) })
	return &iampb.TestIamPermissionsResponse{Permissions: held}, i.err
}

// A patient is a gate with every dependency that a configuration can name.
type patient struct {
	*world
	issuer    *httptest.Server
	collector net.Listener
	topic     *iamOf
	bus       func() error // stops Pub/Sub
	brief     bool         // questions have so little time that on a busy machine any may get no answer
}

func newPatient(t *testing.T, keys *corpus.Issuer) *patient {
	t.Helper()
	p := &patient{topic: &iamOf{held: []string{"pubsub.topics.publish"}}}
	p.issuer = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(keys.KeySet(corpus.Google))
	}))
	t.Cleanup(p.issuer.Close)

	bus := pstest.NewServerWithCallback(0, func(s *grpc.Server) { iampb.RegisterIAMPolicyServer(s, p.topic) })
	p.bus = bus.Close
	stopped := false
	t.Cleanup(func() {
		if !stopped {
			_ = bus.Close()
		}
	})
	p.bus = func() error { stopped = true; return bus.Close() }
	t.Setenv("PUBSUB_EMULATOR_HOST", bus.Addr)

	var err error
	p.collector, err = net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.collector.Close() })

	p.world = newWorld(t, worldOptions{unstarted: true, config: func(c *config.Config) {
		c.Identity = &config.Identity{
			Audience: corpus.Audience, Issuers: []config.Issuer{{Issuer: corpus.Google, JWKS: p.issuer.URL}},
			Callers: []config.Caller{{Email: "a@b.example", Actions: []string{"attest"}, Images: []string{"**"}}},
		}
		c.Log = &config.Log{
			Key: "gcpkms://" + logKeyVersion, Origin: "gate.example/decisions",
			Witnesses: []config.Witness{{URL: "https://witness.example"}},
		}
		c.Rejudge.Topic, c.Rejudge.Subscription = ownTopic, ownSubscription
		c.Telemetry.OTLP = &config.OTLP{Endpoint: p.collector.Addr().String(), Plaintext: true}
		c.Dependencies.Timeouts = each(time.Minute)
	}})
	p.push("base/debian", "12", baseImage(t))
	p.key("log", kmspb.CryptoKeyVersion_EC_SIGN_ED25519)
	return p
}

// each gives every question the same time.
func each(d time.Duration) config.Timeouts {
	t := when.Duration(d)
	return config.Timeouts{
		Registries: t, ContainerAnalysis: t, KMS: t, BinaryAuthorization: t, ArtifactRegistry: t, PubSub: t,
	}
}

// hurry gives questions a second: what does not answer is asked until the time is over.
func (p *patient) hurry() {
	p.brief, p.config.Dependencies.Timeouts = true, each(time.Second)
}

// key makes a key for signing in the emulated Cloud KMS.
func (p *patient) key(id string, algorithm kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm) {
	p.tb.Helper()
	_, err := p.outside.KMS.CreateCryptoKey(p.tb.Context(), &kmspb.CreateCryptoKeyRequest{
		Parent: "projects/dev/locations/global/keyRings/gate", CryptoKeyId: id,
		CryptoKey: &kmspb.CryptoKey{
			Purpose:         kmspb.CryptoKey_ASYMMETRIC_SIGN,
			VersionTemplate: &kmspb.CryptoKeyVersionTemplate{Algorithm: algorithm},
		},
	})
	p.ok(err)
}

func (p *patient) examine() []probe.Result {
	p.tb.Helper()
	results, err := engine.Examine(p.tb.Context(), engine.Options{
		Config: p.config, Emulators: google.EmulatedAt(p.google.Addr()), Logger: slog.New(slog.DiscardHandler), Version: "test",
	})
	p.ok(err)
	return results
}

// otherRegistry allows a registry that answers with a status.
func (p *patient) otherRegistry(status int) {
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	p.tb.Cleanup(other.Close)
	p.config.Registries.Allowed = append(p.config.Registries.Allowed, strings.TrimPrefix(other.URL, "http://"))
}

// rows are the questions, as DEPENDENCY QUESTION, with what each comes to, the worst of several subjects.
func rows(results []probe.Result) map[string]probe.State {
	order := []probe.State{probe.OK, probe.Slow, probe.Warning, probe.NoAnswer, probe.Fault}
	out := map[string]probe.State{}
	for _, r := range results {
		row := r.Dependency + ": " + r.Question
		if was, ok := out[row]; !ok || slices.Index(order, r.State()) > slices.Index(order, was) {
			out[row] = r.State()
		}
	}
	return out
}

// everyRow is what is asked of a gate with every dependency.
var everyRow = []string{
	"record: the file can be created",
	"signing key: cloudkms.cryptoKeyVersions.viewPublicKey",
	"signing key: cloudkms.cryptoKeyVersions.useToSign",
	"Binary Authorization: binaryauthorization.attestors.get",
	"Binary Authorization: the attestor has the public half of the signing key",
	"Container Analysis: containeranalysis.notes.get",
	"Container Analysis: containeranalysis.notes.attachOccurrence",
	"Container Analysis: containeranalysis.notes.listOccurrences",
	"Container Analysis: containeranalysis.occurrences.create",
	"Container Analysis: containeranalysis.occurrences.get",
	"Container Analysis: containeranalysis.occurrences.delete",
	"Container Analysis: containeranalysis.occurrences.list",
	"policies: they load",
	"policies: its attestors are configured",
	"policies: their overrides are ended",
	"identity issuer: its keys can be read",
	"log key: cloudkms.cryptoKeyVersions.viewPublicKey",
	"log key: cloudkms.cryptoKeyVersions.useToSign",
	"log: a checkpoint of it is kept outside of its database",
	"registry: it answers",
	"clock: its time is that of REGISTRY",
	"base image: its tag can be read",
	"Pub/Sub: pubsub.topics.publish",
	"trace collector: it can be connected to",
}

// TestDoctor: with everything in order each row is good, and each row has its twins, a permission that is missing and a
// dependency that is down: that row says so, with the fix, and the rows of others stay as they were.
func TestDoctor(t *testing.T) {
	keys := corpus.NewIssuer()
	deny := func(permission string) func(*patient) {
		return func(p *patient) {
			p.emulator().SetBehaviour(emulator.Behaviour{Denied: []emulator.Denial{{Permission: permission}}})
		}
	}
	down := func(method string) func(*patient) {
		return func(p *patient) {
			p.hurry()
			p.emulator().Inject(emulator.Fault{Method: method, Code: codes.Unavailable})
		}
	}
	hang := func(method string) func(*patient) {
		return func(p *patient) {
			p.hurry()
			p.emulator().Inject(emulator.Fault{Method: method, Hang: true})
		}
	}
	policy := func(edit func(string) string) func(*patient) {
		return func(p *patient) { p.writePolicy(edit(oneAttestor())) }
	}

	for _, tt := range []struct {
		name string
		do   func(*patient)
		want map[string]probe.State // of the rows that are not ok
		fix  string                 // in one of them
	}{
		{"all is well", func(*patient) {}, nil, ""},

		{"may not read the key", deny("cloudkms.cryptoKeyVersions.viewPublicKey"), map[string]probe.State{
			"signing key: cloudkms.cryptoKeyVersions.viewPublicKey": probe.Fault, "log key: cloudkms.cryptoKeyVersions.viewPublicKey": probe.Warning,
		}, "roles/cloudkms.publicKeyViewer"},
		{"may not sign", deny("cloudkms.cryptoKeyVersions.useToSign"), map[string]probe.State{
			"signing key: cloudkms.cryptoKeyVersions.useToSign": probe.Fault, "log key: cloudkms.cryptoKeyVersions.useToSign": probe.Warning,
		}, "roles/cloudkms.signer"},
		{"Cloud KMS is down", down("GetPublicKey"), map[string]probe.State{
			"signing key: cloudkms.cryptoKeyVersions.viewPublicKey": probe.NoAnswer, "log key: cloudkms.cryptoKeyVersions.viewPublicKey": probe.Warning,
		}, "try again"},
		{"Cloud KMS hangs", hang("GetPublicKey"), map[string]probe.State{
			"signing key: cloudkms.cryptoKeyVersions.viewPublicKey": probe.NoAnswer, "log key: cloudkms.cryptoKeyVersions.viewPublicKey": probe.Warning,
		}, "try again"},
		{"the key is disabled", func(p *patient) {
			_, err := p.outside.KMS.UpdateCryptoKeyVersion(p.tb.Context(), disable(samples.Key))
			p.ok(err)
		}, map[string]probe.State{"signing key: cloudkms.cryptoKeyVersions.viewPublicKey": probe.Fault}, "enable it"},
		{"another key", func(p *patient) {
			p.key("other", kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256)
			p.config.Attestors[0].KMS = strings.Replace(samples.Key, "cryptoKeys/gate", "cryptoKeys/other", 1)
		}, map[string]probe.State{"Binary Authorization: the attestor has the public half of the signing key": probe.Fault}, "public-keys add"},

		{"nothing of the log is kept elsewhere", func(p *patient) { p.config.Log.Witnesses = nil }, map[string]probe.State{
			"log: a checkpoint of it is kept outside of its database": probe.Warning,
		}, "log.bucket"},

		{"may not read the attestor", deny("binaryauthorization.attestors.get"), map[string]probe.State{
			"Binary Authorization: binaryauthorization.attestors.get": probe.Fault,
		}, "roles/binaryauthorization.attestorsViewer"},
		{"Binary Authorization is down", down("GetAttestor"), map[string]probe.State{
			"Binary Authorization: binaryauthorization.attestors.get": probe.NoAnswer,
		}, "try again"},

		{"may not read the note", deny("containeranalysis.notes.get"), map[string]probe.State{
			"Container Analysis: containeranalysis.notes.get": probe.Fault,
		}, "roles/containeranalysis.notes.attacher"},
		{"may not attach", deny("containeranalysis.notes.attachOccurrence"), map[string]probe.State{
			"Container Analysis: containeranalysis.notes.attachOccurrence": probe.Fault,
		}, "roles/containeranalysis.notes.attacher"},
		{"may not list attestations", deny("containeranalysis.notes.listOccurrences"), map[string]probe.State{
			"Container Analysis: containeranalysis.notes.listOccurrences": probe.Fault,
		}, "roles/containeranalysis.notes.occurrences.viewer"},
		{"may not store", deny("containeranalysis.occurrences.create"), map[string]probe.State{
			"Container Analysis: containeranalysis.occurrences.create": probe.Fault,
		}, "roles/containeranalysis.occurrences.editor"},
		{"may not revoke", deny("containeranalysis.occurrences.delete"), map[string]probe.State{
			"Container Analysis: containeranalysis.occurrences.delete": probe.Fault,
		}, "roles/containeranalysis.occurrences.editor"},
		{"may not read what it stored", deny("containeranalysis.occurrences.get"), map[string]probe.State{
			"Container Analysis: containeranalysis.occurrences.get": probe.Fault,
		}, "roles/containeranalysis.occurrences.editor"},
		{"Resource Manager is not enabled", func(p *patient) {
			p.emulator().Inject(emulator.Fault{Method: "google.cloud.resourcemanager.v3.Projects/TestIamPermissions", Code: codes.PermissionDenied})
		}, map[string]probe.State{
			"Container Analysis: containeranalysis.occurrences.create, containeranalysis.occurrences.get, containeranalysis.occurrences.delete": probe.Warning,
		}, "gcloud services enable cloudresourcemanager.googleapis.com"},
		{"may not read scans", deny("containeranalysis.occurrences.list"), map[string]probe.State{
			"Container Analysis: containeranalysis.occurrences.list": probe.Fault,
		}, "roles/containeranalysis.occurrences.viewer"},
		{"scans do not answer", hang("ListOccurrences"), map[string]probe.State{
			"Container Analysis: containeranalysis.occurrences.list": probe.NoAnswer,
		}, ""},

		{"a policy does not load", policy(func(s string) string { return strings.Replace(s, "mode: enforce", "mode: enforced", 1) }),
			map[string]probe.State{"policies: they load": probe.Fault}, ""},
		{"a policy names another attestor", policy(func(s string) string {
			return strings.Replace(s, samples.Attestor, "projects/dev/attestors/other", 1)
		}), map[string]probe.State{"policies: its attestors are configured": probe.Fault}, ""},
		{"nobody ends overrides", func(p *patient) {
			p.config.Store = config.Store{None: true}
			p.writePolicy(strings.Replace(oneAttestor(), "breakGlass: {allowed: true}", "breakGlass: {allowed: true, expires: 4h}", 1))
		}, map[string]probe.State{"policies: their overrides are ended": probe.Fault}, ""},

		{"an issuer is down", func(p *patient) { p.issuer.Close() }, map[string]probe.State{
			"identity issuer: its keys can be read": probe.NoAnswer,
		}, "identity.issuers"},
		{"the registry is down", func(p *patient) { p.registry.Down() }, map[string]probe.State{
			"registry: it answers": probe.NoAnswer, "base image: its tag can be read": probe.NoAnswer,
		}, "registries.allowed"},
		{"the registry is another server", func(p *patient) {
			other := httptest.NewServer(http.NotFoundHandler())
			p.tb.Cleanup(other.Close)
			p.config.Registries.Allowed = append(p.config.Registries.Allowed, strings.TrimPrefix(other.URL, "http://"))
		}, map[string]probe.State{"registry: it answers": probe.Fault}, "is a registry"},
		{"the registry is asked too often", func(p *patient) { p.otherRegistry(http.StatusTooManyRequests) }, map[string]probe.State{
			"registry: it answers": probe.NoAnswer,
		}, "more slowly"},
		{"the registry fails", func(p *patient) { p.otherRegistry(http.StatusBadGateway) }, map[string]probe.State{
			"registry: it answers": probe.NoAnswer,
		}, "why the registry fails"},
		{"a clock that is wrong", func(p *patient) {
			other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
			}))
			p.tb.Cleanup(other.Close)
			p.config.Registries.Allowed = append(p.config.Registries.Allowed, strings.TrimPrefix(other.URL, "http://"))
		}, map[string]probe.State{"clock: its time is that of OTHER": probe.Fault}, "timedatectl"},
		{"a base is not there", policy(func(s string) string { return strings.Replace(s, `tags: ["12"]`, `tags: ["13"]`, 1) }),
			map[string]probe.State{"base image: its tag can be read": probe.Fault}, "push it"},

		{"may not publish", func(p *patient) { p.topic.held = nil }, map[string]probe.State{
			"Pub/Sub: pubsub.topics.publish": probe.Fault,
		}, "roles/pubsub.publisher"},
		{"Pub/Sub is down", func(p *patient) { p.hurry(); p.ok(p.bus()) }, map[string]probe.State{
			"Pub/Sub: pubsub.topics.publish": probe.NoAnswer,
		}, "try again"},
		{"the collector is down", func(p *patient) { p.ok(p.collector.Close()) }, map[string]probe.State{
			"trace collector: it can be connected to": probe.Warning,
		}, "telemetry.otlp"},

		{"the record is read-only", func(p *patient) {
			p.config.Store.SQLite = "/proc/attestor/decisions.db" // nobody, root neither, may create files there
		}, map[string]probe.State{"record: the file can be created": probe.Fault}, "writable"},
		{"the record is no database", func(p *patient) {
			p.ok(os.WriteFile(p.config.Store.SQLite, []byte(strings.Repeat("no database ", 100)), 0o600))
		}, map[string]probe.State{"record: it can be opened": probe.Fault}, "restore it"},
		{"the database is down", func(p *patient) {
			dsn := filepath.Join(p.dir, "dsn")
			p.ok(os.WriteFile(dsn, []byte("postgres://gate:secret@127.0.0.1:1/gate"), 0o600))
			p.config.Store = config.Store{Postgres: dsn}
		}, map[string]probe.State{"record: it can be opened": probe.NoAnswer}, "check that it runs"},
		{"the connection string is not there", func(p *patient) {
			p.config.Store = config.Store{Postgres: filepath.Join(p.dir, "none")}
		}, map[string]probe.State{"record: the connection string can be read": probe.Fault}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPatient(t, keys)
			tt.do(p)
			results := p.examine()
			wrong, fixes := map[string]probe.State{}, []string{}
			for row, state := range rows(results) {
				switch {
				case strings.HasPrefix(row, "clock: ") && strings.Contains(row, p.registry.Addr()):
					row = "clock: its time is that of REGISTRY"
				case strings.HasPrefix(row, "clock: "):
					row = "clock: its time is that of OTHER"
				}
				_, wanted := tt.want[row]
				late := state == probe.Slow || p.brief && !wanted && (state == probe.NoAnswer || state == probe.Warning)
				if state != probe.OK && !late { // how fast this machine is, is not tested
					wrong[row] = state
				} else if !slices.Contains(everyRow, row) && tt.want == nil {
					t.Errorf("an unexpected row: %s", row)
				}
			}
			for _, r := range results {
				if e, ok := errors.AsType[*attestor.Error](r.Err); ok {
					fixes = append(fixes, e.Fix)
				}
				if strings.Contains(fmt.Sprint(r.Err, r.Subject), "secret") {
					t.Errorf("a password is shown: %v %v", r.Subject, r.Err)
				}
			}

			if fmt.Sprint(wrong) != fmt.Sprint(nonNil(tt.want)) {
				t.Errorf("wrong are %v, want %v", wrong, tt.want)
			}
			if tt.fix != "" && !slices.ContainsFunc(fixes, func(f string) bool { return strings.Contains(f, tt.fix) }) {
				t.Errorf("no fix says %q: %q", tt.fix, fixes)
			}
			if tt.want == nil {
				if len(results) != len(everyRow) {
					t.Errorf("%d results, want %d", len(results), len(everyRow))
				}
			}
			if n := len(p.emulator().Calls("AsymmetricSign", "CreateOccurrence")); n != 0 {
				t.Errorf("something was signed or stored %d times", n)
			}
			if _, err := os.Stat(filepath.Join(p.dir, "decisions.db-wal")); err == nil && tt.want == nil {
				t.Error("the record was opened for writing")
			}
		})
	}
}

func nonNil(m map[string]probe.State) map[string]probe.State {
	if m == nil {
		return map[string]probe.State{}
	}
	return m
}

// disable is the request that disables a key version.
func disable(name string) *kmspb.UpdateCryptoKeyVersionRequest {
	return &kmspb.UpdateCryptoKeyVersionRequest{
		CryptoKeyVersion: &kmspb.CryptoKeyVersion{Name: name, State: kmspb.CryptoKeyVersion_DISABLED},
		UpdateMask:       &fieldmaskpb.FieldMask{Paths: []string{"state"}},
	}
}

// registryIAM is Artifact Registry, which answers which permissions it gives.
type registryIAM struct {
	artifactregistrypb.UnimplementedArtifactRegistryServer
	iamOf
}

func (r *registryIAM) TestIamPermissions(
	ctx context.Context, q *iampb.TestIamPermissionsRequest,
) (*iampb.TestIamPermissionsResponse, error) {
	return r.iamOf.TestIamPermissions(ctx, q)
}

// TestDoctorAsksArtifactRegistry: reading images, and when they were uploaded, are two permissions of a repository.
func TestDoctorAsksArtifactRegistry(t *testing.T) {
	t.Parallel()
	const repository, read, upload = "projects/acme/locations/us/repositories/prod",
		"artifactregistry.repositories.downloadArtifacts", "artifactregistry.dockerimages.get"
	for name, tt := range map[string]struct {
		held []string
		want map[string]probe.State
	}{
		"both":    {[]string{read, upload}, map[string]probe.State{read: probe.OK, upload: probe.OK}},
		"one":     {[]string{read}, map[string]probe.State{read: probe.OK, upload: probe.Fault}},
		"none":    {nil, map[string]probe.State{read: probe.Fault, upload: probe.Fault}},
		"is down": {[]string{"down"}, map[string]probe.State{read + ", " + upload: probe.NoAnswer}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			s := grpc.NewServer()
			artifactregistrypb.RegisterArtifactRegistryServer(s, &registryIAM{iamOf: iamOf{held: tt.held}})
			go func() { _ = s.Serve(l) }()
			if slices.Contains(tt.held, "down") {
				s.Stop()
			}
			defer s.Stop()

			client, err := artifactregistry.NewClient(t.Context(), option.WithEndpoint(l.Addr().String()), option.WithoutAuthentication(),
				option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = client.Close() }()

			question := limit.Call(time.Minute)
			if slices.Contains(tt.held, "down") {
				question = limit.Call(time.Second)
			}
			got := map[string]probe.State{}
			for _, r := range engine.ProbeRepositories(t.Context(), client, []string{repository}, question) {
				got[r.Question] = r.State()
				var told *attestor.Error
				if r.State() == probe.Fault &&
					(!errors.As(r.Err, &told) || !strings.Contains(told.Fix, "roles/artifactregistry.reader on "+repository)) {
					t.Errorf("%v", r.Err)
				}
			}
			if fmt.Sprint(got) != fmt.Sprint(tt.want) {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}
