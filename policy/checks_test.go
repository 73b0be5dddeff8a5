package policy

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/walkthrough"
)

const toyImage = "registry.example/acme/app"

// toyPolicy asks for a user, so that something speaks for an image that passes.
const toyPolicy = `apiVersion: attestor/v1
kind: GatePolicy
metadata: {name: toy}
spec:
  mode: enforce
  images: ["registry.example/acme/**"]
  base: {required: false}
  user: {nonRoot: true}
  vulnerabilities: {maximumFixableSeverity: ALLOW_ALL, maximumUnfixableSeverity: ALLOW_ALL}
  attestors: [projects/p/attestors/a]
`

// toy is a check that wants an entrypoint.
func toy() check {
	return check{
		name: "toy",
		asks: func(*Spec) asking { return required },
		exemplary: func(_ *Spec, ev *attestor.Evidence) {
			ev.Platforms[0].Config.Entrypoint = []string{"/app"}
		},
		demands: func(*Spec) []string { return []string{"toy: an entrypoint"} },
		ofPlatform: func(j *judgement, e *attestor.PlatformEvidence) {
			found := j.problems("toy", j.ev.Problems, e.Problems)
			if len(e.Config.Entrypoint) == 0 {
				found = append(found, deny(attestor.CodeArtifact, "entrypoint", "no entrypoint", "add one"))
			}
			j.conclude("toy", e.Platform, found)
		},
	}
}

// by loads the toy policy with a table, or fails.
func by(t *testing.T, table []check, more string) *Policy {
	t.Helper()
	set, err := parse(table, []Source{{Name: "toy.yaml", Text: []byte(toyPolicy + more)}})
	if err != nil {
		t.Fatal(err)
	}

	return set.All()[0]
}

func outcomeOf(v attestor.Verdict, name string) (attestor.Outcome, attestor.Status) {
	for _, c := range v.Checks() {
		if c.Name == name {
			return v.Outcome(), c.Status
		}
	}
	return v.Outcome(), ""
}

// TestARowIsAllOfACheck: a row that is added to the table is judged, demanded, excused and made to warn as the others
// are, and with the row goes all of it.
func TestARowIsAllOfACheck(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	without := func(p *Policy) attestor.Evidence {
		ev := p.Exemplary(toyImage, now)
		ev.Platforms[0].Config.Entrypoint = nil
		return ev
	}

	with := append(checks(), toy())

	p := by(t, with, "")
	if o, s := outcomeOf(p.Judge(p.Exemplary(toyImage, now)), "toy"); o != attestor.Pass || s != attestor.StatusPass {
		t.Errorf("the exemplary image: %s, toy %s", o, s)
	}
	if o, s := outcomeOf(p.Judge(without(p)), "toy"); o != attestor.Deny || s != attestor.StatusDeny {
		t.Errorf("without an entrypoint: %s, toy %s", o, s)
	}
	if !slices.Contains(p.Demands(), "toy: an entrypoint") {
		t.Errorf("demands: %q", p.Demands())
	}

	excused := by(t, with, "  exceptions: [{check: toy, subject: entrypoint, owner: o, reason: r, expires: 2026-12-31}]\n")
	if o, s := outcomeOf(excused.Judge(without(excused)), "toy"); o != attestor.Pass || s != attestor.StatusPass {
		t.Errorf("excused: %s, toy %s", o, s)
	}

	warned := by(t, with, "  checks: {toy: warn}\n")
	if o, s := outcomeOf(warned.Judge(without(warned)), "toy"); o != attestor.Pass || s != attestor.StatusWarn {
		t.Errorf("only warned of: %s, toy %s", o, s)
	}

	// A problem is its owner's; without the owner it is the image's, and no exception excuses it.
	ev := p.Exemplary(toyImage, now)
	ev.Problems = []attestor.Problem{{Check: "toy", Status: attestor.StatusDeny, Reason: attestor.Reason{Code: attestor.CodeArtifact, Message: "m"}}}
	if o, s := outcomeOf(p.Judge(ev), "toy"); o != attestor.Deny || s != attestor.StatusDeny {
		t.Errorf("with a problem: %s, toy %s", o, s)
	}

	bare := by(t, checks(), "")
	if o, s := outcomeOf(bare.Judge(ev), attestor.CheckPlatforms); o != attestor.Deny || s != attestor.StatusDeny {
		t.Errorf("with a problem of no row: %s, platforms %s", o, s)
	}

	// With the row removed, nothing of the check is left.
	if o, s := outcomeOf(bare.Judge(without(bare)), "toy"); o != attestor.Pass || s != "" {
		t.Errorf("without the row: %s, toy %q", o, s)
	}
	if _, err := parse(checks(), []Source{{Name: "toy.yaml", Text: []byte(toyPolicy + "  checks: {toy: warn}\n")}}); err == nil {
		t.Error("without the row, its name is still taken for a check's")
	}
}

