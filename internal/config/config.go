// Package config reads attestor.yaml: what it may hold, what stands for what was
// left out, and what is wrong with it.
package config

import (
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/when"
)

// Config is attestor.yaml. Unknown keys, wrong types and contradictions are
// errors at start, all reported at once; secrets are paths, never values.
type Config struct {
	// Listen is HOST:PORT; 127.0.0.1:8080 by default. The variable PORT, which
	// Cloud Run sets, wins and listens on every address.
	Listen string `yaml:"listen"`

	// Policies are files, or directories whose *.yaml files are read. A change
	// of a file's time or size takes effect within a second; one that does not
	// load leaves the old policies in force. Required.
	Policies []string `yaml:"policies"`
	// PolicyReload is how often every policy on disk is read, whatever its time says; 10s by default. Where that would
	// take more than half a percent of a processor, they are read more seldom.
	PolicyReload when.Duration `yaml:"policyReload"`

	// Attestors are those that policies may name, each with its signer.
	Attestors []Attestor `yaml:"attestors"`

	// Registries says which registries the gate may talk to, and how.
	Registries Registries `yaml:"registries"`

	// ScanProjects gives the Google project that holds the scans of a registry
	// whose name does not say: {HOST: project}.
	ScanProjects map[string]string `yaml:"scanProjects"`

	// TrustedRoot is the trusted_root.json of the Sigstore instance that signs
	// approved bases, unless a base names its own.
	TrustedRoot string `yaml:"trustedRoot"`

	// BuilderKeys are the keys by which Cloud Build's provenance is verified,
	// where Google's pinned ones are not (or no longer) the right ones: with the
	// signature's whole keyid, a PEM file, and raw for a key that signs the
	// payload without DSSE's encoding.
	BuilderKeys []BuilderKey `yaml:"builderKeys"`

	// Store is where decisions are kept: {sqlite: FILE}, {postgres: FILE that
	// holds the connection string}, or {none: true}. SQLite is refused on Cloud
	// Run, whose disk does not last.
	Store Store `yaml:"store"`

	// Log says how the record's transparency log is signed and served. Without it
	// the log is kept unsigned.
	Log *Log `yaml:"log"`

	// VSA says how verification summaries are signed, which policies ask for by attest.vsa. None where it is left out.
	VSA *VSA `yaml:"vsa"`

	// Events says who receives denials, overrides, revocations and what else
	// docs/events.md lists. It needs a store. None where it is left out.
	Events *Events `yaml:"events"`

	// Identity says who may call. Without it the service listens on loopback
	// only.
	Identity *Identity `yaml:"identity"`

	// Limits bound what a request, a caller and the process may use.
	Limits Limits `yaml:"limits"`

	// Dependencies bound the calls of what the gate asks.
	Dependencies Dependencies `yaml:"dependencies"`

	// Rejudge says what POST /v1/rejudge does about images that were admitted
	// and would not be any more.
	Rejudge Rejudge `yaml:"rejudge"`

	// Admission answers Kubernetes' AdmissionReviews, on a listener of its own:
	// the API server sends no token. None where it is left out.
	Admission *Admission `yaml:"admission"`

	// PostureProfile is by which POST /v1/posture judges: baseline (the default),
	// hipaa, strict, or a file.
	PostureProfile string `yaml:"postureProfile"`

	// EndOfLife says until when distributions are served.
	EndOfLife EndOfLife `yaml:"endOfLife"`

	// Telemetry shapes logs and traces.
	Telemetry Telemetry `yaml:"telemetry"`
}

// EndOfLife says until when distributions are served.
type EndOfLife struct {
	// Table is a file that replaces the table of the release; docs/scans.md has its
	// form.
	Table string `yaml:"table"`
}

// An Attestor is one that policies may name, with its signer.
type Attestor struct {
	// Name is projects/P/attestors/A.
	Name string `yaml:"name"`
	// KMS is a key version, projects/…/cryptoKeyVersions/N. One of KMS and KeyFile.
	KMS string `yaml:"kms"`
	// KeyFile is a PKCS#8 private key in PEM.
	KeyFile string `yaml:"keyFile"`
	// PublicKeyID is the id under which the attestor has the key's public half.
	// Default: the one that gcloud gives it, see docs/attestations.md. Set it
	// where the key was added under another id, as Terraform's examples do.
	PublicKeyID string `yaml:"publicKeyId"`
	// Project holds the attestations; the attestor's own by default.
	Project string `yaml:"project"`
}

