package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/server"
	"github.com/attestor-gate/attestor/server/watch"
)

const occurrence = "projects/acme/occurrences/806f4b88-a1e7-4f1f-a424-df79912804bb"

func pushBody(_ testing.TB, id, data string, attributes map[string]string) string {
	return corpus.Push(id, data, attributes)
}

func sample(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/pubsub/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func built(status string) map[string]string { return corpus.Built(status) }

func TestEventsAreAcknowledgedOrNot(t *testing.T) {
	good := image(":v1")
	pushed := func(ref string) string {
		return `{"action":"INSERT","digest":"` + ref + `","tag":"` + repository + `:v1"}`
	}
	a, b := repository+"@"+digestA, repository+"@"+digestB
	down := func(w *world, _ *parts) {
		w.down = &attestor.Error{Kind: attestor.Upstream, Code: attestor.CodeRegistryUnavailable, Msg: "down"}
	}

	tests := []struct {
		name, data string
		attributes map[string]string
		setup      func(*world, *parts)
		status     int
		asked      int // what was asked of the registry
		outcome    string
	}{
		{name: "build", data: sample(t, "cloud-build.json"), attributes: built("SUCCESS"), status: 204, asked: 1, outcome: `kind="build",outcome="done"`},
		{name: "build that failed", data: strings.Replace(sample(t, "cloud-build.json"),
			`"status": "SUCCESS",`+"\n"+`  "steps"`, `"status": "FAILURE",`+"\n"+`  "steps"`, 1),
			attributes: built("FAILURE"), status: 204, outcome: `kind="build",outcome="ignored"`},
		{name: "build whose attributes lie", data: `{"status":"WORKING"}`, attributes: built("SUCCESS"), status: 204,
			outcome: `kind="build",outcome="ignored"`},
		{name: "build without images", data: `{"status":"SUCCESS"}`, attributes: built("SUCCESS"), status: 204, outcome: `kind="build",outcome="ignored"`},
		{name: "push", data: pushed(a), status: 204, asked: 1, outcome: `kind="push",outcome="done"`},
		{name: "push that is denied", data: pushed(b), status: 204, asked: 1, outcome: `kind="push",outcome="denied"`},
		{name: "push while the registry is down", data: pushed(a), setup: down, status: 502, asked: 1, outcome: `kind="push",outcome="retry"`},
		{name: "push before the scan", data: pushed(a), setup: func(w *world, _ *parts) {
			w.checks[digestA] = checkStatus{attestor.StatusError, attestor.CodeScanPending, ""}
		}, status: 503, asked: 1, outcome: `kind="push",outcome="retry"`},
		{name: "push while the record is down", data: pushed(a), setup: func(w *world, _ *parts) {
			w.recorder = errBoom
		}, status: 503, asked: 1, outcome: `kind="push",outcome="retry"`},
		{name: "push of another's image", data: sample(t, "gcr-insert.json"), status: 204, outcome: `kind="push",outcome="ignored"`},
		{name: "push to a private address", data: pushed("169.254.169.254/team/app@" + digestA), status: 204, outcome: `kind="push",outcome="ignored"`},
		{name: "push of a signature", data: `{"action":"INSERT","digest":"` + a + `","tag":"` + repository + `:v1"}`,
			setup: func(_ *world, p *parts) { p.artifact = "signature" }, status: 204,
			outcome: `kind="push",outcome="ignored"`},
		{name: "push of an image under a signature's tag",
			data: `{"action":"INSERT","digest":"` + a + `","tag":"` + repository + `:sha256-` + strings.Repeat("a",
				64) + `.sig"}`, status: 204, asked: 1, outcome: `kind="push",outcome="done"`},
		{name: "push of what cannot be read", data: pushed(a), setup: func(w *world, p *parts) {
			p.unread, w.down = errBoom, &attestor.Error{Kind: attestor.Upstream, Code: attestor.CodeRegistryUnavailable, Msg: "down"}
		}, status: 502, asked: 1, outcome: `kind="push",outcome="retry"`},
		{name: "image that is gone again", data: pushed(repository + "@sha256:" + strings.Repeat("c", 64)),
			status: 204, asked: 1, outcome: `kind="push",outcome="ignored"`},
		{name: "deletion", data: `{"action":"DELETE","digest":"` + a + `"}`, status: 204, outcome: `kind="push",outcome="ignored"`},
		{name: "untagging", data: `{"action":"INSERT","tag":"` + repository + `:v1"}`, status: 204, outcome: `kind="push",outcome="ignored"`},
		{name: "occurrence that is gone", data: sample(t, "container-analysis-occurrences-v1.json"), status: 204,
			outcome: `kind="occurrence",outcome="ignored"`},
		{name: "occurrence of an image nobody asked about", data: `{"name":"` + occurrence +
			`","kind":"VULNERABILITY"}`, status: 204, outcome: `kind="occurrence",outcome="ignored"`},
		{name: "occurrence of another kind", data: `{"name":"` + occurrence + `","kind":"BUILD"}`, status: 204, outcome: `kind="occurrence",outcome="ignored"`},
		{name: "occurrence while Container Analysis is down", data: `{"name":"` + occurrence + `","kind":"VULNERABILITY"}`, setup: func(_ *world, p *parts) {
			p.err = &attestor.Error{Kind: attestor.Upstream, Msg: "down"}
		}, status: 502, outcome: `kind="occurrence",outcome="retry"`},
		{name: "poison: not JSON", data: "hello", status: 204, outcome: `kind="unknown",outcome="poison"`},
		{name: "poison: nothing known", data: `{"hello":"world"}`, status: 204, outcome: `kind="unknown",outcome="poison"`},
		{name: "poison: no reference", data: `{"action":"INSERT","digest":"https://x"}`, status: 204, outcome: `kind="push",outcome="poison"`},
		{name: "poison: a tag for a digest", data: `{"action":"INSERT","digest":"` + repository + `:v1"}`,
			status: 204, outcome: `kind="push",outcome="poison"`},
		{name: "poison: a name that is a path", data: `{"name":"projects/../occurrences/x","kind":"DISCOVERY"}`,
			status: 204, outcome: `kind="occurrence",outcome="poison"`},
		{name: "poison: a name without an end", data: `{"name":"` + occurrence + strings.Repeat("0", 600) + `","kind":"DISCOVERY"}`,
			status: 204, outcome: `kind="occurrence",outcome="poison"`},
		{name: "poison: a build's image without digest",
			data:       `{"status":"SUCCESS","results":{"images":[{"name":"` + repository + `:v1"}]}}`,
			attributes: built("SUCCESS"), status: 204, outcome: `kind="build",outcome="poison"`},
		{name: "poison: one of a build's images",
			data: `{"status":"SUCCESS","results":{"images":[{"name":"acme/app","digest":""},{"name":"` + repository + `:v1","digest":"` +
				digestA + `"}]}}`,
			attributes: built("SUCCESS"), status: 204, asked: 1, outcome: `kind="build",outcome="poison"`},
		{name: "poison: our own, made up", data: `[]`, attributes: map[string]string{"attestor.rejudge": "1"},
			status: 204, outcome: `kind="rejudge",outcome="poison"`},
		{name: "sweep", data: `{"images":["` + a + `","` + b + `"]}`, attributes: sweepMessage(), status: 204, asked: 2,
			outcome: `kind="sweep",outcome="denied"`},
		{name: "sweep of a signature", data: `{"images":["` + a + `"]}`, attributes: sweepMessage(),
			setup: func(_ *world, p *parts) { p.artifact = "signature" }, status: 204, outcome: `kind="sweep",outcome="ignored"`},
		{name: "sweep of what is gone", data: `{"images":["` + repository + "@sha256:" + strings.Repeat("c", 64) + `"]}`,
			attributes: sweepMessage(), status: 204, asked: 1, outcome: `kind="sweep",outcome="ignored"`},
		{name: "sweep before the scan", data: `{"images":["` + a + `"]}`, attributes: sweepMessage(), setup: func(w *world, _ *parts) {
			w.checks[digestA] = checkStatus{attestor.StatusError, attestor.CodeScanPending, ""}
		}, status: 503, asked: 1, outcome: `kind="sweep",outcome="retry"`},
		{name: "sweep whose rest cannot be published", data: `{"images":["` + a + `","` + b + `"]}`, attributes: sweepMessage(),
			setup: func(w *world, _ *parts) {
				w.checks[digestA] = checkStatus{attestor.StatusError, attestor.CodeScanPending, ""}
			}, status: 503, asked: 2, outcome: `kind="sweep",outcome="retry"`},
		{name: "poison: a sweep of nothing", data: `{"images":[]}`, attributes: sweepMessage(), status: 204,
			outcome: `kind="sweep",outcome="poison"`},
		{name: "poison: a sweep of no reference", data: `{"images":["` + a + `","https://x"]}`, attributes: sweepMessage(), status: 204,
			outcome: `kind="sweep",outcome="poison"`},
		{name: "poison: a sweep of too many", data: `{"images":["` + strings.Repeat(a+`","`, watch.MaxSwept) + a + `"]}`,
			attributes: sweepMessage(), status: 204, outcome: `kind="sweep",outcome="poison"`},
		{name: "our own, about no run", data: `{"run":"none"}`, attributes: map[string]string{"attestor.rejudge": "1"},
			status: 204, outcome: `kind="rejudge",outcome="ignored"`},
		{name: "our own, of a version before", data: `{"image":"` + a + `","decision":"none"}`,
			attributes: map[string]string{"attestor.rejudge": "1"}, status: 204,
			outcome: `kind="rejudge",outcome="ignored"`},
	}

	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld()
			img, err := attestor.ParseImage(a)
			if err != nil {
				t.Fatal(err)
			}

			p := &parts{w: w, occur: map[string]watch.Occurrence{occurrence: {Image: img, Finished: true}}}
			if tt.setup != nil {
				tt.setup(w, p)
			}
			var log bytes.Buffer
			base := serve(t, w, func(c *server.Config) {
				p.with(c)
				c.Logger = slog.New(slog.NewJSONHandler(&log, nil))
				c.Watch.Publisher, c.Watch.Subscription = nobody{}, ownSubscription
			})

			got := send(t, "admin", "POST", base+"/v1/events", pushBody(t, "m-17", tt.data, tt.attributes))
			if got.status != tt.status || len(w.asked) != tt.asked {
				t.Errorf("status = %d, asked %v; want %d and %d: %s", got.status, w.asked, tt.status, tt.asked, got.body)
			}
			if m := send(t, "", "GET", base+"/metrics", "").body; !strings.Contains(m, "attestor_events_total{"+tt.outcome+"} 1") {
				t.Errorf("no metric %s", tt.outcome)
			}

			if strings.Contains(tt.outcome, "poison") && (!strings.Contains(log.String(), "m-17") || !strings.Contains(log.String(), `"level":"ERROR"`)) {
				t.Errorf("the log does not name the poison message: %s", log.String())
			}
		})
	}

	base := serve(t, newWorld(), (&parts{w: newWorld()}).with)
	for _, body := range []string{good, "{}", `{"message":{}}`, `{"message":{"messageId":"1","data":"%%"}}`,
		`{"message":{"messageId":"a b"}}`, `{"message":{"messageId":"1"},"message":{"messageId":"2"}}`} {
		if got := send(t, "admin", "POST", base+"/v1/events", body); got.status != 400 {
			t.Errorf("%s: status %d, want 400", body, got.status)
		}
	}
}

