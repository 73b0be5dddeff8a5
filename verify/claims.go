package verify

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
)

// Bounds on what an author's claims may take up in the record.
const (
	maxClaims     = 256
	maxClaimBytes = 64 << 10
)

// claims is what the author says, bounded, with the fields that were clipped.
// Environment values stay here.
func claims(c imageConfig, d document) attestor.ImageConfig {
	out := attestor.ImageConfig{User: boundedText(c.Config.User), Created: c.Created, Size: d.Config.Size}
	for _, l := range *d.Layers {
		out.Size += l.Size
	}
	var names, secrets []string
	for _, e := range c.Config.Env {
		// The value is looked at and dropped: it may be a secret, and records are read by many.
		name, value, _ := strings.Cut(e, "=")
		names = append(names, name)
		if looksSecret(name, value) {
			secrets = append(secrets, name)
		}
	}

	for _, m := range []struct {
		field string
		from  map[string]string
		to    *map[string]string
	}{{"labels", c.Config.Labels, &out.Labels}, {"annotations", d.Annotations, &out.Annotations}} {
		if *m.to = boundedMap(m.from); !maps.Equal(*m.to, m.from) {
			out.Clipped = append(out.Clipped, m.field)
		}
	}

	for _, l := range []struct {
		field string
		from  []string
		to    *[]string
	}{
		{"envNames", names, &out.EnvNames},
		{"secretEnv", secrets, &out.SecretEnv},
		{"entrypoint", c.Config.Entrypoint, &out.Entrypoint},
		{"cmd", c.Config.Cmd, &out.Cmd},
		{"exposedPorts", slices.Sorted(maps.Keys(c.Config.ExposedPorts)), &out.ExposedPorts},
	} {
		if *l.to = boundedList(l.from); !slices.Equal(*l.to, l.from) {
			out.Clipped = append(out.Clipped, l.field)
		}
	}
	return out
}

func boundedMap(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	out := map[string]string{}

	// Sorted, so that the same image always gives the same evidence.
	keys := slices.Sorted(maps.Keys(m))
	for _, k := range keys[:min(len(keys), maxClaims)] {
		out[boundedText(k)] = boundedText(m[k])
	}
	return out
}

func boundedList(l []string) []string {
	l = l[:min(len(l), maxClaims)]
	var out []string
	for _, s := range l {
		out = append(out, boundedText(s))
	}
	return out
}

func boundedText(s string) string {
	if len(s) > maxClaimBytes {
		return strings.ToValidUTF8(s[:maxClaimBytes], "") + "…"
	}
	return s
}

var (
	secretName = regexp.MustCompile(
		`(?i)(^|_)(password|passwd|secret|token|api_?key|access_?key|private_?key|credentials?)(_|$)`,
	)
	secretValue = regexp.MustCompile(
		`^(AKIA[0-9A-Z]{16}|AIza[0-9A-Za-z_-]{35}|gh[pousr]_[0-9A-Za-z]{36,}|glpat-[0-9A-Za-z_-]{20,}|` +
			`xox[abpr]-[0-9A-Za-z-]{10,}|eyJ[0-9A-Za-z_-]+\.eyJ[0-9A-Za-z_-]+\..*)|-----BEGIN [A-Z ]*PRIVATE KEY`,
	)
)

// looksSecret reports whether a variable baked into an image looks like a
// credential: by its name, unless it names a file, or by the value's form.
func looksSecret(name, value string) bool {
	if value == "" || strings.HasPrefix(value, "/") {
		return false
	}
	return secretName.MatchString(name) || secretValue.MatchString(value)
}
