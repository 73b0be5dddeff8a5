package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"go.yaml.in/yaml/v4"
)

// maxUpcoming bounds how many dates a policy has: each costs one more judgement while it lies ahead.
const maxUpcoming = 16

// An upcoming is one part of a policy with a date of its own: the whole policy, an approved base, provenance, a rule,
// or a limit.
type upcoming struct {
	Effective
	path  string        // of what refuses from then on, such as spec.user.nonRoot
	limit bool          // the part is a limit, and has a value for the time before
	until reflect.Value // a limit's value before the date
	given bool          // the author wrote until
	text  string        // of until, for people

	places map[string]place // of until, as if it stood where the limit does
}

// A datedLimit is the long form of a limit, beside the short form that is only its value.
type datedLimit struct {
	Value         yaml.Node `json:"value" jsonschema:"required"`
	Until         yaml.Node `json:"until"`
	EffectiveFrom Effective `json:"effectiveFrom" jsonschema:"required"`
}

// limit reads {value, until, effectiveFrom} into v, which gets the value. nothing is the value that refuses nothing, by
// which a limit without until is judged before its date; "-" stands for an absent field, "" says that there is none.
func (d *decoder) limit(n *yaml.Node, v reflect.Value, path, nothing string) {
	var long datedLimit
	d.object(n, reflect.ValueOf(&long).Elem(), path)
	given := d.has(path + ".until")

	// Faults of form are reported where the value stands, later ones for the limit, as if it had the short form.
	if d.has(path+".value") && d.part(&long.Value, v, path+".value") {
		d.value(&long.Value, v, path)
	}

	u := upcoming{Effective: long.EffectiveFrom, path: path, limit: true, given: given, text: nothing}
	u.until = reflect.New(v.Type()).Elem()
	switch {
	// A value before the date is read with a decoder of its own, so that its places are those of the short form.
	case given:
		u.text = written(&long.Until)
		if d.part(&long.Until, u.until, path+".until") {
			probe := &decoder{file: d.file, places: map[string]place{}, failed: map[string]bool{}}
			probe.value(&long.Until, u.until, path)
			u.places = probe.places
		}
	// Some limits have no value that refuses nothing: the author must say what counts until then.
	case nothing == "":
		d.errorAt(n, path+".until", "until is missing: want the value that counts before the date", nil, "")
	case nothing != "-":
		d.tagged(n, u.until, path+".until", nothing)
	}
	d.upcoming = append(d.upcoming, u)
}

// valuePath is where a limit's value stands: one level deeper in the long form.
func (d *decoder) valuePath(path string) string {
	for _, u := range d.upcoming {
		if rest, within := strings.CutPrefix(path, u.path); u.limit && within && (rest == "" || rest[0] == '[') {
			return u.path + ".value" + rest
		}
	}
	return path
}

// part reads a value and reports whether it was well-formed.
func (d *decoder) part(n *yaml.Node, v reflect.Value, path string) bool {
	before := len(d.errs)
	d.value(n, v, path)
	return len(d.errs) == before
}

// written is a value as its author wrote it, on one line.
func written(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode {
		return clip(n.Value)
	}
	var items []string
	for _, c := range n.Content {
		items = append(items, written(c))
	}
	return clip("[" + strings.Join(items, ", ") + "]")
}

// effective checks the dates' owners and the values that count before the dates.
func (v *validator) effective() {
	slices.SortStableFunc(v.upcoming, func(a, b upcoming) int { return a.Date.start.Compare(b.Date.start) })
	if len(v.upcoming) > maxUpcoming {
		v.at(
			v.upcoming[maxUpcoming].path,
			"%d dates in effectiveFrom, at most %d are allowed: remove those that have passed",
			len(v.upcoming),
			maxUpcoming,
		)
		return
	}

	for _, u := range v.upcoming {
		v.text(u.path+".effectiveFrom.owner", u.Owner)
		if u.places != nil {
			v.until(u)
		}
	}
}

// until checks the value that counts before a date as a value of the field, by the check's own rules.
func (v *validator) until(u upcoming) {
	doc := *v.doc
	setAt(&doc, u.path, u.until)

	// Other fields may contradict the value of either time, so that only faults in the field itself count.
	probe := &decoder{file: v.file, places: u.places, failed: map[string]bool{}}
	trial := validator{decoder: probe, table: v.table, doc: &doc}
	for _, c := range v.table {
		if c.validate != nil {
			c.validate(&trial, &doc.Spec)
		}
	}
	for _, e := range probe.errs {
		if e.Path == u.path || strings.HasPrefix(e.Path, u.path+"[") {
			v.at(u.path+".until", "%s", e.Message)
		}
	}
}

