package config

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/attestor-gate/attestor/internal/loopback"
)

var (
	attestorName = regexp.MustCompile(`^projects/[^/]+/attestors/[^/]+$`)
	topicName    = regexp.MustCompile(`^projects/[^/]+/topics/[^/]+$`)
	keyVersion   = regexp.MustCompile(
		`^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+/cryptoKeyVersions/[0-9]+$`)
	// Cloud Storage, "Bucket names": they "can only contain lowercase letters, numeric characters, dashes (-),
	// underscores (_), and dots (.)".
	bucketName       = regexp.MustCompile(`^gs://[a-z0-9._-]+(/[^/\s]+)*/?$`)
	subscriptionName = regexp.MustCompile(`^projects/[^/]+/subscriptions/[^/]+$`)
)

// IsAttestorName reports whether a name has the form projects/P/attestors/A.
func IsAttestorName(name string) bool { return attestorName.MatchString(name) }

// problems lists every contradiction and omission.
func (c Config) problems(getenv func(string) string, profile ProfileCheck) []error {
	var out []error
	bad := func(format string, args ...any) { out = append(out, fmt.Errorf(format, args...)) }

	if len(c.Policies) == 0 {
		bad("policies: name at least one file or directory; without a policy every image is refused")
	}
	if len(c.Registries.Allowed) == 0 {
		bad("registries.allowed: name the registries that may be asked, such as us-docker.pkg.dev")
	}

	out = append(out, c.attestorProblems()...)
	out = append(out, c.Store.problems(getenv)...)
	if c.Log != nil {
		out = append(out, c.Log.problems(c.Store)...)
	}
	if c.VSA != nil {
		out = append(out, c.VSA.problems(c.Attestors)...)
	}
	if c.Events != nil {
		out = append(out, c.Events.problems(c.Store)...)
	}
	if c.Admission != nil {
		out = append(out, c.Admission.problems()...)
		if c.Admission.Record && c.Store.None {
			out = append(out, errors.New("admission.record: there is no record with store.none"))
		}
	}
	if c.Telemetry.OTLP != nil {
		out = append(out, c.Telemetry.OTLP.problems()...)
	}

	if c.Dependencies.InFlight < 0 || c.Dependencies.Outages < 0 {
		bad("dependencies: inFlight and outages are counts")
	}
	for name, rate := range map[string]float64{
		"containerAnalysis": c.Dependencies.Rates.ContainerAnalysis, "kms": c.Dependencies.Rates.KMS,
		"binaryAuthorization": c.Dependencies.Rates.BinaryAuthorization,
		"artifactRegistry":    c.Dependencies.Rates.ArtifactRegistry,
	} {
		if !(rate == 0 || rate >= 0.1 && rate <= 1e6) { // also what is no number
			bad("dependencies.rates.%s: want calls a second from 0.1 to 1000000, or 0 for no limit", name)
		}
	}
	if r := c.Rejudge; (r.Topic != "" || r.Subscription != "") &&
		(!topicName.MatchString(r.Topic) || !subscriptionName.MatchString(r.Subscription)) {
		bad("rejudge: want topic projects/PROJECT/topics/NAME " +
			"and subscription projects/PROJECT/subscriptions/NAME, or neither")
	}
	if err := profile(c.PostureProfile); err != nil {
		bad("postureProfile: %v", err)
	}

	// Without identities anybody who can connect may have images signed, so that
	// only this machine may.
	if c.Identity != nil {
		return append(out, c.Identity.problems()...)
	}
	if host, _, err := net.SplitHostPort(c.Listen); err != nil {
		bad("listen: %q is not HOST:PORT", c.Listen)
	} else if !loopback.Host(host) {
		bad("listen: %s can be reached from elsewhere, and no identity is configured: configure identity, or listen "+
			"on 127.0.0.1", c.Listen)
	}
	return out
}

func (l Log) problems(s Store) []error {
	var out []error
	bad := func(format string, args ...any) { out = append(out, fmt.Errorf(format, args...)) }

	if l.Key == "" {
		bad("log.key: name a Cloud KMS key version, gcpkms://projects/…/cryptoKeyVersions/N, or a PEM file")
	}
	if version, ok := strings.CutPrefix(l.Key, "gcpkms://"); ok && !keyVersion.MatchString(version) {
		bad("log.key: %q is not gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/N", l.Key)
	}

	// c2sp.org/signed-note: a key name is "non-empty" and has no "Unicode spaces" and no
	// plus. c2sp.org/tlog-checkpoint: an origin is a URL without a scheme.
	if l.Origin == "" || strings.ContainsFunc(l.Origin, unicode.IsSpace) || strings.Contains(l.Origin, "+") ||
		strings.Contains(l.Origin, "://") || !utf8.ValidString(l.Origin) || len(l.Origin) > maxOrigin {
		bad("log.origin: %q is not the name of a log: write a URL without scheme, such as gate.example/decisions",
			l.Origin)
	}
	if l.Bucket != "" && !bucketName.MatchString(l.Bucket) {
		bad("log.bucket: %q is not a location in Cloud Storage: write gs://BUCKET or gs://BUCKET/FOLDER", l.Bucket)
	}
	out = append(out, witnessProblems(l)...)
	if s.None {
		bad("log: a gate that keeps no decisions (store: none) has no log")
	}
	return out
}

