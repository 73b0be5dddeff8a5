package teams_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/server/identity"
	"github.com/attestor-gate/attestor/server/teams"
)

// A house is a directory of teams' files in a form of the test's own: a caller, an action and a pattern on each line.
type house struct {
	t     *testing.T
	dir   string
	teams *teams.Teams
	uses  int // times that rules were put in force
	reads int // texts that were judged
}

func (h *house) parse(team string, text []byte) ([]identity.Rule, error) {
	h.reads++
	var out []identity.Rule
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) != 3 {
			return nil, errors.New("not three words")
		}
		p, err := attestor.ParsePattern(f[2])
		if err != nil {
			return nil, err
		}
		out = append(out, identity.Rule{Email: f[0], Team: team, Place: team + ".yaml",
			Grants: []attestor.Grant{{Actions: []attestor.Action{attestor.Action(f[1])}, Images: []attestor.Pattern{p}}}})
	}
	return out, nil
}

func newHouse(t *testing.T, files map[string]string) *house {
	t.Helper()
	h := &house{t: t, dir: t.TempDir()}
	for name, text := range files {
		h.write(name, text)
	}
	h.open()
	return h
}

func (h *house) open() {
	h.t.Helper()
	var err error
	h.teams, err = teams.New(h.t.Context(), teams.Config{
		Directory: h.dir, Parse: h.parse, Check: func(r identity.Rule) []error {
			if r.Email == "wrong" {
				return []error{errors.New("matches nobody")}
			}
			return nil
		},
		Most: func(team string) ([]attestor.Grant, error) {
			p, err := attestor.ParsePattern("r.example/acme/" + team + "/**")
			return []attestor.Grant{{Actions: []attestor.Action{attestor.ActionAttest, attestor.ActionRead}, Images: []attestor.Pattern{p}}}, err
		},
		Reserved: []identity.Rule{{Email: "owner@a.example"}},
		Use:      func([]identity.Rule) { h.uses++ },
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

// write replaces a file at once, as deployments do.
func (h *house) write(name, text string) {
	h.t.Helper()
	tmp := filepath.Join(h.t.TempDir(), "new")
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(h.dir, name)); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) remove(name string) {
	h.t.Helper()
	if err := os.Remove(filepath.Join(h.dir, name)); err != nil {
		h.t.Fatal(err)
	}
}

// looked looks until everything was read twice.
func (h *house) looked() {
	for h.teams.Reload(h.t.Context()) {
	}
}

// may compares who is in force, and what is broken.
func (h *house) may(step string, callers, broken []string) {
	h.t.Helper()
	s := h.teams.Status()
	got := []string{}
	for _, r := range s.Rules {
		got = append(got, r.Email)
	}
	slices.Sort(got)
	if !slices.Equal(got, callers) {
		h.t.Errorf("%s: in force are %v, want %v", step, got, callers)
	}

	bad := []string{}
	for name := range s.Broken {
		bad = append(bad, name)
	}
	slices.Sort(bad)
	if !slices.Equal(bad, broken) {
		h.t.Errorf("%s: broken are %v, want %v (%v)", step, bad, broken, h.teams.Err())
	}
	if (h.teams.Err() != nil) != (len(broken) > 0) {
		h.t.Errorf("%s: %v", step, h.teams.Err())
	}
}

const (
	pay  = "pay@a.example attest r.example/acme/pay/**\n"
	ship = "ship@a.example attest r.example/acme/ship/api\n"
)

func TestAChangedFileIsInForce(t *testing.T) {
	h := newHouse(t, map[string]string{"pay.yaml": pay, "ship.yml": ship, "README.md": "x", ".hidden.yaml": "x"})
	h.may("at start", []string{"pay@a.example", "ship@a.example"}, nil)

	// Half of a text never counts: it is read again before it does.
	h.write("pay.yaml", "new@a.example attest r.example/acme/pay/**\n")
	if !h.teams.Reload(t.Context()) {
		t.Error("a text that was read once needs no second look")
	}
	h.may("read once", []string{"pay@a.example", "ship@a.example"}, nil)
	h.write("pay.yaml", "newer@a.example attest r.example/acme/pay/**\n")
	h.teams.Reload(t.Context())
	h.may("another text", []string{"pay@a.example", "ship@a.example"}, nil)
	h.teams.Reload(t.Context())
	h.may("read twice alike", []string{"newer@a.example", "ship@a.example"}, nil)

	// What is gone is out of force with the first look, and so is a link to nothing.
	h.remove("pay.yaml")
	if h.teams.Reload(t.Context()) {
		t.Error("a removal waits for another look")
	}
	h.may("removed", []string{"ship@a.example"}, nil)
	h.remove("ship.yml")
	if err := os.Symlink("nothing", filepath.Join(h.dir, "ship.yml")); err != nil {
		t.Fatal(err)
	}
	h.looked()
	h.may("a link to nothing", []string{}, nil)
}

// A file that does not count leaves what its team had, and nobody else's is touched.
func TestABrokenFileKeepsTheLastGoodState(t *testing.T) {
	for name, text := range map[string]string{
		"not to be parsed":           "half a li",
		"a rule that matches nobody": "wrong attest r.example/acme/pay/**\n",
		"another team's images":      "pay@a.example attest r.example/acme/ship/**\n",
		"more than the team's":       "pay@a.example attest r.example/acme/**\n",
		"a prefix of the team's":     "pay@a.example attest r.example/acme/pay*/**\n",
		"an action not allowed":      "pay@a.example break-glass r.example/acme/pay/**\n",
		"a caller of the owner's":    "owner@a.example attest r.example/acme/pay/**\n",
		"too large":                  strings.Repeat(pay, 1<<20/len(pay)+1),
		"good and bad":               pay + "more@a.example attest r.example/acme/ship/x\n",
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, map[string]string{"pay.yaml": pay, "ship.yaml": ship})
			h.write("pay.yaml", text)
			h.looked()
			h.may("broken", []string{"pay@a.example", "ship@a.example"}, []string{"pay"})
			h.write("ship.yaml", "other@a.example read r.example/acme/ship/api\n")
			h.looked()
			h.may("another's change", []string{"other@a.example", "pay@a.example"}, []string{"pay"})

			// A process that starts has no last good state: the team has nothing.
			h.open()
			h.may("restarted", []string{"other@a.example"}, []string{"pay"})
			h.write("pay.yaml", pay)
			h.looked()
			h.may("mended", []string{"other@a.example", "pay@a.example"}, nil)
		})
	}
}

