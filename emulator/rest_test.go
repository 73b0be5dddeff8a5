package emulator_test

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	binauthz "cloud.google.com/go/binaryauthorization/apiv1"
	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/api/option"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor/emulator"
)

func TestRESTErrors(t *testing.T) {
	g := newGoogle(t, emulator.Options{Behaviour: emulator.Behaviour{Denied: []emulator.Denial{{Permission: "binaryauthorization.attestors.get"}}}})
	g.createNote(t, note)
	base := "http://" + serve(t, g.Emulator)

	for _, tt := range []struct {
		name, method, path, body string
		want                     int
		status, text             string
	}{
		{"not there", "GET", "/v1/projects/p/occurrences/x", "", 404, "NOT_FOUND", "projects/p/occurrences/x"},
		{"a digest for an id", "GET", "/v1/projects/p/occurrences/sha256:abc", "", 404, "NOT_FOUND", "sha256:abc"},
		{"there already", "POST", "/v1/projects/p/notes?noteId=gate", `{"attestation":{}}`, 409, "ALREADY_EXISTS", "already exists"},
		{"not allowed", "GET", "/v1/projects/p/attestors/a", "", 403, "PERMISSION_DENIED", "binaryauthorization.attestors.get"},
		{"an invalid filter", "GET", "/v1/projects/p/occurrences?filter=x", "", 400, "INVALID_ARGUMENT", "invalid list filter"},
		{"broken JSON", "POST", "/v1/projects/p/occurrences", `{`, 400, "INVALID_ARGUMENT", ""},
		{"an unknown field", "POST", "/v1/projects/p/occurrences", `{"nope":1}`, 400, "INVALID_ARGUMENT", "nope"},
		{"a wrong type", "POST", "/v1/projects/p/occurrences", `{"resourceUri":1}`, 400, "INVALID_ARGUMENT", ""},
		{"a bad number in the query", "GET", "/v1/projects/p/occurrences?pageSize=x", "", 400, "INVALID_ARGUMENT", ""},
		{"not implemented", "POST", "/v1/projects/p/locations/global/keyRings/r/cryptoKeys/k:encrypt", `{}`, 400, "UNIMPLEMENTED", ""},
		{"no such path", "GET", "/v2/nope", "", 404, "NOT_FOUND", ""},
		{"no such method", "PATCH", "/v1/projects/p/occurrences", `{}`, 404, "NOT_FOUND", ""},
		{"a tag", "GET", "/v1/projects/p/locations/us/repositories/r/packages/i/tags/t", "", 404, "NOT_FOUND", "digest"},
		{"a version that is no digest", "GET", "/v1/projects/p/locations/us/repositories/r/packages/i/versions/x", "", 404, "NOT_FOUND", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, answer := send(t, tt.method, base+tt.path, tt.body)
			var e struct {
				Error struct {
					Code            int
					Message, Status string
				}
			}

			if err := json.Unmarshal([]byte(answer), &e); err != nil {
				t.Fatalf("%d %s: %v", got, answer, err)
			}
			if got != tt.want || e.Error.Code != tt.want || e.Error.Status != tt.status || e.Error.Message == "" ||
				!strings.Contains(e.Error.Message, tt.text) {
				t.Errorf("%d %s, want %d %s with %q", got, answer, tt.want, tt.status, tt.text)
			}
		})
	}

	req, err := http.NewRequestWithContext(ctxFor(t), http.MethodPost, base+"/v1/projects/p/notes?noteId=x", strings.NewReader(`{"attestation":{}}`))
	if err != nil {
		t.Fatal(err)
	}

	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusBadRequest {
		t.Errorf("a form: status %d, want 400", res.StatusCode)
	}
}

func TestRESTDetails(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	_, answer := send(t, "GET", "http://"+serve(t, g.Emulator)+"/v1/projects/p/notes/none", "")
	if !strings.Contains(answer, `"@type":"type.googleapis.com/google.rpc.ResourceInfo"`) &&
		!strings.Contains(answer, `"@type": "type.googleapis.com/google.rpc.ResourceInfo"`) {
		t.Errorf("no details: %s", answer)
	}
}

