package engine_test

import (
	"bytes"
	"context"
	"maps"
	"math"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/codes"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/samples"
	"github.com/attestor-gate/attestor/internal/testkit/slow"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

// A soak is a failover in which everything happens, one thing after the other, while callers and readers go on. The first
// instance is stopped once, as its key is rotated; the second one is killed again and again.
type soak struct {
	*failover
	base  baseOf
	other *standin.Server // a second registry, which is away at times
	pause time.Duration   // between two things that happen

	lock      sync.Mutex
	all       []string         // images; guarded by lock
	addresses []string         // of the instances; guarded by lock
	resting   bool             // callers and readers wait; guarded by lock
	done      map[string]int   // what was done, how often; guarded by lock
	verdicts  map[string]int64 // what was told; guarded by lock
	passed    map[string]int   // passes that were told, by the instance's address; guarded by lock
}

// baseOf makes the n-th image.
type baseOf func(n int) (ref string, want attestor.Outcome)

// TestSoakWithEverything runs two instances of the program for five minutes, or GATE_SOAK, on PostgreSQL with a synchronous
// replica: decisions, overrides and their ends, new images, readers, events, the signed log, sweeps, exports, re-judging and
// policy reloads, while the registry lies, another one never answers, Google's quotas run out, calls and answers are lost, one
// instance is killed, the key is rotated and the replica promoted. A pass has its one attestation and its record, nothing else
// is attested, nothing but ended overrides is revoked, the record verifies, the webhook was told what the record implies,
// nobody waits for a registry that is not theirs, and memory and goroutines stay flat.
func TestSoakWithEverything(t *testing.T) {
	d := soakFor(t)
	s := newSoak(t, d)
	ctx, stop := context.WithCancel(t.Context())
	var callers sync.WaitGroup
	for side := range 8 {
		callers.Go(func() { s.call(ctx, t, side) })
	}
	callers.Go(func() { s.read(ctx, t) })

	start := time.Now()
	var before usage
	steps := s.steps(t)
	for n, measured, rotated, promoted := 0, false, false, false; time.Since(start) < d || !promoted || n < len(steps); {
		past := time.Since(start)
		switch {
		case !rotated && past > d/6:
			rotated = true
			s.rotate(t)
		case !measured && rotated && past > d/3:
			measured = true
			before = s.use(t)
		case !promoted && measured && past > d/2:
			promoted = true
			s.promote(t)
			s.did("failover")
		default:
			steps[n%len(steps)]() // however slow the machine is, each is done once
			n++
		}
		time.Sleep(s.pause)
	}

	s.calm()
	after := s.use(t)
	stop()
	callers.Wait()
	t.Logf("before %+v, after %+v", before, after)
	if before.goroutines == 0 || after.goroutines > before.goroutines+16 || after.megabytes > before.megabytes+48 {
		t.Errorf("goroutines or memory grew: %+v before, %+v after", before, after)
	}
	s.judge(t, time.Since(start))
}

// soakFor is how long to go on.
func soakFor(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("GATE_SOAK")
	if text == "" {
		slow.Skip(t)
		return 5 * time.Minute
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func newSoak(t *testing.T, d time.Duration) *soak {
	s := &soak{
		failover: newFailover(t), pause: min(max(d/200, 100*time.Millisecond), 3*time.Second),
		done: map[string]int{}, verdicts: map[string]int64{}, passed: map[string]int{},
	}
	s.other = s.upstream(s.outside.Registry.Upstream)
	s.secondPolicy()
	base := baseImage(t)
	s.base = func(n int) (string, attestor.Outcome) {
		user, want := "65532:65532", attestor.Pass
		if n%5 == 4 {
			user, want = "", attestor.Deny
		}
		ref := s.push("app/killed", "s"+strconv.Itoa(n), imageOn(t, base, user, entry{"app", "soak " + strconv.Itoa(n)}))
		s.scan(ref, samples.Clean)
		return ref, want
	}

	s.all = slices.Sorted(maps.Keys(s.images))
	s.ok(s.primary.Synchronous(t.Context()))
	s.begin()
	for _, in := range s.instances {
		s.addresses = append(s.addresses, in.address)
	}
	return s
}

func (s *soak) did(what string) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.done[what]++
}

func (s *soak) times(what string) int {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.done[what]
}

func (s *soak) at(i int) (address string, resting bool) {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.addresses[i], s.resting
}

// image is the n-th image, counted around, and the instance that is asked about it.
func (s *soak) image(n int) (ref string, instance int, want attestor.Outcome, override bool) {
	s.lock.Lock()
	defer s.lock.Unlock()
	i := n % len(s.all)
	ref = s.all[i]
	return ref, i % len(s.instances), s.images[ref], s.broken[ref]
}

// call asks for decisions. Whatever fails meanwhile, an image is decided rightly or not at all.
func (s *soak) call(ctx context.Context, t *testing.T, side int) {
	for n := side * 101; ctx.Err() == nil; n += 7 {
		time.Sleep(100 * time.Millisecond)
		ref, i, want, override := s.image(n)
		address, resting := s.at(i)
		if resting {
			continue
		}

		a := s.asks(address, ref, override)
		if a.decision.ID != "" && a.decision.Verdict != want && a.decision.Verdict != attestor.Undecided {
			t.Errorf("%s is %s, want %s: %s", ref, a.decision.Verdict, want, a.body)
		}
	}
}

// asks asks an instance for a decision, and keeps the answer for the end.
func (s *soak) asks(address, ref string, override bool) answer {
	a := s.postTo(address, ref, override)
	if a.status == 0 {
		return a // it was killed
	}
	s.mu.Lock()
	s.told = append(s.told, a)
	s.mu.Unlock()

	v := string(a.decision.Verdict)
	if a.decision.ID == "" {
		v = strconv.Itoa(a.status)
	}
	s.lock.Lock()
	defer s.lock.Unlock()
	s.verdicts[v]++
	if a.decision.Verdict == attestor.Pass {
		s.passed[address]++
	}
	return a
}

// read asks for what people look at. It is answered, or refused because a part is away.
func (s *soak) read(ctx context.Context, t *testing.T) {
	for n := 0; ctx.Err() == nil; n++ {
		time.Sleep(100 * time.Millisecond)
		ref, _, _, _ := s.image(n)
		paths := []string{
			"/v1/decisions?pageSize=20", "/report", "/decisions?search=debian", "/v1/policies", "/metrics", "/health",
			"/v1/attestations?" + url.Values{"image": {ref}}.Encode(), "/v1/decisions?repository=" + url.QueryEscape("app/killed"),
		}
		address, resting := s.at(n / len(paths) % len(s.instances))
		if resting {
			continue
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+paths[n%len(paths)], nil)
		if err != nil {
			t.Error(err)
			return
		}
		switch a := s.send(req); a.status {
		case http.StatusOK:
			s.did("read")
		case 0, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusTooManyRequests:
			s.did("not read")
		default:
			t.Errorf("%s: %d %s", req.URL, a.status, a.body)
		}
	}
}

// steps are what happens, one after the other and again.
func (s *soak) steps(t *testing.T) []func() {
	t.Helper()
	address := func() string { at, _ := s.at(0); return at }
	reloads := 0
	return []func(){
		func() { s.grow(10) },
		func() {
			s.registry.Inject(standin.Fault{Effect: standin.Corrupt, Count: 20})
			s.did("a lying registry")
		},
		func() { s.kills(t) },
		func() {
			reloads++
			s.writePolicy(oneAttestor() + "# " + strconv.Itoa(reloads) + "\n")
			s.did("policy reload")
		},
		func() {
			s.outside.SetBehaviour(emulator.Behaviour{Uniqueness: emulator.UniqueNone, Quotas: []emulator.Quota{{Limit: 20, Per: time.Second}}})
			s.did("quota")
		},
		func() { s.posts(t, address(), "/v1/rejudge") },
		func() { s.outside.SetBehaviour(emulator.Behaviour{Uniqueness: emulator.UniqueNone}) },
		func() { s.runs(t, "export", "decisions", "export", "--server", "http://"+address(), "--since", "1m") },
		func() {
			s.registry.Inject(standin.Fault{Effect: standin.Reset, Count: 10})
			s.registry.Inject(standin.Fault{Effect: standin.TooMany, RetryAfter: "1", Count: 10})
			s.did("a registry that fails")
		},
		func() { s.runs(t, "sweep", "audit", "--server", "http://"+address(), s.registry.Addr()+"/app/killed") },
		func() {
			s.emulator().Inject(emulator.Fault{Method: "AsymmetricSign", Code: codes.Unavailable, Count: 10})
			s.emulator().Inject(emulator.Fault{Method: "CreateOccurrence", Code: codes.Unavailable, AnswerLost: true, Count: 3})
			s.did("lost answers of Google's")
		},
		func() { s.kills(t) },
		func() { s.posts(t, address(), "/v1/expire") },
		func() { s.overrideEnds(t) },
		func() { s.away(t) },
		func() { s.verifyLog(t); s.did("record verified") },
		func() { s.registry.ClearFaults(); s.emulator().ClearFaults() },
	}
}

// grow pushes new images.
func (s *soak) grow(more int) {
	s.calm() // what the test itself writes must arrive
	for range more {
		s.lock.Lock()
		n := len(s.all)
		s.lock.Unlock()
		ref, want := s.base(n)
		s.lock.Lock()
		s.all = append(s.all, ref)
		s.images[ref], s.broken[ref] = want, n%10 == 9
		s.lock.Unlock()
	}
	s.did("ten new images")
}

// kills kills the second instance and starts it again.
func (s *soak) kills(t *testing.T) {
	t.Helper()
	s.killOne(1)
	s.restarted(1)
	s.did("SIGKILL")
}

func (s *soak) restarted(i int) {
	s.start(&s.instances[i])
	s.address = s.instances[0].address
	s.lock.Lock()
	defer s.lock.Unlock()
	s.addresses[i] = s.instances[i].address
}

// posts starts what a scheduler would.
func (s *soak) posts(t *testing.T, address, path string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+address+path, strings.NewReader("{}"))
	s.ok(err)
	req.Header.Set("Content-Type", "application/json")
	s.did(path)
	switch a := s.send(req); a.status {
	case http.StatusOK:
	case http.StatusServiceUnavailable, http.StatusBadGateway:
		s.did("unfinished " + path)
	default:
		t.Errorf("%s: %d %s", path, a.status, a.body)
	}
}

// runs runs the program. It may end with what could not be found out.
func (s *soak) runs(t *testing.T, what string, args ...string) {
	t.Helper()
	self, err := program()
	s.ok(err)
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Dir = s.dir
	var said bytes.Buffer
	cmd.Stderr = &said
	_ = cmd.Run() // its exit code is looked at
	s.did(what)
	switch code := cmd.ProcessState.ExitCode(); code {
	case attestor.ExitPass, attestor.ExitDeny:
	case attestor.ExitError: // it says that it did not find out everything: something fails all the time here
		s.did("unfinished " + what)
	default:
		t.Errorf("%s ends with %d: %s", what, code, &said)
	}
}

// rotate gives the attestor a second key, and the gate the new one.
func (s *soak) rotate(t *testing.T) {
	t.Helper()
	s.calm()
	ctx := t.Context()
	version, err := s.outside.KMS.CreateCryptoKeyVersion(ctx, &kmspb.CreateCryptoKeyVersionRequest{
		Parent: strings.TrimSuffix(samples.Key, "/cryptoKeyVersions/1"),
	})
	s.ok(err)
	public, err := s.outside.KMS.GetPublicKey(ctx, &kmspb.GetPublicKeyRequest{Name: version.GetName()})
	s.ok(err)
	att, err := s.outside.Binauthz.GetAttestor(ctx, &binaryauthorizationpb.GetAttestorRequest{Name: samples.Attestor})
	s.ok(err)
	note := att.GetUserOwnedGrafeasNote()
	note.PublicKeys = append(note.PublicKeys, &binaryauthorizationpb.AttestorPublicKey{
		Id: "//cloudkms.googleapis.com/v1/" + version.GetName(),
		PublicKey: &binaryauthorizationpb.AttestorPublicKey_PkixPublicKey{PkixPublicKey: &binaryauthorizationpb.PkixPublicKey{
			PublicKeyPem: public.GetPem(), SignatureAlgorithm: binaryauthorizationpb.PkixPublicKey_ECDSA_P256_SHA256,
		}},
	})
	_, err = s.outside.Binauthz.UpdateAttestor(ctx, &binaryauthorizationpb.UpdateAttestorRequest{Attestor: att})
	s.ok(err)

	s.reconfigure(samples.Key, version.GetName())
	s.ok(s.instances[0].cmd.Process.Signal(syscall.SIGTERM))
	if err := s.instances[0].cmd.Wait(); err != nil {
		t.Errorf("SIGTERM: %v", err)
	}
	s.restarted(0)
	s.kills(t)
	s.did("key rotation")
}

// calm ends everything that goes wrong.
func (s *soak) calm() {
	s.registry.ClearFaults()
	s.emulator().ClearFaults()
	s.outside.SetBehaviour(emulator.Behaviour{Uniqueness: emulator.UniqueNone})
}

// usage is what the first instance uses while nobody asks it.
type usage struct {
	goroutines int
	megabytes  float64
}

// use measures until the numbers do not fall any more.
func (s *soak) use(t *testing.T) usage {
	t.Helper()
	set := func(resting bool) {
		s.lock.Lock()
		defer s.lock.Unlock()
		s.resting = resting
	}
	set(true)
	defer set(false)
	s.http.CloseIdleConnections() // as many as there ever were at once, and the instance has a goroutine for each

	out := usage{math.MaxInt, math.Inf(1)}
	address, _ := s.at(0)
	for same := 0; same < 100; same++ {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/metrics", nil)
		s.ok(err)
		a := s.send(req)
		value := func(name string) float64 {
			m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindSubmatch(a.body)
			if m == nil {
				t.Fatalf("no %s in %d %s", name, a.status, a.body)
			}
			v, err := strconv.ParseFloat(string(m[1]), 64)
			s.ok(err)
			return v
		}
		now := usage{int(value("go_goroutines")), value("go_memstats_heap_alloc_bytes") / (1 << 20)}
		if now.goroutines < out.goroutines || now.megabytes < out.megabytes {
			same = 0
		}
		out = usage{min(out.goroutines, now.goroutines), min(out.megabytes, now.megabytes)}
		time.Sleep(50 * time.Millisecond)
	}
	return out
}

// judge holds everything that was told, recorded, attested and delivered to each other.
func (s *soak) judge(t *testing.T, took time.Duration) {
	t.Helper()
	t.Logf("in %v: %d images, told %v, done %v", took.Round(time.Second), len(s.all), s.verdicts, s.done)
	for _, what := range []string{
		"read", "ten new images", "a lying registry", "a registry that fails", "SIGKILL", "policy reload", "quota", "/v1/rejudge",
		"/v1/expire", "export", "sweep", "lost answers of Google's", "record verified", "key rotation", "failover",
		"an override's end", "a registry that never answers",
	} {
		if s.done[what] == 0 {
			t.Errorf("nothing was done of: %s", what)
		}
	}

	s.settle(t)
	s.check(t)
	s.once(t)
	s.verifyLog(t)
	s.checkTold(t)
	s.documented(t, 0, "", "decisions", "unrecorded")

	// Findings did not change, and neither a registry that lies nor a quota is a reason to revoke: only overrides ended.
	const atEnd = "'" + string(attestor.RevokedAtEnd) + "'"
	if n := s.count("SELECT count(*) FROM revocations WHERE kind <> " + atEnd); n > 0 {
		t.Errorf("%d revocations that are no end of an override", n)
	}
	if n := s.count("SELECT count(*) FROM revocations WHERE state = 'finished' AND kind = " + atEnd); n < s.done["an override's end"] {
		t.Errorf("%d ends of overrides are recorded, want %d at least", n, s.done["an override's end"])
	}
	if n := s.count("SELECT count(*) FROM overrides WHERE expires IS NOT NULL AND closed_at IS NULL"); n > 0 {
		t.Errorf("%d overrides are past their end and open", n)
	}
	for _, image := range s.all {
		if a := s.post(image); a.decision.Verdict != s.images[image] {
			t.Errorf("afterwards: %s is %s, want %s: %s", image, a.decision.Verdict, s.images[image], a.body)
		}
	}
}
