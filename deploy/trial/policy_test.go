package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	"cloud.google.com/go/kms/apiv1/kmspb"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor/emulator"
)

// TestActAsTrial is no test: it is a trial in a process of its own, which can be killed.
func TestActAsTrial(t *testing.T) {
	text := os.Getenv("TRIAL_ARGS")
	if text == "" {
		t.Skip("only run as a trial of its own")
	}
	var args []string
	if err := json.Unmarshal([]byte(text), &args); err != nil {
		t.Fatal(err)
	}
	if err := run(t.Context(), args, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "trial:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// policyOf is the project's policy, with its etag.
func policyOf(t *testing.T, e *emulator.Emulator) *binaryauthorizationpb.Policy {
	t.Helper()
	p, err := binaryauthorizationpb.NewBinauthzManagementServiceV1Client(e.Conn()).GetPolicy(context.Background(),
		&binaryauthorizationpb.GetPolicyRequest{Name: "projects/" + project + "/policy"})
	if err != nil {
		t.Error(err)
	}
	return p
}

// setPolicy writes the project's policy as somebody with a browser would. It may be called while a request is answered.
func setPolicy(
	t *testing.T, e *emulator.Emulator, change func(*binaryauthorizationpb.Policy),
) *binaryauthorizationpb.Policy {
	t.Helper()
	p := policyOf(t, e)
	change(p)
	p, err := binaryauthorizationpb.NewBinauthzManagementServiceV1Client(e.Conn()).UpdatePolicy(context.Background(),
		&binaryauthorizationpb.UpdatePolicyRequest{Policy: p})
	if err != nil {
		t.Error(err)
	}
	return p
}

// ours is a policy that a project had before any trial.
func ours(p *binaryauthorizationpb.Policy) {
	p.Description = "ours: { }" + formerMark + "nothing"
	p.DefaultAdmissionRule = &binaryauthorizationpb.AdmissionRule{
		EvaluationMode:        binaryauthorizationpb.AdmissionRule_REQUIRE_ATTESTATION,
		EnforcementMode:       binaryauthorizationpb.AdmissionRule_DRYRUN_AUDIT_LOG_ONLY,
		RequireAttestationsBy: []string{"projects/" + project + "/attestors/prod"},
	}
	p.AdmissionWhitelistPatterns = []*binaryauthorizationpb.AdmissionWhitelistPattern{{NamePattern: "gcr.io/acme/debug@*"}}
}

// TestKilledAndSwept: after a trial that was killed while its policy was in force, a sweep puts back what was before, but
// for what somebody added since, and deletes all the rest.
func TestKilledAndSwept(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	e, address := serve(t, emulator.Behaviour{})
	g, url := newStandIn(t, e)
	setPolicy(t, e, ours)
	before := g.policy()

	// A trial that is waiting for Cloud Run has enforced, attested and built.
	args, err := json.Marshal([]string{"-project", project, "-emulator", address, "-gcloud", "", "-region", "us-east1",
		"-stand-in", url, "-patience", "0s"})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestActAsTrial$")
	cmd.Env = append(os.Environ(), "TRIAL_ARGS="+string(args))
	running := make(chan *os.Process, 1)
	g.mu.Lock()
	g.before = func(method, path string) {
		if method == "POST" && strings.HasPrefix(path, "/"+cloudRun) {
			select {
			case p := <-running:
				_ = p.Kill() // its end is what Wait waits for
			default: // it is being killed
			}
		}
	}
	g.mu.Unlock()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	running <- cmd.Process
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the trial ended with %v", err)
	}
	g.mu.Lock()
	if p := g.policy(); !asksForTrial(p) || len(g.repos) != 1 || len(g.services) != 1 {
		t.Errorf("the killed trial had policy %v, repositories %v and services %v", p, g.repos, g.services)
	}
	g.mu.Unlock()

	// The rest of the policy is not the trial's.
	more := &binaryauthorizationpb.AdmissionWhitelistPattern{NamePattern: "gcr.io/acme/more@*"}
	setPolicy(t, e, func(p *binaryauthorizationpb.Policy) {
		p.AdmissionWhitelistPatterns = append(p.AdmissionWhitelistPatterns, more)
	})
	before.AdmissionWhitelistPatterns = append(before.AdmissionWhitelistPatterns, more)
	for range 2 { // the second time there is nothing to do
		if _, _, err := try(t.Context(), t, address, "-sweep", "-stand-in", url); err != nil {
			t.Fatal(err)
		}
		g.wantGone(before)
		wantOnlyGoogles(t, e)
	}
}

// wantOnlyGoogles: of the occurrences those are left that the scanner and Cloud Build wrote, and nothing else is.
func wantOnlyGoogles(t *testing.T, e *emulator.Emulator) {
	t.Helper()
	client := grafeaspb.NewGrafeasClient(e.Conn())
	all, err := client.ListOccurrences(t.Context(), &grafeaspb.ListOccurrencesRequest{Parent: "projects/" + project, PageSize: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range all.GetOccurrences() {
		if strings.HasPrefix(o.GetNoteName(), "projects/"+project+"/") || strings.Contains(o.GetResourceUri(), "/"+unpushed+"@") {
			t.Errorf("left: %s of %s", o.GetNoteName(), o.GetResourceUri())
		}
		if _, err := client.DeleteOccurrence(t.Context(), &grafeaspb.DeleteOccurrenceRequest{Name: o.GetName()}); err != nil {
			t.Error(err)
		}
	}
	wantNothing(t, e)
}

// TestPolicyOfSomebodyElse: what somebody changed after a trial had set it is theirs: a sweep says so and touches nothing.
func TestPolicyOfSomebodyElse(t *testing.T) {
	const attestor = "projects/" + project + "/attestors/" + prefix + "0a"
	for name, c := range map[string]struct {
		change func(*binaryauthorizationpb.Policy)
		says   string
	}{
		"another rule": {func(p *binaryauthorizationpb.Policy) {
			p.DefaultAdmissionRule = &binaryauthorizationpb.AdmissionRule{
				EvaluationMode:  binaryauthorizationpb.AdmissionRule_ALWAYS_DENY,
				EnforcementMode: binaryauthorizationpb.AdmissionRule_ENFORCED_BLOCK_AND_AUDIT_LOG,
			}
		}, "put back what it was"},
		"the earlier rule, by hand": {func(p *binaryauthorizationpb.Policy) {
			rule := &binaryauthorizationpb.Policy{}
			ours(rule)
			p.DefaultAdmissionRule = rule.GetDefaultAdmissionRule()
		}, "put back what it was"},
		"a dry run": {func(p *binaryauthorizationpb.Policy) {
			p.DefaultAdmissionRule.EnforcementMode = binaryauthorizationpb.AdmissionRule_DRYRUN_AUDIT_LOG_ONLY
		}, "put back what it was"},
		"another attestor beside": {func(p *binaryauthorizationpb.Policy) {
			p.DefaultAdmissionRule.RequireAttestationsBy = []string{attestor, "projects/" + project + "/attestors/prod"}
		}, "put back what it was"},
		"another description": {func(p *binaryauthorizationpb.Policy) { p.Description = "ours" }, "put back what it was"},
		"the description of another run": {func(p *binaryauthorizationpb.Policy) {
			p.Description = strings.Replace(p.GetDescription(), prefix+"0a", prefix+"0b", 1)
		}, "put back what it was"},
		"a description without a rule": {func(p *binaryauthorizationpb.Policy) {
			p.Description = prefix + "0a" + formerMark + "{}"
		}, "put back what it was"},
		"a description that is cut": {func(p *binaryauthorizationpb.Policy) {
			p.Description = p.GetDescription()[:len(p.GetDescription())-1]
		}, "put back what it was"},
		"a change between reading and writing": {nil, "putting back the policy"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e, address := serve(t, emulator.Behaviour{})
			setPolicy(t, e, ours)
			want := setPolicy(t, e, func(p *binaryauthorizationpb.Policy) {
				tr := trial{run: prefix + "0a"}
				set, err := tr.enforcing(p, &world{attestor: attestor})
				if err != nil {
					t.Fatal(err)
				}
				p.Description, p.DefaultAdmissionRule = set.GetDescription(), set.GetDefaultAdmissionRule()
			})
			if c.change != nil {
				want = setPolicy(t, e, c.change)
			} else { // the sweep has read another policy than the one that is there by now
				e.Inject(emulator.Fault{Method: "GetPolicy", Count: 1, Mutate: func(_, resp proto.Message) {
					resp.(*binaryauthorizationpb.Policy).Etag = `"0123456789abcdef"`
				}})
			}

			if _, _, err := try(t.Context(), t, address, "-sweep"); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("sweeping: %v", err)
			}
			if got := policyOf(t, e); !proto.Equal(got, want) {
				t.Errorf("the policy is %v, and was %v", got, want)
			}
		})
	}
}

// TestPolicyChangedMeanwhile: a trial that ends does not take back what somebody changed while it ran, and says so.
func TestPolicyChangedMeanwhile(t *testing.T) {
	e, address := serve(t, emulator.Behaviour{})
	g, url := newStandIn(t, e)
	changed := false
	g.before = func(method, path string) {
		if method != "POST" || !strings.HasPrefix(path, "/"+cloudRun) || changed {
			return
		}
		changed = true
		setPolicy(t, e, func(p *binaryauthorizationpb.Policy) {
			p.DefaultAdmissionRule.EnforcementMode = binaryauthorizationpb.AdmissionRule_DRYRUN_AUDIT_LOG_ONLY
		})
	}
	r, text, err := try(t.Context(), t, address, "-region", "us-east1", "-stand-in", url, "-patience", "0s")
	if err == nil || len(r.Left) != 1 || !strings.Contains(r.Left[0], "the policy: somebody changed") || strings.Contains(text, project) {
		t.Errorf("left %q: %v", r.Left, err)
	}
	p := g.policy()
	if p.GetDefaultAdmissionRule().GetEnforcementMode() != binaryauthorizationpb.AdmissionRule_DRYRUN_AUDIT_LOG_ONLY {
		t.Errorf("the policy is %v", p)
	}
	g.wantGone(p)

	// The next trial takes none of it for what somebody chose.
	g.mu.Lock()
	g.before = func(string, string) {}
	g.mu.Unlock()
	r, _, err = try(t.Context(), t, address, "-region", "us-east1", "-stand-in", url, "-patience", "0s")
	if err == nil || !strings.Contains(err.Error(), "-sweep") || len(r.Left) > 0 {
		t.Errorf("a trial after it: left %q, %v", r.Left, err)
	}
	g.wantGone(p)
}

// TestMadeAfterItsDeletion: what an interrupted call makes only after it was first deleted is deleted, too.
func TestMadeAfterItsDeletion(t *testing.T) {
	t.Parallel()
	e, address := serve(t, emulator.Behaviour{})
	g, url := newStandIn(t, e)
	before := g.policy()
	g.mu.Lock()
	g.slow = 1
	g.mu.Unlock()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	g.before = func(method, path string) {
		if method == "POST" && strings.HasPrefix(path, "/"+registry) {
			stop()
		}
	}
	r, _, err := try(ctx, t, address, "-region", "us-east1", "-stand-in", url, "-patience", "0s")
	if err == nil || len(r.Left) > 0 {
		t.Errorf("left %v: %v", r.Left, err)
	}
	g.wantGone(before)
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.slow > 0 {
		t.Error("nothing was deleted before it was there: this test would prove nothing")
	}
}

// TestFaultOfTheTrial: a fault of the program itself is an error, and what comes after it is deleted all the same.
func TestFaultOfTheTrial(t *testing.T) {
	deleted := false
	tr := newTrial(project, "", 0, clients{}, io.Discard)
	tr.pause = time.Microsecond
	tr.later("one thing", func(context.Context) error { deleted = true; return nil })
	tr.later("another", func(context.Context) error { panic("in " + project) })
	err := safely(io.Discard, func() error { _, err := tr.prepare(t.Context()); return err })
	if err == nil || !strings.Contains(err.Error(), "a fault of the trial itself") {
		t.Errorf("a client that is not there: %v", err)
	}
	tr.undo = tr.undo[:2]
	left := tr.tearDown(t.Context())
	if len(left) != 1 || left[0] != "another: a fault of the trial itself: in PROJECT" || !deleted {
		t.Errorf("left %q, the other one deleted: %v", left, deleted)
	}
}

// TestNameLost: an occurrence of a note of Google's whose name was lost with the answer is found by its image, by the trial
// itself and by a sweep.
func TestNameLost(t *testing.T) {
	t.Parallel()
	e, address := serve(t, emulator.Behaviour{})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	google := func(m proto.Message) bool {
		o := m.(*grafeaspb.CreateOccurrenceRequest).GetOccurrence()
		return strings.HasPrefix(o.GetNoteName(), "projects/goog-analysis/")
	}
	e.Inject(emulator.Fault{Method: "CreateOccurrence", Count: 1, AnswerLost: true, Hang: true, Match: func(m proto.Message) bool {
		if google(m) {
			stop()
		}
		return google(m)
	}})
	deny := e.Inject(emulator.Fault{Method: "DeleteOccurrence", Code: codes.PermissionDenied})
	r, _, err := try(ctx, t, address)
	if err == nil || len(r.Left) == 0 {
		t.Errorf("left %v: %v", r.Left, err)
	}
	deny()
	if _, _, err := try(t.Context(), t, address, "-sweep"); err != nil {
		t.Errorf("sweeping: %v", err)
	}
	wantNothing(t, e)

	ctx, stop = context.WithCancel(t.Context())
	defer stop()
	e.Inject(emulator.Fault{Method: "CreateOccurrence", Count: 1, AnswerLost: true, Hang: true, Match: func(m proto.Message) bool {
		if google(m) {
			stop()
		}
		return google(m)
	}})
	if r, _, err := try(ctx, t, address); err == nil || len(r.Left) > 0 {
		t.Errorf("left %v: %v", r.Left, err)
	}
	wantNothing(t, e)
}

// TestFamily: the build's script gives docker the Dockerfiles, character by character, and pushes an index of two images.
func TestFamily(t *testing.T) {
	dir := t.TempDir()
	docker := "#!/bin/sh\nif [ \"$1\" = build ]; then cat >'" + dir + "'/\"$(basename \"$3\")\"; else echo \"$*\" >>'" + dir + "'/calls; fi\n"
	if err := os.WriteFile(filepath.Join(dir, "docker"), []byte(docker), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	all := (&trial{proxied: true}).members()
	script, images := buildScript("host/project/run", all)
	cmd := exec.CommandContext(t.Context(), "bash", "-euc", script)
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.Join(images, " ") != "host/project/run/good host/project/run/unsigned host/project/run/old host/project/run/echo" {
		t.Errorf("the images are %q", images)
	}
	for file, want := range map[string]string{
		"good": family()["good"], "unsigned": family()["unsigned"], "old": family()["old"], "echo": echo,
		"calls": "push host/project/run/good\npush host/project/run/unsigned\n" +
			"manifest create host/project/run/index host/project/run/good host/project/run/unsigned\nmanifest push host/project/run/index\n",
	} {
		got, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil || string(got) != want {
			t.Errorf("%s is %q, want %q: %v", file, got, want, err)
		}
	}
	if !strings.Contains(family()["old"], `{"name": "`+badPackage+`", "version": "1.0.0"}' > package.json`) {
		t.Errorf("no package is named in\n%s", family()["old"])
	}
}

// TestKeysSwept: a sweep destroys the keys of trials, also where one was killed before it made the key, and no other.
func TestKeysSwept(t *testing.T) {
	e, address := serve(t, emulator.Behaviour{})
	ctx := t.Context()
	keys := kmspb.NewKeyManagementServiceClient(e.Conn())
	parent := "projects/" + project + "/locations/global"
	for _, ring := range []string{prefix + "0a", prefix + "0b", "prod"} {
		if _, err := keys.CreateKeyRing(ctx, &kmspb.CreateKeyRingRequest{Parent: parent, KeyRingId: ring}); err != nil {
			t.Fatal(err)
		}
		if ring == prefix+"0b" {
			continue // killed before the key was made
		}
		if _, err := keys.CreateCryptoKey(ctx, &kmspb.CreateCryptoKeyRequest{Parent: parent + "/keyRings/" + ring, CryptoKeyId: "signer",
			CryptoKey: &kmspb.CryptoKey{Purpose: kmspb.CryptoKey_ASYMMETRIC_SIGN,
				VersionTemplate: &kmspb.CryptoKeyVersionTemplate{Algorithm: kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256}}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := try(ctx, t, address, "-sweep"); err != nil {
		t.Errorf("sweeping: %v", err)
	}
	for ring, want := range map[string]kmspb.CryptoKeyVersion_CryptoKeyVersionState{
		prefix + "0a": kmspb.CryptoKeyVersion_DESTROY_SCHEDULED, "prod": kmspb.CryptoKeyVersion_ENABLED,
	} {
		v, err := keys.GetCryptoKeyVersion(ctx,
			&kmspb.GetCryptoKeyVersionRequest{Name: parent + "/keyRings/" + ring + "/cryptoKeys/signer/cryptoKeyVersions/1"})
		if err != nil || v.GetState() != want {
			t.Errorf("the key of %s is %s, want %s: %v", ring, v.GetState(), want, err)
		}
	}
}