func TestEventsNeedTheRightForTheImage(t *testing.T) {
	w := newWorld()
	data := `{"action":"INSERT","digest":"` + repository + "@" + digestA + `"}`
	for who, tt := range map[string]struct {
		actions []attestor.Action
		signed  int
		asked   int
	}{
		"attest":  {[]attestor.Action{attestor.ActionRejudge, attestor.ActionAttest}, 1, 1},
		"check":   {[]attestor.Action{attestor.ActionRejudge, attestor.ActionCheck}, 0, 1},
		"neither": {[]attestor.Action{attestor.ActionRejudge}, 0, 0},
	} {
		w = newWorld()
		base := serve(t, w, func(c *server.Config) {
			(&parts{w: w}).with(c)
			c.Identity = as{"pubsub": caller(t, "pubsub", "registry.example/team/**", tt.actions...)}
		})

		got := send(t, "pubsub", "POST", base+"/v1/events", pushBody(t, "1", data, nil))
		if got.status != 204 || len(w.standing) != tt.signed || len(w.asked) != tt.asked {
			t.Errorf("%s: status %d, signed %d, asked %v", who, got.status, len(w.standing), w.asked)
		}
	}
}

func TestThousandDuplicatesAreHarmless(t *testing.T) {
	w := newWorld()
	p := &parts{w: w}
	base := serve(t, w, func(c *server.Config) { p.with(c); c.Limits.CallerRate = math.Inf(1) })
	body := pushBody(t, "same", sample(t, "cloud-build.json"), built("SUCCESS"))
	var wg sync.WaitGroup
	turn := make(chan struct{}, 32)
	for range 1000 {
		turn <- struct{}{}
		wg.Go(func() {
			defer func() { <-turn }()
			if got := send(t, "admin", "POST", base+"/v1/events", body); got.status != 204 {
				t.Errorf("status %d: %s", got.status, got.body)
			}
		})
	}

	wg.Wait()
	if n := len(w.decisions()); n == 0 || n > 40 {
		t.Errorf("1,000 duplicates made %d decisions", n)
	}
}

