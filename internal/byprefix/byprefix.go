// Package byprefix finds what is filed under a text that another text begins with, without looking at the rest.
package byprefix

import "slices"

// An Index files values under texts. The zero value is empty. It may be read at the same time, and written by one
// alone.
type Index[T any] struct {
	lengths []int // of the texts, each once, in order
	filed   map[string][]T
}

// Add files a value.
func (x *Index[T]) Add(text string, v T) {
	if x.filed == nil {
		x.filed = map[string][]T{}
	}
	if at, known := slices.BinarySearch(x.lengths, len(text)); !known {
		x.lengths = slices.Insert(x.lengths, at, len(text))
	}
	x.filed[text] = append(x.filed[text], v)
}

// Visit calls f with each value that is filed under a text with which s begins, the shortest texts first. It costs a
// look-up for each length that texts have, which a pattern's longest bounds.
func (x *Index[T]) Visit(s string, f func(T)) {
	for _, n := range x.lengths {
		if n > len(s) {
			return
		}
		for _, v := range x.filed[s[:n]] {
			f(v)
		}
	}
}
