// Package page decides how reports and pages look and behave in a browser:
// one style sheet, one small script, both inline and allowed by their hash, so
// that a page loads nothing and runs nothing else. What pages say is left to
// their own packages.
package page

import (
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/internal/plain"
)

//go:embed style.css
var style string

//go:embed table.js
var script string

// Style is the style sheet.
func Style() template.CSS { return template.CSS(style) } //nolint:gosec // our own file

// Script sorts and filters a table of images, and copies; without it the page is complete.
func Script() template.JS { return template.JS(script) } //nolint:gosec // our own file

// CSP allows the style sheet and the script by their hashes, forms to the
// page's own origin, and nothing else.
func CSP() string {
	return "default-src 'none'; style-src '" + hash(style) + "'; script-src '" + hash(script) +
		"'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
}

// FileCSP is [CSP] for a file, as a meta element can state it.
func FileCSP() string {
	return "default-src 'none'; style-src '" + hash(style) + "'; script-src '" + hash(script) +
		"'; form-action 'none'; base-uri 'none'"
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256-" + base64.StdEncoding.EncodeToString(sum[:])
}

// Funcs are what templates call.
func Funcs() template.FuncMap {
	return template.FuncMap{
		"style": Style, "script": Script, "fileCSP": FileCSP,
		"num": Number, "shares": Shares, "day": Day, "stamp": Stamp, "plural": Plural,
		"short": Short, "digestOf": DigestOf, "mul": func(a float64, b int) float64 { return a * float64(b) },
		"clip": func(s any) string { return plain.Clip(fmt.Sprint(s), 30) }, "overriddenImages": OverriddenImages,
		"openOverrides": Open, "firstOpen": FirstOpen, "restOpen": RestOpen,
		"bar": Bar, "breaks": Breaks, "severities": attestor.Severities, "lower": strings.ToLower,
	}
}

// Number has thousands separated.
func Number(n int) string {
	s := strconv.Itoa(n)

	if n < 0 {
		return "-" + Number(-n)
	}

	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}

	return s
}

// Shares are parts of their sum in whole percent, which add up to 100: what
// rounding down leaves over goes to those that it took most from. All of it is
// 100 % and nothing else is, and what there is of is never 0.
func Shares(parts ...int) []string {
	sum, left := 0, 100
	for _, n := range parts {
		sum += n
	}

	out := make([]string, len(parts))
	if sum == 0 {
		for i := range out {
			out[i] = "0 %"
		}
		return out
	}

	shares, order := make([]int, len(parts)), make([]int, len(parts))
	for i, n := range parts {
		shares[i], order[i] = n*100/sum, i
		left -= shares[i]
	}

	slices.SortStableFunc(order, func(a, b int) int {
		// Of those that lost the same, the smaller first: it shows more.
		return cmp.Or(cmp.Compare(parts[b]*100%sum, parts[a]*100%sum), cmp.Compare(parts[a], parts[b]))
	})

	for _, i := range order[:left] {
		shares[i]++
	}

	// Rounding must not make nothing of something, nor all of nearly all.
	for i, n := range parts {
		switch {
		case n > 0 && shares[i] == 0:
			out[i] = "under 1 %"
		case n < sum && shares[i] == 100:
			out[i] = "over 99 %"
		default:
			out[i] = strconv.Itoa(shares[i]) + " %"
		}
	}

	return out
}

// Plural is a number with its noun.
func Plural(n int, noun string) string { return Number(n) + " " + describe.Noun(n, noun) }

// Day is a date in words, UTC.
func Day(t time.Time) string { return t.UTC().Format("2 Jan 2006") }

// Stamp is a moment in words, UTC.
func Stamp(t time.Time) string { return t.UTC().Format("2 Jan 2006, 15:04 UTC") }

// Short is the beginning of a digest, enough for people to tell two apart.
func Short(s any) string {
	text := fmt.Sprint(s)
	if rest, ok := strings.CutPrefix(text, "sha256:"); ok && len(rest) > 12 {
		return "sha256:" + rest[:12]
	}

	return text
}

// DigestOf is what follows "@" in an image's reference.
func DigestOf(image string) string {
	_, d, _ := strings.Cut(image, "@")
	return d
}

// Breaks is a name that a narrow column breaks after its separators rather than within a word. What is longer than the
// column all the same is broken anywhere, by the style sheet.
func Breaks(name string) template.HTML {
	var b strings.Builder
	for part := range strings.SplitAfterSeq(name, "/") {
		if b.Len() > 0 && part != "" {
			b.WriteString("<wbr>")
		}
		b.WriteString(template.HTMLEscapeString(part))
	}

	return template.HTML(b.String()) //nolint:gosec // parts that are escaped, and our own element
}

// A Segment is one part of a [Bar].
type Segment struct {
	Class string // of its fill
	N     int
}

// Bar is a horizontal bar of segments against a whole, as rectangles in a
// drawing that is 1000 wide; its meaning must stand in text beside it.
func Bar(class string, of int, segments ...Segment) template.HTML {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg class="%s" viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true" `+
		`focusable="false">`, template.HTMLEscapeString(class))
	x := 0.0
	for _, s := range segments {
		if s.N <= 0 || of <= 0 {
			continue
		}

		w := max(float64(s.N)*1000/float64(of), 3) // what exists is seen
		fmt.Fprintf(&b, `<rect class="%s" x="%.1f" y="0" width="%.1f" height="10"/>`,
			template.HTMLEscapeString(s.Class), x,
			w)
		x += w
	}

	b.WriteString(`</svg>`)

	return template.HTML(b.String()) //nolint:gosec // numbers, and classes that are escaped
}