// A scan of many findings sends as many messages: they share what they cause.
func TestMessagesOfOneScanShareAJudgement(t *testing.T) {
	w := newWorld()
	img, err := attestor.ParseImage(repository + "@" + digestA)
	if err != nil {
		t.Fatal(err)
	}

	p := &parts{w: w, occur: map[string]watch.Occurrence{}}
	for i := range 100 {
		p.occur[fmt.Sprintf("projects/acme/occurrences/%d", i)] = watch.Occurrence{Image: img, Finished: true}
	}
	base := serve(t, w, func(c *server.Config) {
		p.with(c)
		c.Limits.CallerRate, c.Limits.Concurrent = math.Inf(1), 200
	})

	send(t, "admin", "POST", base+"/v1/attest", image(":v1"))
	w.mu.Lock()
	w.hold, w.entered = make(chan struct{}), make(chan struct{}, 200)
	w.mu.Unlock()
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			data := fmt.Sprintf(`{"name":"projects/acme/occurrences/%d","kind":"VULNERABILITY"}`, i)
			if got := send(t, "admin", "POST", base+"/v1/events", pushBody(t, fmt.Sprint(i), data, nil)); got.status != 204 {
				t.Errorf("status %d: %s", got.status, got.body)
			}
		})
	}

	<-w.entered
	close(w.hold)
	wg.Wait()
	if n := 1 + len(w.entered); n > 50 {
		t.Errorf("100 messages made %d judgements", n)
	}

	// The verdict has not changed, so that there is nothing to record.
	if n := len(w.decisions()); n != 1 {
		t.Errorf("%d decisions, want that of the admission", n)
	}
}

