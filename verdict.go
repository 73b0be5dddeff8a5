package attestor

import (
	"fmt"
	"slices"
	"time"
)

// An Outcome is the answer to "may this image be admitted?". The zero value
// is read as a denial everywhere.
type Outcome string

// The three answers: one deny outweighs any error, one error any pass.
const (
	Pass      Outcome = "pass"
	Deny      Outcome = "deny"  // found out, and no
	Undecided Outcome = "error" // could not find out
)

// MarshalText writes anything that is not one of the three as "deny".
func (o Outcome) MarshalText() ([]byte, error) {
	if o == Pass || o == Undecided {
		return []byte(o), nil
	}
	return []byte(Deny), nil
}

// A Status is the result of one check.
type Status string

// The statuses. Anything else counts as StatusError.
const (
	StatusPass    Status = "pass"
	StatusDeny    Status = "deny"
	StatusError   Status = "error"
	StatusWarn    Status = "warn"    // would be refused, but the policy only warns
	StatusSkipped Status = "skipped" // did not apply; its reason says why
)

// Refuses reports whether the status stands in the way of a pass: anything does
// that is not known to be harmless.
func (s Status) Refuses() bool {
	return s != StatusPass && s != StatusWarn && s != StatusSkipped
}

// An AppliedException is one that a check used, or would have used had it not
// expired.
type AppliedException struct {
	ID      string `json:"id"`
	Owner   string `json:"owner"`
	Reason  string `json:"reason"`
	Expires string `json:"expires"`           // a date, inclusive, UTC
	Subject string `json:"subject,omitempty"` // what it excused
	Expired bool   `json:"expired,omitempty"` // counted as absent
}

// A Check is one question put to the evidence, for the image or for one of
// its platforms.
type Check struct {
	Name       string             `json:"name"`
	Platform   string             `json:"platform,omitempty"`
	Status     Status             `json:"status"`
	Reasons    []Reason           `json:"reasons"`
	Exceptions []AppliedException `json:"exceptions,omitempty"`

	// BuildLevel is the SLSA build level that the check proved, of the check provenance where it passes; 0 for none.
	BuildLevel int `json:"buildLevel,omitempty"`

	// Found says in a few words what the check saw, such as the base and its age; "" where the check has no such words,
	// and in what was recorded before there were any.
	Found string `json:"found,omitempty"`
}

// A Mode says whether a policy refuses.
type Mode string

// The modes; the zero value signs nothing.
const (
	Enforce Mode = "enforce"
	DryRun  Mode = "dryRun"
)

// A PolicyRef names the policy text that judged.
type PolicyRef struct {
	Name   string `json:"name"`
	Digest Digest `json:"digest"`
	Mode   Mode   `json:"mode"`
}

// A Verdict is a policy's answer about one image: which digests it is about,
// and whether they may be admitted. The zero value denies. It can be made by
// [NewVerdict] only.
type Verdict struct {
	image    Image
	policy   PolicyRef
	attest   AttestNeeds
	outcome  Outcome
	checks   []Check
	subjects []Digest
	index    bool                // the index's own digest is among the subjects
	levels   map[Digest]int      // proven SLSA build levels
	inputs   map[Digest][]Digest // attestations that were judged
	time     time.Time           // of the evidence
}

// A Question is a check that must be answered: for each platform, or once for the image as a whole.
type Question struct {
	Check   string
	OfImage bool
}

// NewVerdict sums up what a policy's checks say of ev. A pass needs an answer to every question, and at least one
// question; at least one check of the image that was made rather than skipped; and none that denied or erred.
func NewVerdict(ev Evidence, policy PolicyRef, attest AttestNeeds, asked []Question, checks []Check) Verdict {
	// Sealed before anything is counted: a reason that refuses makes its check one that refuses.
	sealed := make([]Check, 0, len(checks))
	for _, c := range checks {
		sealed = append(sealed, seal(c))
	}

	// An answer that is missing must not read as a pass.
	for _, c := range missingChecks(ev, asked, sealed) {
		sealed = append(sealed, seal(c))
	}
	v := Verdict{image: ev.Image, policy: policy, attest: attest, checks: sealed, outcome: sum(sealed)}
	v.levels, v.inputs, v.time = buildLevels(ev, sealed), inputAttestations(ev), ev.Time

	// Only what was judged is signed for.
	if !ev.Index {
		v.subjects = []Digest{ev.Image.Digest()}
		return v
	}

	// Every platform here was judged by itself, so that a pass holds for each child's own digest.
	if attest.Children {
		for _, p := range ev.Platforms {
			v.subjects = append(v.subjects, p.Digest)
		}
	}

	// An index's digest admits every child, so that it is attested only where none was left out.
	if len(ev.Left) == 0 {
		v.index = true
		v.subjects = append(v.subjects, ev.Image.Digest())
	}
	return v
}

