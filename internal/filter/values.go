package filter

import (
	"regexp"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/plain"
	"github.com/attestor-gate/attestor/internal/when"
)

// The forms of texts.
var (
	pathEnd    = regexp.MustCompile(`^[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*$`)
	reasonCode = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)
	// Most databases of advisories name them by letters, a hyphen, and a year or groups
	// of four characters.
	advisory = regexp.MustCompile(`(?i)^[a-z]+-([0-9]{4}[-:]|[0-9a-z]{4}-[0-9a-z]{4})`)
)

func asText(s string, _ time.Time) (string, error) { return s, nil }

// asImage takes the three forms of an image.
func asImage(s string, _ time.Time) (string, error) {
	if strings.HasPrefix(s, digestPrefix) {
		_, err := attestor.ParseDigest(s)
		return s, err
	}
	_, err := attestor.ParseReference(s)
	return s, err
}

const (
	digestPrefix = "sha256:"
	minDigest    = 8 // digits of a digest's beginning
	maxDigest    = 64
)

// asDigest takes a digest or its beginning, with or without "sha256:".
func asDigest(s string, _ time.Time) (string, error) {
	digits := strings.ToLower(strings.TrimPrefix(s, digestPrefix))
	if len(digits) < minDigest || len(digits) > maxDigest || strings.Trim(digits, "0123456789abcdef") != "" {
		return "", invalid("send sha256: and the digits that are known",
			"%s is not a digest, nor the beginning of one with "+
				"at least %d hexadecimal digits", plain.Quote(s, 100), minDigest)
	}
	return digestPrefix + digits, nil
}

// asRepository takes a canonical name, a pattern, or the end of a name.
func asRepository(s string, _ time.Time) (string, error) {
	if strings.Contains(s, "*") {
		p, err := attestor.ParsePattern(s)
		return p.String(), err
	}

	// The end of a name has the path's characters, and neither tag nor digest.
	if !hasHost(s) {
		if !pathEnd.MatchString(s) {
			return "", notRepository(s)
		}
		return s, nil
	}

	ref, err := attestor.ParseReference(s + ":latest")
	if err != nil || strings.Contains(s, "@") {
		return "", notRepository(s)
	}
	return ref.Repository(), nil
}

func notRepository(s string) error {
	return invalid(
		"send a name such as us-docker.pkg.dev/acme/prod/api, the end of one such as prod/api, or a pattern "+
			"such as us-docker.pkg.dev/acme/**", "%s is not a repository", plain.Quote(s, 100))
}

func asReason(s string, _ time.Time) (attestor.Code, error) {
	c := attestor.Code(strings.ToUpper(s))

	// A code that this version does not know may be in the record of another one, so
	// that only its form is checked.
	if !reasonCode.MatchString(string(c)) {
		return "", invalid("see docs/reasons.md for the codes", "%s is not the code of a reason", plain.Quote(s, 100))
	}
	return c, nil
}

// maxPolicyName is a policy's longest name.
const maxPolicyName = 253

func asPolicy(s string, _ time.Time) (string, error) {
	if len(s) > maxPolicyName {
		return "", invalid("send a policy's name or digest", "the value has %d bytes, at most %d are allowed",
			len(s), maxPolicyName)
	}
	return s, nil
}

func asVerdict(s string, _ time.Time) (attestor.Outcome, error) {
	switch v := attestor.Outcome(s); v {
	case attestor.Pass, attestor.Deny, attestor.Undecided:
		return v, nil
	}
	return "", invalid("use pass, deny or error", "%s is not a verdict", plain.Quote(s, 100))
}

func asInstant(s string, now time.Time) (time.Time, error) {
	t, err := when.ParseInstant(s, now)
	if err != nil {
		return time.Time{}, invalid("write it as 30d, 2026-11-01 or 2026-11-01T00:00:00Z", "%s", err)
	}
	return t, nil
}

// What a searched text may be. A text may be several of them.

// isWord is for names without a path: ids, tags, callers, policies.
func isWord(s string) bool { return !strings.Contains(s, "/") && !strings.HasPrefix(s, digestPrefix) }

func isImage(s string) bool {
	_, err := attestor.ParseReference(s)
	return err == nil
}

func isDigest(s string) bool {
	_, err := asDigest(s, time.Time{})
	return err == nil
}

func isRepository(s string) bool {
	_, err := asRepository(s, time.Time{})
	return err == nil && !strings.HasPrefix(s, digestPrefix)
}

// isPackage excludes what has the form of something else: a package's name may have
// nearly any character.
func isPackage(s string) bool {
	return !strings.HasPrefix(s, digestPrefix) && !isAdvisory(s) && !isReason(s) && !isImage(s)
}

func isAdvisory(s string) bool { return advisory.MatchString(s) }

func isReason(s string) bool { return knownCode(attestor.Code(strings.ToUpper(s))) }
