package emulator_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	"cloud.google.com/go/iam/apiv1/iampb"
	"cloud.google.com/go/kms/apiv1/kmspb"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/genproto/googleapis/type/expr"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/attestor-gate/attestor/emulator"
)

const gateSA = "gate@p.iam.gserviceaccount.com"

// as is a context whose calls have a token.
func as(t *testing.T, token string) context.Context {
	t.Helper()
	return metadata.AppendToOutgoingContext(ctxFor(t), "authorization", "Bearer "+token)
}

// enforcing is an emulator whose IAM policies decide, with a note, a key and an attestor.
func enforcing(t *testing.T) google {
	t.Helper()
	g := newGoogle(t, emulator.Options{})
	g.createKey(t)
	g.createAttestor(t)
	g.createNote(t, note)
	g.SetBehaviour(emulator.Behaviour{EnforceIAM: true})
	return g
}

func sha256Digest(text string) *kmspb.Digest {
	sum := sha256.Sum256([]byte(text))
	return &kmspb.Digest{Digest: &kmspb.Digest_Sha256{Sha256: sum[:]}}
}

// bind writes the one binding of a resource's policy, as the owner.
func (g google) bind(t *testing.T, resource string, b *iampb.Binding) {
	t.Helper()
	c := iampb.NewIAMPolicyClient(g.Conn())
	if _, err := c.SetIamPolicy(as(t, "owner"), &iampb.SetIamPolicyRequest{Resource: resource,
		Policy: &iampb.Policy{Bindings: []*iampb.Binding{b}}}); err != nil {
		t.Fatal(err)
	}
}

func binding(role string, members ...string) *iampb.Binding {
	return &iampb.Binding{Role: role, Members: members}
}