// missingChecks names the answers without which there is no pass.
func missingChecks(ev Evidence, asked []Question, checks []Check) []Check {
	missing := func(name, platform string) Check {
		return Check{Name: name, Platform: platform, Status: StatusDeny, Reasons: []Reason{{
			Code: CodeCheckMissing, Subject: name, Message: fmt.Sprintf("the policy gave no answer about %s", name),
			Fix: "report this as a defect of the gate: a policy must answer for every platform",
		}}}
	}

	refused := slices.ContainsFunc(checks, refuses)

	// No platform was judged, and nothing says why.
	var out []Check
	if len(ev.Platforms) == 0 && !refused {
		out = append(out, missing(CheckPlatforms, ""))
	}

	// A policy that asks nothing has nothing to say for an image: its silence is a denial.
	if len(asked) == 0 {
		out = append(out, missing(CheckPolicy, ""))
	}
	for _, q := range asked {
		if q.OfImage && !answered(checks, q.Check, "") {
			out = append(out, missing(q.Check, ""))
		}
	}

	for _, p := range ev.Platforms {
		for _, q := range asked {
			if !q.OfImage && !answered(checks, q.Check, p.Platform) {
				out = append(out, missing(q.Check, p.Platform))
			}
		}
	}

	// Without a check that was made nothing is known of the image, and a pass would be a guess.
	if !refused && !slices.ContainsFunc(checks, speaks) {
		out = append(out, Check{Name: CheckPolicy, Status: StatusDeny, Reasons: []Reason{{
			Code: CodeNothingChecked, Message: "every check was skipped, so that nothing speaks for the image",
			Fix: "let the policy require at least one thing: a repository, a user, a scan or a base",
		}}})
	}
	return out
}

// answered reports whether a check was answered for a platform, or for the image as a whole where platform is "". An
// answer for one platform is none for another.
func answered(checks []Check, name, platform string) bool {
	for i := range checks {
		if checks[i].Name == name && checks[i].Platform == platform {
			return true
		}
	}
	return false
}

// speaks reports whether the check was made and found nothing that refuses: a warning counts for the image as a pass
// does. Remarks about the policy's own exceptions do not, nor does the mere existence of a platform, nor that no secret
// is reported: no report says that anybody searched for one.
func speaks(c Check) bool {
	if c.Name == CheckPolicy || c.Name == CheckPlatforms || c.Name == CheckSecrets {
		return false
	}
	return c.Status == StatusPass || c.Status == StatusWarn
}

func refuses(c Check) bool { return c.Status.Refuses() }

// sum is the most severe answer: one denial outweighs any error, one error any pass, and silence is a denial.
func sum(checks []Check) Outcome {
	// A pass is what is left when nothing refuses; silence is caught before the loop.
	outcome := Pass
	if len(checks) == 0 {
		return Deny
	}

	for _, c := range checks {
		switch {
		case c.Status == StatusDeny:
			return Deny
		// A status that this version does not know refuses, too: it could not be found out what it means.
		case refuses(c):
			outcome = Undecided
		}
	}
	return outcome
}

// Outcome is Deny for the zero Verdict.
func (v Verdict) Outcome() Outcome {
	if v.outcome == Pass || v.outcome == Undecided {
		return v.outcome
	}
	return Deny
}

// Checks lists every check, refusing ones included.
func (v Verdict) Checks() []Check { return slices.Clone(v.checks) }

// Image is what the verdict is about.
func (v Verdict) Image() Image { return v.image }

// Policy is what judged.
func (v Verdict) Policy() PolicyRef { return v.policy }

// Subjects are the digests that a pass would attest to, children first.
func (v Verdict) Subjects() []Digest { return slices.Clone(v.subjects) }

// CoversIndex reports whether an index's own digest is among the subjects.
func (v Verdict) CoversIndex() bool { return v.index }
