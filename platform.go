package attestor

import (
	"slices"
	"strings"
)

// SamePlatform reports whether got, as os/architecture[/variant], is the platform wanted, or a variant of it where none
// is named.
func SamePlatform(want, got string) bool {
	wanted, g := splitPlatform(want), splitPlatform(got)
	if wanted[2] == "" {
		return wanted.normal()[0] == g.normal()[0] && wanted.normal()[1] == g.normal()[1]
	}
	return wanted.normal() == g.normal()
}

// platformParts are operating system, architecture and variant.
type platformParts [3]string

func splitPlatform(s string) platformParts {
	var p platformParts
	copy(p[:], strings.SplitN(s, "/", 3))
	return p
}

func (p platformParts) normal() platformParts {
	p[1], p[2] = NormalArchitecture(p[1], p[2])
	return p
}

// NormalArchitecture gives an architecture and its variant the one spelling that containerd gives them
// (platforms.Normalize), which leaves out variants that are the default, so that two spellings of one platform are equal.
func NormalArchitecture(architecture, variant string) (string, string) {
	switch architecture {
	case "i386":
		return "386", ""
	case "x86_64", "x86-64":
		architecture = "amd64"
	case "aarch64":
		architecture = "arm64"
	case "armhf":
		return "arm", "v7"
	case "armel":
		return "arm", "v6"
	}

	switch {
	case architecture == "amd64" && variant == "v1":
		variant = ""
	case architecture == "arm64" && (variant == "8" || variant == "v8" || variant == "v8.0"):
		variant = ""
	case architecture == "arm64" && (variant == "9" || variant == "9.0" || variant == "v9.0"):
		variant = "v9"
	case architecture == "arm" && variant == "":
		variant = "v7"
	case architecture == "arm" && (variant == "5" || variant == "6" || variant == "7" || variant == "8"):
		variant = "v" + variant
	}
	return architecture, variant
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