// A finished scan completes what waited for it, and a new finding has what was
// admitted judged again.
func TestScanCompletesWaitingWork(t *testing.T) {
	w := newWorld()
	img, err := attestor.ParseImage(repository + "@" + digestA)
	if err != nil {
		t.Fatal(err)
	}

	p := &parts{w: w, occur: map[string]watch.Occurrence{occurrence: {Image: img}}}
	base := serve(t, w, p.with)
	w.checks[digestA] = checkStatus{attestor.StatusError, attestor.CodeScanPending, ""}
	if got := send(t, "builder", "POST", base+"/v1/attest", image(":v1")); got.status != 503 {
		t.Fatalf("status %d", got.status)
	}

	message := func(id, kind string) int {
		return send(t, "admin", "POST", base+"/v1/events", pushBody(t, id, `{"name":"`+occurrence+`","kind":"`+kind+`"}`, nil)).status
	}
	if got := message("1", "DISCOVERY"); got != 204 || len(w.decisions()) != 1 {
		t.Errorf("a scan that has not finished: status %d, %d decisions", got, len(w.decisions()))
	}

	p.occur[occurrence] = watch.Occurrence{Image: img, Finished: true}
	w.checks[digestA] = checkStatus{status: attestor.StatusPass}
	if got := message("2", "DISCOVERY"); got != 204 || len(w.standing) != 1 {
		t.Errorf("the finished scan: status %d, attestations %v", got, w.standing)
	}

	w.checks[digestA] = checkStatus{attestor.StatusDeny, attestor.CodeFixableSeverityExceeded, "CVE-2026-9"}
	if got := message("3", "VULNERABILITY"); got != 204 {
		t.Errorf("the finding: status %d", got)
	}
	last := w.decisions()[len(w.decisions())-1]
	if last.Verdict != attestor.Deny || !last.DryRun || last.Labels[watch.LabelRejudges] == "" {
		t.Errorf("the last decision is %+v", last)
	}

	if len(w.standing) != 1 || len(p.revoked) != 0 {
		t.Error("an event revoked an attestation")
	}
}

