// Package nearest finds the word that somebody probably meant, for messages of the form "did you mean".
package nearest

import "strings"

// maxWord bounds what is compared, in bytes: a longer text is no slip of a known word.
const maxWord = 100

// To is the word among the allowed ones that s is nearest to, upper and lower case alike, or "" if none is near: at
// most two changes, or one for every three bytes of s.
func To(s string, allowed []string) string {
	if len(s) > maxWord {
		return ""
	}
	best, least := "", max(2, len(s)/3)+1
	for _, a := range allowed {
		if d := distance(strings.ToLower(s), strings.ToLower(a)); d < least {
			best, least = a, d
		}
	}
	return best
}

// Question is what a message says after an unknown word: the nearest of the allowed ones, or "".
func Question(s string, allowed []string) string {
	if near := To(s, allowed); near != "" {
		return "; did you mean " + near + "?"
	}
	return ""
}

// distance counts insertions, deletions, substitutions and swaps of
// neighbours that turn a into b.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}

	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := last[j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			row[j] = min(last[j]+1, row[j-1]+1, change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}

	return last[len(b)]
}