// Registries says which registries may be asked.
type Registries struct {
	// Allowed are hosts, with port where they have one. Policies' images and
	// bases decide what is asked for; this decides who may be asked. Required.
	Allowed []string `yaml:"allowed"`
	// PlainHTTP are hosts spoken to without TLS. Loopback always is.
	PlainHTTP []string `yaml:"plainHTTP"`
	// Companions are further hosts that a registry needs: {HOST: [hosts]}, such
	// as its token server, or the storage at a private address that it
	// redirects to. Docker Hub's are known.
	Companions map[string][]string `yaml:"companions"`
}

// A BuilderKey verifies the provenance of one signer.
type BuilderKey struct {
	// ID is the signature's whole keyid.
	ID string `yaml:"id"`
	// File is a PEM file with the public key.
	File string `yaml:"file"`
	// Raw says that the key signs the payload without DSSE's encoding.
	Raw bool `yaml:"raw"`
}

// Store says where the record is kept: exactly one of the three.
type Store struct {
	// SQLite is a file, for one instance; it and its directory are made if missing.
	SQLite string `yaml:"sqlite"`
	// Postgres is a file that holds the connection string, for any number of instances.
	Postgres string `yaml:"postgres"`
	// Replica is a file that holds the connection string of a read replica of
	// store.postgres: lists, reports, simulations and exports are read there, and may lack
	// the last moments. Nothing that decides is. Default: everything is read from
	// store.postgres.
	Replica string `yaml:"replica"`
	// Connections is how many connections to PostgreSQL an instance has at most, 2 to
	// 500. Default: 10.
	Connections int `yaml:"connections"`
	// Retention is how long decisions are kept: POST /v1/prune deletes older ones, when
	// a scheduler calls it. At least 30d. Default: they are kept.
	Retention when.Duration `yaml:"retention"`
	// None keeps no decisions: history, explanation and simulation answer 501.
	None bool `yaml:"none"`
}

// Log says how the checkpoints of the record's transparency log are signed.
type Log struct {
	// Key signs checkpoints: gcpkms://projects/…/cryptoKeyVersions/N of the algorithm
	// EC_SIGN_ED25519, or a PEM file with an Ed25519 key in PKCS#8. It signs nothing
	// else: an attestor's key cannot be used. Required.
	Key string `yaml:"key"`
	// Origin is the log's name, which every checkpoint says: a URL without a scheme,
	// such as gate.example/decisions. It is the log's for good. Required.
	Origin string `yaml:"origin"`
	// Wait is how long an answer waits for its proof; afterwards the proof is at
	// GET /v1/decisions/{id}/proof. Default: 50ms with a key file, and not at all with
	// Cloud KMS, whose signatures take longer than a decision should.
	Wait when.Duration `yaml:"wait"`
	// Public serves /log/checkpoint and /log/tile/… to everybody. They hold decisions'
	// ids, times and number, and no content. Default: to callers who may read everything.
	Public bool `yaml:"public"`
	// Bucket is where the log is copied to once a minute, outside of the database:
	// gs://BUCKET or gs://BUCKET/FOLDER. The newest checkpoint there shows a database
	// that was put back or rewritten: such a log is not signed. Default: no copy.
	Bucket string `yaml:"bucket"`
	// Witnesses cosign the log's checkpoints (c2sp.org/tlog-witness), each only what
	// continues what it cosigned before. Nothing waits for them. Default: none.
	Witnesses []Witness `yaml:"witnesses"`
}

// A Witness is somebody else, who cosigns the log's checkpoints.
type Witness struct {
	// URL is the witness's submission prefix: https://HOST/PREFIX, or http on this
	// machine. Required.
	URL string `yaml:"url"`
	// Key is the witness's public key as it publishes it, NAME+HASH+KEY of the type
	// 0x04 of c2sp.org/tlog-cosignature. Required.
	Key string `yaml:"key"`
	// Private allows a witness at an address that is not public.
	Private bool `yaml:"private"`
}