func TestTwoFilesWithOneCallerAreAnError(t *testing.T) {
	h := newHouse(t, map[string]string{"pay.yaml": pay, "ship.yaml": ship})

	// The newcomer is not in force with anything of its file, and who had the caller keeps it.
	h.write("ship.yaml", ship+"pay@a.example attest r.example/acme/ship/api\n")
	h.looked()
	h.may("claimed", []string{"pay@a.example", "ship@a.example"}, []string{"pay", "ship"})

	// At a start nobody can say whose the caller is.
	h.open()
	h.may("restarted", []string{}, []string{"pay", "ship"})

	// The file that is left counts as it stands, without being written again.
	h.remove("pay.yaml")
	h.looked()
	h.may("settled", []string{"pay@a.example", "ship@a.example"}, nil)
	h.write("pay.yaml", "two@a.example attest r.example/acme/pay/x\n"+"two@a.example read r.example/acme/pay/y\n")
	h.looked()
	h.may("twice within a file", []string{"pay@a.example", "ship@a.example", "two@a.example", "two@a.example"}, nil)

	// A caller may move from one team to another in one change.
	h.write("pay.yaml", pay)
	h.write("ship.yaml", ship)
	h.looked()
	h.may("moved", []string{"pay@a.example", "ship@a.example"}, nil)
}

// What goes back to its last good state may take a caller back that another team has taken over.
func TestAClashOfWhatWentBack(t *testing.T) {
	h := newHouse(t, map[string]string{"pay.yaml": pay, "ship.yaml": ship, "web.yaml": "web@a.example read r.example/acme/web/x\n"})
	h.write("pay.yaml", "web@a.example attest r.example/acme/pay/**\n")  // clashes with web, so that pay@ stays with pay
	h.write("ship.yaml", "pay@a.example attest r.example/acme/ship/x\n") // and so must not be ship's
	h.looked()
	h.may("", []string{"pay@a.example", "ship@a.example", "web@a.example"}, []string{"pay", "ship", "web"})
	for _, r := range h.teams.Status().Rules {
		if r.Email == "pay@a.example" && r.Team != "pay" {
			t.Errorf("pay@a.example is %s's", r.Team)
		}
	}
}

