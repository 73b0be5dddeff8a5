package attestor

import (
	"encoding/json"
	"io"
	"math"
	"strconv"
)

// findingsAtOnce is how many bytes of findings are written at a time.
const findingsAtOnce = 32 << 10

// EncodeFindings writes what json.Marshal returns of findings, some at a time.
func EncodeFindings(w io.Writer, findings []Vulnerability) error {
	if findings == nil {
		_, err := io.WriteString(w, "null")
		return err
	}

	b := append(make([]byte, 0, min(findingsAtOnce, 400*len(findings))+1024), '[')
	for i := range findings {
		if i > 0 {
			b = append(b, ',')
		}
		if longer, ok := appendFinding(b, &findings[i]); ok {
			b = longer
		} else {
			one, err := json.Marshal(&findings[i])
			if err != nil {
				return err
			}
			b = append(b, one...)
		}
		if len(b) >= findingsAtOnce {
			if _, err := w.Write(b); err != nil {
				return err
			}
			b = b[:0]
		}
	}
	_, err := w.Write(append(b, ']'))
	return err
}

// appendFinding appends what json.Marshal returns of a finding, several times sooner. False: it does not, since the
// finding has what JSON writes in another way, and what is returned is nothing.
func appendFinding(b []byte, v *Vulnerability) (longer []byte, ok bool) {
	if len(v.VEX) > 0 {
		return nil, false
	}

	// In the order of the fields.
	o := plainObject{b: append(b, '{'), ok: true}
	o.text("id", v.ID)
	o.text("note", v.Note)
	o.text("severity", string(v.Severity))
	o.textIfAny("fallback", v.Fallback)
	if v.Malicious {
		o.flag("malicious", true)
	}
	o.text("package", v.Package)
	o.textIfAny("packageType", v.PackageType)
	o.text("version", v.Version)
	o.textIfAny("fixedVersion", v.FixedVersion)
	o.flag("fixable", v.Fixable)
	o.number("cvss", v.CVSS)
	o.number("epss", v.EPSS)
	if v.KnownExploited != nil {
		o.flag("knownExploited", *v.KnownExploited)
	}
	for i, d := range v.DiffIDs {
		if i == 0 {
			o.member("diffIds")
		}
		o.b = append(o.b, "[,"[min(i, 1)])
		o.value(string(d))
	}
	if len(v.DiffIDs) > 0 {
		o.b = append(o.b, ']')
	}
	o.textIfAny("path", v.Path)
	if v.Published != nil {
		o.member("published")
		published, err := v.Published.AppendText(append(o.b, '"'))
		o.b, o.ok = append(published, '"'), o.ok && err == nil
	}
	return append(o.b, '}'), o.ok
}

// A plainObject is an object of JSON whose texts are written as they are.
type plainObject struct {
	b     []byte // from its "{" on
	ok    bool   // all of it was plain
	named bool   // it has a member
}

func (o *plainObject) member(name string) {
	if o.named {
		o.b = append(o.b, ',')
	}
	o.named = true
	o.b = append(append(append(o.b, '"'), name...), '"', ':')
}

func (o *plainObject) text(name, value string) {
	o.member(name)
	o.value(value)
}

func (o *plainObject) textIfAny(name, value string) {
	if value != "" {
		o.text(name, value)
	}
}

func (o *plainObject) value(text string) {
	for i := range len(text) {
		switch c := text[i]; {
		case c < ' ', c > '~', c == '"', c == '\\', c == '<', c == '>', c == '&':
			o.ok = false
		}
	}
	o.b = append(append(append(o.b, '"'), text...), '"')
}

func (o *plainObject) flag(name string, value bool) {
	o.member(name)
	o.b = strconv.AppendBool(o.b, value)
}

// number writes numbers that JSON has without an exponent.
func (o *plainObject) number(name string, value *float64) {
	if value == nil {
		return
	}
	size := math.Abs(*value)
	o.ok = o.ok && (size == 0 || size >= 1e-6 && size < 1e21)
	o.member(name)
	o.b = strconv.AppendFloat(o.b, *value, 'f', -1, 64)
}
