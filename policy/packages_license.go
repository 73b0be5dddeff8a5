package policy

import (
	"fmt"
	"strings"

	"github.com/github/go-spdx/v2/spdxexp"

	"github.com/attestor-gate/attestor"
)

// license is what the policy makes of one expression.
type license struct {
	valid  bool   // an SPDX expression
	denied string // the license that refuses it; "" for none
}

// license judges what a document says of a package's license. Everything that it says holds: a package that is declared
// under one license and concluded to be under another is judged by both.
func (c *contents) license(p *attestor.Package, by string) {
	unknown := ""
	if len(p.Licenses) == 0 {
		unknown = "states no license"
	}
	for _, expression := range p.Licenses {
		l, ok := c.licenses[expression]
		if !ok {
			l = c.want.Licenses.classify(expression)
			c.licenses[expression] = l
		}

		// One denied license is enough: the package is refused once, and not for each that it states.
		if l.denied != "" {
			c.add(deny(
				attestor.CodeLicenseDenied, clip(p.String()),
				fmt.Sprintf("%s says that %s is under %s, and the policy denies %s", by, clip(p.String()),
					clip(expression), l.denied),
				"remove the package, or agree on another license and state it in the SBOM",
			), p)
			return
		}
		if !l.valid {
			unknown = "states a license that is not an SPDX expression: " + clip(expression)
		}
	}
	if unknown == "" {
		return
	}

	f, ok := deny(
		attestor.CodeLicenseUnknown, clip(p.String()), fmt.Sprintf("%s lists %s, which %s", by,
			clip(p.String()), unknown),
		"state its license in the SBOM as an SPDX expression, or set spec.packages.licenses.unknown",
	).treat(c.want.Licenses.Unknown)
	if ok {
		c.add(f, p)
	}
}

// classify says whether one expression is valid and denied.
func (l *Licenses) classify(text string) license {
	e, err := parseLicense(text)
	if err != nil {
		return license{}
	}
	if denied, ok := e.satisfiable(l.Deny); !ok {
		return license{valid: true, denied: denied}
	}
	return license{valid: true}
}

// An expression is an SPDX license expression: a license, or several of which all (AND) or one (OR) apply.
type expression struct {
	license string // of a leaf, with its exception
	any     bool   // OR
	parts   []expression
}

// The bounds of an expression. Those of real packages have some dozens of licenses.
const (
	maxExpressionText  = 2048
	maxExpressionDepth = 16
)

// parseLicense parses an expression by the grammar of SPDX 2.3, annex D: WITH binds closest, then AND, then OR. Each
// license and exception has to be on the SPDX list, or a LicenseRef.
func parseLicense(text string) (expression, error) {
	// Documents are hostile input: length and depth bound the parser's time and stack.
	if len(text) > maxExpressionText {
		return expression{}, fmt.Errorf("the expression has %d bytes", len(text))
	}
	words := strings.Fields(strings.NewReplacer("(", " ( ", ")", " ) ").Replace(text))
	p := &licenseParser{words: words}
	e, err := p.or(0)

	// Words that are left over are no expression: they could hide a license.
	if err == nil && p.next < len(words) {
		err = fmt.Errorf("%q is not expected", words[p.next])
	}
	return e, err
}

type licenseParser struct {
	words []string
	next  int
}

// accept takes the next word if it is the operator. SPDX 2.3, D.1: operators are matched in upper or lower case.
func (p *licenseParser) accept(operator string) bool {
	if p.next < len(p.words) && (p.words[p.next] == operator || p.words[p.next] == strings.ToLower(operator)) {
		p.next++
		return true
	}
	return false
}

func (p *licenseParser) or(depth int) (expression, error) {
	return p.list("OR", true, func() (expression, error) {
		return p.list("AND", false, func() (expression, error) { return p.leaf(depth) })
	})
}

// list parses parts with an operator between them.
func (p *licenseParser) list(operator string, any bool, part func() (expression, error)) (expression, error) {
	e := expression{any: any}
	for {
		next, err := part()
		if err != nil {
			return e, err
		}
		e.parts = append(e.parts, next)
		if !p.accept(operator) {
			return e, nil
		}
	}
}

