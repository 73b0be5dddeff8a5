package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/strictyaml"
	"go.yaml.in/yaml/v4"
)

// A CaseResult is one case's outcome.
type CaseResult struct {
	Name     string           `json:"name"`
	File     string           `json:"file"`
	Line     int              `json:"line"`
	Policy   string           `json:"policy,omitempty"`
	Got      attestor.Outcome `json:"got"`
	Codes    []attestor.Code  `json:"codes"`
	Warnings []attestor.Code  `json:"warnings,omitempty"`
	Problem  string           `json:"problem,omitempty"` // "" for a case that came out as wanted
}

// CaseReport is the outcome of a file.
type CaseReport struct {
	Results []CaseResult    `json:"results"`
	Covered []attestor.Code `json:"covered"` // that the policies can give, and a case gave
	Never   []attestor.Code `json:"never"`   // that the policies can give, and no case did
}

// Failed counts the cases that came out otherwise than wanted.
func (r CaseReport) Failed() int {
	n := 0
	for _, c := range r.Results {
		if c.Problem != "" {
			n++
		}
	}
	return n
}

// testsIn says of a directory which files in it are tests.
func testsIn(dir string) error {
	e := &attestor.Error{
		Kind: attestor.Invalid, Msg: dir + " is a directory, and policies are tested by files",
		Fix: "no file in it has a name that ends in _test.yaml: name the files that hold the tests",
	}
	if found, err := filepath.Glob(filepath.Join(dir, "*_test.yaml")); err == nil && len(found) > 0 {
		e.Fix = "name the files: " + filepath.Join(dir, "*_test.yaml")
	}
	return e
}

// Test runs a file of cases. The error is about the files; what comes out
// otherwise than wanted is in the report.
func Test(path string) (CaseReport, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return CaseReport{}, testsIn(path)
	}
	text, err := readBounded(path)
	if err != nil {
		return CaseReport{}, err
	}
	var file CaseFile
	d, errs := decode(path, text, &file)

	// decode's faults are in errs; what is found from here on is added to them.
	d.errs = nil
	d.evidenceTypes(&file)
	if file.Kind != TestKind && d.has("kind") {
		d.at("kind", "%q is not known: want %s", clip(file.Kind), TestKind)
	}

	d.notEmptyCases(&file)
	if errs = append(errs, d.errs...); len(errs) > 0 {
		return CaseReport{}, errs.sorted()
	}
	dir := filepath.Dir(path)

	// Paths in a file are relative to it, so that it gives the same result from any directory.
	policies := make([]string, len(file.Policies))
	for i, p := range file.Policies {
		policies[i] = filepath.Join(dir, p)
	}

	set, err := Load(policies...)
	if err != nil {
		return CaseReport{}, err
	}
	report := CaseReport{Covered: []attestor.Code{}, Never: []attestor.Code{}}
	given := map[attestor.Code]bool{}
	for i := range file.Cases {
		r := runCase(set, &file, &file.Cases[i], dir)
		r.File, r.Line = path, d.places[index("cases", i)].line
		for _, c := range slices.Concat(r.Codes, r.Warnings) {
			given[c] = true
		}
		report.Results = append(report.Results, r)
	}

	// A code that no case gives is named: nobody has shown that the policy refuses by it.
	for _, c := range set.reachable() {
		if given[c] {
			report.Covered = append(report.Covered, c)
		} else {
			report.Never = append(report.Never, c)
		}
	}
	return report, nil
}

// evidenceTypes reports values of evidence that are not of their field's type: read as something else, a case would
// test another image than its author wrote down.
func (d *decoder) evidenceTypes(f *CaseFile) {
	check := func(n *yaml.Node, t reflect.Type, path string) {
		shape := strictyaml.Shape{Tag: "json", NullRemoves: true}
		for _, fault := range shape.Check(n, t) {
			d.errs = append(d.errs, Diagnostic{
				File: d.file, Line: fault.Line, Column: fault.Column, Path: join(path, fault.Path),
				Message: fault.Message,
			})
		}
	}

	image, platform := reflect.TypeFor[attestor.Evidence](), reflect.TypeFor[attestor.PlatformEvidence]()

	check(&f.Given, image, "given")
	for i := range f.Cases {
		c, at := &f.Cases[i], index("cases", i)
		check(&c.Change, image, at+".change")
		check(&c.Platform, platform, at+".platform")
		for name, n := range c.Platforms {
			check(&n, platform, at+".platforms."+name)
		}
	}
}

