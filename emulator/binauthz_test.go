package emulator_test

import (
	"strings"
	"testing"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor/emulator"
)

// Google's published public key of a provenance signer, whose RFC 6920 id is
// known from elsewhere.
const (
	knownPEM = `-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAECGIoAk3mHV8xq/P1x6doSzAJlTaW
YhrmI3rfN5zfk3/Dq6nPpm8D0CMVNyc4HZ5ChTDqTV8EyaR56nLqjvMYUA==
-----END PUBLIC KEY-----
`
	knownID = "ni:///sha-256;BS7H-UzOpmsKWUIxqFIO3RmpMGTOKvyzmDESGM1LZXs"
)

func pkix(id, text string, a binaryauthorizationpb.PkixPublicKey_SignatureAlgorithm) *binaryauthorizationpb.AttestorPublicKey {
	return &binaryauthorizationpb.AttestorPublicKey{Id: id, PublicKey: &binaryauthorizationpb.AttestorPublicKey_PkixPublicKey{
		PkixPublicKey: &binaryauthorizationpb.PkixPublicKey{PublicKeyPem: text, SignatureAlgorithm: a},
	}}
}

func TestAttestorLifeCycle(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	ctx := ctxFor(t)
	g.createKey(t)
	g.createAttestor(t)
	a, err := g.Binauthz.GetAttestor(ctx, &binaryauthorizationpb.GetAttestorRequest{Name: attestor})
	if err != nil || a.GetName() != attestor || a.GetUserOwnedGrafeasNote().GetDelegationServiceAccountEmail() == "" || a.GetEtag() == "" {
		t.Fatalf("%v, %v", a, err)
	}

	changed := proto.CloneOf(a)
	changed.GetUserOwnedGrafeasNote().PublicKeys = append(changed.GetUserOwnedGrafeasNote().PublicKeys,
		pkix("", knownPEM, binaryauthorizationpb.PkixPublicKey_ECDSA_P256_SHA256))
	got, err := g.Binauthz.UpdateAttestor(ctx, &binaryauthorizationpb.UpdateAttestorRequest{Attestor: changed})
	if err != nil || len(got.GetUserOwnedGrafeasNote().GetPublicKeys()) != 2 {
		t.Fatalf("%v, %v", got, err)
	}
	if id := got.GetUserOwnedGrafeasNote().GetPublicKeys()[1].GetId(); id != knownID {
		t.Errorf("computed id %s, want %s", id, knownID)
	}

	_, err = g.Binauthz.UpdateAttestor(ctx, &binaryauthorizationpb.UpdateAttestorRequest{Attestor: a})
	wantCode(t, err, codes.Aborted) // from before the update

	listed, err := g.Binauthz.ListAttestors(ctx, &binaryauthorizationpb.ListAttestorsRequest{Parent: "projects/p"}).Next()
	if err != nil || listed.GetName() != attestor {
		t.Errorf("%v, %v", listed, err)
	}
	if err := g.Binauthz.DeleteAttestor(ctx, &binaryauthorizationpb.DeleteAttestorRequest{Name: attestor}); err != nil {
		t.Fatal(err)
	}

	_, err = g.Binauthz.GetAttestor(ctx, &binaryauthorizationpb.GetAttestorRequest{Name: attestor})
	wantCode(t, err, codes.NotFound)
	wantCode(t, g.Binauthz.DeleteAttestor(ctx, &binaryauthorizationpb.DeleteAttestorRequest{Name: attestor}), codes.NotFound)
	_, err = g.Binauthz.UpdateAttestor(ctx, &binaryauthorizationpb.UpdateAttestorRequest{Attestor: changed})
	wantCode(t, err, codes.NotFound)
}

