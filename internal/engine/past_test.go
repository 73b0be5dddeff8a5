package engine_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/samples"
	"github.com/attestor-gate/attestor/internal/testkit/pgtest"
)

// TestThePastOutlivesAKill kills the real program with SIGKILL, and holds it to
// what it had been told before: which digests the tags of bases named, what was
// admitted and overridden, what is attested already, and what was begun.
func TestThePastOutlivesAKill(t *testing.T) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		thePastOutlivesAKill(t, newKiller(t, "sqlite", func(dir string) string { return filepath.Join(dir, "decisions.db") }))
	})

	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		thePastOutlivesAKill(t, newKiller(t, "pgx", func(string) string { return pgtest.File(t) }))
	})
}

func thePastOutlivesAKill(t *testing.T, k *killer) {
	base := baseImage(t)
	onBase := func(name, user string) string {
		image := k.push("app/"+name, "v1", imageOn(t, base, user, entry{"app", name}))
		k.scan(image, samples.Clean)
		return image
	}

	admitted, root, later, begun := onBase("admitted", "65532:65532"), onBase("root", ""), onBase("later", "65532:65532"), onBase("begun", "65532:65532")

	// The past: an admission, an override, and a base's tag that was seen.
	k.begin()
	first := k.post(admitted)
	if first.decision.Verdict != attestor.Pass || len(first.decision.Attestations) != 1 || !current(first.decision) {
		t.Fatalf("%d %s", first.status, first.body)
	}

	override := k.override(root)
	if override.status != http.StatusOK || override.decision.BreakGlass == nil || len(override.decision.Attestations) != 1 {
		t.Fatalf("%d %s", override.status, override.body)
	}

	// Killed while an attestation is being stored, whose beginning is recorded.
	storing, release := make(chan struct{}), make(chan struct{})
	k.emulator().Inject(emulator.Fault{Method: "CreateOccurrence", Count: 1, Mutate: func(_, _ proto.Message) { close(storing); <-release }})
	unanswered := make(chan answer, 1)
	go func() { unanswered <- k.post(begun) }()
	<-storing
	k.kill()
	close(release)
	if a := <-unanswered; a.status != 0 {
		t.Fatalf("whoever asked for what was begun was answered %d %s", a.status, a.body)
	}
	if n := k.count("SELECT count(*) FROM decisions WHERE state = 'begun'"); n != 1 {
		t.Fatalf("%d decisions are begun, want 1", n)
	}

	tags := k.tags()
	if len(tags) != 1 {
		t.Fatalf("the tag of the base has the points %v, want one", tags)
	}

	// The base moves on while nobody looks.
	k.push("base/debian", "12", imageOn(t, base, "0", entry{"etc/motd", "new"}))
	if k.driver != "sqlite" { // another instance could still be at work on what was begun
		time.Sleep(abandonedAfter)
	}

	var superseded []string
	for _, start := range []string{"after one kill", "after two"} {
		k.begin()
		k.awaitRecovery(t)

		// What was answered is recorded as it was answered.
		for _, was := range []answer{first, override} {
			a := k.do(http.MethodGet, "/v1/decisions/"+was.decision.ID, "")
			if a.status != http.StatusOK || !sameDecision(a.body, was.body) {
				t.Errorf("%s: %d %s\nwas told %s", start, a.status, a.body, was.body)
			}
		}

		// What is attested is not attested again.
		again := k.post(admitted)
		if again.decision.Verdict != attestor.Pass || len(again.decision.Attestations) != 1 || again.decision.Attestations[0].Created ||
			again.decision.Attestations[0].Occurrence != first.decision.Attestations[0].Occurrence {
			t.Errorf("%s: the repeat is %d %s", start, again.status, again.body)
		}

		// An image on the base of before passes by what the record knows of its tag:
		// without it, the base would be one that nobody approved.
		a := k.post(later)
		if a.decision.Verdict != attestor.Pass || len(a.decision.Platforms) != 1 || current(a.decision) {
			t.Errorf("%s: on the base of before: %d %s", start, a.status, a.body)
		}

		now := k.tags()
		if len(now) != 2 || now[0] != tags[0] {
			t.Errorf("%s: the tag of the base has the points %v, had %v", start, now, tags)
		}
		if superseded != nil && fmt.Sprint(now) != fmt.Sprint(superseded) {
			t.Errorf("%s: the tag's points are %v, were %v", start, now, superseded)
		}

		superseded = now
		k.kill()
	}

	// Whatever became of what was begun, nothing of it is left open.
	for _, image := range []string{admitted, root, later} {
		if n := len(k.standing(image)); n != 1 {
			t.Errorf("%d attestations of %s stand, want 1", n, image)
		}
	}

	if n := k.count("SELECT count(*) FROM decisions WHERE state <> 'finished'"); n != 0 {
		t.Errorf("%d decisions are not finished", n)
	}
	if n := k.count("SELECT count(*) FROM intents"); n != 0 {
		t.Errorf("%d intents are left", n)
	}
}

// current reports whether a tag of the base names the digest that was built on.
func current(d attestor.Decision) bool {
	return len(d.Platforms) == 1 && d.Platforms[0].Base.Current
}

// override uses break-glass for an image.
func (k *killer) override(image string) answer {
	k.tb.Helper()
	body, err := json.Marshal(map[string]any{"image": image, "breakGlass": map[string]string{"reason": "INC-1: checkout is down"}})
	k.ok(err)
	return k.do(http.MethodPost, "/v1/attest", string(body))
}

func (k *killer) count(query string) (n int) {
	k.tb.Helper()
	db := k.db()
	defer db.Close()
	k.ok(db.QueryRowContext(k.tb.Context(), query).Scan(&n))
	return n
}

// tags lists the digests that the base's tag was seen to name, each with when it
// began, oldest first.
func (k *killer) tags() []string {
	k.tb.Helper()
	db := k.db()
	defer db.Close()
	rows, err := db.QueryContext(k.tb.Context(), "SELECT digest, seen_from FROM base_tags ORDER BY seen_from")
	k.ok(err)
	defer rows.Close()
	var out []string

	for rows.Next() {
		var digest string
		var from int64
		k.ok(rows.Scan(&digest, &from))
		out = append(out, fmt.Sprint(digest, " since ", from))
	}

	k.ok(rows.Err())
	return out
}
