package server_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/server"
)

// A crowd asks for slots and says what became of each request.
type crowd struct {
	t     *testing.T
	slots server.Slots
	runs  map[string]func() // by name: gives its slot back
	order []string          // who began to run, in order
	gone  map[string]string // by name: why it was sent away
	ask   chan func()
}

func newCrowd(t *testing.T, running, waiting int) *crowd {
	t.Helper()
	c := &crowd{t: t, slots: server.NewSlotsForTest(running, waiting, time.Hour),
		runs: map[string]func(){}, gone: map[string]string{}, ask: make(chan func(), 100)}
	return c
}

// come lets a team's callers ask, each once and one after the other.
func (c *crowd) come(team string, callers ...string) {
	c.t.Helper()
	for _, name := range callers {
		who := attestor.Caller{Issuer: "i", Subject: strings.TrimRight(name, "'"), Team: team}
		go func() {
			release, err := c.slots.Take(context.Background(), who)
			c.ask <- func() {
				if err != nil {
					c.gone[name] = err.Error()
					return
				}
				c.runs[name] = release
				c.order = append(c.order, name)
			}
		}()
		c.settle()
	}
}

// settle waits until nobody moves.
func (c *crowd) settle() {
	synctest.Wait()
	for {
		select {
		case f := <-c.ask:
			f()
		default:
			return
		}
	}
}

func (c *crowd) end(name string) {
	c.t.Helper()
	release := c.runs[name]
	if release == nil {
		c.t.Fatalf("%s does not run", name)
	}
	delete(c.runs, name)
	release()
	c.settle()
}

func (c *crowd) began(want ...string) {
	c.t.Helper()
	if got := strings.Join(c.order, " "); got != strings.Join(want, " ") {
		c.t.Errorf("began %s, want %s", got, strings.Join(want, " "))
	}
	c.order = nil
}

func names(prefix string, n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("%s%d", prefix, i))
	}
	return out
}

// A team has its portion, however many callers it has; others find a place to run or to wait, and what becomes free is
// theirs first.
func TestNoTeamStarvesAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, 4, 8)
		c.come("a", names("a", 20)...)
		c.began("a0", "a1", "a2")
		if running, waiting := c.slots.Held("a"); running != 3 || waiting != 6 || !strings.Contains(c.gone["a9"], "of this team") {
			t.Errorf("a team holds %d and waits with %d: %v", running, waiting, c.gone)
		}

		// The last slot is another's. The queue fills up, and then the team that has most of it gives up its newest.
		c.come("b", "b0", "b1")
		c.began("b0")
		c.come("c", "c0")
		if c.gone["a8"] != "" {
			t.Errorf("sent away with room in the queue: %s", c.gone["a8"])
		}
		c.come("d", "d0")
		if !strings.Contains(c.gone["a8"], "as many requests run (4) and wait (8)") {
			t.Errorf("the newest of the team that waits most: %q", c.gone["a8"])
		}

		// One after the other: to who holds least, and of equals to who was served longest ago.
		for _, step := range []struct{ ends, begins string }{{"a0", "c0"}, {"a1", "d0"}, {"c0", "a3"}, {"d0", "b1"}, {"b0", "a4"}} {
			c.end(step.ends)
			c.began(step.begins)
		}
		for len(c.runs) > 0 {
			for name := range c.runs {
				c.end(name)
				break
			}
		}
		if n := c.slots.Tenants(); n != 0 {
			t.Errorf("%d teams are remembered that have no request", n)
		}
	})
}

// One caller of a team leaves the others of it a place, too.
func TestNoCallerStarvesItsTeam(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, 8, 8)
		c.come("a", "loop", "loop'", "loop''", "loop'''", "loop''''", "loop'''''") // portion(portion(8)) = 4
		c.began("loop", "loop'", "loop''", "loop'''")
		c.come("a", "other")
		c.began("other")
		c.end("loop")
		c.began("loop''''")
		for _, name := range []string{"loop'", "loop''", "loop'''", "loop''''", "loop'''''", "other"} {
			c.end(name)
		}
	})
}