// setAt sets a field of a document by its path. What lies on the way is copied, so that other copies of the document
// keep theirs.
func setAt(doc *Document, path string, value reflect.Value) {
	v := reflect.ValueOf(doc).Elem()
	for name := range strings.SplitSeq(path, ".") {
		name, number, indexed := strings.Cut(strings.TrimSuffix(name, "]"), "[")
		if v.Kind() == reflect.Pointer {
			fresh := reflect.New(v.Type().Elem())
			fresh.Elem().Set(v.Elem())
			v.Set(fresh)
			v = fresh.Elem()
		}

		v = v.Field(fieldNamed(v.Type(), name))
		if indexed {
			fresh := reflect.AppendSlice(reflect.MakeSlice(v.Type(), 0, v.Len()), v)
			v.Set(fresh)
			i, _ := strconv.Atoi(number) // the decoder wrote it
			v = fresh.Index(i)
		}
	}
	v.Set(value)
}

// fieldNamed is the index of a struct's field by its name in files. Paths come from the decoder, which knows only such
// names.
func fieldNamed(t reflect.Type, name string) int {
	for i := range t.NumField() {
		if n, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); n == name {
			return i
		}
	}
	panic("policy: no field " + name + " in " + t.String())
}

// makeStages compiles how the policy stood before and between its dates: in stage k the first k dates have come. The
// last stage is the policy in full. A part whose effectiveFrom is still set in a stage does not refuse there.
func (p *Policy) makeStages(dates []upcoming) {
	p.upcoming = dates
	p.stages = make([]*Spec, len(dates)+1)

	for k := range p.stages {
		doc := p.doc
		for i, u := range dates {
			switch pending := i >= k; {
			// A limit whose date lies ahead has its earlier value.
			case pending && u.limit:
				setAt(&doc, u.path, u.until)
			// A part whose date has come refuses as one without a date.
			case !pending && !u.limit:
				setAt(&doc, u.path+".effectiveFrom", reflect.Zero(reflect.TypeFor[*Effective]()))
			}
		}

		p.stages[k] = &doc.Spec
	}
}

// inForce is the number of dates that have come at t. A date comes at its beginning. Without a clock every date counts
// as come, since only then nothing is waived.
func (p *Policy) inForce(t time.Time) int {
	if t.IsZero() {
		return len(p.upcoming)
	}
	n, _ := slices.BinarySearchFunc(p.upcoming, t, func(u upcoming, t time.Time) int {
		return cmp.Or(u.Date.start.Compare(t), -1) // of those that come at t, none is ahead
	})
	return n
}

// An answer names one check's answer for a platform, or for the image as a whole.
type answer struct{ check, platform string }

// A probe is what the checks of one stage found, before exceptions and modes.
type probe struct {
	spec  *Spec
	found map[answer][]finding
}

// probes judges by the stages that lie between now and the whole policy.
func (j *judgement) probes() []probe {
	var out []probe
	for k := j.next; k < len(j.policy.upcoming); k++ {
		stage := judgement{
			policy: j.policy, spec: j.policy.stages[k], ev: j.ev, at: j.at, lacks: j.lacks,
			probe: &probe{spec: j.policy.stages[k], found: map[answer][]finding{}},
		}
		stage.answers()
		out = append(out, *stage.probe)
	}
	return out
}

// collect notes what a check found in a stage. Before the whole policy's date only what no policy can waive counts.
func (s *probe) collect(of answer, found []finding) {
	for _, f := range found {
		waived := s.spec.EffectiveFrom != nil && of.check != attestor.CheckPlatforms && !f.floor
		if f.status == attestor.StatusDeny && waived {
			continue
		}
		s.found[of] = append(s.found[of], f)
	}
}

