package eol

import (
	"strings"

	"github.com/attestor-gate/attestor"
)

// maxVersion is how many bytes of a version are kept.
const maxVersion = 64

// FromCPE reads a distribution from a CPE of an operating system, cpe:/o:VENDOR:PRODUCT:VERSION. ok is false for
// anything else.
func FromCPE(cpe string) (s attestor.System, ok bool) {
	rest, ok := strings.CutPrefix(cpe, "cpe:/o:")
	if !ok {
		return attestor.System{}, false
	}
	parts := strings.SplitN(rest, ":", 4)
	if len(parts) < 2 {
		return attestor.System{}, false
	}

	id := family(parts[0], parts[1])
	if id == "" {
		return attestor.System{}, false
	}
	s = attestor.System{ID: id, Source: attestor.SystemFromScan}

	// CPE 2.2 has - for "not applicable", and * stands for any.
	if len(parts) > 2 && parts[2] != "-" && parts[2] != "*" {
		s.Version = clip(unprefixed(parts[2]))
	}
	return s, true
}

// unprefixed drops the v of a version, as OSV's Alpine:v3.20 has it.
func unprefixed(version string) string {
	if len(version) > 1 && version[0] == 'v' && version[1] >= '0' && version[1] <= '9' {
		return version[1:]
	}
	return version
}

// family is the id in os-release of a vendor's product, or "".
func family(vendor, product string) string {
	switch strings.TrimSuffix(product, "_linux") {
	case "debian", "ubuntu", "alpine", "rocky", "fedora", "centos", "wolfi", "chainguard", "void", "gentoo", "kali",
		"photon", "azurelinux", "mariner":
		return strings.TrimSuffix(product, "_linux")
	case "enterprise", "redhat", "rhel", "red_hat":
		if vendor == "oracle" {
			return "ol"
		}
		return "rhel"
	case "rocky_linux", "rockylinux":
		return "rocky"
	case "almalinux", "alma":
		return "almalinux"
	case "amazonlinux":
		return "amzn"
	case "amazon", "amzn", "linux": // cpe:/o:amazon:linux:2
		if vendor != "amazon" && vendor != "amzn" {
			return ""
		}
		return "amzn"
	case "oracle", "oraclelinux", "ol":
		return "ol"
	case "sles", "sled", "suse_linux_enterprise_server", "suse.linux.enterprise.server":
		return "sles"
	case "opensuse-leap", "opensuse.leap", "leap", "opensuse":
		return "opensuse-leap"
	case "opensuse-tumbleweed", "opensuse.tumbleweed":
		return "opensuse-tumbleweed"
	case "arch", "archlinux":
		return "arch"
	}
	return ""
}

// FromOSRelease reads ID and VERSION_ID as os-release(5) has them. ok is false if it names no distribution. A line that
// is malformed is left out; of several with one name the last counts, as in a shell.
func FromOSRelease(content []byte) (s attestor.System, ok bool) {
	s.Source = attestor.SystemFromImage
	pretty := ""
	for line := range strings.Lines(string(content)) {
		name, value, found := strings.Cut(strings.TrimSpace(line), "=")
		if !found {
			continue
		}
		value = unquoted(value)
		switch name {
		case "ID":
			s.ID = strings.ToLower(value)
		case "VERSION_ID":
			s.Version = clip(value)
		case "PRETTY_NAME":
			pretty = value
		}
	}

	// Debian's testing and unstable have no VERSION_ID: "Debian GNU/Linux forky/sid".
	if s.Version == "" && strings.HasSuffix(pretty, "/sid") {
		s.Version = clip(pretty[strings.LastIndexByte(pretty, ' ')+1:])
	}

	// The id comes from the image: a text of another form could fill messages and records.
	if !idForm.MatchString(s.ID) {
		return attestor.System{}, false
	}
	return s, true
}

// unquoted drops a pair of quotes. Escapes have no place in the two fields that count.
func unquoted(s string) string {
	if len(s) >= 2 && (s[0] == '"' || s[0] == '\'') && s[len(s)-1] == s[0] {
		return s[1 : len(s)-1]
	}
	return s
}

func clip(s string) string {
	return strings.ToValidUTF8(s[:min(len(s), maxVersion)], "")
}
