package filter

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/plain"
)

// A Parameter is one row of the table: a parameter of the API and the pages, and a
// flag of the commands that read the record.
type Parameter struct {
	Name string
	Help string // one line, for flags and for the API's description

	set    func(f *Filter, text string, now time.Time) error
	get    func(f Filter) string  // "": not set
	search func(text string) bool // reports whether a text of "search" may be one; nil: never
}

// maxText bounds a parameter's value, in bytes.
const maxText = 512

// Parameters is the table. What the API, the pages and the commands accept follows
// from it, and the API's description is checked against it.
func Parameters() []Parameter {
	id := func(f *Filter) *string { return &f.ID }
	image := func(f *Filter) *string { return &f.Image }
	digest := func(f *Filter) *string { return &f.Digest }
	tag := func(f *Filter) *string { return &f.Tag }
	repository := func(f *Filter) *string { return &f.Repository }
	pkg := func(f *Filter) *string { return &f.Package }
	cve := func(f *Filter) *string { return &f.CVE }
	reason := func(f *Filter) *attestor.Code { return &f.Reason }
	caller := func(f *Filter) *string { return &f.Caller }
	override := func(f *Filter) (*bool, *string) { return &f.BreakGlass, &f.Override }
	revocation := func(f *Filter) (*bool, *string) { return &f.Revoked, &f.Revocation }
	policy := func(f *Filter) *string { return &f.Policy }
	verdict := func(f *Filter) *attestor.Outcome { return &f.Verdict }
	since := func(f *Filter) *time.Time { return &f.Since }
	until := func(f *Filter) *time.Time { return &f.Until }
	search := func(f *Filter) *string { return &f.Search }

	return []Parameter{
		{"id", "id of a decision", set(id, asText), get(id), isWord},
		{"image", "REPOSITORY@DIGEST, a digest, or REPOSITORY:TAG as requested", set(image, asImage),
			get(image), isImage},
		{"digest", "a digest, or its first 8 hexadecimal digits or more", set(digest, asDigest), get(digest), isDigest},
		{"tag", "tag in the request", set(tag, asText), get(tag), isWord},
		{
			"repository", "a repository, a pattern, or the end of a name: prod/api, api",
			set(repository, asRepository), get(repository), isRepository,
		},
		{"package", "package with a finding", set(pkg, asText), get(pkg), isPackage},
		{"cve", "id of a finding: CVE-2026-1234, GHSA-…", set(cve, asText), get(cve), isAdvisory},
		{"reason", "code of a reason, see docs/reasons.md", set(reason, asReason), get(reason), isReason},
		{"caller", "subject of the caller", set(caller, asText), get(caller), isWord},
		{
			"override", "true: all overridden decisions (break-glass); or the id of an override",
			setEvery(override), getEvery(override), nil,
		},
		{
			"revocation", "true: all decisions whose admission was revoked; or the id of a revocation",
			setEvery(revocation), getEvery(revocation), nil,
		},
		{"policy", "name or digest of a policy", set(policy, asPolicy), get(policy), isWord},
		{"verdict", "pass, deny or error", set(verdict, asVerdict), get(verdict), nil},
		{
			"since", "from this time on: a duration ago (30d), a date, or RFC 3339",
			set(since, asInstant), getTime(since), nil,
		},
		{"until", "before this time: as since", set(until, asInstant), getTime(until), nil},
		{
			"search", "text that is one of: id, image, digest, tag, repository, package, CVE, reason, caller, policy",
			set(search, asText), get(search), nil,
		},
	}
}

// set and get make the functions of a parameter with one field.
func set[T any](
	field func(*Filter) *T, parse func(text string, now time.Time) (T, error),
) func(*Filter, string, time.Time) error {
	return func(f *Filter, text string, now time.Time) (err error) {
		*field(f), err = parse(text, now)
		return err
	}
}

func get[T ~string](field func(*Filter) *T) func(Filter) string {
	return func(f Filter) string { return string(*field(&f)) }
}

func getTime(field func(*Filter) *time.Time) func(Filter) string {
	return func(f Filter) string {
		if field(&f).IsZero() {
			return ""
		}
		return field(&f).UTC().Format(time.RFC3339Nano)
	}
}

// setEvery and getEvery are for a parameter that is "true" or an id.
func setEvery(fields func(*Filter) (*bool, *string)) func(*Filter, string, time.Time) error {
	return func(f *Filter, text string, _ time.Time) error {
		every, id := fields(f)
		switch text {
		case "true":
			*every = true
		case "false":
			// "false" could be meant as "those that were not" and read as "all": it is
			// neither, and no id.
			return &attestor.Error{Kind: attestor.Invalid, Msg: `"false" is neither true nor an id`,
				Fix: "leave it out for all decisions"}
		default:
			*id = text
		}
		return nil
	}
}

func getEvery(fields func(*Filter) (*bool, *string)) func(Filter) string {
	return func(f Filter) string {
		every, id := fields(&f)
		if *every {
			return "true"
		}
		return *id
	}
}

// Parse reads parameters by their names. A duration means that long before now. The
// error is an [attestor.Error] of kind Invalid that begins with the parameter's
// name; a name that is not in the table is one too.
func Parse(values map[string]string, now time.Time) (Filter, error) {
	var f Filter
	known := 0
	for _, p := range Parameters() {
		v, ok := values[p.Name]
		if !ok {
			continue
		}

		// A form sends the fields that were left empty too: they select nothing.
		known++
		if v = strings.TrimSpace(v); v == "" {
			continue
		}
		err := check(v)
		if err == nil {
			err = p.set(&f, v, now)
		}
		if err != nil {
			return Filter{}, named(p.Name, err)
		}
	}

	// A misspelt filter would select everything.
	if known != len(values) {
		return Filter{}, unknown(values)
	}

	// Nothing is between them: an empty list would read as "there was nothing".
	if !f.Since.IsZero() && !f.Until.IsZero() && !f.Since.Before(f.Until) {
		return Filter{}, named("until", invalid("exchange since and until, or leave one out", "%s is not after since, %s",
			f.Until.UTC().Format(time.RFC3339), f.Since.UTC().Format(time.RFC3339)))
	}

	// The text is the same on every page of a list. The instant that "30d" means is
	// not.
	if since, until := values["since"], values["until"]; since+until != "" {
		f.Period = "since=" + since + "&until=" + until
	}
	return f, nil
}

// check bounds a value, whichever parameter it is for.
func check(v string) error {
	switch {
	case len(v) > maxText:
		return invalid("send a shorter value", "the value has %d bytes, at most %d are allowed", len(v), maxText)
	case !utf8.ValidString(v) || strings.ContainsFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return invalid("send printable text", "the value has control characters, or is not UTF-8")
	}
	return nil
}

// named puts the parameter's name before the message.
func named(name string, err error) error {
	out := &attestor.Error{Kind: attestor.Invalid, Msg: name + ": " + attestor.Message(err)}
	if e, ok := errors.AsType[*attestor.Error](err); ok {
		out.Fix = e.Fix
	}
	return out
}

// unknown is the error about a name that is not in the table.
func unknown(values map[string]string) error {
	known := Names()
	for name := range values {
		if !slices.Contains(known, name) {
			return invalid("use only "+strings.Join(known, ", "), "there is no filter %s", plain.Quote(name, 60))
		}
	}
	return nil
}

func invalid(fix, format string, args ...any) error {
	return &attestor.Error{Kind: attestor.Invalid, Msg: fmt.Sprintf(format, args...), Fix: fix}
}
