package emulator

import grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

// Filter is a parsed filter, for tests of the language alone.
type Filter struct{ root node }

// ParseFilter parses as lists do.
func ParseFilter(s string) (Filter, error) {
	n, err := parseFilter(s)
	return Filter{n}, err
}

// Blank is whether the filter selects everything because it is empty.
func (f Filter) Blank() bool { return f.root == nil }

// Matches is whether a list would select the occurrence.
func (f Filter) Matches(o *grafeaspb.Occurrence) bool {
	return matches(f.root, &occView{row: rowOf(o)})
}

// Hinted is whether a list would look at the occurrence at all.
func (f Filter) Hinted(o *grafeaspb.Occurrence) bool {
	keys, ok := indexHint(f.root)
	if !ok {
		return true
	}

	for _, have := range indexKeys(rowOf(o)) {
		for _, k := range keys {
			if have == k {
				return true
			}
		}
	}
	return false
}

func rowOf(o *grafeaspb.Occurrence) *row {
	return &row{name: o.GetName(), data: encode(o), occ: metaOf(o)}
}
