package vsa

import (
	"strconv"
	"strings"
)

const buildPrefix = "SLSA_BUILD_LEVEL_"

// maxBuildLevel is the highest level of the build track. SLSA v1.2, "Build track levels".
const maxBuildLevel = 3

// BuildLevel is the word for a proven level of the build track; 0 or less is [Unevaluated].
func BuildLevel(n int) string {
	if n <= 0 {
		return Unevaluated
	}
	return buildPrefix + strconv.Itoa(min(n, maxBuildLevel))
}

// Build returns the level of the build track that levels prove; 0 for none. SLSA v1.2: a level includes those below it.
func Build(levels []string) int {
	best := 0
	for _, l := range levels {
		rest, ok := strings.CutPrefix(l, buildPrefix)
		if n, err := strconv.Atoi(rest); ok && err == nil && strconv.Itoa(n) == rest && n <= maxBuildLevel {
			best = max(best, n)
		}
	}
	return best
}