// VSA says how verification summaries are signed.
type VSA struct {
	// Verifier is the verifier.id of every summary, an HTTPS URL without a query that is this gate's alone, such as
	// https://gate.example/attestor. Consumers compare it exactly: changing it breaks them all. Required.
	Verifier string `yaml:"verifier"`
	// Policies begins the policy.uri of every summary, which ends with / and the policy's name. Default: the verifier
	// and /v1/policies.
	Policies string `yaml:"policies"`
	// Passed signs summaries of images that passed, and nothing else. Required.
	Passed SummaryKey `yaml:"passed"`
	// Refused signs those of images that were refused, where a policy asks for them. It must be another key: consumers
	// who compare signatures alone take every summary by the key of passes for a pass. Default: none is published.
	Refused *SummaryKey `yaml:"refused"`
	// Former are the public keys, in PEM files, that signed summaries before Passed and Refused do. What they verify is
	// known as this gate's: it is replaced by the next pass, deleted by a revocation, and never reused. Default: none,
	// and what they signed stays where it is.
	Former []string `yaml:"former"`
	// MaxAge is how old a summary may be that is reused for a repeated pass; 24h by default.
	MaxAge when.Duration `yaml:"maxAge"`
}

// A SummaryKey signs verification summaries: ECDSA on P-256, RSA by PKCS #1 v1.5 with SHA-256, or Ed25519.
type SummaryKey struct {
	// KMS is a key version, projects/…/cryptoKeyVersions/N. One of KMS and KeyFile.
	KMS string `yaml:"kms"`
	// KeyFile is a PKCS#8 private key in PEM.
	KeyFile string `yaml:"keyFile"`
}

// Events says who receives which events.
type Events struct {
	// Source is the source of every event: a URI that is this gate's alone, such as
	// https://gate.example. Receivers know a repeated event by source and id. Required.
	Source string `yaml:"source"`
	// Receivers are whom events are delivered to.
	Receivers []Receiver `yaml:"receivers"`
}

// A Receiver gets events by exactly one of Webhook, Topic and Table.
type Receiver struct {
	// Name is the receiver's in the record, metrics and logs: letters, digits and -.
	// Events that wait for it are lost to it if it is renamed. Required.
	Name string `yaml:"name"`
	// Webhook sends signed events by HTTPS.
	Webhook *Webhook `yaml:"webhook"`
	// Topic publishes events to Pub/Sub, projects/P/topics/T.
	Topic string `yaml:"topic"`
	// Table publishes a row for each decision, override and revocation to a Pub/Sub topic
	// with the schema docs/schema/row.proto, projects/P/topics/T: from there Google's own
	// subscription writes a BigQuery table.
	Table string `yaml:"table"`
	// Types are the types of events that it gets; by default all but decision.recorded. A
	// table's are given.
	Types []string `yaml:"types"`
	// Include adds parts that events do not have otherwise: labels (of requests), text
	// (reasons that people wrote, messages of refusals), callers (who asked, overrode or
	// revoked).
	Include []string `yaml:"include"`
}

// A Webhook receives events by HTTPS, signed by Standard Webhooks.
type Webhook struct {
	// URL is https://HOST/PATH. Required.
	URL string `yaml:"url"`
	// SecretFile has the secret that signs, whsec_ and base64; a second line has the
	// former one, while it is exchanged. Required.
	SecretFile string `yaml:"secretFile"`
	// Private allows a receiver at an address that is not public.
	Private bool `yaml:"private"`
	// CA is a PEM file of who signed its certificate; the system's by default.
	CA string `yaml:"ca"`
}

// Identity says who may call, and what they may do.
type Identity struct {
	// Audience is what tokens must be meant for: the service's own URL, or the
	// custom audience of its Cloud Run service.
	Audience string `yaml:"audience"`
	// Issuers are accepted OIDC issuers; https://accounts.google.com by default.
	Issuers []Issuer `yaml:"issuers"`
	// IAPAudience accepts Identity-Aware Proxy's signed header, for pages only.
	IAPAudience string `yaml:"iapAudience"`
	// UnsafeTrustPlatform believes tokens whose signature Cloud Run has checked
	// and removed. Only for a service that nothing but Cloud Run can reach.
	UnsafeTrustPlatform bool `yaml:"unsafeTrustPlatform"`
	// Callers are who may do what. Nobody else may do anything.
	Callers []Caller `yaml:"callers"`
	// Teams reads further callers from a directory with a file for each team. None where it is left out.
	Teams *Teams `yaml:"teams"`
}

// Teams says where teams' files are, and what they may grant.
type Teams struct {
	// Directory has a file TEAM.yaml for each team, with callers as they stand here. A change takes effect within a
	// second; a file that does not load leaves what the team had in force; a file that is gone takes its grants along.
	// Required.
	Directory string `yaml:"directory"`
	// Allow is the most that a team's file may grant. A file that grants more does not load. Required.
	Allow []TeamGrant `yaml:"allow"`
}