// TestNoAnswerIsADenial: a table that asks nothing, and a row that does not answer, never let an image pass.
func TestNoAnswerIsADenial(t *testing.T) {
	now := time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)
	good := by(t, checks(), "").Exemplary(toyImage, now)
	silent := toy()
	silent.ofPlatform = func(*judgement, *attestor.PlatformEvidence) {}
	ofImage := silent
	ofImage.ofPlatform, ofImage.ofImage = nil, func(*judgement) {}
	judgeless := toy()
	judgeless.ofPlatform = nil

	for name, table := range map[string][]check{
		"a row that is silent":              append(checks(), silent),
		"a row that is silent of the image": append(checks(), ofImage),
		"a row that cannot judge":           append(checks(), judgeless),
	} {
		if v := by(t, table, "").Judge(good); v.Outcome() != attestor.Deny {
			t.Errorf("%s: %s", name, v.Outcome())
		}
	}

	// No policy loads with an empty table unless it has a rule, and then it denies all the same.
	if _, err := parse(nil, []Source{{Name: "toy.yaml", Text: []byte(toyPolicy)}}); err == nil {
		t.Error("a policy that asks nothing loads")
	}

	ruled := by(t, nil, "  rules: [{name: r, expression: 'true', message: m}]\n")
	if v := ruled.Judge(good); v.Outcome() != attestor.Deny {
		t.Errorf("an empty table: %s: %+v", v.Outcome(), v.Checks())
	}
	if v := (&Policy{}).Judge(good); v.Outcome() != attestor.Deny {
		t.Errorf("the zero policy: %s", v.Outcome())
	}
}

// TestALimitWithADateNeedsNoRule: a row without a rule of its own validates nothing, the value before a date included.
func TestALimitWithADateNeedsNoRule(t *testing.T) {
	const more = "  unknownFindings: {value: deny, until: warn, effectiveFrom: {date: 2027-03-01, owner: o}}\n" +
		"  provenance: {slsaLevel: {value: 3, until: 9, effectiveFrom: {date: 2027-03-01, owner: o}}}\n"
	_, err := parse(append(checks(), toy()), []Source{{Name: "toy.yaml", Text: []byte(toyPolicy + more)}})
	if err == nil || !strings.Contains(err.Error(), "spec.provenance.slsaLevel.until: 9 is not a SLSA level") {
		t.Errorf("%v", err)
	}
}