func TestAttestorRefuses(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	const p256 = binaryauthorizationpb.PkixPublicKey_ECDSA_P256_SHA256

	for _, tt := range []struct {
		name string
		id   string
		in   *binaryauthorizationpb.Attestor
		want codes.Code
	}{
		{"no note", "a", &binaryauthorizationpb.Attestor{}, codes.InvalidArgument},
		{"another name", "a", func() *binaryauthorizationpb.Attestor {
			a := newAttestor()
			a.Name = "projects/p/attestors/b"
			return a
		}(), codes.InvalidArgument},
		{"malformed id", "a b", newAttestor(), codes.InvalidArgument},
		{"no PEM", "a", newAttestor(pkix("k", "x", p256)), codes.InvalidArgument},
		{"a private key's PEM", "a", newAttestor(pkix("k", strings.ReplaceAll(knownPEM, "PUBLIC", "PRIVATE"), p256)), codes.InvalidArgument},
		{"no algorithm", "a", newAttestor(pkix("k", knownPEM, 0)), codes.InvalidArgument},
		{"an algorithm of other keys", "a", newAttestor(pkix("k", knownPEM, binaryauthorizationpb.PkixPublicKey_ECDSA_P384_SHA384)), codes.InvalidArgument},
		{"RSA for an EC key", "a", newAttestor(pkix("k", knownPEM, binaryauthorizationpb.PkixPublicKey_RSA_PSS_2048_SHA256)), codes.InvalidArgument},
		{"the same id twice", "a", newAttestor(pkix("k", knownPEM, p256), pkix("k", knownPEM, p256)), codes.InvalidArgument},
		{"an id that is no URI", "a", newAttestor(pkix("a b", knownPEM, p256)), codes.InvalidArgument},
		{"PGP", "a", newAttestor(&binaryauthorizationpb.AttestorPublicKey{PublicKey: &binaryauthorizationpb.
			AttestorPublicKey_AsciiArmoredPgpPublicKey{AsciiArmoredPgpPublicKey: "x"}}), codes.Unimplemented},
	} {
		_, err := g.Binauthz.CreateAttestor(ctxFor(t), &binaryauthorizationpb.CreateAttestorRequest{Parent: "projects/p", AttestorId: tt.id, Attestor: tt.in})
		if code(err) != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}

	if _, err := g.Binauthz.CreateAttestor(ctxFor(t), &binaryauthorizationpb.CreateAttestorRequest{
		Parent: "projects/p", AttestorId: "a", Attestor: newAttestor()}); err != nil {
		t.Fatal(err)
	}

	_, err := g.Binauthz.CreateAttestor(ctxFor(t), &binaryauthorizationpb.CreateAttestorRequest{Parent: "projects/p", AttestorId: "a", Attestor: newAttestor()})
	wantCode(t, err, codes.AlreadyExists)
	moved := newAttestor()
	moved.Name = "projects/p/attestors/a"
	moved.GetUserOwnedGrafeasNote().NoteReference = "projects/p/notes/other"
	_, err = g.Binauthz.UpdateAttestor(ctxFor(t), &binaryauthorizationpb.UpdateAttestorRequest{Attestor: moved})
	wantCode(t, err, codes.InvalidArgument)
}