// A TeamGrant is something that teams' files may grant.
type TeamGrant struct {
	// Actions are those that may be granted, all but prune.
	Actions []string `yaml:"actions"`
	// Images are patterns of repositories; {team} stands for the name of the file, as in
	// us-docker.pkg.dev/acme/{team}/**.
	Images []string `yaml:"images"`
}

// An Issuer is an OIDC issuer whose tokens are accepted.
type Issuer struct {
	// Issuer is the issuer's URL, as its tokens name it.
	Issuer string `yaml:"issuer"`
	// JWKS is the URL of its keys; found by discovery when left out.
	JWKS string `yaml:"jwks"`
}

// A Caller is who may do what.
type Caller struct {
	// Issuer is https://accounts.google.com by default.
	Issuer string `yaml:"issuer"`
	// Email is the token's verified address, exact. One of email, subject and claims.
	Email string `yaml:"email"`
	// Subject is the token's subject, exact.
	Subject string `yaml:"subject"`
	// Claims are claims of the token, all of which must match exactly.
	Claims map[string]string `yaml:"claims"`
	// Patterns are claims that must match a pattern, in which * stands for characters other than / : and @, as in
	// {repository: acme/pay-*}. They stand beside claims, or alone.
	Patterns map[string]string `yaml:"patterns"`
	// Actions are attest, check, read, simulate, revoke, rejudge, break-glass, posture.
	Actions []string `yaml:"actions"`
	// Images are patterns of repositories.
	Images []string `yaml:"images"`
}

// Admission configures the listener of Kubernetes' AdmissionReviews.
type Admission struct {
	// Listen is HOST:PORT.
	Listen string `yaml:"listen"`
	// Mode is attested (a valid attestation by every attestor of the policy) or
	// judged (that, or to pass the policy now); warn or warnJudged refuse nothing,
	// and warn of what the other would refuse.
	Mode string `yaml:"mode"`
	// Record keeps a decision for each image of each review, whether it is judged
	// or looked up; without it only what is judged is recorded.
	Record bool `yaml:"record"`
	// Cert is a PEM file with the gate's certificate. All of cert, key and clientCA, or
	// UnsafeOpen.
	Cert string `yaml:"cert"`
	// Key is a PEM file with the certificate's key.
	Key string `yaml:"key"`
	// ClientCA is a PEM file of who signs the API server's certificate.
	ClientCA string `yaml:"clientCA"`
	// UnsafeOpen answers whoever can reach the listener, without TLS.
	UnsafeOpen bool `yaml:"unsafeOpen"`
	// Exempt are patterns of repositories that are admitted unseen.
	Exempt []attestor.Pattern `yaml:"exempt"`
}

// Rejudge configures the judging of admitted images again.
type Rejudge struct {
	// Revoke deletes the attestations of an image that a new finding denies. False: it
	// is reported.
	Revoke bool `yaml:"revoke"`
	// Grace is how long a new finding stands before it revokes; 24h by default.
	Grace when.Duration `yaml:"grace"`
	// Cap is how many images one run may revoke, all instances together; 20 by default.
	Cap int `yaml:"cap"`
	// Window has no effect any more: every admitted image is covered. It is accepted so
	// that configurations of earlier versions load.
	Window when.Duration `yaml:"window"`
	// Topic spreads the work over instances, projects/P/topics/T: a run publishes
	// to it what is to be judged, and the rest of itself when its time is over.
	// It comes back by the subscription. Without both, what is judged again is judged by
	// the instance that was called.
	Topic string `yaml:"topic"`
	// Subscription is the one that pushes the topic to /v1/events, projects/P/subscriptions/S.
	Subscription string `yaml:"subscription"`
}

// Limits bounds what a request, a caller and the process may use.
type Limits struct {
	// MaxWait caps how long a request may wait for a scan; 45s by default, which
	// stays below Cloud Run's time-out of 60s.
	MaxWait when.Duration `yaml:"maxWait"`
	// Deadline bounds the gathering of evidence; 30s by default.
	Deadline when.Duration `yaml:"deadline"`
	// Settle bounds signing and recording; 30s by default.
	Settle when.Duration `yaml:"settle"`
	// Concurrency is how many requests are judged at the same time; 64 by default.
	Concurrency int `yaml:"concurrency"`
	// Queue is how many more requests may wait, beyond which the answer is 429; 256 by default.
	Queue int `yaml:"queue"`
	// CallerRate is how many requests a second one caller may send; 20 by default.
	CallerRate float64 `yaml:"callerRate"`
	// TeamRate is how many requests a second the callers of one team's file may send together; 100 by default.
	TeamRate float64 `yaml:"teamRate"`
}

