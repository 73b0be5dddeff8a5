package emulator_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"cloud.google.com/go/iam/apiv1/iampb"
	"cloud.google.com/go/kms/apiv1/kmspb"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor/emulator"
)

func (g google) attest(ctx context.Context, resource string) error {
	_, err := g.Grafeas.CreateOccurrence(ctx, &grafeaspb.CreateOccurrenceRequest{Parent: "projects/p",
		Occurrence: attestation(note, resource, []byte("p"), []byte("s"))})
	return err
}

func TestFaultBeforeAndAfterTheEffect(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault emulator.Fault
		want  codes.Code
		kept  int
	}{
		{"refused", emulator.Fault{Method: "CreateOccurrence", Code: codes.Unavailable}, codes.Unavailable, 0},
		{"answer lost", emulator.Fault{Method: "CreateOccurrence", Code: codes.Unavailable, AnswerLost: true}, codes.Unavailable, 1},
		{"by full name, own message", emulator.Fault{Method: "grafeas.v1.Grafeas/CreateOccurrence",
			Code: codes.ResourceExhausted, Message: "quota"}, codes.ResourceExhausted, 0},
		{"every method", emulator.Fault{Code: codes.Internal, Count: 1}, codes.Internal, 0},
		{"another method", emulator.Fault{Method: "Occurrence", Code: codes.Internal}, codes.OK, 1},
		{"another service", emulator.Fault{Method: "x/CreateOccurrence", Code: codes.Internal}, codes.OK, 1},
		{"another request", emulator.Fault{Code: codes.Internal, Match: func(m proto.Message) bool {
			r, ok := m.(*grafeaspb.CreateOccurrenceRequest)
			return ok && r.GetOccurrence().GetResourceUri() == imageB
		}}, codes.OK, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGoogle(t, emulator.Options{})
			g.createNote(t, note)
			remove := g.Inject(tt.fault)
			err := g.attest(ctxFor(t), imageA)
			wantCode(t, err, tt.want)
			if tt.fault.Message != "" && status.Convert(err).Message() != tt.fault.Message {
				t.Errorf("message %v", err)
			}

			remove()
			if got := g.list(t, "projects/p", ""); len(got) != tt.kept {
				t.Errorf("%d occurrences were kept, want %d", len(got), tt.kept)
			}
		})
	}
}

func TestFaultHangs(t *testing.T) {
	for _, lost := range []bool{false, true} {
		g := newGoogle(t, emulator.Options{})
		g.createNote(t, note)
		reached := make(chan struct{})
		g.Inject(emulator.Fault{Method: "CreateOccurrence", Hang: true, AnswerLost: lost, Match: func(proto.Message) bool { close(reached); return true }})
		ctx, cancel := context.WithCancel(ctxFor(t))
		done := make(chan error, 1)
		go func() { done <- g.attest(ctx, imageA) }()
		<-reached
		deadline := ctxFor(t)

		for lost && len(g.list(t, "projects/p", "")) == 0 { // until the effect is seen
			if deadline.Err() != nil {
				t.Fatal("the hanging call took no effect")
			}
		}

		select {
		case err := <-done:
			t.Fatalf("answered: %v", err)
		default:
		}

		cancel()
		wantCode(t, <-done, codes.Canceled)
		if got := len(g.list(t, "projects/p", "")); (got == 1) != lost {
			t.Errorf("answer lost %v: %d occurrences", lost, got)
		}
	}
}

func TestFaultLatencyAndCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, err := emulator.New(emulator.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		c := kmspb.NewKeyManagementServiceClient(e.Conn())
		e.Inject(emulator.Fault{Method: "GetPublicKey", Skip: 1, Count: 2, Latency: 3 * time.Second})
		get := func(ctx context.Context) (time.Duration, error) {
			begin := time.Now()
			_, err := c.GetPublicKey(ctx, &kmspb.GetPublicKeyRequest{Name: version})
			return time.Since(begin), err
		}

		for i, want := range []time.Duration{0, 3 * time.Second, 3 * time.Second, 0} {
			if took, err := get(t.Context()); took != want || status.Code(err) != codes.NotFound {
				t.Errorf("call %d took %v (%v), want %v", i, took, err, want)
			}
		}

		// A caller that does not wait that long gets its own deadline back.
		e.Inject(emulator.Fault{Method: "GetPublicKey", Latency: time.Hour})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if took, err := get(ctx); took != time.Second || status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("took %v, %v", took, err)
		}

		e.ClearFaults()
		if took, _ := get(t.Context()); took != 0 {
			t.Errorf("cleared, and took %v", took)
		}
		if calls := e.Calls("GetPublicKey"); len(calls) != 6 || calls[1].End.Sub(calls[1].Start) != 3*time.Second || calls[0].Code != codes.NotFound {
			t.Errorf("call log %+v", calls)
		}
	})
}