// TestIAMDecides: each grant, and beside it what it does not grant.
func TestIAMDecides(t *testing.T) {
	const sa = "serviceAccount:" + gateSA
	getKey := func(ctx context.Context, g google) error {
		_, err := g.KMS.GetPublicKey(ctx, &kmspb.GetPublicKeyRequest{Name: version})
		return err
	}
	sign := func(ctx context.Context, g google) error {
		_, err := g.KMS.AsymmetricSign(ctx, &kmspb.AsymmetricSignRequest{Name: version, Digest: sha256Digest("x")})
		return err
	}
	readAttestor := func(ctx context.Context, g google) error {
		_, err := g.Binauthz.GetAttestor(ctx, &binaryauthorizationpb.GetAttestorRequest{Name: attestor})
		return err
	}
	attest := func(ctx context.Context, g google) error {
		_, err := g.Grafeas.CreateOccurrence(ctx, &grafeaspb.CreateOccurrenceRequest{Parent: "projects/p",
			Occurrence: attestation(note, imageA, []byte("payload"), []byte("sig"))})
		return err
	}
	payload, err := json.Marshal(map[string]string{"email": gateSA})
	if err != nil {
		t.Fatal(err)
	}
	jwt := "e30." + base64.RawURLEncoding.EncodeToString(payload) + ".c2ln"

	for _, tt := range []struct {
		name, resource string
		binding        *iampb.Binding
		token          string
		call           func(context.Context, google) error
		want           codes.Code
	}{
		{"on the key", keyRing + "/cryptoKeys/gate", binding("roles/cloudkms.signer", sa), gateSA, sign, codes.OK},
		{"on the ring above it", keyRing, binding("roles/cloudkms.signer", sa), gateSA, sign, codes.OK},
		{"on the project", "projects/p", binding("roles/cloudkms.signer", sa), gateSA, sign, codes.OK},
		{"on another key", keyRing + "/cryptoKeys/other", binding("roles/cloudkms.signer", sa), gateSA, sign, codes.PermissionDenied},
		{"on another project", "projects/p2", binding("roles/cloudkms.signer", sa), gateSA, sign, codes.PermissionDenied},
		{"for another member", "projects/p", binding("roles/cloudkms.signer", "user:a@example.com"), gateSA, sign, codes.PermissionDenied},
		{"as a user of that address", "projects/p", binding("roles/cloudkms.signer", "user:"+gateSA), gateSA, sign, codes.PermissionDenied},
		{"a signer does not read keys", "projects/p", binding("roles/cloudkms.signer", sa), gateSA, getKey, codes.PermissionDenied},
		{"a signer and verifier does", "projects/p", binding("roles/cloudkms.signerVerifier", sa), gateSA, getKey, codes.OK},
		{"an administrator does not sign", "projects/p", binding("roles/cloudkms.admin", sa), gateSA, sign, codes.PermissionDenied},
		{"an editor does not sign", "projects/p", binding("roles/editor", sa), gateSA, sign, codes.PermissionDenied},
		{"a viewer reads attestors", "projects/p", binding("roles/viewer", sa), gateSA, readAttestor, codes.OK},
		{"a role of one's own grants nothing", "projects/p", binding("projects/p/roles/mine", sa), gateSA, readAttestor, codes.PermissionDenied},
		{"a condition grants nothing", "projects/p", &iampb.Binding{Role: "roles/viewer", Members: []string{sa},
			Condition: &expr.Expr{Expression: "true"}}, gateSA, readAttestor, codes.PermissionDenied},
		{"an ID token's address", "projects/p", binding("roles/viewer", sa), jwt, readAttestor, codes.OK},
		{"a member as a token", "projects/p", binding("roles/viewer", "group:ops@example.com"), "group:ops@example.com", readAttestor, codes.OK},
		{"an opaque token", "projects/p", binding("roles/viewer", sa), "ya29.opaque", readAttestor, codes.PermissionDenied},
		{"everybody who has a token", "projects/p", binding("roles/viewer", "allAuthenticatedUsers"), "ya29.opaque", readAttestor, codes.OK},
		{"nobody is not authenticated", "projects/p", binding("roles/viewer", "allAuthenticatedUsers"), "", readAttestor, codes.Unauthenticated},
		{"nobody is of all users", "projects/p", binding("roles/viewer", "allUsers"), "", readAttestor, codes.OK},
		{"the owner", "projects/p", binding("roles/viewer", sa), "owner", attest, codes.OK},
		{"an editor of occurrences does not attach", "projects/p",
			binding("roles/containeranalysis.occurrences.editor", sa), gateSA, attest, codes.PermissionDenied},
		{"an attacher does not create", "projects/p", binding("roles/containeranalysis.notes.attacher", sa), gateSA, attest, codes.PermissionDenied},
		{"an administrator of both does", "projects/p", binding("roles/containeranalysis.admin", sa), gateSA, attest, codes.OK},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := enforcing(t)
			g.bind(t, tt.resource, tt.binding)
			ctx := ctxFor(t)
			if tt.token != "" {
				ctx = as(t, tt.token)
			}
			if err := tt.call(ctx, g); status.Code(err) != tt.want {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
}

// TestIAMOverREST: the header of a request is its caller, and policies are themselves guarded.
func TestIAMOverREST(t *testing.T) {
	g := enforcing(t)
	g.bind(t, "projects/p", binding("roles/binaryauthorization.attestorsAdmin", "serviceAccount:"+gateSA))
	base := "http://" + serve(t, g.Emulator)

	for _, tt := range []struct {
		method, path, body, token string
		want                      int
	}{
		{"GET", "/v1/" + attestor, "", "", 401},
		{"GET", "/v1/" + attestor, "", "a@example.com", 403},
		{"GET", "/v1/" + attestor, "", gateSA, 200},
		{"GET", "/v1/" + attestor + ":getIamPolicy", "", gateSA, 200},
		{"POST", "/v1/" + attestor + ":setIamPolicy", `{"policy":{}}`, gateSA, 200},
		{"POST", "/v1/projects/p:setIamPolicy", `{"policy":{}}`, gateSA, 403},
		{"GET", "/v1/projects/p/policy:getIamPolicy", "", gateSA, 403},
		{"POST", "/v1/" + keyRing + ":setIamPolicy", `{"policy":{}}`, gateSA, 403},
		{"POST", "/v1/projects/p/resources/https://" + imageA + ":exportSBOM", "{}", gateSA, 403},
		{"POST", "/v1/projects/p/resources/https://" + imageA + ":exportSBOM", "{}", "owner", 404},
	} {
		req, err := http.NewRequestWithContext(ctxFor(t), tt.method, base+tt.path, strings.NewReader(tt.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		if tt.token != "" {
			req.Header.Set("Authorization", "Bearer "+tt.token)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != tt.want {
			t.Errorf("%s %s as %q: %d, want %d", tt.method, tt.path, tt.token, res.StatusCode, tt.want)
		}
	}

	held, err := iampb.NewIAMPolicyClient(g.Conn()).TestIamPermissions(as(t, gateSA), &iampb.TestIamPermissionsRequest{
		Resource: attestor, Permissions: []string{"binaryauthorization.attestors.get", "cloudkms.cryptoKeyVersions.useToSign"},
	})
	if err != nil || strings.Join(held.GetPermissions(), " ") != "binaryauthorization.attestors.get" {
		t.Errorf("permissions held: %v, %v", held, err)
	}
}

// TestQuotas: the calls of a window are answered, those beyond it tell when to come again.
func TestQuotas(t *testing.T) {
	now := start
	g := newGoogle(t, emulator.Options{
		Now: func() time.Time { return now },
		Behaviour: emulator.Behaviour{Quotas: []emulator.Quota{
			{Method: "AsymmetricSign", Limit: 2, Per: time.Minute},
			{Method: "", Limit: 100, Per: time.Minute},
		}},
	})
	g.createKey(t)
	sign := func() error {
		_, err := g.KMS.AsymmetricSign(ctxFor(t), &kmspb.AsymmetricSignRequest{Name: version, Digest: sha256Digest("x")})
		return err
	}

	for range 2 {
		if err := sign(); err != nil {
			t.Fatal(err)
		}
	}
	now = now.Add(20 * time.Second)
	err := sign()
	wantCode(t, err, codes.ResourceExhausted)

	var info *errdetails.ErrorInfo
	var retry *errdetails.RetryInfo
	for _, d := range status.Convert(err).Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			info = d
		case *errdetails.RetryInfo:
			retry = d
		}
	}
	if info.GetReason() != "RATE_LIMIT_EXCEEDED" || info.GetDomain() != "googleapis.com" ||
		info.GetMetadata()["service"] != "cloudkms.googleapis.com" || info.GetMetadata()["consumer"] != "projects/p" {
		t.Errorf("ErrorInfo %v", info)
	}
	if got := retry.GetRetryDelay().AsDuration(); got != 40*time.Second {
		t.Errorf("retry after %v, want 40s: the window began 20s ago", got)
	}

	base := "http://" + serve(t, g.Emulator)
	code, answer := send(t, "POST", base+"/v1/"+version+":asymmetricSign", `{"digest":{"sha256":"CB2544S7/y+hJ+W6QI52LzxV+2lfOkd4AtA0BfOhN5Y="}}`)
	if flat := strings.ReplaceAll(answer, ": ", ":"); code != 429 || !strings.Contains(flat, `"retryDelay":"40s"`) ||
		!strings.Contains(flat, "google.rpc.RetryInfo") {
		t.Errorf("by REST: %d %s", code, answer)
	}

	// Other methods have what their own quota leaves, and a new window starts when the old one is over.
	if _, err := g.KMS.GetPublicKey(ctxFor(t), &kmspb.GetPublicKeyRequest{Name: version}); err != nil {
		t.Error(err)
	}
	now = now.Add(40 * time.Second)
	if err := sign(); err != nil {
		t.Errorf("in the next window: %v", err)
	}

	for _, q := range []emulator.Quota{{Limit: 0, Per: time.Second}, {Limit: 1}} {
		if _, err := emulator.New(emulator.Options{Behaviour: emulator.Behaviour{Quotas: []emulator.Quota{q}}}); err == nil {
			t.Errorf("a quota of %+v was taken", q)
		}
	}
}
