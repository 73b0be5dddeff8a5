package policy_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
	"github.com/google/go-cmp/cmp"
)

func policyFiles(t testing.TB) []string {
	t.Helper()
	var files []string

	for _, pattern := range []string{"testdata/errors/*.yaml", library + "/*.yaml"} {
		matches, err := filepath.Glob(pattern)
		if err != nil || len(matches) < 5 {
			t.Fatalf("%s matches %d files, %v", pattern, len(matches), err)
		}
		files = append(files, matches...)
	}
	return files
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}

	return text
}

// Nothing panics; what does not load says where; and what loads re-serialises
// to a policy that means the same.
func FuzzParse(f *testing.F) {
	// Small ones: a seed of kilobytes has the fuzzer minimise it for minutes.
	for _, name := range policyFiles(f) {
		if text := readFile(f, name); len(text) <= 1024 && !strings.HasSuffix(name, "_test.yaml") {
			f.Add(text)
		}
	}

	f.Add([]byte(strict))
	f.Add([]byte(minimal))
	loaded := 0
	f.Fuzz(func(t *testing.T, text []byte) {
		set, err := policy.Parse(policy.Source{Name: "p.yaml", Text: text})
		if err != nil {
			if attestor.KindOf(err) != attestor.Invalid || err.Error() == "" {
				t.Fatalf("%v", err)
			}
			return
		}

		loaded++
		p := set.All()[0]
		again, err := policy.Parse(policy.Source{Name: "again.yaml", Text: []byte(canonical(t, p))})
		if err != nil {
			t.Fatalf("what loads does not load once it is written out: %v\n%s", err, canonical(t, p))
		}

		q := again.All()[0]
		if diff := cmp.Diff(canonical(t, p), canonical(t, q)); diff != "" {
			t.Fatalf("written out, it reads otherwise:\n%s", diff)
		}
		if diff := cmp.Diff(p.Needs(), q.Needs()); diff != "" {
			t.Fatalf("written out, it needs otherwise:\n%s", diff)
		}

		ev := p.Exemplary("", today())
		if diff := cmp.Diff(p.Judge(ev).Checks(), q.Judge(ev).Checks()); diff != "" {
			t.Fatalf("written out, it judges otherwise:\n%s", diff)
		}
		if p.Judge(attestor.Evidence{}).Outcome() == attestor.Pass || p.Judge(attestor.Evidence{Time: today()}).Outcome() == attestor.Pass {
			t.Fatal("no evidence passes")
		}

		set.Lint(today())
	})

	if loaded == 0 {
		f.Log("no seed loaded in this worker")
	}
}

// Whatever the evidence, judging neither panics nor passes what it says
// nothing about; every check has a known status, and every code is listed.
func FuzzJudge(f *testing.F) {
	strictPolicy := with(f, `  rules: [{name: team, expression: '"team" in image.labels && scan.findings.all(f, f.severity != "HIGH")', message: m}]`)
	optional := one(f, minimal)

	for _, p := range []*policy.Policy{strictPolicy, optional} {
		for _, ev := range []attestor.Evidence{passing(p), passing(p, rootUser), passing(p, index()), passing(p, findings(vulnerability("CVE-1-1"))), {}} {
			text, err := json.Marshal(ev)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(text)
		}
	}

	known := map[attestor.Code]bool{}
	for _, c := range attestor.Codes() {
		known[c.Code] = true
	}

	f.Fuzz(func(t *testing.T, text []byte) {
		var ev attestor.Evidence
		if json.Unmarshal(text, &ev) != nil {
			return
		}

		fromEvidence := map[attestor.Code]bool{}
		for _, list := range append([][]attestor.Problem{ev.Problems}, problems(ev)...) {
			for _, p := range list {
				fromEvidence[p.Code] = true
			}
		}

		for _, e := range ev.Platforms {
			if e.Scan.Problem != nil {
				fromEvidence[e.Scan.Problem.Code] = true
			}
		}

		for _, p := range []*policy.Policy{strictPolicy, optional} {
			v := p.Judge(ev)
			if v.Outcome() != attestor.Pass {
				if len(refusals(v)) == 0 && len(said(v)) == 0 {
					t.Fatalf("refused without a reason: %+v", v.Checks())
				}
			} else if len(ev.Platforms) == 0 || ev.Image.IsZero() || ev.Time.IsZero() {
				t.Fatalf("nothing passes: %+v", v.Checks())
			}

			for _, e := range ev.Platforms {
				if v.Outcome() == attestor.Pass && (e.User.UID == nil || *e.User.UID <= 0 || e.Scan.State != attestor.ScanComplete) {
					t.Fatalf("%s passes with user %+v and scan %q", e.Platform, e.User, e.Scan.State)
				}
			}

			for _, c := range v.Checks() {
				for _, r := range c.Reasons {
					if !known[r.Code] && !fromEvidence[r.Code] {
						t.Fatalf("%q is not a known code", r.Code)
					}
				}
			}
		}
	})
}

func problems(ev attestor.Evidence) [][]attestor.Problem {
	var out [][]attestor.Problem
	for _, e := range ev.Platforms {
		out = append(out, e.Problems)
	}
	return out
}