func TestCorruptSignatures(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	g.createKey(t)
	pub := publicKey(t, g)
	d := digestOf(crypto.SHA256, []byte("m"))

	for _, tt := range []struct {
		c                             emulator.Corruption
		valid, crc, named, digestSeen bool
	}{
		{emulator.CorruptNothing, true, true, true, true},
		{emulator.CorruptSignature, false, true, true, true},
		{emulator.CorruptSignatureInTransit, false, false, true, true},
		{emulator.CorruptChecksum, true, false, true, true},
		{emulator.CorruptNoChecksum, true, false, true, true},
		{emulator.CorruptName, true, true, false, true},
		{emulator.CorruptUnverified, true, true, true, false},
	} {
		remove := g.Inject(emulator.Fault{Method: "AsymmetricSign", Corrupt: tt.c})
		r, err := g.KMS.AsymmetricSign(ctxFor(t), &kmspb.AsymmetricSignRequest{Name: version, Digest: d, DigestCrc32C: wrap(castagnoli(d.GetSha256()))})
		remove()
		if err != nil {
			t.Fatal(err)
		}

		if got := ecdsa.VerifyASN1(pub, d.GetSha256(), r.GetSignature()); got != tt.valid {
			t.Errorf("%d: signature valid %v, want %v", tt.c, got, tt.valid)
		}
		if got := r.GetSignatureCrc32C() != nil && r.GetSignatureCrc32C().GetValue() == castagnoli(r.GetSignature()); got != tt.crc {
			t.Errorf("%d: checksum good %v, want %v", tt.c, got, tt.crc)
		}
		if got := r.GetName() == version; got != tt.named {
			t.Errorf("%d: name good %v, want %v", tt.c, got, tt.named)
		}
		if got := r.GetVerifiedDigestCrc32C(); got != tt.digestSeen {
			t.Errorf("%d: digest verified %v, want %v", tt.c, got, tt.digestSeen)
		}
	}
}

func TestCorruptPublicKeys(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	g.createKey(t)
	good, err := g.KMS.GetPublicKey(ctxFor(t), &kmspb.GetPublicKeyRequest{Name: version})
	if err != nil {
		t.Fatal(err)
	}

	for _, tt := range []struct {
		c                emulator.Corruption
		same, crc, named bool
	}{
		{emulator.CorruptPublicKey, false, true, true},
		{emulator.CorruptPublicKeyInTransit, false, false, true},
		{emulator.CorruptChecksum, true, false, true},
		{emulator.CorruptNoChecksum, true, false, true},
		{emulator.CorruptName, true, true, false},
	} {
		remove := g.Inject(emulator.Fault{Method: "GetPublicKey", Corrupt: tt.c})
		r, err := g.KMS.GetPublicKey(ctxFor(t), &kmspb.GetPublicKeyRequest{Name: version})
		remove()
		if err != nil {
			t.Fatal(err)
		}

		crc := r.GetPemCrc32C() != nil && r.GetPemCrc32C().GetValue() == castagnoli([]byte(r.GetPem()))
		if (r.GetPem() == good.GetPem()) != tt.same || crc != tt.crc || (r.GetName() == version) != tt.named {
			t.Errorf("%d: %v, want same=%v crc=%v named=%v", tt.c, r, tt.same, tt.crc, tt.named)
		}
	}
}

func TestMutate(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	g.createNote(t, note)
	g.Inject(emulator.Fault{Method: "GetNote", Mutate: func(_, resp proto.Message) { resp.(*grafeaspb.Note).Name = "other" }})

	for range 2 { // the stored note stays as it was, or the second would differ in more
		n, err := g.Grafeas.GetNote(ctxFor(t), &grafeaspb.GetNoteRequest{Name: note})
		if err != nil || n.GetName() != "other" {
			t.Errorf("%v, %v", n, err)
		}
	}

	g.ClearFaults()
	if n, err := g.Grafeas.GetNote(ctxFor(t), &grafeaspb.GetNoteRequest{Name: note}); err != nil || n.GetName() != note {
		t.Errorf("%v, %v", n, err)
	}
}

func TestCallLogSeesREST(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	base := "http://" + serve(t, g.Emulator)
	g.Inject(emulator.Fault{Method: "ListOccurrences", Code: codes.Unavailable, Count: 1})

	for _, want := range []int{http.StatusServiceUnavailable, http.StatusOK} {
		if got, answer := send(t, http.MethodGet, base+"/v1/projects/p/occurrences", ""); got != want {
			t.Errorf("status %d (%s), want %d", got, answer, want)
		}
	}

	if calls := g.Calls("grafeas.v1.Grafeas/ListOccurrences"); len(calls) != 2 || calls[0].Code != codes.Unavailable || calls[1].Code != codes.OK {
		t.Errorf("call log %+v", calls)
	}
	if calls := g.Calls("GetNote"); len(calls) != 0 {
		t.Errorf("calls of another method %+v", calls)
	}

	g.ResetCalls()
	if calls := g.Calls(); len(calls) != 0 {
		t.Errorf("after a reset %+v", calls)
	}
}

