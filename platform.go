package attestor

import (
	"slices"
	"strings"
)

// SamePlatform reports whether got, as os/architecture[/variant], is the
// platform wanted, or a variant of it where none is named.
func SamePlatform(want, got string) bool {
	return strings.HasPrefix(got, want+"/") || normalPlatform(want) == normalPlatform(got)
}

// normalPlatform spells default variants as containerd does, so that two
// spellings of one platform are equal.
func normalPlatform(s string) string {
	switch s {
	case "linux/arm64/v8", "linux/arm64/8":
		return "linux/arm64"
	case "linux/amd64/v1":
		return "linux/amd64"
	case "linux/arm":
		return "linux/arm/v7"
	}

	return s
}

// scannedOfIndex is the platform whose child Container Analysis scans of an
// index. It keeps that scan under the digest of the index.
const scannedOfIndex = "linux/amd64"

// ScannedChild returns the position of the child that a scanner looks at which
// scans one child of an index, the first for platform, or -1. If such a child was
// left out of what is judged, it may have been the scanner's: the scan is then no
// other child's.
func ScannedChild(platform string, children, left []Child) int {
	same := func(c Child) bool { return SamePlatform(platform, c.Platform) }

	// Which of several came first in the index is not known here, so that none is taken for it.
	if slices.ContainsFunc(left, same) {
		return -1
	}

	return slices.IndexFunc(children, same)
}

// hasPlatform reports whether one of the children is for a platform.
func hasPlatform(platform string, children []Child) bool {
	return slices.ContainsFunc(children, func(c Child) bool { return SamePlatform(platform, c.Platform) })
}
