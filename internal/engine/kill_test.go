package engine_test

import (
	"bufio"
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"database/sql"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/google"
	"github.com/attestor-gate/attestor/internal/packed"
	"github.com/attestor-gate/attestor/internal/samples"
	"github.com/attestor-gate/attestor/internal/testkit/locked"
	"github.com/attestor-gate/attestor/internal/testkit/pgtest"
)

// TestKill kills the real program under load, at random points (another seed
// with GATE_KILL_SEED=N), and starts it again on what it left. In the end every
// attestation has a record that says why, every pass and every override in the record
// has its one attestation, whoever was answered finds that answer in the record, and
// the events that were told are those that the record implies.
func TestKill(t *testing.T) {
	t.Parallel()
	kills := map[string]int{"sqlite": 4, "postgres": 2, "two instances": 2}
	if os.Getenv("GATE_TEST_ALL") == "1" {
		kills = map[string]int{"sqlite": 60, "postgres": 20, "two instances": 20}
	}
	if n, err := strconv.Atoi(os.Getenv("GATE_KILLS")); err == nil { // of make kill
		kills = map[string]int{"sqlite": n, "postgres": n, "two instances": n}
	}

	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		newKiller(t, "sqlite", func(dir string) string { return filepath.Join(dir, "decisions.db") }).run(t, kills["sqlite"])
	})

	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		newKiller(t, "pgx", func(string) string { return pgtest.File(t) }).run(t, kills["postgres"])
	})

	// One of two is killed while both are at work, and the other one goes on.
	t.Run("two instances", func(t *testing.T) {
		t.Parallel()
		k := newKiller(t, "pgx", func(string) string { return pgtest.File(t) })
		k.instances = make([]instance, 2)
		k.run(t, kills["two instances"])
	})
}

// verifyEvery is after how many kills the whole record is verified, in between.
const verifyEvery = 10

// killer starts and kills the program; what is outside of it stays.
type killer struct {
	*world
	driver string
	store  string // file of the record, or of how to connect to it
	images map[string]attestor.Outcome
	random *rand.Rand
	hook   *hook           // is told of everything
	broken map[string]bool // images whose refusal is overridden by half of the callers
	ended  map[string]bool // images whose override was ended: nothing admits them any more

	instances []instance

	mu   sync.Mutex
	told []answer // guarded by mu
}

// doubles is how many attestations of one image may stand. One instance makes one. Two that attest to one image within the
// same second may make one each, as docs/attestations.md says: Container Analysis enforces no uniqueness, and both admit
// what passed.
func (k *killer) doubles() int { return max(1, len(k.instances)) }

// An instance of the program; its cmd is nil while it does not run.
type instance struct {
	cmd     *exec.Cmd
	address string
}

// abandonedAfter is after how long another instance's work counts as left behind, by the limits that the program is
// given here. They leave a slow disk the time that one write takes.
const (
	killLimits     = "{maxWait: 1s, deadline: 8s, settle: 8s, callerRate: 1000000}"
	abandonedAfter = 25 * time.Second
)

// killEvents configures a webhook that gets every type.
const killEvents = `events:
  source: https://killed.example
  receivers: [{name: hook, webhook: {url: %q, secretFile: %q, ca: %q}}]
`