func TestRESTForms(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	g.createKey(t)
	base := "http://" + serve(t, g.Emulator)
	g.fill(t, "projects/p", 30)
	g.fill(t, "projects/example.com:proj", 3)

	for _, tt := range []struct {
		name, method, path, body, want string
	}{
		{"camel case", "GET", "/v1/projects/p/occurrences?pageSize=1&alt=json&prettyPrint=false&key=x", "", "nextPageToken"},
		{"snake case", "GET", "/v1/projects/p/occurrences?page_size=1", "", "nextPageToken"},
		{"domain-scoped project", "GET", "/v1/projects/example.com:proj/occurrences", "", "CVE-2"},
		{"escaped colon", "GET", "/v1/projects/example.com%3Aproj/occurrences", "", "CVE-2"},
		{"digest and CRC as gcloud has them", "POST", "/v1/" + version + ":asymmetricSign",
			`{"digest":{"sha256":"CB2544S7_y-hJ-W6QI52LzxV-2lfOkd4AtA0BfOhN5Y="},"digestCrc32c":"183538314"}`,
			`"verifiedDigestCrc32c":true`},
		{"public key", "GET", "/v1/" + version + "/publicKey", "", "BEGIN PUBLIC KEY"},
		{"permissions of a note", "POST", "/v1/projects/p/notes/n:testIamPermissions",
			`{"permissions":["containeranalysis.notes.get"]}`, "containeranalysis.notes.get"},
		{"permissions of a key", "POST", "/v1/" + keyRing + ":testIamPermissions", `{"permissions":["cloudkms.cryptoKeys.get"]}`, "cloudkms.cryptoKeys.get"},
		{"summary", "GET", "/v1/projects/p/occurrences:vulnerabilitySummary", "", `"SEVERITY_UNSPECIFIED"`},
		{"images", "GET", "/v1/projects/p/locations/us/repositories/r/dockerImages", "", digestA},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, answer := send(t, tt.method, base+tt.path, tt.body)
			if got != http.StatusOK || !strings.Contains(strings.ReplaceAll(answer, ": ", ":"), tt.want) {
				t.Errorf("%d %s, want %q", got, answer, tt.want)
			}
		})
	}
}

// TestOnePort: native gRPC and the official REST clients on the same port.
func TestOnePort(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	g.createKey(t)
	g.createAttestor(t)
	addr := serve(t, g.Emulator)
	ctx := ctxFor(t)

	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, err = grafeaspb.NewGrafeasClient(conn).GetNote(ctx, &grafeaspb.GetNoteRequest{Name: note})
	wantCode(t, err, codes.NotFound)
	if _, err := grafeaspb.NewGrafeasClient(conn).CreateNote(ctx, &grafeaspb.CreateNoteRequest{Parent: "projects/p", NoteId: "gate", Note: &grafeaspb.Note{
		Type: &grafeaspb.Note_Attestation{Attestation: &grafeaspb.AttestationNote{}},
	}}); err != nil {
		t.Fatal(err)
	}

	k, err := kms.NewKeyManagementRESTClient(ctx, option.WithEndpoint("http://"+addr), option.WithoutAuthentication())
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	if pub, err := k.GetPublicKey(ctx, &kmspb.GetPublicKeyRequest{Name: version}); err != nil ||
		pub.GetPemCrc32C().GetValue() != castagnoli([]byte(pub.GetPem())) {
		t.Errorf("public key by REST: %v, %v", pub, err)
	}

	b, err := binauthz.NewBinauthzManagementRESTClient(ctx, option.WithEndpoint("http://"+addr), option.WithoutAuthentication())
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if a, err := b.GetAttestor(ctx, &binaryauthorizationpb.GetAttestorRequest{Name: attestor}); err != nil ||
		len(a.GetUserOwnedGrafeasNote().GetPublicKeys()) != 1 {
		t.Errorf("attestor by REST: %v, %v", a, err)
	}
}

// TestServeEndsWithHangingCalls: stopping to serve does not wait for a call
// that hangs by injection.
func TestServeEndsWithHangingCalls(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	done, reached := make(chan error, 1), make(chan struct{})

	t.Run("serving", func(t *testing.T) {
		addr := serve(t, g.Emulator)
		g.Inject(emulator.Fault{Method: "GetNote", Hang: true, Match: func(proto.Message) bool { close(reached); return true }})
		go func() {
			res, err := http.Get("http://" + addr + "/v1/" + note)
			if err == nil {
				_ = res.Body.Close()
			}
			done <- err
		}()

		<-reached
	})

	if err := <-done; err == nil {
		t.Error("a hanging call was answered when serving ended")
	}
}

// TestGzipOnlyWhenAsked: an answer is compressed where header and user agent ask for it, and readable in each case.
func TestGzipOnlyWhenAsked(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	g.createNote(t, note)
	base := "http://" + serve(t, g.Emulator)

	for _, tt := range []struct {
		accept, agent string
		want          bool
	}{
		{"", "", false},
		{"", "client (gzip)", false},
		{"gzip", "client", false},
		{"gzip;q=0", "client (gzip)", false},
		{"identity", "client (gzip)", false},
		{"deflate, GZIP; q=0.5", "client (gzip)", true},
		{"gzip, deflate", "google-cloud-sdk gcloud/528.0.0 (gzip)", true},
	} {
		for _, path := range []string{"/v1/" + note, "/v1/projects/p/notes/none", "/v1/projects/p/services/x"} {
			req, err := http.NewRequestWithContext(ctxFor(t), http.MethodGet, base+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("User-Agent", tt.agent)
			req.Header.Set("Accept-Encoding", tt.accept) // set by hand: the transport decodes nothing
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}

			var body io.Reader = res.Body
			if got := res.Header.Get("Content-Encoding") == "gzip"; got != tt.want {
				t.Errorf("%q, %q, %s: gzip is %v, want %v", tt.accept, tt.agent, path, got, tt.want)
			} else if got {
				if body, err = gzip.NewReader(res.Body); err != nil {
					t.Fatal(err)
				}
			}
			var v map[string]any
			if err := json.NewDecoder(body).Decode(&v); err != nil {
				t.Errorf("%q, %q, %s: %v", tt.accept, tt.agent, path, err)
			}
			_ = res.Body.Close()
		}
	}
}