func TestValidate(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	g.createKey(t)
	g.createAttestor(t)
	payload := payloadFor("us-docker.pkg.dev/p/r/app", digestA)
	sig := g.sign(t, payload)
	other := payloadFor("us-docker.pkg.dev/p/r/app", digestB)
	good := func() *binaryauthorizationpb.ValidateAttestationOccurrenceRequest {
		return &binaryauthorizationpb.ValidateAttestationOccurrenceRequest{
			Attestor: attestor, OccurrenceNote: note, OccurrenceResourceUri: imageA,
			Attestation: attestation(note, imageA, payload, sig).GetAttestation(),
		}
	}

	type request = binaryauthorizationpb.ValidateAttestationOccurrenceRequest
	untyped := []byte(strings.Replace(string(payload), "Google cloud", "atomic", 1))

	for _, tt := range []struct {
		name     string
		mutate   func(*request)
		verified bool
		reason   string
	}{
		{"as signed", func(*request) {}, true, ""},
		{"with a scheme", func(r *request) { r.OccurrenceResourceUri = "https://" + imageA }, true, ""},
		{"same digest elsewhere", func(r *request) { r.OccurrenceResourceUri = "eu.gcr.io/q/x@" + digestA }, true, ""},
		{"one good signature of two", func(r *request) {
			r.Attestation.Signatures = append([]*grafeaspb.Signature{{PublicKeyId: keyID, Signature: []byte("x")}}, r.Attestation.Signatures...)
		}, true, ""},
		{"another note", func(r *request) { r.OccurrenceNote = "projects/p/notes/other" }, false, "note"},
		{"another image", func(r *request) { r.OccurrenceResourceUri = imageB }, false, digestB},
		{"a tag", func(r *request) { r.OccurrenceResourceUri = "us-docker.pkg.dev/p/r/app:v1" }, false, "got tag or malformed digest"},
		{"a short digest", func(r *request) { r.OccurrenceResourceUri = "us-docker.pkg.dev/p/r/app@sha256:aa" }, false, "got tag or malformed digest"},
		{"payload of another image", func(r *request) {
			r.Attestation.SerializedPayload = other
			r.OccurrenceResourceUri = imageB
		}, false, "No attestations found"},
		{"payload of another image, its own URI", func(r *request) {
			r.Attestation.SerializedPayload = other
			r.Attestation.Signatures[0].Signature = g.sign(t, other)
		}, false, digestB},
		{"payload of another type, signed", func(r *request) {
			r.Attestation.SerializedPayload, r.Attestation.Signatures[0].Signature = untyped, g.sign(t, untyped)
		}, false, "type"},
		{"no JSON, signed", func(r *request) {
			r.Attestation.SerializedPayload, r.Attestation.Signatures[0].Signature = []byte("x"), g.sign(t, []byte("x"))
		}, false, "JSON"},
		{"no payload", func(r *request) { r.Attestation.SerializedPayload = nil }, false, "JSON"},
		{"no signatures", func(r *request) { r.Attestation.Signatures = nil }, false, "No attestations found"},
		{"damaged signature", func(r *request) {
			b := append([]byte(nil), sig...)
			b[len(b)-1] ^= 1
			r.Attestation.Signatures[0].Signature = b
		}, false, "No attestations found"},
		{"unknown key id", func(r *request) { r.Attestation.Signatures[0].PublicKeyId = keyID + "0" }, false, "No attestations found"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := good()
			r.Attestation = proto.CloneOf(r.Attestation)
			tt.mutate(r)
			got, err := g.Validate.ValidateAttestationOccurrence(ctxFor(t), r)
			if err != nil {
				t.Fatal(err)
			}

			if (got.GetResult() == binaryauthorizationpb.ValidateAttestationOccurrenceResponse_VERIFIED) !=
				tt.verified || !strings.Contains(got.GetDenialReason(), tt.reason) {
				t.Errorf("%v %q, want verified=%v and a reason with %q", got.GetResult(), got.GetDenialReason(), tt.verified, tt.reason)
			}
		})
	}
}

func TestValidateWithoutKeys(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	g.createKey(t)
	g.createAttestor(t)
	payload := payloadFor("us-docker.pkg.dev/p/r/app", digestA)
	r := &binaryauthorizationpb.ValidateAttestationOccurrenceRequest{
		Attestor: "projects/p/attestors/none", OccurrenceNote: note, OccurrenceResourceUri: imageA,
		Attestation: attestation(note, imageA, payload, g.sign(t, payload)).GetAttestation(),
	}

	_, err := g.Validate.ValidateAttestationOccurrence(ctxFor(t), r)
	wantCode(t, err, codes.NotFound)
	_, err = g.Validate.ValidateAttestationOccurrence(ctxFor(t), &binaryauthorizationpb.ValidateAttestationOccurrenceRequest{Attestor: attestor})
	wantCode(t, err, codes.InvalidArgument)

	a, err := g.Binauthz.GetAttestor(ctxFor(t), &binaryauthorizationpb.GetAttestorRequest{Name: attestor})
	if err != nil {
		t.Fatal(err)
	}

	a.GetUserOwnedGrafeasNote().PublicKeys = nil
	if _, err := g.Binauthz.UpdateAttestor(ctxFor(t), &binaryauthorizationpb.UpdateAttestorRequest{Attestor: a}); err != nil {
		t.Fatal(err)
	}

	r.Attestor = attestor
	got, err := g.Validate.ValidateAttestationOccurrence(ctxFor(t), r)
	if err != nil || got.GetResult() != binaryauthorizationpb.ValidateAttestationOccurrenceResponse_ATTESTATION_NOT_VERIFIABLE {
		t.Errorf("without keys: %v, %v", got, err)
	}
}