func newKiller(t *testing.T, driver string, store func(dir string) string) *killer {
	k := &killer{
		world:  newWorld(t, worldOptions{unstarted: true, behaviour: emulator.Behaviour{Uniqueness: emulator.UniqueNone}}),
		driver: driver, images: map[string]attestor.Outcome{}, broken: map[string]bool{}, ended: map[string]bool{},
	}
	k.store, k.instances = store(k.dir), make([]instance, 1)
	key := map[string]string{"sqlite": "sqlite", "pgx": "postgres"}[driver]
	registry := k.registry.Addr()
	k.hook = newHook(t, nil)
	r := k.hook.receiver(t, k.dir, "hook")
	events := fmt.Sprintf(killEvents, r.Webhook.URL, r.Webhook.SecretFile, r.Webhook.CA)
	k.ok(os.WriteFile(filepath.Join(k.dir, "attestor.yaml"), fmt.Appendf(nil, `listen: 127.0.0.1:0
policies: [policy.yaml]
attestors: [{name: %s, kms: %s}]
registries: {allowed: [%q]}
scanProjects: {%q: %s}
store: {%s: %s}
log: {key: log.pem, origin: killed.example/decisions}
rejudge: {revoke: true, grace: 1ms}
limits: %s
%s`, samples.Attestor, samples.Key, registry, registry, samples.Project, key, k.store, killLimits, events), 0o600))

	_, private, err := ed25519.GenerateKey(nil)
	k.ok(err)
	der, err := x509.MarshalPKCS8PrivateKey(private)
	k.ok(err)
	k.ok(os.WriteFile(filepath.Join(k.dir, "log.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
	base := baseImage(t)
	k.push("base/debian", "12", base)

	for n := range 60 {
		user, want := "65532:65532", attestor.Pass
		if n%6 == 5 {
			user, want = "", attestor.Deny
		}

		image := k.push("app/killed", "v"+strconv.Itoa(n), imageOn(t, base, user, entry{"app", strconv.Itoa(n)}))
		k.scan(image, samples.Clean)
		k.images[image] = want
		k.broken[image] = n%12 == 5
	}

	seed, _ := strconv.ParseUint(os.Getenv("GATE_KILL_SEED"), 10, 64)
	if seed == 0 {
		seed = rand.Uint64() //nolint:gosec // which moment to kill at
	}

	t.Logf("GATE_KILL_SEED=%d", seed)
	k.random = rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // the same
	t.Cleanup(k.kill)
	return k
}

var listeningPattern = regexp.MustCompile(`"message":"listening".*"listen":"([^"]+)"`)

// begin starts the instances that do not run, and returns when they listen.
func (k *killer) begin() {
	k.tb.Helper()
	for i := range k.instances {
		if k.instances[i].cmd == nil {
			k.start(&k.instances[i])
		}
	}
	k.address = k.instances[0].address
}

func (k *killer) start(in *instance) {
	k.tb.Helper()
	self, err := program()
	k.ok(err)
	in.cmd = exec.Command(self, "serve", "--config", filepath.Join(k.dir, "attestor.yaml"))

	for _, name := range []string{google.EnvAnalysis, google.EnvKMS, google.EnvBinauthz} {
		in.cmd.Env = append(in.cmd.Env, name+"="+k.google.Addr())
	}

	stderr, err := in.cmd.StderrPipe()
	k.ok(err)
	k.ok(in.cmd.Start())
	said, listening := &locked.Buffer{}, make(chan string, 1)
	go func() {
		defer close(listening)
		for lines := bufio.NewScanner(io.TeeReader(stderr, said)); lines.Scan(); {
			if m := listeningPattern.FindStringSubmatch(lines.Text()); m != nil {
				listening <- m[1]
			}
		}
	}()

	select {
	case address, ok := <-listening:
		if !ok {
			k.tb.Fatalf("attestor serve ended: %s", said)
		}
		in.address = address
	case <-time.After(2 * time.Minute):
		k.tb.Fatalf("attestor serve does not listen: %s", said)
	}
}

// kill kills all instances.
func (k *killer) kill() {
	for i := range k.instances {
		k.killOne(i)
	}
}

func (k *killer) killOne(i int) {
	if cmd := k.instances[i].cmd; cmd != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
		k.instances[i].cmd = nil
	}
}

func (k *killer) run(t *testing.T, kills int) {
	for n := range kills {
		k.begin()
		k.load(t)
		if (n+1)%verifyEvery == 0 {
			k.verifyLog(t)
		}
	}

	if k.driver != "sqlite" { // nobody knows whether the one that began it is gone
		time.Sleep(abandonedAfter)
	}

	// The claims of those that were killed end after a while: here, now.
	k.freeClaims()

	k.begin()
	k.awaitRecovery(t)
	k.check(t)
	k.verifyLog(t)

	for image, want := range k.images {
		if a := k.post(image); a.decision.Verdict != want {
			t.Errorf("afterwards: %s is %s, want %s: %s", image, a.decision.Verdict, want, a.body)
		} else {
			k.told = append(k.told, a)
		}
	}

	k.verifyLog(t)
	k.checkTold(t)
	k.checkKept(t)
	passes, interrupted := k.check(t)
	t.Logf("%d kills, %d answers, %d images, %d passes recorded, %d interrupted", kills, len(k.told), len(k.images), passes, interrupted)
	if len(k.told) <= len(k.images) {
		t.Error("nobody was ever answered before a kill")
	}
}

// load asks every instance from many sides, until one of them is killed a moment after
// the first answer.
func (k *killer) load(t *testing.T) {
	const sides = 12
	all := slices.Sorted(maps.Keys(k.images))
	first := make(chan struct{})
	once := sync.OnceFunc(func() { close(first) })
	killed := make(chan struct{})
	var wg sync.WaitGroup

	for side := range sides {
		order, address := k.random.Perm(len(all)), k.instances[side%len(k.instances)].address
		wg.Go(func() {
			for _, n := range order {
				select {
				case <-killed:
					return
				default:
				}
				a := k.postTo(address, all[n], k.broken[all[n]] && side%2 == 0)
				if a.status == 0 {
					return // it is dead
				}

				once()
				k.mu.Lock()
				k.told = append(k.told, a)
				k.mu.Unlock()
				if a.decision.ID != "" && a.decision.Verdict != k.images[all[n]] {
					t.Errorf("%s is %s, want %s: %s", all[n], a.decision.Verdict, k.images[all[n]], a.body)
				}
			}
		})
	}

	<-first
	time.Sleep(time.Duration(k.random.IntN(400)) * time.Millisecond)
	k.killOne(k.random.IntN(len(k.instances)))
	close(killed)
	wg.Wait()
}

// postTo asks one instance, with an override of the refusal or without.
func (k *killer) postTo(address, image string, override bool) answer {
	request := map[string]any{"image": image}
	if override {
		request["breakGlass"] = map[string]string{"reason": "INC-1: checkout is down"}
	}
	body, err := json.Marshal(request)
	k.ok(err)
	req, err := http.NewRequestWithContext(k.tb.Context(), http.MethodPost, "http://"+address+"/v1/attest", bytes.NewReader(body))
	k.ok(err)
	req.Header.Set("Content-Type", "application/json")
	return k.send(req)
}

// do is the world's, and does what an answer says that nothing came of: it repeats the request.
func (k *killer) do(method, path, body string) answer {
	k.tb.Helper()
	for until := time.Now().Add(2 * time.Minute); ; time.Sleep(100 * time.Millisecond) {
		a := k.world.do(method, path, body)
		if a.status != http.StatusServiceUnavailable || time.Now().After(until) {
			return a
		}
	}
}

// post asks the first instance for a decision, with an answer.
func (k *killer) post(image string) answer {
	k.tb.Helper()
	body, err := json.Marshal(map[string]any{"image": image})
	k.ok(err)
	return k.do(http.MethodPost, "/v1/attest", string(body))
}

// db is the record, past the gate and its lock.
func (k *killer) db() *sql.DB {
	k.tb.Helper()
	name := "file:" + k.store + "?_pragma=busy_timeout(20000)"
	if k.driver != "sqlite" {
		b, err := os.ReadFile(k.store)
		k.ok(err)
		name = string(b)
	}

	db, err := sql.Open(k.driver, name)
	k.ok(err)
	return db
}

// awaitRecovery returns when nothing is left begun.
func (k *killer) awaitRecovery(t *testing.T) {
	t.Helper()
	db := k.db()
	defer db.Close()

	for until := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		var left int
		k.ok(db.QueryRowContext(t.Context(), "SELECT count(*) FROM decisions WHERE state = 'begun'").Scan(&left))
		if left == 0 {
			return
		}

		if time.Now().After(until) {
			t.Fatalf("%d decisions were begun and are not completed", left)
		}
	}
}

// unpacked is the text of a decision, from the columns of its row.
func (k *killer) unpacked(body string, kept []byte) string {
	if len(kept) == 0 {
		return body
	}
	c, err := packed.New(64 << 20)
	k.ok(err)
	body, _, err = c.UnpackTwo(kept)
	k.ok(err)
	return body
}

// check holds the record to what stands and to what was told.
func (k *killer) check(t *testing.T) (passes, interrupted int) {
	t.Helper()
	db := k.db()
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), "SELECT id, body, packed FROM decisions WHERE state = 'finished'")
	k.ok(err)
	defer rows.Close()
	recorded, admitted := map[string]string{}, map[string]bool{}

	for rows.Next() {
		var id, body string
		var kept []byte
		k.ok(rows.Scan(&id, &body, &kept))
		body = k.unpacked(body, kept)
		var d attestor.Decision
		k.ok(json.Unmarshal([]byte(body), &d))
		recorded[id] = body
		if strings.Contains(body, string(attestor.CodeInterrupted)) {
			interrupted++
		}
		if d.Verdict == attestor.Pass && !d.DryRun {
			passes++
		}
		if d.Verdict == attestor.Pass && !d.DryRun || overridden(d) && !k.ended[d.Image.Reference] { // a sweep's dry runs admit nothing
			admitted[d.Image.Reference] = true
		}
	}

	k.ok(rows.Err())
	stored := map[string]int{}

	for _, image := range k.attested() {
		stored[image]++
		if !admitted[image] || k.images[image] != attestor.Pass && !k.broken[image] {
			t.Errorf("%s is attested to, and no record says that it passed or was overridden", image)
		}
		if stored[image] > k.doubles() {
			t.Errorf("%s is attested to %d times", image, stored[image])
		}
	}

	for image := range admitted {
		if n := len(k.standing(image)); n < 1 || n > k.doubles() {
			t.Errorf("%s is admitted by the record, and %d attestations stand", image, len(k.standing(image)))
		}
	}

	for _, a := range k.told {
		switch {
		case a.decision.ID == "" && a.status != http.StatusServiceUnavailable && a.status != http.StatusTooManyRequests:
			t.Errorf("told %d %s", a.status, a.body)
		case a.decision.ID != "" && !sameDecision([]byte(recorded[a.decision.ID]), a.body):
			t.Errorf("told %s\nrecorded %s", a.body, recorded[a.decision.ID])
		}
	}
	return passes, interrupted
}