// Dependencies bounds the calls of everything that the gate asks.
type Dependencies struct {
	// Timeouts are what one call has, its retries included.
	Timeouts Timeouts `yaml:"timeouts"`
	// InFlight is how many calls of one dependency, or one registry host, are
	// made at once; further ones wait for their turn. 64.
	InFlight int `yaml:"inFlight"`
	// Outages is how many, one after another, open the circuit of a dependency or registry
	// host, so that it is asked nothing for a while; 5 by default.
	Outages int `yaml:"outages"`
	// Pause is how long an open circuit asks nothing; then one call tries. 10s by default.
	Pause when.Duration `yaml:"pause"`
	// Rates bounds the calls a second of Google's services.
	Rates Rates `yaml:"rates"`
}

// Rates holds the calls a second that each service is asked for at most, in the long run: what of the quota of its
// project this process may use. 0: as many as are answered; after a refusal the rate is learnt.
type Rates struct {
	// ContainerAnalysis is of scans, notes and attestations.
	ContainerAnalysis float64 `yaml:"containerAnalysis"`
	// KMS is of signatures and public keys.
	KMS float64 `yaml:"kms"`
	// BinaryAuthorization is of attestors and policies.
	BinaryAuthorization float64 `yaml:"binaryAuthorization"`
	// ArtifactRegistry is of upload times.
	ArtifactRegistry float64 `yaml:"artifactRegistry"`
}

// Timeouts holds one for each dependency; 10s each.
type Timeouts struct {
	// Registries is of one manifest or config; layers have six times as long.
	Registries when.Duration `yaml:"registries"`
	// ContainerAnalysis is of one question about scans, notes or attestations.
	ContainerAnalysis when.Duration `yaml:"containerAnalysis"`
	// KMS is of one signature or public key.
	KMS when.Duration `yaml:"kms"`
	// BinaryAuthorization is of one attestor or policy.
	BinaryAuthorization when.Duration `yaml:"binaryAuthorization"`
	// ArtifactRegistry is of one upload time.
	ArtifactRegistry when.Duration `yaml:"artifactRegistry"`
	// PubSub is of one message.
	PubSub when.Duration `yaml:"pubsub"`
}

// Telemetry shapes logs and traces.
type Telemetry struct {
	// HashKey is a file whose bytes key the hash by which callers appear in
	// logs; without it hashes differ after a restart.
	HashKey string `yaml:"hashKey"`
	// Project links log lines to traces in Cloud Trace.
	Project string `yaml:"project"`
	// OTLP sends traces to a collector; none where it is left out.
	OTLP *OTLP `yaml:"otlp"`
}

// OTLP names a collector of traces.
type OTLP struct {
	// Endpoint is the collector's HOST:PORT, OTLP over gRPC.
	Endpoint string `yaml:"endpoint"`
	// Plaintext speaks to it without TLS, as to one on the same machine.
	Plaintext bool `yaml:"plaintext"`
	// CA is a PEM file of who signed its certificate; the system's by default.
	CA string `yaml:"ca"`
	// Sample is the part of traces that is kept, above 0 to 1; 1 by default.
	// Traces that their caller keeps are kept too.
	Sample float64 `yaml:"sample"`
}

// Hosts lists the registries that may be asked, each once, in order.
func (r Registries) Hosts() []string {
	all := slices.Concat(r.Allowed, r.PlainHTTP)
	slices.Sort(all)
	return slices.Compact(all)
}

// Plain reports whether a host, with its port, is spoken to without TLS because
// the configuration says so.
func (r Registries) Plain(host string) bool { return slices.Contains(r.PlainHTTP, host) }

// Label is the entry of the configuration that allows a host, for metrics: hosts
// are chosen by callers and so without number.
func (r Registries) Label(host string) string {
	known := r.Hosts()
	if slices.Contains(known, host) {
		return host
	}
	for _, k := range known {
		if strings.HasPrefix(k, "*.") && strings.HasSuffix(host, k[1:]) {
			return k
		}
	}
	return "another host" // token servers, storage that registries redirect to
}

// AttestorNames lists the configured attestors, projects/P/attestors/A.
func (c Config) AttestorNames() []string {
	var names []string
	for _, a := range c.Attestors {
		names = append(names, a.Name)
	}
	return names
}