func TestPolicies(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	ctx := ctxFor(t)
	type rule = binaryauthorizationpb.AdmissionRule
	p, err := g.Binauthz.GetPolicy(ctx, &binaryauthorizationpb.GetPolicyRequest{Name: "projects/p/policy"})
	if err != nil || p.GetDefaultAdmissionRule().GetEvaluationMode() != binaryauthorizationpb.AdmissionRule_ALWAYS_ALLOW {
		t.Fatalf("the default policy: %v, %v", p, err)
	}

	stale := proto.CloneOf(p)
	require := &rule{EvaluationMode: binaryauthorizationpb.AdmissionRule_REQUIRE_ATTESTATION,
		EnforcementMode:       binaryauthorizationpb.AdmissionRule_ENFORCED_BLOCK_AND_AUDIT_LOG,
		RequireAttestationsBy: []string{attestor}}
	p.DefaultAdmissionRule = require
	if _, err := g.Binauthz.UpdatePolicy(ctx, &binaryauthorizationpb.UpdatePolicyRequest{Policy: p}); err != nil {
		t.Fatal(err)
	}

	got, err := g.Binauthz.GetPolicy(ctx, &binaryauthorizationpb.GetPolicyRequest{Name: "projects/p/policy"})
	if err != nil || !proto.Equal(got.GetDefaultAdmissionRule(), require) {
		t.Errorf("%v, %v", got, err)
	}

	_, err = g.Binauthz.UpdatePolicy(ctx, &binaryauthorizationpb.UpdatePolicyRequest{Policy: stale})
	wantCode(t, err, codes.Aborted)

	for name, change := range map[string]func(*binaryauthorizationpb.Policy){
		"no default rule":          func(p *binaryauthorizationpb.Policy) { p.DefaultAdmissionRule = nil },
		"attestation by nobody":    func(p *binaryauthorizationpb.Policy) { p.DefaultAdmissionRule.RequireAttestationsBy = nil },
		"attestor by another name": func(p *binaryauthorizationpb.Policy) { p.DefaultAdmissionRule.RequireAttestationsBy = []string{"gate"} },
		"no enforcement mode":      func(p *binaryauthorizationpb.Policy) { p.DefaultAdmissionRule.EnforcementMode = 0 },
		"two kinds of rules": func(p *binaryauthorizationpb.Policy) {
			p.ClusterAdmissionRules = map[string]*rule{"a": require}
			p.KubernetesNamespaceAdmissionRules = map[string]*rule{"b": require}
		},
	} {
		bad := proto.CloneOf(got)
		change(bad)
		if _, err := g.Binauthz.UpdatePolicy(ctx, &binaryauthorizationpb.UpdatePolicyRequest{Policy: bad}); code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v, want INVALID_ARGUMENT", name, err)
		}
	}

	sys, err := g.System.GetSystemPolicy(ctx, &binaryauthorizationpb.GetSystemPolicyRequest{Name: "locations/us/policy"})
	if err != nil || len(sys.GetAdmissionWhitelistPatterns()) == 0 {
		t.Errorf("%v, %v", sys, err)
	}

	_, err = g.System.GetSystemPolicy(ctx, &binaryauthorizationpb.GetSystemPolicyRequest{Name: "policy"})
	wantCode(t, err, codes.InvalidArgument)
}
