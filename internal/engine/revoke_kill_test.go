package engine_test

import (
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/event"
	"github.com/attestor-gate/attestor/internal/samples"
	"github.com/attestor-gate/attestor/internal/testkit/pgtest"
)

// lasting is how long an override stands in these tests. Binary Authorization, the
// record and the program go by the same clock.
const lasting = 2 * time.Second

// TestRevocationsOutliveAKill kills the real program with SIGKILL at each step of
// ending an override, of revoking an image and of judging again an image that has a new
// finding. After the next run nothing admits what was to be revoked, what passes in its
// own right keeps its attestations, and the webhook has the events that the record implies.
func TestRevocationsOutliveAKill(t *testing.T) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		revocationsOutliveAKill(t, newKiller(t, "sqlite", func(dir string) string { return filepath.Join(dir, "decisions.db") }))
	})

	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		revocationsOutliveAKill(t, newKiller(t, "pgx", func(string) string { return pgtest.File(t) }))
	})
}

// A killStep is where the program is killed: once the emulator has done what a call
// asked for, and before it answers.
type killStep struct {
	name   string
	method string // of the call; "": the program is killed once it has answered
	skip   int    // calls of the method before
	begun  int    // revocations that are begun then
}

// The steps of both. What is deleted is an index and its children, one by one.
var killSteps = []killStep{
	{"it is recorded, and nothing is deleted", "ListNoteOccurrences", 0, 1},
	{"the first attestation is deleted", "DeleteOccurrence", 0, 1},
	{"the second attestation is deleted", "DeleteOccurrence", 1, 1},
	{"all is done", "", 0, 0},
}

// The steps of judging again. While it judges, nothing is recorded yet.
var judgeSteps = []killStep{
	{"it is being judged", "ListOccurrences", 0, 0},
	{"the first attestation is deleted", "DeleteOccurrence", 0, 1},
	{"the second attestation is deleted", "DeleteOccurrence", 1, 1},
	{"all is done", "", 0, 0},
}

func revocationsOutliveAKill(t *testing.T, k *killer) {
	k.writePolicy(strings.Replace(oneAttestor(), "breakGlass: {allowed: true}", fmt.Sprintf("breakGlass: {allowed: true, expires: %s}", lasting), 1))
	k.begin()

	// Whatever is revoked of the others, this one passed and keeps its attestation.
	bystander := k.indexWith("bystander", "").good
	if a := k.post(bystander); a.decision.Verdict != attestor.Pass {
		t.Fatalf("%d %s", a.status, a.body)
	}

	var ended, revoked []indexed
	for _, step := range killSteps {
		ended = append(ended, k.killedExpiring(t, step))
		revoked = append(revoked, k.killedRevoking(t, step))
	}

	var judged []indexed
	for _, step := range judgeSteps {
		judged = append(judged, k.killedJudging(t, step))
	}

	// What a crash left begun is completed at the start, here of another instance's too.
	k.kill()
	k.freeClaims()
	if k.driver != "sqlite" {
		time.Sleep(abandonedAfter)
	}
	k.begin()
	k.awaitRevocations(t)

	for i, step := range killSteps {
		k.holds(t, "expire, "+step.name, ended[i])
		k.gone(t, "revoke, "+step.name, revoked[i].index, revoked[i].other, revoked[i].good)
	}
	for i, step := range judgeSteps {
		k.gone(t, "rejudge, "+step.name, judged[i].index, judged[i].other, judged[i].good)
	}
	if n := len(k.standing(bystander)); n != 1 {
		t.Errorf("%d attestations of an image that passed and was never revoked stand, want 1", n)
	}
	const finished = "SELECT count(*) FROM revocations WHERE state = 'finished' AND kind "
	if n := k.count(finished + "= '" + string(attestor.RevokedByPerson) + "'"); n != len(killSteps) {
		t.Errorf("%d revocations by a person are recorded, want %d: one of each, whatever came by since", n, len(killSteps))
	}

	// An override whose answer was 503 is asked for again: each that the record has ends once.
	used := k.overrides(t)
	if n := k.count(finished + "= '" + string(attestor.RevokedAtEnd) + "'"); n != used || used < len(killSteps) {
		t.Errorf("%d ends of %d overrides are recorded, want one of each, and of %d at least", n, used, len(killSteps))
	}
	if n := k.count(finished + "= 'rejudged'"); n < len(judgeSteps) {
		t.Errorf("%d revocations by judging again are recorded, want one of each of %d images at least", n, len(judgeSteps))
	}
	k.verifyLog(t)
	k.checkTold(t)
}

// overrides counts the overrides that the record has.
func (k *killer) overrides(t *testing.T) (n int) {
	t.Helper()
	db := k.db()
	defer db.Close()
	for _, ev := range k.implied(t, db) {
		if ev.kind == event.OverrideUsed {
			n++
		}
	}
	return n
}

// indexed is an index of an image that passes and another one.
type indexed struct{ index, good, other string }

// indexWith pushes one whose other image has a user of its own; "" is root.
func (k *killer) indexWith(name, user string) indexed {
	k.tb.Helper()
	base := baseImage(k.tb)
	good := imageOn(k.tb, base, "65532:65532", entry{"app", name})
	other := configured(k.tb, imageOn(k.tb, base, user, entry{"app", name}), func(c *v1.ConfigFile) { c.Variant = "v3" })
	m := indexed{
		good:  k.push("app/"+name, "good", good),
		other: k.push("app/"+name, "other", other),
		index: k.push("app/"+name, "both", indexOf(k.tb, good, other)),
	}
	k.scan(m.good, samples.Clean)
	k.scan(m.other, samples.Clean)
	return m
}