// rejudged is a server with a number of admitted images.
func rejudged(t testing.TB, n int, change func(*watch.Config)) (*world, *parts, string) {
	t.Helper()
	w := newWorld()
	p := &parts{w: w}
	base := serve(t, w, func(c *server.Config) {
		p.with(c)
		c.Watch.Enforce, c.Watch.Grace = true, time.Hour
		if change != nil {
			change(c.Watch)
		}
		c.Limits.CallerRate = math.Inf(1)
	})

	for i := range n {
		d := attestor.Digest(fmt.Sprintf("sha256:%064x", i+1))
		w.images[string(d)] = d
		w.checks[d] = checkStatus{status: attestor.StatusPass}
		if got := send(t, "builder", "POST", base+"/v1/attest", image("@"+string(d))); got.status != 200 {
			t.Fatalf("status %d: %s", got.status, got.body)
		}
	}
	w.pass(time.Second) // a run covers what was judged last before it began
	return w, p, base
}

func (w *world) turn(status attestor.Status, code attestor.Code, about string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for d := range w.checks {
		w.checks[d] = checkStatus{status, code, about}
	}
}

func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = w.now.Add(d)
}

func rejudge(t testing.TB, base string) watch.Report {
	t.Helper()
	got := send(t, "admin", "POST", base+"/v1/rejudge", "{}")
	var r watch.Report
	if err := json.Unmarshal([]byte(got.body), &r); err != nil || got.status != 200 {
		t.Fatalf("status %d: %s", got.status, got.body)
	}
	return r
}

func TestRejudgeReportsAndRevokesAfterGrace(t *testing.T) {
	w, p, base := rejudged(t, 3, nil)
	if r := rejudge(t, base); r.Judged != 3 || r.Passed != 3 || r.Covered != 3 || r.Changed+r.Failed+r.Left+len(r.Flips) != 0 {
		t.Fatalf("before: %+v", r)
	}
	if n := len(w.decisions()); n != 3 {
		t.Errorf("%d decisions: what has not changed is a line, and no decision", n)
	}
	w.turn(attestor.StatusDeny, attestor.CodeFixableSeverityExceeded, "CVE-2026-9")
	w.pass(time.Second)
	if r := rejudge(t, base); len(r.Flips) != 3 || r.Changed != 3 || r.Revoked != 0 || r.Flips[0].Cause != attestor.CauseFinding {
		t.Fatalf("within its grace: %+v", r)
	}

	w.pass(59 * time.Minute)
	if r := rejudge(t, base); r.Revoked != 0 {
		t.Fatalf("still within its grace: %+v", r)
	}
	w.pass(2 * time.Minute)
	if r := rejudge(t, base); r.Revoked != 3 || r.Stopped || !r.Flips[0].Revoked || len(p.revoked) != 3 || len(w.standing) != 0 {
		t.Fatalf("after its grace: %+v", r)
	}

	if got := p.revoked[0]; !strings.Contains(got.Reason, "CVE-2026-9") || got.Caller.Subject != "admin@example" ||
		got.Kind != attestor.RevokedByJudgment || got.Cause != attestor.CauseFinding || got.Judgment == "" || len(got.Admitted) != 1 {
		t.Errorf("revocation %+v", got)
	}

	// Three admissions and three changes: the images were looked at four times.
	if n := len(w.decisions()); n != 6 {
		t.Errorf("%d decisions, want 6", n)
	}
	if r := rejudge(t, base); r.Revoked != 0 || len(r.Flips) != 0 {
		t.Errorf("what is revoked is reported again: %+v", r)
	}
}