// dated turns denials that only a date ahead brings into warnings, and adds what is refused until a date. It is the
// only place where a date lifts a refusal.
func (j *judgement) dated(of answer, found []finding) []finding {
	if len(j.before) == 0 {
		return found
	}

	out := make([]finding, 0, len(found))
	seen := map[findingKey]bool{}
	for _, f := range found {
		seen[f.key()] = true

		// An error says that something could not be found out, at whatever date: it stays an error.
		if f.status != attestor.StatusDeny {
			out = append(out, f)
			continue
		}

		// The first stage that has the denial says which date brings it. What is denied now stays denied.
		k := slices.IndexFunc(j.before, func(p probe) bool { return has(p.found[of], f) })
		if k == 0 {
			out = append(out, f)
			continue
		}
		if k < 0 {
			k = len(j.before)
		}
		out = append(out, f.from(j.policy.upcoming[j.next+k-1]))
	}

	// What refuses now refuses, even where a later value of the limit allows it.
	for _, f := range j.before[0].found[of] {
		if f.status.Refuses() && !seen[f.key()] {
			out = append(out, f)
		}
	}
	return out
}

// refusesNow reports whether a check that is skipped by the whole policy refuses before a date.
func (j *judgement) refusesNow(of answer) bool {
	return len(j.before) > 0 &&
		slices.ContainsFunc(j.before[0].found[of], func(f finding) bool { return f.status.Refuses() })
}

// A findingKey is equal for findings of one check that are one, whatever limit they exceed.
type findingKey struct {
	code                attestor.Code
	subject, pkg, where string
	status              attestor.Status
}

func (f finding) key() findingKey {
	return findingKey{f.reason.Code, f.reason.Subject, f.pkg, f.where, f.status}
}

func has(list []finding, f finding) bool {
	return slices.ContainsFunc(list, func(g finding) bool { return g.key() == f.key() })
}

// from is the finding as a warning until a date.
func (f finding) from(u upcoming) finding {
	f.status = attestor.StatusWarn
	f.reason.EffectiveFrom, f.reason.Owner = u.Date.String(), u.Owner
	f.reason.Message += fmt.Sprintf("; a warning until %s, refused from then on (owner: %s)", u.Date, u.Owner)
	return f
}

// Dates says in sentences which parts of the policy refuse from a later day than now, and how they are judged until
// then.
func (p *Policy) Dates(now time.Time) []string { return sentences(p.upcoming[p.inForce(now):]) }

func sentences(dates []upcoming) []string {
	var out []string
	for _, u := range dates {
		part := strings.TrimPrefix(u.path, "spec.")
		if u.path == "spec" {
			part = "the policy"
		}
		out = append(
			out,
			fmt.Sprintf("%s refuses from %s on (owner: %s); until then %s", part, u.Date, u.Owner, u.before()),
		)
	}
	return out
}

// withDates writes limits with dates in their long form into the policy as JSON.
func (p *Policy) withDates(text []byte) ([]byte, error) {
	var doc map[string]any
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, err
	}

	for _, u := range p.upcoming {
		if !u.limit {
			continue
		}
		at := any(doc)
		names := strings.FieldsFunc(u.path, func(r rune) bool { return strings.ContainsRune(".[]", r) })
		for _, name := range names[:len(names)-1] {
			at = within(at, name)
		}

		// The path is that of a field, which a mapping holds.
		if holder, ok := at.(map[string]any); ok {
			last := names[len(names)-1]
			long := map[string]any{"value": holder[last], "effectiveFrom": u.Effective}
			if u.given {
				long["until"] = u.until.Interface()
			}
			holder[last] = long
		}
	}
	return json.MarshalIndent(doc, "", "  ")
}

// within is a field of a mapping, or an element of a list.
func within(v any, name string) any {
	switch v := v.(type) {
	case map[string]any:
		return v[name]
	case []any:
		if i, err := strconv.Atoi(name); err == nil && i < len(v) {
			return v[i]
		}
	}
	return nil
}

// effective finds dates that have passed, and severity limits that let everything through until their date.
func (l *linter) effective() {
	for _, u := range l.p.upcoming {
		switch {
		case !l.now.Before(u.Date.start):
			l.d.at(u.path+".effectiveFrom", "has been in effect since %s: remove the date", u.Date)
		case u.until.IsValid() && !u.given && u.until.Type() == reflect.TypeFor[attestor.Ceiling]():
			l.d.at(
				u.path,
				"findings of every severity only warn until %s: add until, the limit that counts before",
				u.Date,
			)
		}
	}
}

// before says how the part is judged before its date.
func (u upcoming) before() string {
	switch {
	case u.given:
		return "the value is " + u.text
	case u.path == "spec":
		return "the policy only warns"
	}
	return "it only warns"
}