// leaf parses a license, or an expression in parentheses.
func (p *licenseParser) leaf(depth int) (expression, error) {
	if p.accept("(") {
		if depth == maxExpressionDepth {
			return expression{}, fmt.Errorf("nested more than %d deep", maxExpressionDepth)
		}
		e, err := p.or(depth + 1)
		if err == nil && !p.accept(")") {
			err = fmt.Errorf("a parenthesis is not closed")
		}
		return e, err
	}

	if p.next == len(p.words) {
		return expression{}, fmt.Errorf("it ends where a license is expected")
	}
	id := p.words[p.next]
	p.next++
	known := onList(id)
	if p.accept("WITH") {
		if p.next == len(p.words) {
			return expression{}, fmt.Errorf("it ends where an exception is expected")
		}
		exception := " WITH " + p.words[p.next]
		p.next++

		// The library does not read "+" before WITH, which SPDX allows: both are on the list, each with the license.
		known = onList(id+exception) || known && onList(strings.TrimSuffix(id, "+")+exception)
		id += exception
	}

	if !known {
		return expression{}, fmt.Errorf("%q is not on the SPDX license list", id)
	}
	return expression{license: id}, nil
}

// onList reports whether the SPDX list, which the library has, has a license.
func onList(id string) bool {
	ok, _ := spdxexp.ValidateLicenses([]string{id})
	return ok
}

// satisfiable reports whether the expression can be complied with without a denied license. Otherwise it returns one
// that stands in the way.
func (e *expression) satisfiable(denied []string) (string, bool) {
	if e.license != "" {
		for _, d := range denied {
			if coversLicense(d, e.license) {
				return d, false
			}
		}
		return "", true
	}

	by, ok := "", !e.any
	for i := range e.parts {
		part, fine := e.parts[i].satisfiable(denied)

		// The first part decides: of AND one that cannot be complied with, of OR one that can.
		if fine == e.any {
			return part, fine
		}
		if !fine {
			by = part
		}
	}
	return by, ok
}

// coversLicense reports whether a denied license is meant by an identifier. Without an exception it is denied with any.
func coversLicense(denied, id string) bool {
	denied, id = anyLater(modern(denied)), anyLater(modern(id))
	base, _, _ := strings.Cut(id, " with ")
	return denied == id || denied == base
}

// anyLater leaves out that later versions may be chosen: SPDX 2.3, D.3, writes "+" after the version from which they may.
// Whoever has the choice has the version that is named, too. Successors of deprecated identifiers are licenses of their
// own, which a policy names one by one.
func anyLater(id string) string {
	id, exception, with := strings.Cut(id, " with ")
	if id = strings.TrimSuffix(id, "+"); with {
		id += " with " + exception
	}
	return id
}

// modern folds the case of an identifier, and replaces those that SPDX deprecates and tools still write: GPL-2.0 is
// GPL-2.0-only, GPL-2.0+ is GPL-2.0-or-later, and GPL-2.0-with-classpath-exception is GPL-2.0-only with an exception.
func modern(id string) string {
	id, exception, with := strings.Cut(strings.ToLower(id), " with ")
	if strings.HasPrefix(id, "gpl-") || strings.HasPrefix(id, "lgpl-") || strings.HasPrefix(id, "agpl-") ||
		strings.HasPrefix(id, "gfdl-") {
		if !with {
			id, exception, with = strings.Cut(id, "-with-")
		}
		switch {
		case strings.HasSuffix(id, "-only"), strings.HasSuffix(id, "-or-later"):
		case strings.HasSuffix(id, "+"):
			id = strings.TrimSuffix(id, "+") + "-or-later"
		default:
			id += "-only"
		}
	}

	if with {
		id += " with " + exception
	}
	return id
}

func (v *validator) licenses(path string, l *Licenses) {
	v.notEmpty(path+".deny", len(l.Deny))
	for i, d := range l.Deny {
		at := index(path+".deny", i)
		v.text(at, d)
		e, err := parseLicense(d)
		switch {
		case strings.TrimSpace(d) == "":
		case err != nil:
			v.at(at, "%q is not an SPDX license: %v", clip(d), err)
		case len(e.parts) != 1 || len(e.parts[0].parts) != 1 || e.parts[0].parts[0].license != d:
			v.at(at, "%q is more than one license: give each by itself", clip(d))
		}
	}
}
