package attest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	binauthz "cloud.google.com/go/binaryauthorization/apiv1"
	containeranalysis "cloud.google.com/go/containeranalysis/apiv1"
	grafeas "cloud.google.com/go/grafeas/apiv1"
	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"go.uber.org/goleak"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/attest"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/limit"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

// crashEnv makes the test program a gate that attests to one image and is
// killed at a step.
const crashEnv = "ATTEST_TEST_CRASH"

func TestMain(m *testing.M) {
	if os.Getenv(crashEnv) != "" {
		var plan crashPlan
		err := json.Unmarshal([]byte(os.Getenv(crashEnv)), &plan)
		if err == nil {
			err = plan.attest(context.Background())
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// crashPlan is what the parent tells the child.
type crashPlan struct {
	Endpoint, Version, Image, Dir string
	Step                          int  // die at this step; 0: do not
	After                         bool // when it has taken effect
	RecoverOnly                   bool
}

// reaper counts the steps of a gate and kills it, as kill -9 does, at one.
type reaper struct {
	plan crashPlan
	n    atomic.Int64
}

func (r *reaper) step(do func() error) error {
	n := int(r.n.Add(1))
	die := func() {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL) // nothing after this runs
		select {}
	}

	if n == r.plan.Step && !r.plan.After {
		die()
	}

	err := do()
	if n == r.plan.Step && r.plan.After {
		die()
	}

	return err
}

func (r *reaper) intercept(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return r.step(func() error { return invoke(ctx, method, req, reply, cc, opts...) })
}

// fileJournal is a durable journal whose steps count too.
type fileJournal struct {
	dir string
	r   *reaper
}

func (j fileJournal) PutIntent(_ context.Context, id string, data []byte) error {
	return j.r.step(func() error { return writeDurably(filepath.Join(j.dir, id+".intent"), data) })
}

func (j fileJournal) DeleteIntent(_ context.Context, id string) error {
	return j.r.step(func() error {
		if err := os.Remove(filepath.Join(j.dir, id+".intent")); !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	})
}

func (j fileJournal) Intents(context.Context) (map[string][]byte, error) {
	out := map[string][]byte{}
	paths, err := filepath.Glob(filepath.Join(j.dir, "*.intent"))

	for _, p := range paths {
		data, readErr := os.ReadFile(p) //nolint:gosec // the test's own directory
		err = errors.Join(err, readErr)
		out[strings.TrimSuffix(filepath.Base(p), ".intent")] = data
	}
	return out, err
}

func writeDurably(path string, data []byte) error {
	f, err := os.Create(path + ".new") //nolint:gosec // the test's own directory
	if err != nil {
		return err
	}

	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}

	return os.Rename(path+".new", path)
}

// attest is a gate that starts: recover, look, attest, record, answer.
func (p crashPlan) attest(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	r := &reaper{plan: p}
	conn, err := grpc.NewClient(
		r.plan.Endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithUnaryInterceptor(r.intercept),
	)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()

	opt := option.WithGRPCConn(conn)
	gc, e1 := grafeas.NewClient(ctx, opt)
	ac, e2 := containeranalysis.NewClient(ctx, opt)
	kc, e3 := kms.NewKeyManagementClient(ctx, opt)
	bc, e4 := binauthz.NewBinauthzManagementClient(ctx, opt)
	signer, e5 := attest.NewKMSSigner(kc, r.plan.Version, limit.Call(limit.Default))
	img, e6 := attestor.ParseImage(r.plan.Image)
	if err := errors.Join(e1, e2, e3, e4, e5, e6); err != nil {
		return err
	}

	a, err := attest.New(attest.Config{
		Grafeas: gc, Analysis: ac, BinAuthz: bc, Attestors: []attest.AttestorConfig{{Name: attestorName, Signer: signer}},
		Journal: fileJournal{r.plan.Dir, r}, Now: time.Now, Limit: limit.Call(10 * time.Second), Logger: slog.New(slog.DiscardHandler),
	})

	if err != nil {
		return err
	}
	if err := a.Recover(ctx); err != nil || r.plan.RecoverOnly {
		return err
	}

	known, err := a.Standing(ctx, []string{attestorName}, []attestor.Image{img})
	if err != nil {
		return err
	}

	ev := attestor.Evidence{Image: img, Platforms: []attestor.PlatformEvidence{{Child: attestor.Child{Platform: "linux/amd64", Digest: img.Digest()}}}}
	auth, err := attestor.Authorize("decision-1", pass(ev, attestor.AttestNeeds{Attestors: []string{attestorName}}))
	if err != nil {
		return err
	}

	made, err := a.Attest(ctx, auth, known, func() error {
		return r.step(func() error { return writeDurably(filepath.Join(r.plan.Dir, "begun"), nil) })
	})

	if err != nil {
		return err
	}

	record, err := json.Marshal(made)
	if err != nil {
		return err
	}

	return r.step(func() error { return writeDurably(filepath.Join(r.plan.Dir, "record"), record) })
}

// run starts a gate on what is left and reports whether it was killed. One that is to be killed is a
// process of its own. Another one shares nothing with it but the files and the services.
func (p crashPlan) run(t *testing.T) (killed bool) {
	t.Helper()
	if p.Step == 0 {
		must(t, p.attest(t.Context()))
		return false
	}

	plan, err := json.Marshal(p)
	must(t, err)
	exe, err := os.Executable()
	must(t, err)
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^$") //nolint:gosec // this very program
	cmd.Env = append(os.Environ(), crashEnv+"="+string(plan))
	out, err := cmd.CombinedOutput()
	if err == nil {
		return false
	}
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() && status.Signal() == syscall.SIGKILL {
			return true
		}
	}

	t.Fatalf("step %d: %v\n%s", p.Step, err, out)
	return false
}

