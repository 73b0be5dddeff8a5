package attestor

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// An Authorization is the right to attest to certain digests. There are two
// ways to one, [Authorize] and [AuthorizeBreakGlass]; the zero value permits
// nothing, and nothing can be signed without one.
type Authorization struct {
	decision   string
	image      Image
	subjects   []Digest
	attestors  []string
	dsse       bool
	dsseNote   string
	breakGlass bool
	policy     PolicyRef
	summary    *SummaryNeeds // nil: none is published
	levels     map[Digest]int
	inputs     map[Digest][]Digest
	time       time.Time
}

// Authorize turns a pass by an enforcing policy into the right to attest to
// what was judged, and everything else into an error.
func Authorize(decision string, v Verdict) (Authorization, error) {
	// Undecided is no pass: what could not be found out is not signed for.
	if v.Outcome() != Pass {
		return Authorization{}, fmt.Errorf("authorizing %s: the verdict is %s", v.image, v.Outcome())
	}
	return authorize(decision, v, v.attest.For(false))
}

// AuthorizeBreakGlass is the right to attest in spite of the verdict. The
// image must be resolved and governed by an enforcing policy all the same.
func AuthorizeBreakGlass(decision string, v Verdict, g BreakGlassGrant) (Authorization, error) {
	// A grant for one digest opens no other.
	if g.image.IsZero() || g.image != v.image {
		return Authorization{}, fmt.Errorf("authorizing %s by break-glass: the grant is for %q", v.image, g.image)
	}

	// An override replaces the verdict alone: what else a signature needs is required all the same.
	a, err := authorize(decision, v, v.attest.For(true))
	a.breakGlass = err == nil
	return a, err
}

func authorize(decision string, v Verdict, attestors []string) (Authorization, error) {
	// Each of these would make a signature that nobody could account for.
	switch {
	case decision == "":
		return Authorization{}, fmt.Errorf("authorizing %s: no decision to record it under", v.image)
	case v.image.IsZero():
		return Authorization{}, fmt.Errorf("authorizing: the image is not resolved")
	case v.policy.Mode != Enforce:
		return Authorization{}, fmt.Errorf("authorizing %s: policy %q does not enforce", v.image, v.policy.Name)
	case len(v.subjects) == 0 || slices.Contains(v.subjects, ""):
		return Authorization{}, fmt.Errorf("authorizing %s: nothing was judged", v.image)
	case len(attestors) == 0:
		return Authorization{}, fmt.Errorf("authorizing %s: policy %q names no attestor", v.image, v.policy.Name)
	}

	return Authorization{
		decision: decision, image: v.image, subjects: slices.Clone(v.subjects), attestors: slices.Clone(attestors),
		dsse: v.attest.DSSE, dsseNote: v.attest.DSSENote,
		policy: v.policy, summary: v.attest.Summary, levels: v.levels, inputs: v.inputs, time: v.time,
	}, nil
}

// Decision is the id under which the right was given.
func (a Authorization) Decision() string { return a.decision }

// Image is what was judged: where it is an index, its children come with it.
func (a Authorization) Image() Image { return a.image }

// Images are what may be attested to, in that order: children before their
// index, so that an index is never attested while a child is not.
func (a Authorization) Images() []Image {
	images := make([]Image, 0, len(a.subjects))
	for _, d := range a.subjects {
		images = append(images, a.image.Sibling(d))
	}
	return images
}

// Attestors are all that must attest.
func (a Authorization) Attestors() []string { return slices.Clone(a.attestors) }

// DSSE reports whether a second signature over the DSSE pre-authentication
// encoding is wanted, and under which note of its own, if any.
func (a Authorization) DSSE() (want bool, note string) { return a.dsse, a.dsseNote }

// IsBreakGlass reports whether the right was given in spite of the verdict.
func (a Authorization) IsBreakGlass() bool { return a.breakGlass }

// BreakGlassPolicy says what a policy demands of an override.
type BreakGlassPolicy struct {
	Allowed bool                // false: nobody may override this policy
	Ticket  func(s string) bool // nil: any reason will do
	Hint    string              // what a ticket looks like, for the refusal
	Expires time.Duration       // 0: the attestation stands until it is revoked
}

// A BreakGlassGrant permits one override for one image. It can be had from
// [GrantBreakGlass] only.
type BreakGlassGrant struct {
	image  Image
	record BreakGlass
}

// BreakGlass is what a Decision says of an override.
type BreakGlass struct {
	Reason  string     `json:"reason"`
	By      string     `json:"by"`
	Expires *time.Time `json:"expires,omitempty"`
}

// Record is what the Decision is to say.
func (g BreakGlassGrant) Record() BreakGlass { return g.record }

// The length of the reason for an override, in characters and without spaces around it.
const minBreakGlassReason, maxBreakGlassReason = 10, 1000

// CheckBreakGlass refuses what can be refused before anything is fetched: a
// caller who may not, a missing reason, a missing ticket.
func CheckBreakGlass(c Caller, repository, reason string, p BreakGlassPolicy) error {
	// The caller's right and the policy's must both be there; neither makes up for the other.
	reason = strings.TrimSpace(reason)
	switch {
	case !c.May(ActionBreakGlass, repository):
		return &Error{
			Kind: Forbidden,
			Msg:  "this identity may not use break-glass for this image",
			Fix:  "ask whoever administers the gate for the action break-glass",
		}
	// The policy is asked after the right: who has none does not learn what the policy allows.
	case !p.Allowed:
		return &Error{
			Kind: Forbidden,
			Msg:  "the policy that governs this image does not allow break-glass",
			Fix:  "set breakGlass.allowed in the policy",
		}
	case utf8.RuneCountInString(reason) < minBreakGlassReason:
		return &Error{
			Kind: Invalid,
			Msg:  fmt.Sprintf("break-glass needs a reason of at least %d characters", minBreakGlassReason),
			Fix:  "say why this cannot wait; it will be read in the audit report",
		}
	case utf8.RuneCountInString(reason) > maxBreakGlassReason:
		return &Error{
			Kind: Invalid,
			Msg:  fmt.Sprintf("the reason for break-glass has more than %d characters", maxBreakGlassReason),
		}
	case p.Ticket != nil && !p.Ticket(reason):
		return &Error{Kind: Invalid, Msg: "the reason for break-glass names no ticket: " + p.Hint}
	}
	return nil
}

// GrantBreakGlass checks again, now that the image is known by digest.
func GrantBreakGlass(c Caller, img Image, reason string, p BreakGlassPolicy, now time.Time) (BreakGlassGrant, error) {
	if img.IsZero() {
		return BreakGlassGrant{}, &Error{
			Kind: Invalid,
			Msg:  "break-glass needs an image that could be resolved to a digest",
		}
	}

	// The right must be one for the repository in which the digest was found.
	if err := CheckBreakGlass(c, img.Repository(), reason, p); err != nil {
		return BreakGlassGrant{}, err
	}

	g := BreakGlassGrant{image: img, record: BreakGlass{Reason: strings.TrimSpace(reason), By: c.Subject}}
	if p.Expires > 0 {
		at := now.Add(p.Expires).UTC()
		g.record.Expires = &at
	}
	return g, nil
}
