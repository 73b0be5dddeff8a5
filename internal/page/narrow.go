package page

import (
	"maps"
	"net/url"
	"slices"
	"strings"
)

// A Narrowed is one filter of a list or report, and the same page without it.
type Narrowed struct {
	Name, Value, Without string
}

// Narrow lists the filters of a search, without those that a form shows in fields
// of its own.
func Narrow(path string, search map[string]string, shown ...string) []Narrowed {
	var out []Narrowed

	// In the order of names, so that the same search has the same page.
	for _, name := range slices.Sorted(maps.Keys(search)) {
		if slices.Contains(shown, name) {
			continue
		}

		rest := maps.Clone(search)
		delete(rest, name)
		n := Narrowed{Name: name, Value: search[name], Without: path}
		if len(rest) > 0 {
			n.Without += "?" + Query(rest)
		}
		out = append(out, n)
	}
	return out
}

// Query encodes a search with further parameters, in pairs; one that is "" is left
// out.
func Query(search map[string]string, further ...string) string {
	q := url.Values{}
	for name, v := range search {
		q.Set(name, v)
	}

	// A pair of which one half is missing is left out.
	for pair := range slices.Chunk(further, 2) {
		if len(pair) == 2 && pair[1] != "" {
			q.Set(pair[0], pair[1])
		}
	}
	return q.Encode()
}

// ImagePath is the address of the page on an image, REPOSITORY@DIGEST.
func ImagePath(name string) string {
	return "/images/" + strings.ReplaceAll(url.PathEscape(name), "%2F", "/")
}