// Whatever happens: no more run than may, of all and of a team, and no slot is free that somebody waits for.
func TestSharesHoldInAnyOrder(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			c := newCrowd(t, 1+random.IntN(6), 1+random.IntN(10))
			for n := range 200 {
				if random.IntN(2) == 0 {
					team := string(rune('a' + random.IntN(4)))
					c.come(team, fmt.Sprintf("%s%d%s", team, random.IntN(3), strings.Repeat("'", n)))
				} else {
					for name := range c.runs {
						c.end(name)
						break
					}
				}
				if c.slots.Idle() {
					t.Fatalf("seed %d: a slot is free that somebody waits for", seed)
				}
			}
			for len(c.runs) > 0 {
				for name := range c.runs {
					c.end(name)
					break
				}
			}
			if n := c.slots.Tenants(); n != 0 {
				t.Errorf("seed %d: %d teams are remembered", seed, n)
			}
		})
	}
}

// A request that leaves while it waits takes no slot along.
func TestWhoLeavesTakesNoSlotAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := server.NewSlotsForTest(1, 4, time.Minute)
		who := func(n int) attestor.Caller { return attestor.Caller{Subject: fmt.Sprint(n), Team: "a"} }
		release, err := s.Take(t.Context(), who(0))
		if err != nil {
			t.Fatal(err)
		}
		left := make(chan error)
		ctx, leave := context.WithCancel(t.Context())
		go func() { _, err := s.Take(ctx, who(1)); left <- err }()
		go func() { _, err := s.Take(t.Context(), who(2)); left <- err }()
		synctest.Wait()
		leave()
		if err := <-left; attestor.KindOf(err) != attestor.Unavailable {
			t.Errorf("left: %v", err)
		}
		if err := <-left; attestor.KindOf(err) != attestor.TooMany { // a minute later
			t.Errorf("waited: %v", err)
		}
		release()
		if release, err = s.Take(t.Context(), who(3)); err != nil {
			t.Fatal(err)
		}
		release()
		if n := s.Tenants(); n != 0 {
			t.Errorf("%d teams are remembered", n)
		}
	})
}

// A team's callers are counted together as well as each by itself, and a refusal by one of the two costs nothing of the
// other.
func TestATeamHasARate(t *testing.T) {
	w := newWorld()
	team := callers(t)
	for _, name := range append(names("pay-", 10), "ship-1") { // ten, so that none of them uses up its own burst
		c := team["builder"]
		c.Subject = name
		c.Team, _, _ = strings.Cut(name, "-")
		team[name] = c
	}
	base := serve(t, w, func(c *server.Config) { c.Identity, c.Limits.CallerRate, c.Limits.TeamRate = team, 1e6, 1 })
	ask := func(who string) answer { return send(t, who, "POST", base+"/v1/attest", image(":v1")) }

	refused := 0
	for n := range server.TeamBurst + 5 {
		a := ask(fmt.Sprintf("pay-%d", n%10))
		if a.status == 429 {
			refused++
			if detail := a.problem(t).Detail; !strings.Contains(detail, "this team sends more requests than 1 a second (limits.teamRate)") {
				t.Errorf("detail %q", detail)
			}
		}
	}
	if refused != 5 {
		t.Errorf("%d of a team's requests are refused, want 5 beyond its burst", refused)
	}
	if a := ask("ship-1"); a.status != 200 {
		t.Errorf("another team: %d %s", a.status, a.body)
	}
	if a := ask("builder"); a.status != 200 {
		t.Errorf("a caller without a team: %d %s", a.status, a.body)
	}

	metrics := send(t, "", "GET", base+"/metrics", "").body
	for _, want := range []string{
		fmt.Sprintf(`attestor_team_requests_total{outcome="served",team="pay"} %d`, server.TeamBurst),
		`attestor_team_requests_total{outcome="rate",team="pay"} 5`,
		`attestor_team_requests_total{outcome="served",team="ship"} 1`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
	if strings.Contains(metrics, `team=""`) {
		t.Error("callers without a team have a series")
	}
}