func (d *decoder) notEmptyCases(f *CaseFile) {
	if d.has("apiVersion") && f.APIVersion != APIVersion {
		d.at("apiVersion", "%q is not known: want %s", clip(f.APIVersion), APIVersion)
	}
	if d.has("policies") && len(f.Policies) == 0 {
		d.at("policies", "the list is empty")
	}

	if d.has("cases") && len(f.Cases) == 0 {
		d.at("cases", "the list is empty: a test that tests nothing")
	}
	for i, c := range f.Cases {
		at := index("cases", i)
		switch {
		case c.Want.Verdict == attestor.Pass && len(c.Want.Codes) > 0:
			d.at(at+".want.codes", "contradicts the verdict: a pass has no refusing check")
		case c.Want.Verdict != attestor.Pass && d.has(at+".want.verdict") && len(c.Want.Codes) == 0:
			d.at(at+".want", "codes is missing: a refusal for another reason would pass the test")
		case c.Record != "" && (d.has(at+".image") || d.has(at+".platforms")):
			d.at(at+".record", "excludes image and platforms")
		}
	}
}

func runCase(set *Set, file *CaseFile, c *Case, dir string) CaseResult {
	r := CaseResult{Name: c.Name, Got: attestor.Deny, Codes: []attestor.Code{}}
	ev, err := c.evidence(set, file, dir)
	if err != nil {
		r.Problem = "evidence: " + message(err)
		return r
	}

	// Without a policy that governs it, an image is denied, as in service.
	checks := []attestor.Check{
		{
			Name:    attestor.CheckPolicy,
			Status:  attestor.StatusDeny,
			Reasons: []attestor.Reason{{Code: attestor.CodeNoPolicy}},
		},
	}

	if p, ok := set.Govern(ev.Image.Repository()); ok {
		v := p.Judge(ev)
		r.Policy, r.Got, checks = p.Ref().Name, v.Outcome(), v.Checks()
	}
	r.Codes, r.Warnings = codes(checks)
	var problems []string
	if r.Got != c.Want.Verdict {
		problems = append(problems, fmt.Sprintf("verdict %s, want %s", r.Got, c.Want.Verdict))
	}

	// Exactly these codes: one more would be a refusal that the author does not know of.
	if want := sortedCodes(c.Want.Codes); !slices.Equal(r.Codes, want) {
		problems = append(problems, fmt.Sprintf("codes %v, want %v", r.Codes, want))
	}
	for _, w := range c.Want.Warnings {
		if !slices.Contains(r.Warnings, w) {
			problems = append(problems, fmt.Sprintf("no warning %s among %v", w, r.Warnings))
		}
	}
	r.Problem = strings.Join(problems, "; ")
	return r
}

// codes lists those of reasons that refuse and of reasons that warn, whatever check they belong to.
func codes(checks []attestor.Check) (refusing, warning []attestor.Code) {
	for _, c := range checks {
		for _, r := range c.WithSeverities().Reasons {
			switch r.Severity {
			case attestor.Refuses:
				refusing = append(refusing, r.Code)
			case attestor.Warns:
				warning = append(warning, r.Code)
			}
		}
	}
	return sortedCodes(refusing), sortedCodes(warning)
}

func sortedCodes(list []attestor.Code) []attestor.Code {
	out := append([]attestor.Code{}, list...)
	slices.Sort(out)
	return slices.Compact(out)
}