func TestRevocationStopsAtItsCap(t *testing.T) {
	w, p, base := rejudged(t, 25, nil)
	w.turn(attestor.StatusDeny, attestor.CodeCVEBlocked, "CVE-2026-9")
	rejudge(t, base)
	w.pass(2 * time.Hour)
	if r := rejudge(t, base); r.Revoked != 20 || !r.Stopped || len(p.revoked) != 20 {
		t.Errorf("revoked %d, stopped %t", r.Revoked, r.Stopped)
	}

	if m := send(t, "", "GET", base+"/metrics", "").body; !strings.Contains(m, "attestor_rejudge_stopped_total 1") {
		t.Error("no alert")
	}
}

// Nothing but a new finding is a reason to revoke.
func TestNothingElseRevokes(t *testing.T) {
	for name, change := range map[string]func(*world){
		"an outage": func(w *world) {
			w.down = &attestor.Error{Kind: attestor.Upstream, Code: attestor.CodeRegistryUnavailable, Msg: "down"}
		},
		"a scan that vanished":     func(w *world) { w.turn(attestor.StatusError, attestor.CodeScanNotFound, "") },
		"a scan that grew old":     func(w *world) { w.turn(attestor.StatusDeny, attestor.CodeScanTooOld, "") },
		"a base that grew old":     func(w *world) { w.turn(attestor.StatusDeny, attestor.CodeBaseOutdated, "distroless") },
		"a finding without a name": func(w *world) { w.turn(attestor.StatusDeny, attestor.CodeFixableSeverityExceeded, "") },
		"a finding known before":   func(w *world) { w.turn(attestor.StatusDeny, attestor.CodeFixableSeverityExceeded, "CVE-OLD") },
		"a policy in dry run": func(w *world) {
			w.mode = attestor.DryRun
			w.turn(attestor.StatusDeny, attestor.CodeCVEBlocked, "CVE-OLD")
		},
		"a new policy": func(w *world) { w.digest = digestA; w.turn(attestor.StatusDeny, attestor.CodeCVEBlocked, "CVE-2026-9") },
		"an error beside a finding": func(w *world) {
			w.also = attestor.StatusError
			w.turn(attestor.StatusDeny, attestor.CodeCVEBlocked, "CVE-2026-9")
		},
		"no policy governs any more": func(w *world) { w.governs = func(string) bool { return false } },
	} {
		t.Run(name, func(t *testing.T) {
			w, p, base := rejudged(t, 2, nil)
			w.mu.Lock()
			for i := range w.records {
				w.records[i].Evidence.Platforms[0].Scan.Findings = []attestor.Vulnerability{{ID: "CVE-OLD"}}
			}

			w.mu.Unlock()
			change(w)
			for range 3 {
				rejudge(t, base)
				w.pass(2 * time.Hour)
			}

			if len(p.revoked) != 0 || len(w.standing) != 2 {
				t.Errorf("revoked %+v", p.revoked)
			}
		})
	}
}

func TestGraceBeginsAnewAfterAPass(t *testing.T) {
	w, p, base := rejudged(t, 1, nil)
	w.turn(attestor.StatusDeny, attestor.CodeCVEBlocked, "CVE-2026-9")
	rejudge(t, base)
	w.pass(50 * time.Minute)
	w.turn(attestor.StatusPass, "", "")
	rejudge(t, base)
	w.pass(50 * time.Minute)
	w.turn(attestor.StatusDeny, attestor.CodeCVEBlocked, "CVE-2026-9")
	rejudge(t, base)
	w.pass(50 * time.Minute)
	if r := rejudge(t, base); r.Revoked != 0 || len(p.revoked) != 0 {
		t.Errorf("revoked %d though it passed in between", r.Revoked)
	}

	w.pass(11 * time.Minute)
	if r := rejudge(t, base); r.Revoked != 1 {
		t.Errorf("revoked %d after its grace", r.Revoked)
	}
}
