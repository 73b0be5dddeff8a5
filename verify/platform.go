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

// normal leaves out variants that are the default, as containerd does, so that
// two spellings of one platform are equal.
func (p platform) normal() platform {
	switch {
	case p.Architecture == "arm64" && (p.Variant == "8" || p.Variant == "v8"),
		p.Architecture == "amd64" && p.Variant == "v1":
		p.Variant = ""
	case p.Architecture == "arm" && p.Variant == "":
		p.Variant = "v7"
	}
	return p
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
			return fault(attestor.CodePlatformMissing, fmt.Sprintf("%s has platform %q, which is none", subject, clip(p.String())), "rebuild the image for a platform such as linux/amd64", nil)
		}
	}
	switch {
	case p.OS == "" || p.Architecture == "" || p.OS == "unknown" || p.Architecture == "unknown":
		return fault(attestor.CodePlatformMissing, subject+" does not say which platform it is for", "rebuild the image for a platform such as linux/amd64", nil)
	case p.OS != "linux":
		return fault(attestor.CodePlatformUnsupported, fmt.Sprintf("%s is for %s; only Linux images can be judged", subject, p), "name the Linux platforms in the policy's platforms, or remove this one from the index", nil)
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

// selected reports whether a policy that names wanted is about p; no names
// mean every platform. A name without a variant is about every variant, since
// a machine runs the best one that it can.
func (p platform) selected(wanted []string) bool {
	if len(wanted) == 0 {
		return true
	}
	for _, s := range wanted {
		w := parsePlatform(s)
		if w.OS == p.OS && w.Architecture == p.Architecture && (w.Variant == "" || w.normal() == p.normal()) {
			return true
		}
	}
	return false
}
