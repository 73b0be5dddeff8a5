package engine_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/google"
	"github.com/attestor-gate/attestor/internal/testkit/pgtest"
	"github.com/attestor-gate/attestor/internal/testkit/postgres"
	"github.com/attestor-gate/attestor/internal/testkit/slow"
)

// A failover is two instances of the program on a database with a replica. Both servers are in their connection string.
type failover struct {
	*killer
	primary, replica *postgres.Server
}

func newFailover(t *testing.T) *failover {
	f := &failover{primary: pgtest.Need(t, postgres.New)}
	t.Cleanup(func() { _ = f.primary.Close() })
	_, err := f.primary.Database("record")
	if err != nil {
		t.Fatal(err)
	}
	if f.replica, err = f.primary.Replica(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.replica.Close() })

	f.killer = newKiller(t, "pgx", func(dir string) string {
		path := filepath.Join(dir, "dsn")
		dsn := fmt.Sprintf("postgres://gate@%s,%s/record?sslmode=disable&target_session_attrs=read-write",
			f.primary.Address(), f.replica.Address())
		if err := os.WriteFile(path, []byte(dsn), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	})
	f.instances = make([]instance, 2)
	return f
}

// under asks both instances about images from many sides while act runs, until every image was decided after it, and
// each instance has made enough decisions. Refusals of broken images are overridden. An image is always sent to the same
// instance, so that it may be attested to once only. It returns the decisions that were told.
func (f *failover) under(t *testing.T, images []string, act func()) (decided []attestor.Decision) {
	t.Helper()
	const sides, enough = 8, 40
	var wg sync.WaitGroup
	var mu sync.Mutex
	after := make([]int, len(f.instances)) // decisions since act ended; guarded by mu
	seen := map[string]bool{}              // images that were decided since then; guarded by mu
	acted, ended := make(chan struct{}), make(chan struct{})
	end := sync.OnceFunc(func() { close(ended) })

	started := make(chan struct{}, sides*2)
	for range sides {
		order := f.random.Perm(len(images))
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-ended:
					return
				case <-t.Context().Done():
					return
				default:
				}

				i := order[n%len(order)]
				at := i % len(f.instances)
				a := f.postTo(f.instances[at].address, images[i], f.broken[images[i]])
				if a.decision.ID == "" {
					time.Sleep(10 * time.Millisecond) // the database is away: its answers cost nothing
				}

				mu.Lock()
				f.told = append(f.told, a)
				if a.decision.ID != "" {
					decided = append(decided, a.decision)
					select {
					case <-acted:
						after[at]++
						if a.decision.Verdict != attestor.Undecided {
							seen[images[i]] = true
						}
					case started <- struct{}{}:
					default:
					}
				}
				done := slices.Min(after) >= enough && len(seen) == len(images)
				mu.Unlock()

				// While the database is away an image may be undecided. It is never decided wrongly.
				if v := a.decision.Verdict; a.decision.ID != "" && v != f.images[images[i]] && v != attestor.Undecided {
					t.Errorf("%s is %s, want %s: %s", images[i], a.decision.Verdict, f.images[images[i]], a.body)
				}
				if done {
					end()
				}
			}
		})
	}

	for range sides * 2 {
		<-started
	}
	act()
	close(acted)
	wg.Wait()
	return decided
}

// promote crashes the primary and makes the replica take its place.
func (f *failover) promote(t *testing.T) {
	t.Helper()
	f.primary.Stop()
	f.ok(f.replica.Promote(t.Context()))
}

// settle ends what the failure left begun, as time would, and starts both instances anew.
func (f *failover) settle(t *testing.T) {
	t.Helper()
	f.kill()
	time.Sleep(abandonedAfter) // what another instance began counts as left behind by the clock alone
	f.freeClaims()
	f.begin()
	f.awaitRecovery(t)
}

// once fails for an image that is attested to twice.
func (f *failover) once(t *testing.T) {
	t.Helper()
	n := map[string]int{}
	for _, image := range f.attested() {
		if n[image]++; n[image] == 2 {
			t.Errorf("%s is attested to twice", image)
		}
	}
}

// TestFailover promotes a replica of the database while two instances are at work on it.
func TestFailover(t *testing.T) {
	slow.Skip(t)
	t.Parallel()
	t.Run("synchronous", func(t *testing.T) { t.Parallel(); testSynchronous(t) })
	t.Run("asynchronous", func(t *testing.T) { t.Parallel(); testAsynchronous(t) })
}

// testSynchronous: no decision is lost that anybody was told, nothing is attested to twice, and the record verifies.
func testSynchronous(t *testing.T) {
	f := newFailover(t)
	f.ok(f.primary.Synchronous(t.Context()))
	f.begin()
	all := slices.Sorted(maps.Keys(f.images))
	told := f.under(t, all, func() { f.promote(t) })
	t.Logf("%d decisions told", len(told))

	f.verifyLog(t)
	f.settle(t)
	f.check(t) // every answer is in the record, and what is admitted is attested to
	f.once(t)
	f.verifyLog(t)
	f.checkTold(t)
	f.documented(t, 0, "", "decisions", "unrecorded")
}

