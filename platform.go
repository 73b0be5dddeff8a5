package attestor

import "strings"

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
