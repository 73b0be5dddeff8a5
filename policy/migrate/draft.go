package migrate

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
)

// A said is a value, and the field of the source that it comes from; without one for a value that no source gives.
type said[T any] struct {
	value        T
	source, path string
}

// from names the field for a comment.
func (s said[T]) from() string {
	if s.source == "" {
		return ""
	}
	return s.source + ": " + s.path
}

// A draft is the policy as far as the sources were applied. The zero value asks nothing, and so is not written.
type draft struct {
	o       Options
	source  string   // of the document that is applied
	formats []string // of the documents, with the chosen part
	fields  []Field
	err     error // of the first source that contradicts itself
	unsaid  bool  // no source says what an image must be
	open    bool  // a rule allows every image

	enforces bool // a source that says no mode, and so is in force

	modes       []said[attestor.Mode]
	attestors   []said[string]
	directories []said[attestor.Pattern]
	maxAge      said[int64] // days; 0: none
	nonRoot     said[bool]
	fixable     said[attestor.Ceiling] // "": vulnerabilities are not judged
	unfixable   said[attestor.Ceiling]
	allowed     []said[string]
	blocked     []said[string]
	projects    []said[string]
	builders    []said[string]
	sources     []said[string]
	dsse        said[bool]
}

// note records what became of a field.
func (d *draft) note(path string, t Treatment, to, format string, args ...any) {
	d.fields = append(
		d.fields,
		Field{Source: d.source, Path: path, Treatment: t, To: to, Note: fmt.Sprintf(format, args...)},
	)
}

// fail keeps the first contradiction in a source. Nothing is written then.
func (d *draft) fail(format string, args ...any) {
	if d.err == nil {
		d.err = invalid(format, args...)
	}
}

// set is a value from a field of the current source.
func set[T any](d *draft, path string, v T) said[T] { return said[T]{v, d.source, path} }

// finish completes what the sources leave open, always towards refusal, and writes the policy.
func (d *draft) finish() (Result, error) {
	if err := d.fillIn(); err != nil {
		return Result{}, err
	}

	// Without the requirement the policy would pass what the source refuses, so that there is none.
	result := Result{Fields: d.fields}
	lost := result.LostFields()
	if len(lost) > 0 && !d.o.Placeholders {
		return result, nil
	}

	if !d.refusesAny() && len(lost) == 0 {
		return Result{}, invalid(
			"%s demands nothing of an image: there is nothing to import",
			strings.Join(d.formats, ", "),
		)
	}

	// The loader has the last word: what it refuses is not written.
	text := d.write(lost)
	if err := loads(text); err != nil {
		return Result{}, err
	}
	result.Policy = text
	return result, nil
}

// fillIn adds what the options say, and the strictest values for what nobody says.
func (d *draft) fillIn() error {
	d.overruled()

	// Attestors of the options come beside those of the sources; each is written once.
	for _, a := range d.o.Attestors {
		d.attestors = append(d.attestors, said[string]{value: a})
	}
	d.attestors = distinct(d.attestors)
	if len(d.attestors) == 0 {
		return invalid(
			"the sources name no attestor: say which ones attest to what passes, as projects/PROJECT/attestors/NAME",
		)
	}

	// A policy of attestors says who must have looked at an image, and not at what. Everything is refused that can be.
	if d.unsaid && !d.open {
		d.source = strings.Join(d.formats, ", ")
		d.fixable, d.unfixable = said[attestor.Ceiling]{
			value: attestor.BlockAll,
		}, said[attestor.Ceiling]{
			value: attestor.BlockAll,
		}

		d.nonRoot = said[bool]{value: true}
		d.note("", Stricter, "spec.vulnerabilities",
			"the source does not say what an attestor must check: the strictest limits are written; loosen them")
	}

	// Without limits there are no findings that an exception could excuse.
	if d.fixable.value == "" {
		return nil
	}

	// An exception of this gate needs an owner and an end. Without them it is left out, which only refuses more.
	if len(d.allowed) > 0 {
		d.source = d.allowed[0].source
	}
	switch {
	case len(d.allowed) == 0:
	case d.o.Owner == "":
		d.note(
			d.allowed[0].path,
			LeftOut,
			"",
			"%s: exceptions need an owner and an end here; give --owner and --expires",
			describe.Plural(len(d.allowed), "allowed CVE"),
		)
		d.allowed = nil
	default:
		d.allowed = distinct(d.allowed)
		d.note(
			d.allowed[0].path,
			Carried,
			"spec.vulnerabilities.allowedCves",
			"%s, until %s; an exception is about the id, under every note",
			describe.Plural(len(d.allowed), "allowed CVE"),
			d.o.Expires.Format("2006-01-02"),
		)
	}
	d.blocked = distinct(d.blocked)
	return nil
}

// refusesAny reports whether the policy refuses any image.
func (d *draft) refusesAny() bool {
	return len(d.directories) > 0 || d.maxAge.value > 0 || d.nonRoot.value || d.fixable.value != "" ||
		len(d.builders) > 0
}