// evidence builds what is judged: what passes the policy, or what was
// recorded, with the file's and the case's changes merged into it.
func (c *Case) evidence(set *Set, file *CaseFile, dir string) (attestor.Evidence, error) {
	date := file.Date
	if !c.Date.IsZero() {
		date = c.Date
	}

	// Noon, so that dates of exceptions and policies have begun and not ended, wherever the test runs.
	at := date.start.Add(12 * time.Hour)
	start, err := c.start(set, at, dir)
	if err != nil {
		return attestor.Evidence{}, err
	}

	all, err := toMap(start)
	if err != nil {
		return attestor.Evidence{}, err
	}

	// The case is merged last: it wins over what the file gives to all.
	for _, change := range []*yaml.Node{&file.Given, &c.Change} {
		if err := patch(all, change); err != nil {
			return attestor.Evidence{}, err
		}
	}

	if err := c.patchPlatforms(all); err != nil {
		return attestor.Evidence{}, err
	}
	text, err := json.Marshal(all)
	if err != nil {
		return attestor.Evidence{}, err
	}

	// Not strictjson: the text was encoded above, so that it has neither duplicates nor a
	// second value, and Evidence is encoded by the rules of encoding/json.
	var ev attestor.Evidence
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&ev); err != nil {
		return attestor.Evidence{}, err
	}
	return ev, nil
}

func (c *Case) start(set *Set, at time.Time, dir string) (attestor.Evidence, error) {
	if c.Record != "" {
		return readEvidence(filepath.Join(dir, c.Record))
	}
	policies := set.All()
	p := policies[0]
	if governs := set.matches(c.Image); len(governs) > 0 {
		p = governs[0].Policy
	}

	ev := p.Exemplary(c.Image, at)
	if ev.Image.IsZero() {
		return ev, fmt.Errorf("%q is not a repository", clip(c.Image))
	}
	return ev, nil
}

// readEvidence reads evidence by itself, or as part of an exported decision.
func readEvidence(path string) (attestor.Evidence, error) {
	f, err := readBounded(path)
	if err != nil {
		return attestor.Evidence{}, err
	}
	var line struct {
		attestor.Evidence
		Recorded *attestor.Evidence `json:"evidence"`
	}

	if err := json.Unmarshal(f, &line); err != nil {
		return attestor.Evidence{}, err
	}

	// A line of an export holds the evidence as a part of the decision.
	if line.Recorded != nil {
		return *line.Recorded, nil
	}
	return line.Evidence, nil
}

func toMap(v any) (map[string]any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var out map[string]any
	return out, json.Unmarshal(text, &out)
}

// patch merges as RFC 7386 does.
func patch(into map[string]any, n *yaml.Node) error {
	if n.Kind == 0 {
		return nil
	}
	var change map[string]any
	if err := n.Decode(&change); err != nil {
		return fmt.Errorf("line %d: %w", n.Line, err)
	}
	merge(into, change)
	return nil
}

func merge(into, change map[string]any) {
	for k, v := range change {
		next, isMap := v.(map[string]any)
		old, hasMap := into[k].(map[string]any)
		switch {
		// RFC 7386, section 2: null removes the member.
		case v == nil:
			delete(into, k)
		case isMap && hasMap:
			merge(old, next)
		default:
			into[k] = v
		}
	}
}

func (c *Case) patchPlatforms(all map[string]any) error {
	list, _ := all["platforms"].([]any)
	if len(c.Platforms) > 0 {
		if len(list) == 0 {
			return fmt.Errorf("there is no platform to start from")
		}
		first, names := list[0], make([]string, 0, len(c.Platforms))
		for name := range c.Platforms {
			names = append(names, name)
		}

		slices.Sort(names)
		list = list[:0]
		for i, name := range names {
			child, err := toMap(first)
			if err != nil {
				return err
			}

			// Digests must differ: children with the same one would be one image.
			child["platform"], child["digest"] = name, string(numbered("3456789abcdef"[i%13]))
			n := c.Platforms[name]
			if err := patch(child, &n); err != nil {
				return err
			}
			list = append(list, child)
		}
		all["platforms"], all["index"], all["mediaType"] = list, true, "application/vnd.oci.image.index.v1+json"
	}

	for _, e := range list {
		if child, ok := e.(map[string]any); ok {
			if err := patch(child, &c.Platform); err != nil {
				return err
			}
		}
	}
	return nil
}
