package migrate

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/attestor-gate/attestor/internal/plain"
)

// A writer builds the text of a policy. Values are written in double quotes, so that nothing in a source can end one.
type writer struct{ b strings.Builder }

// line writes one line; from is where its value comes from, as a comment.
func (w *writer) line(indent int, text, from string) {
	w.b.WriteString(strings.Repeat("  ", indent) + text)
	if from != "" {
		w.b.WriteString(" # " + comment(from))
	}
	w.b.WriteByte('\n')
}

// list writes a list of texts under a key; nothing if it is empty.
func (w *writer) list(indent int, key string, values []said[string]) {
	if len(values) == 0 {
		return
	}
	w.line(indent, key+":", "")
	for _, v := range values {
		w.line(indent+1, "- "+scalar(v.value), v.from())
	}
}

// scalar is a text as JSON writes it, which YAML reads as the same text.
func scalar(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""` // a string always marshals
	}
	return string(b)
}

// comment makes one line of a text of the source.
func comment(s string) string { return plain.Clip(plain.Text(s), 300) }

// write is the policy's file: what became of each field, then the policy with the origin of each value.
func (d *draft) write(lost []Field) []byte {
	w := &writer{}
	w.line(0, "# Made by attestor policy import of "+comment(strings.Join(d.formats, ", "))+".", "")
	for _, t := range []struct {
		treatment Treatment
		title     string
	}{
		{Lost, "Not carried over; a rule below refuses every image until you replace it:"},
		{Unchosen, "Not chosen; these may refuse what passes here:"},
		{LeftOut, "Left out, so that nothing more passes:"},
		{Stricter, "Stricter than the source:"},
	} {
		d.header(w, t.treatment, t.title)
	}

	w.line(0, "apiVersion: attestor/v1", "")
	w.line(0, "kind: GatePolicy", "")
	w.line(0, "metadata: {name: "+scalar(cmp.Or(d.o.Name, "imported"))+"}", "")
	w.line(0, "spec:", "")
	mode := d.mode()
	w.line(1, "mode: "+string(mode.value), mode.from())

	// Values of the options have no source to name.
	var images []said[string]
	for _, i := range d.o.Images {
		images = append(images, said[string]{value: i})
	}

	w.list(1, "images", images)

	d.writeScope(w)
	w.line(1, "base: {required: false}", "no source of this format judges the base")
	if d.nonRoot.value {
		w.line(1, "user: {nonRoot: true, names: resolve, rootGroup: allow}", d.nonRoot.from())
	} else {
		w.line(1, "user: {nonRoot: false}", "")
	}

	d.writeVulnerabilities(w)
	d.writeProvenance(w)
	writeRules(w, lost)
	w.list(1, "attestors", d.attestors)
	if d.dsse.value {
		w.line(1, "attest: {dsse: true}", d.dsse.from())
	}
	return []byte(w.b.String())
}

func (d *draft) header(w *writer, t Treatment, title string) {
	begun := false
	for _, f := range d.fields {
		if f.Treatment != t {
			continue
		}
		if !begun {
			w.line(0, "#\n# "+title, "")
			begun = true
		}
		w.line(0, "#   "+comment(f.Source+": "+cmp.Or(f.Path, "the whole")+": "+f.Note), "")
	}
}

func (d *draft) writeScope(w *writer) {
	if len(d.directories) == 0 && d.maxAge.value == 0 {
		return
	}
	w.line(1, "scope:", "")
	var directories []said[string]
	for _, p := range d.directories {
		directories = append(directories, said[string]{p.value.String(), p.source, p.path})
	}

	w.list(2, "trustedDirectories", directories)
	if d.maxAge.value > 0 {
		w.line(2, fmt.Sprintf("maxUploadAge: %dd", d.maxAge.value), d.maxAge.from())
	}
}

func (d *draft) writeVulnerabilities(w *writer) {
	w.line(1, "vulnerabilities:", "")
	if d.fixable.value == "" {
		w.line(2, "maximumFixableSeverity: ALLOW_ALL", "the source does not judge vulnerabilities")
		w.line(2, "maximumUnfixableSeverity: ALLOW_ALL", "")
		w.line(2, "scan: {required: false}", "")
		return
	}

	w.line(2, "maximumFixableSeverity: "+string(d.fixable.value), d.fixable.from())
	w.line(2, "maximumUnfixableSeverity: "+string(d.unfixable.value), d.unfixable.from())
	w.list(2, "blockedCves", d.blocked)
	if len(d.allowed) > 0 {
		w.line(2, "allowedCves:", "")
	}

	// Each exception has the owner and the end that the options give.
	for _, a := range d.allowed {
		reason := cmp.Or(d.o.Reason, "allowed by the imported policy")
		w.line(
			3,
			fmt.Sprintf(
				"- {id: %s, owner: %s, reason: %s, expires: %s}",
				scalar(a.value),
				scalar(d.o.Owner),
				scalar(reason),
				d.o.Expires.Format(time.DateOnly),
			),
			a.from(),
		)
	}

	if len(d.projects) > 0 {
		w.line(2, "scan:", "")
		w.list(3, "projects", d.projects)
	}
}

func (d *draft) writeProvenance(w *writer) {
	if len(d.builders) == 0 {
		return
	}
	w.line(1, "provenance:", "")
	w.list(2, "builders", d.builders)
	w.list(2, "sources", d.sources)
}

// writeRules puts a rule in the place of each lost requirement. It refuses every image, so that nothing passes without
// somebody having decided about the requirement.
func writeRules(w *writer, lost []Field) {
	if len(lost) == 0 {
		return
	}

	w.line(1, "rules:", "")
	for i, f := range lost {
		message := f.Source + ": " + f.Path + " was not carried over: " + f.Note
		w.line(2, fmt.Sprintf("- name: not-carried-over-%d", i+1), "")
		w.line(3, `expression: "false"`, "")
		w.line(3, "message: "+scalar(comment(message)), "")
		w.line(
			3,
			"fix: "+scalar("replace this rule by what takes the requirement's place, or remove it to do without"),
			"",
		)
	}
}