func TestOneTeamHasOneFile(t *testing.T) {
	h := newHouse(t, map[string]string{"pay.yaml": pay})
	h.write("pay.yml", "evil@a.example attest r.example/acme/pay/**\n")
	h.looked()
	h.may("twins", []string{"pay@a.example"}, []string{"pay"})
	h.open()
	h.may("twins at start", []string{}, []string{"pay"})
	h.remove("pay.yml")
	h.looked()
	h.may("one", []string{"pay@a.example"}, nil)

	h.write("Pay.yaml", "evil@a.example attest r.example/acme/pay/**\n")
	h.write("pay..yaml", "evil@a.example attest r.example/acme/pay/**\n")
	h.looked()
	h.may("names of no team", []string{"pay@a.example"}, []string{"Pay.yaml", "pay..yaml"})
	if !h.teams.Known("pay") || h.teams.Known("Pay") || h.teams.Known("") {
		t.Error("teams with a file are not known, or others are")
	}
}

// A directory that cannot be listed takes nobody's rights; one that is not there any more takes all.
func TestADirectoryThatCannotBeRead(t *testing.T) {
	h := newHouse(t, map[string]string{"pay.yaml": pay})
	aside := h.dir + ".aside"
	if err := os.Rename(h.dir, aside); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h.looked()
	if got := h.teams.Status(); len(got.Rules) != 1 || got.Err == nil || h.teams.Err() == nil {
		t.Errorf("not a directory: %+v", got)
	}

	if err := os.Remove(h.dir); err != nil {
		t.Fatal(err)
	}
	h.looked()
	if got := h.teams.Status(); len(got.Rules) != 0 || got.Err == nil {
		t.Errorf("no directory: %+v", got)
	}
	if err := os.Rename(aside, h.dir); err != nil {
		t.Fatal(err)
	}
	h.looked()
	h.may("back", []string{"pay@a.example"}, nil)

	missing := teams.Config{Directory: filepath.Join(h.dir, "none"), Parse: h.parse, Check: func(identity.Rule) []error { return nil },
		Most: func(string) ([]attestor.Grant, error) { return nil, nil }, Use: func([]identity.Rule) {}}
	if _, err := teams.New(t.Context(), missing); err == nil {
		t.Error("the gate starts without a directory of teams")
	}
}

// A second change counts within a second as well, where the file system keeps times so coarsely that it leaves the size
// and the time of the first one.
func TestASecondChangeWithTheSameTime(t *testing.T) {
	h := newHouse(t, map[string]string{"pay.yaml": pay})
	path, at := filepath.Join(h.dir, "pay.yaml"), time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	put := func(caller string) {
		t.Helper()
		err := errors.Join(os.WriteFile(path, []byte(caller+"@a.example attest r.example/acme/pay/**\n"), 0o600), os.Chtimes(path, at, at))
		if err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		for range 3 {
			h.looked()
			time.Sleep(time.Second)
		}
		h.may("at first", []string{"pay@a.example"}, []string{})
		put("one")
		h.looked()
		h.may("one change", []string{"one@a.example"}, []string{})
		put("two")
		h.looked()
		h.may("a second one", []string{"two@a.example"}, []string{})

		// An hour later no look reads anything, but for those that read every file: and the change is seen as before.
		time.Sleep(time.Hour)
		h.looked()
		put("sixth")
		h.looked()
		h.may("an hour later", []string{"sixth@a.example"}, []string{})
	})
}

// Only what changed is read and judged, and the others are put in force as they are.
func TestAChangeOfOneFileReadsOne(t *testing.T) {
	h := newHouse(t, map[string]string{"pay.yaml": pay, "ship.yaml": ship})
	uses, reads := h.uses, h.reads
	if h.teams.Reload(t.Context()) || h.uses != uses || h.reads != reads {
		t.Error("nothing changed, and something was read or put in force")
	}
	h.write("pay.yaml", "new@a.example attest r.example/acme/pay/**\n")
	h.looked()
	if h.uses != uses+1 || h.reads != reads+1 {
		t.Errorf("put in force %d times, %d texts judged", h.uses-uses, h.reads-reads)
	}
}