func TestPermissions(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	g.createNote(t, note)
	g.createKey(t)
	ctx := ctxFor(t)
	ask := []string{"containeranalysis.notes.attachOccurrence", "containeranalysis.notes.get"}
	r, err := g.Analysis.TestIamPermissions(ctx, &iampb.TestIamPermissionsRequest{Resource: note, Permissions: ask})
	if err != nil || len(r.GetPermissions()) != 2 {
		t.Fatalf("%v, %v; want both granted", r, err)
	}

	g.SetBehaviour(emulator.Behaviour{Denied: []emulator.Denial{
		{Permission: "containeranalysis.notes.attachOccurrence", Resource: note},
		{Permission: "cloudkms.cryptoKeyVersions.useToSign", Resource: keyRing},
		{Permission: "binaryauthorization.attestors.get"},
	}})

	r, err = g.Analysis.TestIamPermissions(ctx, &iampb.TestIamPermissionsRequest{Resource: note, Permissions: ask})
	if err != nil || len(r.GetPermissions()) != 1 || r.GetPermissions()[0] != "containeranalysis.notes.get" {
		t.Errorf("%v, %v; want notes.get alone", r, err)
	}

	r, err = g.KMS.TestIamPermissions(ctx, &iampb.TestIamPermissionsRequest{Resource: keyRing + "/cryptoKeys/gate",
		Permissions: []string{"cloudkms.cryptoKeyVersions.useToSign"}})
	if err != nil || len(r.GetPermissions()) != 0 {
		t.Errorf("%v, %v; want none, by the key ring", r, err)
	}

	r, err = iampb.NewIAMPolicyClient(g.Conn()).TestIamPermissions(ctx,
		&iampb.TestIamPermissionsRequest{Resource: attestor, Permissions: []string{
			"binaryauthorization.attestors.get", "binaryauthorization.attestors.verifyImageAttested"}})
	if err != nil || len(r.GetPermissions()) != 1 {
		t.Errorf("%v, %v; want verifyImageAttested alone", r, err)
	}

	// What is not granted cannot be done.
	err = g.attest(ctx, imageA)
	wantCode(t, err, codes.PermissionDenied)
	if info := errorInfo(err); info.GetReason() != "IAM_PERMISSION_DENIED" || info.GetMetadata()["permission"] != "containeranalysis.notes.attachOccurrence" {
		t.Errorf("details %v", info)
	}

	_, err = g.KMS.AsymmetricSign(ctx, &kmspb.AsymmetricSignRequest{Name: version, Digest: digestOf(crypto.SHA256, nil)})
	wantCode(t, err, codes.PermissionDenied)

	for name, req := range map[string]*iampb.TestIamPermissionsRequest{
		"wildcard":    {Resource: note, Permissions: []string{"containeranalysis.*"}},
		"no resource": {Permissions: ask},
		"too many":    {Resource: note, Permissions: make([]string, 101)},
	} {
		if _, err := g.Analysis.TestIamPermissions(ctx, req); code(err) != codes.InvalidArgument {
			t.Errorf("%s: %v, want INVALID_ARGUMENT", name, err)
		}
	}
}

func TestIAMPoliciesAreKept(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	ctx := ctxFor(t)
	p, err := g.Analysis.GetIamPolicy(ctx, &iampb.GetIamPolicyRequest{Resource: note})
	if err != nil {
		t.Fatal(err)
	}

	stale := proto.CloneOf(p)
	p.Bindings = []*iampb.Binding{{Role: "roles/containeranalysis.notes.attacher", Members: []string{"user:a@example.com"}}}
	if _, err := g.Analysis.SetIamPolicy(ctx, &iampb.SetIamPolicyRequest{Resource: note, Policy: p}); err != nil {
		t.Fatal(err)
	}

	got, err := g.Analysis.GetIamPolicy(ctx, &iampb.GetIamPolicyRequest{Resource: note})
	if err != nil || len(got.GetBindings()) != 1 {
		t.Errorf("%v, %v", got, err)
	}

	_, err = g.Analysis.SetIamPolicy(ctx, &iampb.SetIamPolicyRequest{Resource: note, Policy: stale})
	wantCode(t, err, codes.Aborted)
}

func errorInfo(err error) *errdetails.ErrorInfo {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info
		}
	}
	return nil
}

func publicKey(t *testing.T, g google) *ecdsa.PublicKey {
	t.Helper()
	r, err := g.KMS.GetPublicKey(ctxFor(t), &kmspb.GetPublicKeyRequest{Name: version})
	if err != nil {
		t.Fatal(err)
	}

	block, _ := pem.Decode([]byte(r.GetPem()))
	k, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}

	return k.(*ecdsa.PublicKey)
}

func TestCloseEndsCalls(t *testing.T) {
	e, err := emulator.New(emulator.Options{})
	if err != nil {
		t.Fatal(err)
	}

	c := grafeaspb.NewGrafeasClient(e.Conn())
	hanging := make(chan struct{})
	e.Inject(emulator.Fault{Hang: true, Match: func(proto.Message) bool { close(hanging); return true }})
	done := make(chan error)
	go func() {
		_, err := c.GetNote(t.Context(), &grafeaspb.GetNoteRequest{Name: note})
		done <- err
	}()

	<-hanging
	if err := e.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err == nil {
		t.Error("a hanging call was answered by closing")
	}
	if _, err := c.GetNote(t.Context(), &grafeaspb.GetNoteRequest{Name: note}); err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a closed emulator: %v", err)
	}
}