// TestTwoOnOneFile: a second process on the record leaves alone what the first
// is at work on, and completes what it left when it is gone.
func TestTwoOnOneFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, worldOptions{quiet: true})
	w.push("base/debian", "12", baseImage(t))
	image := w.push("app/slow", "v1", imageOn(t, baseImage(t), "65532:65532", entry{"app", "slow"}))
	w.scan(image, samples.Clean)

	// What is being stored was noted to have begun.
	storing, store := make(chan struct{}), make(chan struct{})
	w.emulator().Inject(emulator.Fault{Method: "CreateOccurrence", Count: 1, Mutate: func(_, _ proto.Message) { close(storing); <-store }})
	told := make(chan answer, 1)
	go func() { told <- w.post(image, false) }()
	<-storing

	at := w.google.Addr()
	second, err := w.newEngine(t.Context(), google.EmulatedAt(at), slog.New(slog.DiscardHandler))
	w.ok(err)
	w.ok(second.Recover(t.Context()))
	if left, err := collected(second.Store.Pending(t.Context(), 0)); err != nil || len(left) != 1 {
		t.Errorf("what the first is at work on is %v, %v", left, err)
	}

	close(store)
	a := <-told
	if a.status != http.StatusOK || a.decision.Verdict != attestor.Pass {
		t.Errorf("%d %s", a.status, a.body)
	}
	if d, ok := w.recorded(a.decision.ID); !ok || d.Verdict != attestor.Pass {
		t.Errorf("recorded as %s", d.Verdict)
	}

	w.ok(second.Close())
	w.checkRecordStands(t)
}
