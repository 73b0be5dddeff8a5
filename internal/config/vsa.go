package config

import (
	"fmt"
	"net/url"
)

// maxFormerKeys bounds vsa.former.
const maxFormerKeys = 8

// problems also finds a key that has two uses by its name. Keys that are one under two names are found when they are
// read.
func (s VSA) problems(attestors []Attestor) []error {
	var out []error
	bad := func(format string, args ...any) { out = append(out, fmt.Errorf(format, args...)) }

	// Consumers compare both as texts: only one form is allowed.
	for _, u := range []struct{ key, value string }{{"verifier", s.Verifier}, {"policies", s.Policies}} {
		parsed, err := url.Parse(u.value)
		if u.key == "policies" && u.value == "" {
			continue
		}
		if err != nil || parsed.Scheme != "https" || parsed.Host == "" || parsed.RawQuery != "" ||
			parsed.Fragment != "" {
			bad("vsa.%s: %q is not an HTTPS URL such as https://gate.example/attestor", u.key, u.value)
		}
	}
	if s.MaxAge < 0 {
		bad("vsa.maxAge: %s is negative", s.MaxAge)
	}

	// Each of them verifies every statement that is attached to an image.
	if len(s.Former) > maxFormerKeys {
		bad("vsa.former: %d keys; at most %d are allowed", len(s.Former), maxFormerKeys)
	}
	for i, path := range s.Former {
		if path == "" {
			bad("vsa.former[%d]: names no file", i)
		}
	}

	keys := []struct {
		at string
		k  SummaryKey
	}{{"vsa.passed", s.Passed}}
	if s.Refused != nil {
		keys = append(keys, struct {
			at string
			k  SummaryKey
		}{"vsa.refused", *s.Refused})
	}
	used := map[SummaryKey]string{}

	// One key for two kinds of statements would let a signature of one be shown as the other.
	for i, a := range attestors {
		used[SummaryKey{KMS: a.KMS, KeyFile: a.KeyFile}] = fmt.Sprintf("attestors[%d]", i)
	}
	for _, x := range keys {
		if (x.k.KMS == "") == (x.k.KeyFile == "") {
			bad("%s: want one of kms and keyFile", x.at)
			continue
		}
		if x.k.KMS != "" && !keyVersion.MatchString(x.k.KMS) {
			bad("%s.kms: %q is not projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/N", x.at, x.k.KMS)
		}
		if other, twice := used[x.k]; twice {
			bad("%s: the key is that of %s; each signs one kind of statement and needs a key of its own", x.at, other)
		}
		used[x.k] = x.at
	}
	return out
}