// killedExpiring overrides the refusal of an index, one of whose children passes in its
// own right, and kills the program while it ends the override. The next run must end
// what is left.
func (k *killer) killedExpiring(t *testing.T, step killStep) indexed {
	t.Helper()
	m := k.indexWith("ended-"+slug(step.name), "")
	a := k.override(m.index)
	if a.status != http.StatusOK || a.decision.BreakGlass == nil || a.decision.BreakGlass.Expires == nil || len(a.decision.Attestations) != 3 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	if a := k.post(m.good); a.decision.Verdict != attestor.Pass {
		t.Fatalf("%d %s", a.status, a.body)
	}
	<-time.After(time.Until(*a.decision.BreakGlass.Expires) + 50*time.Millisecond)

	k.killAt(t, step, func() answer { return k.do(http.MethodPost, "/v1/expire", "{}") })
	k.begin()
	if a := k.do(http.MethodPost, "/v1/expire", "{}"); a.status != http.StatusOK || !strings.Contains(string(a.body), `"failed":0`) {
		t.Errorf("%s: the next run: %d %s", step.name, a.status, a.body)
	}
	k.holds(t, "expire, "+step.name, m)
	return m
}

// killedRevoking has an index that passed revoked by a person, and kills the program
// meanwhile.
func (k *killer) killedRevoking(t *testing.T, step killStep) indexed {
	t.Helper()
	m := k.indexWith("revoked-"+slug(step.name), "65532:65532")
	if a := k.post(m.index); a.decision.Verdict != attestor.Pass || len(a.decision.Attestations) != 3 {
		t.Fatalf("%d %s", a.status, a.body)
	}

	query := url.Values{"image": {m.index}, "reason": {"found to be wrong"}}.Encode()
	k.killAt(t, step, func() answer { return k.do(http.MethodDelete, "/v1/attestations?"+query, "") })
	k.begin()
	return m
}

// killedJudging has an index that passed judged again when an image of it has a new finding, and
// kills the program meanwhile. The next two runs must find and revoke it: the first goes on with
// the one that was interrupted, and does not come by what that one had recorded.
func (k *killer) killedJudging(t *testing.T, step killStep) indexed {
	t.Helper()
	m := k.indexWith("judged-"+slug(step.name), "65532:65532")
	if a := k.post(m.index); a.decision.Verdict != attestor.Pass || len(a.decision.Attestations) != 3 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	k.finding(m.other)

	rejudge := func() answer { return k.do(http.MethodPost, "/v1/rejudge", "{}") }
	k.killAt(t, step, rejudge)
	k.freeClaims()
	k.begin()
	for range 2 {
		if a := rejudge(); a.status != http.StatusOK || !strings.Contains(string(a.body), `"unrevoked":0`) {
			t.Errorf("%s: the next run: %d %s", step.name, a.status, a.body)
		}
	}
	k.gone(t, "rejudge, "+step.name, m.index, m.other, m.good)
	return m
}

// killAt sends a request and kills the program at a step of it.
func (k *killer) killAt(t *testing.T, step killStep, ask func() answer) {
	t.Helper()
	if step.method == "" {
		if a := ask(); a.status != http.StatusOK {
			t.Fatalf("%s: %d %s", step.name, a.status, a.body)
		}
		k.kill()
		return
	}

	const begun = "SELECT count(*) FROM revocations WHERE state = 'begun'"
	before := k.count(begun) // of another instance, for all that PostgreSQL knows
	reached, release := make(chan struct{}), make(chan struct{})
	once := sync.OnceFunc(func() { close(reached) })
	k.emulator().Inject(emulator.Fault{Method: step.method, Skip: step.skip, Mutate: func(_, _ proto.Message) { once(); <-release }})
	told := make(chan answer, 1)
	go func() { told <- ask() }()
	select {
	case <-reached:
	case a := <-told:
		t.Fatalf("%s: answered without that step: %d %s", step.name, a.status, a.body)
	}

	if n := k.count(begun); n != before+step.begun {
		t.Errorf("%s: %d revocations are begun when the program is killed, want %d", step.name, n, before+step.begun)
	}
	k.kill()
	k.emulator().ClearFaults()
	close(release)
	if a := <-told; a.status != 0 {
		t.Errorf("%s: answered %d %s", step.name, a.status, a.body)
	}
}

// holds demands that nothing of an override is left but what passes in its own right.
func (k *killer) holds(t *testing.T, what string, m indexed) {
	t.Helper()
	k.gone(t, what, m.index, m.other)
	if n := len(k.standing(m.good)); n != 1 {
		t.Errorf("%s: %d attestations of the image that passes stand, want 1", what, n)
	}
}

func (k *killer) gone(t *testing.T, what string, images ...string) {
	t.Helper()
	for _, image := range images {
		if s := k.standing(image); len(s) != 0 {
			t.Errorf("%s: still attested: %+v", what, s)
		}
	}
}

// awaitRevocations returns when no revocation is left begun.
func (k *killer) awaitRevocations(t *testing.T) {
	t.Helper()
	for until := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		n := k.count("SELECT count(*) FROM revocations WHERE state = 'begun'")
		if n == 0 {
			return
		}
		if time.Now().After(until) {
			t.Fatalf("%d revocations were begun and are not completed", n)
		}
	}
}

// slug is a name as a part of a repository's.
func slug(name string) string {
	return strings.ReplaceAll(strings.ReplaceAll(name, ",", ""), " ", "-")
}
