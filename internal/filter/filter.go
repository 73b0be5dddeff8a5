// Package filter has the one filter over recorded decisions, and the one table of
// its parameters. The API, the pages and the command line read the same names by
// the same rules, so that a search means the same wherever it is typed.
package filter

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
)

// A Filter selects finished decisions: those for which every field that is set
// holds. The zero value selects all of them.
type Filter struct {
	ID string // of the decision
	// Image is REPOSITORY@DIGEST, a digest (of an index, or of a platform's manifest
	// in one), or REPOSITORY:TAG as the request had it.
	Image  string
	Digest string // sha256: and 8 to 64 hexadecimal digits: a digest, or its beginning
	Tag    string // in the request
	// Repository is canonical, a pattern such as us-docker.pkg.dev/acme/prod/**, or
	// the end of a name: prod/api, api.
	Repository string
	Package    string // with a finding; upper and lower case are the same
	CVE        string // the id of a finding: CVE-…, GHSA-…; upper and lower case are the same
	Reason     attestor.Code
	Caller     string // subject
	BreakGlass bool   // only decisions that were overridden
	Override   string // id of the override
	Revoked    bool   // only decisions whose admission was revoked since
	Revocation string // id of the revocation that did
	Policy     string // name, or digest
	Verdict    attestor.Outcome
	Since      time.Time // inclusive; zero: no limit
	Until      time.Time // exclusive; zero: no limit
	// Search is a text that may be any of the above; see [Filter.Alternatives].
	Search string

	// Period is the text of Since and Until where either is relative to the clock
	// ("1d"). Pages after the first then keep the first page's Since and Until, and
	// a token is bound to Period in their place. "": both are fixed.
	Period string
	// Visible, where set, hides the decisions on repositories that the caller may
	// not see.
	Visible func(repository string) bool
}

// Values returns the filter's fields as parameters, without those that are not
// set. Times are RFC 3339.
func (f Filter) Values() map[string]string {
	out := map[string]string{}
	for _, p := range Parameters() {
		if v := p.get(f); v != "" {
			out[p.Name] = v
		}
	}
	return out
}

// Fingerprint is a text that is the same for filters that select the same list,
// whoever may see it. Instants that are relative to the clock are represented by
// their Period, which does not change from page to page.
func (f Filter) Fingerprint() string {
	values := f.Values()
	if f.Period != "" {
		delete(values, "since")
		delete(values, "until")
		values["period"] = f.Period
	}

	b, err := json.Marshal(values) // in the order of the keys
	if err != nil {
		panic("filter: a map of strings does not encode")
	}
	return string(b)
}

// Alternatives returns the filters whose lists together are f's: f itself where it
// has no Search, and otherwise one for each thing that the text may be.
func (f Filter) Alternatives() []Filter {
	if f.Search == "" {
		return []Filter{f}
	}

	text := f.Search
	f.Search = ""
	var out []Filter
	for _, p := range Parameters() {
		if p.search == nil || !p.search(text) {
			continue
		}

		// A field that is set already keeps its value: the text is then looked for in
		// the others, or else the same decisions would be required to have two values.
		g := f
		if p.get(f) == "" && p.set(&g, text, time.Time{}) == nil {
			out = append(out, g)
		}
	}
	return out
}

// AtEnd reports whether repository ends in the path name: its last segments are
// those of name.
func AtEnd(repository, name string) bool {
	return repository == name || strings.HasSuffix(repository, "/"+name)
}

// Full reports whether Repository is a canonical name, and neither a pattern nor
// the end of a name.
func (f Filter) Full() bool { return !f.Pattern() && hasHost(f.Repository) }

// Pattern reports whether Repository is a pattern.
func (f Filter) Pattern() bool { return strings.Contains(f.Repository, "*") }

// hasHost reports whether a repository begins with its registry, as canonical
// names do: the first segment has a dot or a port, or is localhost.
func hasHost(repository string) bool {
	host, _, path := strings.Cut(repository, "/")
	return path && (host == "localhost" || strings.ContainsAny(host, ".:"))
}

// Names lists the parameters' names, in the order of the table.
func Names() []string {
	var out []string
	for _, p := range Parameters() {
		out = append(out, p.Name)
	}
	return out
}

// ImageNames lists the parameters of the page of images that select by the newest decision on an image, beside those of
// the decisions.
func ImageNames() []string {
	return []string{"newest", "because", "fix", "only", "owner", "base", "outdated", "broken", "exception", "later"}
}

// knownCode reports whether a code is one of this version.
func knownCode(c attestor.Code) bool {
	return slices.ContainsFunc(attestor.Codes(), func(i attestor.CodeInfo) bool { return i.Code == c })
}