// TestKilledAtEveryStep kills a gate with SIGKILL before and after each call
// to a service, each write of the journal and the record, starts it again, and
// looks: one valid attestation and a true record, or none and no record.
func TestKilledAtEveryStep(t *testing.T) {
	for name, s := range map[string]struct {
		kind      string
		behaviour emulator.Behaviour
		least     int // steps, so that this kills something at all
	}{
		"fresh":              {"nothing", emulator.Behaviour{}, 6},
		"fresh, not unique":  {"nothing", emulator.Behaviour{Uniqueness: emulator.UniqueNone}, 6},
		"updated in place":   {"rotated", emulator.Behaviour{}, 7},
		"deleted and remade": {"rotated", emulator.Behaviour{RefuseUpdates: true}, 11},
		"a second one":       {"rotated", emulator.Behaviour{RefuseUpdates: true, Uniqueness: emulator.UniqueNone}, 8},
	} {
		t.Run(name, func(t *testing.T) {
			for _, after := range []bool{false, true} {
				step := 1
				for ; killedAt(t, s.kind, s.behaviour, step, after); step++ {
				}
				if step <= s.least {
					t.Errorf("only %d steps", step-1)
				}
			}
		})
	}
}

func killedAt(t *testing.T, kind string, b emulator.Behaviour, step int, after bool) bool {
	t.Helper()
	r, endpoint := servedRotation(t, b)
	img := image(t, 1)
	if o := r.existing(kind); o != nil {
		r.put(o)
	}

	plan := crashPlan{Endpoint: endpoint, Version: kmsVersion, Image: img.String(), Dir: t.TempDir(), Step: step, After: after}
	killed := plan.run(t)
	at := "step " + strconv.Itoa(step)
	var standing int

	for _, o := range r.stored(noteName) {
		if r.valid(attestorName, o) {
			standing++
		}
	}

	record, recorded := plan.record(t)
	_, begun := os.Stat(filepath.Join(plan.Dir, "begun"))

	switch {
	case kind == "nothing" && standing > 0 && begun != nil:
		t.Errorf("%s: an attestation that nobody noted to have begun: %v", at, begun)

	case standing > 1:
		t.Errorf("%s: %d valid attestations", at, standing)

	case recorded && standing != 1:
		t.Errorf("%s: a record of %v, and %d valid attestations", at, record, standing)

	case !killed && !recorded:
		t.Errorf("%s: an answer without a record", at)
	}

	intents, err := filepath.Glob(filepath.Join(plan.Dir, "*.intent"))
	must(t, err)
	plan.Step = 0
	if len(intents) > 0 { // starting again is enough to complete it
		plan.RecoverOnly = true
		plan.run(t)
		r.oneValid(img)
		plan.RecoverOnly = false
	}

	plan.run(t)
	o := r.oneValid(img)
	if record, _ := plan.record(t); len(record) != 1 || record[0].Occurrence != o.GetName() {
		t.Errorf("%s, then again: the record is %v, stored is %s", at, record, o.GetName())
	}
	if intents, err = filepath.Glob(filepath.Join(plan.Dir, "*.intent")); err != nil || len(intents) != 0 {
		t.Errorf("%s: intents are left: %v, %v", at, intents, err)
	}

	return killed
}

func (p crashPlan) record(t *testing.T) (made []attestor.Attestation, ok bool) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(p.Dir, "record"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, false
	}

	must(t, err)
	must(t, json.Unmarshal(data, &made))
	return made, true
}

const kmsVersion = "projects/sec/locations/global/keyRings/gate/cryptoKeys/k/cryptoKeyVersions/1"

// servedRotation is a rotation whose gate signs by Cloud KMS, on a port.
func servedRotation(t *testing.T, b emulator.Behaviour) (*rotation, string) {
	t.Helper()
	r := newRotation(t, b, false)
	must(t, r.SeedKey(kmsVersion, kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256, r.mine))
	r.keys(attestorName, r.kmsEntry(kmsVersion, p256))
	r.signer = r.kmsSigner(kmsVersion)
	return r, standin.Serve(t, r.Emulator)
}
