package vsa

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Skew is how far a verifier's clock may be ahead.
const Skew = time.Minute

// A Demand is what somebody who relies on a summary expects of it, beyond a signature and a subject. SLSA v1.2, "How to
// verify": the verifier, the resource and the result are compared, and then the levels.
type Demand struct {
	Verifiers []string              // verifier.id, exactly one of them; none: nobody will do
	Policies  []string              // policy.uri, exactly one of them; none: any
	Resource  func(uri string) bool // which resourceUri will do; nil: none
	Levels    []string              // all of them: of the build track as a minimum, others exactly
	MaxAge    time.Duration         // since timeVerified; 0: any age
}

// About reports whether a summary is one that the demand is about: by the verifier, of the resource, and by the policy.
// The others say nothing, neither for the artifact nor against it.
func (d Demand) About(p Predicate) bool {
	return slices.Contains(d.Verifiers, p.Verifier.ID) && d.Resource != nil && d.Resource(p.ResourceURI) &&
		(len(d.Policies) == 0 || slices.Contains(d.Policies, p.Policy.URI))
}

// Unmet returns why a summary that the demand is about does not satisfy it at a time; "" if it does.
func (d Demand) Unmet(p Predicate, now time.Time) string {
	// A result that is not known to be a pass is none.
	if p.VerificationResult != Passed {
		return fmt.Sprintf("its verificationResult is %s", clip(p.VerificationResult))
	}
	for _, want := range d.Levels {
		if !has(p.VerifiedLevels, want) {
			return fmt.Sprintf("its verifiedLevels are %s; %s is required", clip(strings.Join(p.VerifiedLevels, ", ")),
				want)
		}
	}
	// One from the future is newer than whatever its verifier says from now on: it would hide a refusal.
	age := now.Sub(p.TimeVerified)
	if !p.TimeVerified.IsZero() && age < -Skew {
		return fmt.Sprintf("its timeVerified %s is ahead of the clock", p.TimeVerified.UTC().Format(time.RFC3339))
	}

	// Without a time nobody knows its age.
	switch {
	case d.MaxAge == 0:
		return ""
	case p.TimeVerified.IsZero():
		return "it has no timeVerified, and so its age is not known"
	case age > d.MaxAge:
		return fmt.Sprintf("its timeVerified is %s; at most %s ago is allowed",
			p.TimeVerified.UTC().Format(time.RFC3339), d.MaxAge)
	}
	return ""
}

// has reports whether levels have the wanted one. SLSA v1.2: "levels … are cumulative" within a track.
func has(levels []string, want string) bool {
	if slices.Contains(levels, want) {
		return true
	}
	n := Build([]string{want})
	return n > 0 && Build(levels) >= n
}

// Newest returns, of the summaries that the demand is about, the newest by each verifier and policy: a verifier that
// judged again has taken back what it said before. One without a time is older than all that have one.
func (d Demand) Newest(all []Predicate) []Predicate {
	var out []Predicate
	for _, p := range all {
		if !d.About(p) {
			continue
		}
		i := slices.IndexFunc(out, func(q Predicate) bool {
			return q.Verifier.ID == p.Verifier.ID && q.Policy.URI == p.Policy.URI
		})
		switch {
		case i < 0:
			out = append(out, p)

		// Of two of one time the refusal counts.
		case p.TimeVerified.After(out[i].TimeVerified),
			p.TimeVerified.Equal(out[i].TimeVerified) && p.VerificationResult != Passed:
			out[i] = p
		}
	}
	return out
}

// Repository returns HOST/PATH of an image that a resourceUri names, in the forms that producers write:
// oci://HOST/PATH, docker://HOST/PATH, HOST/PATH, each with a tag or a digest or without, and
// pkg:oci/NAME?repository_url=HOST/PATH. It is "" for anything else.
func Repository(uri string) string {
	rest, isPURL := strings.CutPrefix(uri, "pkg:oci/")
	if isPURL {
		_, query, _ := strings.Cut(rest, "?")
		for pair := range strings.SplitSeq(query, "&") {
			if value, ok := strings.CutPrefix(pair, "repository_url="); ok && !strings.ContainsAny(value, "%+") {
				return plainRepository(value)
			}
		}
		return ""
	}

	for _, scheme := range []string{"oci://", "docker://"} {
		if rest, ok := strings.CutPrefix(uri, scheme); ok {
			return plainRepository(rest)
		}
	}

	if strings.Contains(uri, ":/") {
		return ""
	}

	return plainRepository(uri)
}

// plainRepository removes tag and digest. The host may have a port.
func plainRepository(s string) string {
	s, _, _ = strings.Cut(s, "@")
	if slash := strings.LastIndexByte(s, '/'); slash >= 0 {
		if colon := strings.IndexByte(s[slash:], ':'); colon >= 0 {
			s = s[:slash+colon]
		}
	}
	if !strings.Contains(s, "/") || strings.ContainsAny(s, " ?#%\\") {
		return ""
	}
	return s
}