// mode is enforce unless every source only reports.
func (d *draft) mode() said[attestor.Mode] {
	// One source that enforces is enough: what only reports refuses nothing.
	for _, m := range d.modes {
		if m.value == attestor.Enforce {
			return m
		}
	}
	if d.enforces || len(d.modes) == 0 {
		return said[attestor.Mode]{value: attestor.Enforce}
	}
	return d.modes[0]
}

// overruled notes what only reports beside a source that enforces.
func (d *draft) overruled() {
	for _, m := range d.modes {
		if m.value == d.mode().value {
			continue
		}
		for i, f := range d.fields {
			if f.Source == m.source && f.Path == m.path {
				d.fields[i].Treatment, d.fields[i].Note = Stricter, f.Note+": another source enforces, and so "+
					"does the policy"
			}
		}
	}
}

func distinct[T comparable](list []said[T]) []said[T] {
	seen := map[T]bool{}
	return slices.DeleteFunc(list, func(s said[T]) bool {
		again := seen[s.value]
		seen[s.value] = true
		return again
	})
}

// ceilings are the limits from the strictest.
func ceilings() []attestor.Ceiling {
	return []attestor.Ceiling{
		attestor.BlockAll, attestor.Ceiling(attestor.Minimal), attestor.Ceiling(attestor.Low),
		attestor.Ceiling(attestor.Medium),
		attestor.Ceiling(attestor.High), attestor.Ceiling(attestor.Critical), attestor.AllowAll,
	}
}

// stricter is the limit that allows less.
func stricter(a, b attestor.Ceiling) attestor.Ceiling {
	order := ceilings()
	return order[min(slices.Index(order, a), slices.Index(order, b))]
}

// limit tightens the limits of the draft to those of a source.
func (d *draft) limit(fixable, unfixable said[attestor.Ceiling]) {
	tighten := func(have *said[attestor.Ceiling], next said[attestor.Ceiling]) {
		if have.value == "" || stricter(have.value, next.value) != have.value {
			*have = next
		}
	}
	tighten(&d.fixable, fixable)
	tighten(&d.unfixable, unfixable)
}

// cveForm is what the loader takes for the id of a finding.
var cveForm = regexp.MustCompile(`\A[A-Z][A-Z0-9]*(-[A-Za-z0-9.:_]+)+\z`)

// cve keeps an id that can be an exception. Malware is no vulnerability, and no exception by id excuses it.
func (d *draft) cve(path, id string) (said[string], bool) {
	if !cveForm.MatchString(id) || attestor.MaliciousID(id) {
		d.note(path, LeftOut, "", "%s is not the id of a vulnerability", quote(id))
		return said[string]{}, false
	}
	return set(d, path, id), true
}

// exemption notes images that the source does not judge. Every image that this policy governs is judged.
func (d *draft) exemption(path string, images []string) {
	if len(images) == 0 {
		return
	}
	d.note(
		path,
		LeftOut,
		"",
		"the source does not judge images of %s; give those images a policy of their own: %s",
		describe.Plural(len(images), "pattern"),
		clipList(images),
	)
}

func clipList(list []string) string {
	const most = 5
	var out []string
	for _, s := range list[:min(len(list), most)] {
		out = append(out, quote(s))
	}

	if len(list) > most {
		out = append(out, "…")
	}
	return strings.Join(out, ", ")
}

// projectOf is the project that a pattern of images is in, by the names of Google's registries; "" where it can be in
// several, or in none.
func projectOf(pattern string) string {
	// Only names of Google's registries say the project.
	segments := strings.Split(pattern, "/")
	google := strings.HasSuffix(segments[0], "-docker.pkg.dev") || segments[0] == "gcr.io" ||
		strings.HasSuffix(segments[0], ".gcr.io")
	if !google || len(segments) < 3 || strings.Contains(segments[1], "*") {
		return ""
	}

	// The project of a domain has the domain as a segment of its own.
	if strings.Contains(segments[1], ".") {
		if strings.Contains(segments[2], "*") || len(segments) < 4 {
			return ""
		}
		return segments[1] + ":" + segments[2]
	}
	return segments[1]
}

// elsewhere lists the source's projects beside the one that every governed image is in. ok is false where an image
// could be in a project that the source does not name: what is stored there counts here, and not in the source.
func (d *draft) elsewhere(named []string) (others []string, ok bool) {
	in := map[string]bool{}
	for _, n := range named {
		in[strings.TrimPrefix(n, "projects/")] = true
	}

	own := map[string]bool{}

	// An image outside of the named projects would be judged by other scans here than there.
	for _, pattern := range d.o.Images {
		p := projectOf(pattern)
		if p == "" || !in[p] {
			return nil, false
		}
		own[p] = true
	}

	for _, n := range named {
		if p := strings.TrimPrefix(n, "projects/"); !own[p] {
			others = append(others, p)
		}
	}
	return others, true
}