// testAsynchronous: what was lost is what the replica never got; the attestations of it are found, and the runbook of
// docs/operations.md has everything explained again and the fork visible.
func testAsynchronous(t *testing.T) {
	f := newFailover(t)
	steps := runbook(t)
	f.begin()
	all := slices.Sorted(maps.Keys(f.images))
	kept, late := all[:len(all)/2], all[len(all)/2:]
	early := f.under(t, kept, func() {})
	f.follow(t)

	// From here on nothing arrives at the replica. A checkpoint of it is kept outside.
	f.ok(f.replica.Cut(t.Context()))
	lost := f.under(t, late, func() {})
	f.documented(t, 0, "", "decisions", "verify", "--save-checkpoint", "last.checkpoint")
	f.promote(t)

	// Both go on without a restart.
	f.under(t, kept, func() {})
	recorded := f.recordedIDs(t)
	for _, d := range early {
		if !recorded[d.ID] {
			t.Errorf("%s was recorded before the replica was cut off, and is lost", d.ID)
		}
	}
	missing := map[string]bool{}
	for _, d := range lost {
		if !recorded[d.ID] && (d.Verdict == attestor.Pass || overridden(d)) {
			missing[d.Image.Reference] = true
		}
	}
	if len(missing) == 0 {
		t.Fatal("nothing was lost")
	}
	t.Logf("%d decisions told before, %d after; lost attestations of %d images", len(early), len(lost), len(missing))

	f.kill()
	if out := f.documented(t, 1, steps[0]); !strings.Contains(out, "put back to an earlier state") &&
		!strings.Contains(out, "the log was rewritten") {
		t.Errorf("the promoted replica is verified with %q", out)
	}
	f.documented(t, 0, steps[1])
	f.settle(t)
	f.documented(t, 1, steps[2])
	found := f.lines(t, "lost.txt")
	if want := slices.Sorted(maps.Keys(missing)); !slices.Equal(found, want) {
		t.Errorf("found without a decision:\n%v\nwant\n%v", found, want)
	}

	// Overrides are not repeated by judging again: they are left, and revoked.
	f.documented(t, 123, steps[3])
	f.documented(t, 0, strings.Replace(steps[4], "\n", " || test $? = 1\n", 1))
	for _, image := range f.lines(t, "left.txt") {
		if !f.broken[image] {
			t.Errorf("%s passed again and is left without a decision", image)
		}
	}
	f.documented(t, 0, steps[5])
	f.documented(t, 1, steps[6])
	f.once(t)
}

// follow waits until the replica has what the primary has now.
func (f *failover) follow(t *testing.T) {
	t.Helper()
	f.ok(f.primary.Followed(t.Context(), f.replica))
}

// recordedIDs are the decisions that the record has.
func (f *failover) recordedIDs(t *testing.T) map[string]bool {
	t.Helper()
	db := f.db()
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), "SELECT id FROM decisions WHERE state = 'finished'")
	f.ok(err)
	defer rows.Close()
	out := map[string]bool{}
	for rows.Next() {
		var id string
		f.ok(rows.Scan(&id))
		out[id] = true
	}
	f.ok(rows.Err())
	return out
}

func (f *failover) lines(t *testing.T, name string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(f.dir, name))
	f.ok(err)
	out := strings.Fields(string(text))
	slices.Sort(out)
	return slices.Compact(out)
}

// documented runs a block of the documentation, or the program with arguments, in the directory of the configuration, and
// returns what it prints.
func (f *failover) documented(t *testing.T, code int, block string, args ...string) string {
	t.Helper()
	self, err := program()
	f.ok(err)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, append(args, "--config", "attestor.yaml")...)
	if block != "" {
		cmd = exec.CommandContext(ctx, "sh", "-e", "-c", block)
	}
	cmd.Dir = f.dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(self)+":"+os.Getenv("PATH"))
	for _, name := range []string{google.EnvAnalysis, google.EnvKMS, google.EnvBinauthz} {
		cmd.Env = append(cmd.Env, name+"="+f.google.Addr())
	}
	out, _ := cmd.CombinedOutput() // its exit code is compared
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("%s%v\nends with %d, want %d: %s", block, args, got, code, out)
	}
	return string(out)
}

// runbook are the commands of docs/operations.md, with the name of the test's log.
func runbook(t *testing.T) (steps []string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "## When the database fails over\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, m := range regexp.MustCompile("(?ms)^```sh\n(.*?)^```$").FindAllStringSubmatch(section, -1) {
		steps = append(steps, strings.ReplaceAll(m[1], "gate.acme.example/decisions", "killed.example/decisions"))
	}
	if !found || len(steps) != 7 {
		t.Fatalf("docs/operations.md has %d steps after a failover, want 7", len(steps))
	}
	return steps
}