// TestRowsAreWhole: each row has one judge, a name of its own, and codes that are listed as its check's; and the table
// asks what no image may pass without.
func TestRowsAreWhole(t *testing.T) {
	set, err := Parse(Source{Name: "toy.yaml", Text: []byte(toyPolicy)})
	if err != nil {
		t.Fatal(err)
	}

	of := map[attestor.Code]string{}
	for _, info := range attestor.Codes() {
		of[info.Code] = info.Check
	}

	var names []string
	for _, c := range checks() {
		if (c.ofImage == nil) == (c.ofPlatform == nil) || c.asks == nil || c.demands == nil || c.codes == nil || slices.Contains(names, c.name) {
			t.Errorf("row %q is not whole", c.name)
		}
		names = append(names, c.name)
		for _, given := range c.codes(&set.All()[0].doc.Spec) {
			if of[given.code] != c.name {
				t.Errorf("%s gives %s, which is listed as %q's", c.name, given.code, of[given.code])
			}
		}
	}

	for _, name := range []string{attestor.CheckBase, attestor.CheckUser, attestor.CheckVulnerabilities, attestor.CheckProvenance} {
		if row := find(checks(), name); row == nil || row.ofPlatform == nil {
			t.Errorf("no row judges %s on every platform", name)
		}
	}
}

// TestACheckIsARow follows docs/adding.md, and counts: no check is named in more than seven files, and no file but
// those of the table and of the names lists them.
func TestACheckIsARow(t *testing.T) {
	const most = 7
	files := filesNaming(t)
	lists := map[string]int{}

	for name, in := range files {
		if len(in) > most {
			t.Errorf("%s is named in %d files, at most %d are wanted: %q", name, len(in), most, in)
		}
		for _, f := range in {
			lists[f]++
		}
	}

	for f, n := range lists {
		// describe has a few words of its own for what passed; it says nothing of other checks.
		if n >= 3 && f != "codes.go" && f != "internal/describe/describe.go" && !strings.HasPrefix(f, "verify/") {
			t.Errorf("%s names %d checks: the list of checks is policy/checks.go", f, n)
		}
	}

	if testing.Short() {
		t.Skip("compiles this package's tests once more")
	}

	o := walkthrough.Follow(t, "..", "A check")
	if len(o.Files) > most || len(o.Files) < 4 {
		t.Errorf("the example touches %q", o.Files)
	}

	out := o.Go(t, "test", "-short", "-count=1", "-v", "-run",
		"^(TestLabels|TestRowsAreWhole|TestARowIsAllOfACheck|TestPropertyAddingAFinding|FuzzJudge)$", "./policy")
	for _, name := range []string{"TestLabels", "TestRowsAreWhole", "TestARowIsAllOfACheck", "TestPropertyAddingAFinding", "FuzzJudge"} {
		if !strings.Contains(out, "--- PASS: "+name) {
			t.Errorf("%s did not run:\n%s", name, out)
		}
	}
}

// filesNaming lists the product's files that name each check of the table, by the constant of its name.
func filesNaming(t *testing.T) map[string][]string {
	t.Helper()
	constants := map[string]string{}

	for _, c := range checks() {
		constants["Check"+strings.ToUpper(c.name[:1])+c.name[1:]] = c.name
	}

	out := map[string][]string{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}

		name := filepath.ToSlash(strings.TrimPrefix(path, ".."+string(filepath.Separator)))
		if d.IsDir() && (name == "internal/testkit" || name == "bench" || strings.HasPrefix(d.Name(), ".") && d.Name() != "..") {
			return fs.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}

		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}

		ast.Inspect(file, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok && constants[id.Name] != "" && !slices.Contains(out[constants[id.Name]], name) {
				out[constants[id.Name]] = append(out[constants[id.Name]], name)
			}
			return true
		})
		return nil
	})

	if err != nil {
		t.Fatal(err)
	}

	for _, c := range checks() {
		if len(out[c.name]) < 2 {
			t.Fatalf("%s is named in %q only: this test would prove nothing", c.name, out[c.name])
		}
	}
	return out
}

// TestDocsNameTheChecks: the documentation lists what exceptions and modes can be about.
func TestDocsNameTheChecks(t *testing.T) {
	text, err := os.ReadFile("../docs/policy.md")
	if err != nil {
		t.Fatal(err)
	}

	want := "`" + strings.Join(excusable(checks(), &Spec{}), "`, `") + "` and `rule:NAME`"
	if !strings.Contains(string(text), want) {
		t.Errorf("docs/policy.md does not list %s", want)
	}
}