// maxOrigin bounds the name of a log, in bytes.
const maxOrigin = 200

func (c Config) attestorProblems() []error {
	var out []error
	seen := map[string]bool{}
	for i, a := range c.Attestors {
		switch {
		case !IsAttestorName(a.Name):
			out = append(out, fmt.Errorf("attestors[%d].name: %q is not projects/PROJECT/attestors/NAME", i, a.Name))
		case seen[a.Name]:
			out = append(out, fmt.Errorf("attestors[%d].name: duplicate %q", i, a.Name))
		// With both, which of them signs would depend on the program.
		case (a.KMS == "") == (a.KeyFile == ""):
			out = append(out, fmt.Errorf("attestors[%d]: want one of kms and keyFile", i))
		}
		seen[a.Name] = true
	}

	return out
}

func (a Admission) problems() []error {
	var out []error
	if _, _, err := net.SplitHostPort(a.Listen); err != nil {
		out = append(out, fmt.Errorf("admission.listen: %q is not HOST:PORT", a.Listen))
	}

	// An unknown mode would be read as one that refuses nothing.
	switch a.Mode {
	case "attested", "judged", "warn", "warnJudged":
	default:
		out = append(out, fmt.Errorf("admission.mode: %q: want attested, judged, warn or warnJudged", a.Mode))
	}

	// Part of the files would be TLS that identifies nobody.
	if files := count(a.Cert != "", a.Key != "", a.ClientCA != ""); files != 3 && (files != 0 || !a.UnsafeOpen) {
		out = append(out, errors.New("admission: want cert, key and clientCA, or unsafeOpen: true and none of them"))
	}
	return out
}

func (s Store) problems(getenv func(string) string) []error {
	switch {
	case count(s.SQLite != "", s.Postgres != "", s.None) != 1:
		return []error{errors.New("store: want one of sqlite, postgres and none")}
	// K_SERVICE is set by Cloud Run (container runtime contract).
	case s.SQLite != "" && getenv("K_SERVICE") != "":
		return []error{errors.New("store.sqlite: Cloud Run's disk is lost when an instance ends; use store.postgres, " +
			"or store.none")}
	}

	var out []error
	switch {
	case s.Connections == 0:
	case s.Postgres == "":
		out = append(out, errors.New("store.connections: it is for store.postgres; an SQLite file needs none"))
	case s.Connections < minConnections || s.Connections > maxConnections:
		out = append(out, fmt.Errorf("store.connections: %d: want %d to %d", s.Connections, minConnections,
			maxConnections))
	}

	if s.Replica != "" && s.Postgres == "" {
		out = append(out, errors.New("store.replica: it is for store.postgres"))
	}

	// A typing error here would delete what an auditor asks for.
	switch retention := time.Duration(s.Retention); {
	case retention == 0:
	case s.None:
		out = append(out, errors.New("store.retention: a gate that keeps no decisions (store.none) deletes none"))
	case retention < minRetention:
		out = append(out, errors.New("store.retention: want at least 30d"))
	}
	return out
}

const (
	// minConnections is what a decision needs beside a list.
	minConnections = 2
	maxConnections = 500
	// minRetention is the period of reports and simulations.
	minRetention = 30 * 24 * time.Hour
)

func (o OTLP) problems() []error {
	var out []error
	if _, _, err := net.SplitHostPort(o.Endpoint); err != nil {
		out = append(out, fmt.Errorf("telemetry.otlp.endpoint: %q is not HOST:PORT", o.Endpoint))
	}
	if o.Sample < 0 || o.Sample > 1 {
		out = append(out, fmt.Errorf("telemetry.otlp.sample: %v is not between 0 and 1", o.Sample))
	}
	if o.Plaintext && o.CA != "" {
		out = append(out, errors.New("telemetry.otlp: plaintext and ca exclude each other"))
	}
	return out
}

// count is how many of some conditions hold.
func count(conditions ...bool) (n int) {
	for _, holds := range conditions {
		if holds {
			n++
		}
	}
	return n
}
