package verify

import (
	"fmt"
	"strings"

	"github.com/attestor-gate/attestor"
)

// platform is how an index or a config states one.
type platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant"`
}

// String is os/architecture[/variant] as written.
func (p platform) String() string {
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// normal is the platform in its one spelling, so that two spellings of it are equal.
func (p platform) normal() platform {
	p.Architecture, p.Variant = attestor.NormalArchitecture(p.Architecture, p.Variant)
	return p
}

// knownPlatforms are the platforms, in their normal spelling, that Go and
// containerd have names for and images are built for: a closed set. Only Linux
// is judged. Others are judged all the same, but little is kept of them, since
// pushers can invent them without end.
func knownPlatforms() []platform {
	var known []platform
	for architecture, variants := range map[string][]string{
		"386": {""}, "amd64": {"", "v2", "v3", "v4"}, "arm": {"v5", "v6", "v7", "v8"}, "arm64": {"", "v9"},
		"loong64": {""}, "mips": {""}, "mips64": {""}, "mips64le": {""}, "mipsle": {""},
		"ppc64": {""}, "ppc64le": {"", "power8", "power9", "power10"},
		"riscv64": {"", "rva20u64", "rva22u64", "rva23u64"}, "s390x": {""},
	} {
		for _, v := range variants {
			known = append(known, platform{OS: "linux", Architecture: architecture, Variant: v})
		}
	}
	return known
}

// parsePlatform reads os/architecture[/variant].
func parsePlatform(s string) platform {
	var p platform
	p.OS, s, _ = strings.Cut(s, "/")
	p.Architecture, p.Variant, _ = strings.Cut(s, "/")
	return p
}

// check refuses what is no platform, or none that can be judged: everything
// known here about users and layers is about Linux.
func (p platform) check(subject string) *attestor.Error {
	for _, part := range []string{p.OS, p.Architecture, p.Variant} {
		if strings.Trim(part, "abcdefghijklmnopqrstuvwxyz0123456789._-") != "" || len(part) > 32 {
			return fault(
				attestor.CodePlatformMissing,
				fmt.Sprintf("%s has platform %q, which is not valid", subject, clip(p.String())),
				"rebuild the image for a platform such as linux/amd64",
				nil,
			)
		}
	}

	switch {
	case p.OS == "" || p.Architecture == "" || p.OS == "unknown" || p.Architecture == "unknown":
		return fault(
			attestor.CodePlatformMissing,
			subject+" does not say which platform it is for",
			"rebuild the image for a platform such as linux/amd64",
			nil,
		)
	case p.OS != "linux":
		return fault(
			attestor.CodePlatformUnsupported,
			fmt.Sprintf("%s is for %s; only Linux images can be judged", subject, p),
			"name the Linux platforms in the policy's platforms, or remove this one from the index",
			nil,
		)
	}
	return nil
}

// agrees reports whether a config states the platform that an index gives. A
// variant that only one of them states is no contradiction: many builders
// leave it out of the config.
func (p platform) agrees(config platform) bool {
	a, b := p.normal(), config.normal()
	if p.Variant == "" || config.Variant == "" {
		a.Variant, b.Variant = "", ""
	}
	return a == b
}

// runs lists the platforms whose images a machine of p runs, in the order in which a builder looks for a base's image: p,
// which is in its normal spelling, and the older variants of its architecture. See containerd's platforms.Only.
func (p platform) runs() []platform {
	out := []platform{p}
	for _, variant := range map[platform][]string{
		{"linux", "amd64", "v2"}: {""},
		{"linux", "amd64", "v3"}: {"v2", ""},
		{"linux", "amd64", "v4"}: {"v3", "v2", ""},
		{"linux", "arm64", "v9"}: {""},
		{"linux", "arm", "v6"}:   {"v5"},
		{"linux", "arm", "v7"}:   {"v6", "v5"},
		{"linux", "arm", "v8"}:   {"v7", "v6", "v5"},
	}[p] {
		out = append(out, platform{p.OS, p.Architecture, variant})
	}
	return out
}

// selected reports whether a policy that names wanted is about p; no names
// mean every platform. A name without a variant is about every variant, since
// a machine runs the best one that it can.
func (p platform) selected(wanted []string) bool {
	if len(wanted) == 0 {
		return true
	}
	for _, s := range wanted {
		w := parsePlatform(s)
		if w.OS == p.OS && w.normal().Architecture == p.normal().Architecture &&
			(w.Variant == "" || w.normal() == p.normal()) {
			return true
		}
	}
	return false
}

// amd64 is the platform that is asked about before any image was.
func amd64() platform { return platform{OS: "linux", Architecture: "amd64"} }
