package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
)

func baseCheck() check {
	return check{
		name:  attestor.CheckBase,
		asks:  func(s *Spec) asking { return requiredIf(s.Base.Required) },
		needs: baseNeeds,
		lacks: func(_ *Policy, earlier, next attestor.Needs) lack {
			if next.BaseRequired && !basesCovered(earlier, next) {
				return lack{why: otherBases, certain: basesOnlyHelp(earlier, next)}
			}
			return lack{}
		},
		validate: func(v *validator, s *Spec) { v.base(&s.Base) },
		lint:     (*linter).base,
		demands:  baseDemands,
		codes: func(s *Spec) (out givenCodes) {
			signed := func(a Approved) bool { return a.SignedBy != nil }
			out.can(s.Base.Required, attestor.CodeBaseNotApproved, attestor.CodeBaseOutdated)
			out.can(s.Base.Required && s.Base.Evidence != attestor.Attested, attestor.CodeBaseEvidenceTooWeak)
			out.can(s.Base.Required && slices.ContainsFunc(s.Base.Approved, signed), attestor.CodeBaseUnsigned)
			return out
		},
		exemplary: func(s *Spec, ev *attestor.Evidence) {
			if len(s.Base.Approved) > 0 {
				ev.Platforms[0].Base = s.Base.Approved[0].exemplary()
			}
		},
		found:      func(p attestor.PlatformSummary) string { return describe.Base(p.Base) },
		ofPlatform: (*judgement).base,
	}
}

func baseNeeds(s *Spec, n *attestor.Needs) {
	n.BaseRequired, n.BaseEvidence = s.Base.Required, s.Base.Evidence
	for _, a := range s.Base.Approved {
		// Also where the check is not required: the end of life of a base that is found counts all the same.
		n.Bases = append(n.Bases, attestor.ApprovedBase{
			Name: a.Name, Repository: a.Repository, Tags: a.Tags, Digests: a.Digests,
			MaxBehind: time.Duration(a.MaxBehind), SignedBy: a.SignedBy.rule(),
		})
	}
}

func baseDemands(s *Spec) []string {
	if !s.Base.Required {
		return []string{"base: not judged"}
	}

	names := make([]string, len(s.Base.Approved))
	for i, a := range s.Base.Approved {
		names[i] = a.Name
	}
	return []string{
		fmt.Sprintf("base: one of %s, proven by %s or stronger", strings.Join(names, ", "), s.Base.Evidence),
	}
}

func (j *judgement) base(e *attestor.PlatformEvidence) {
	want := &j.spec.Base
	if !want.Required {
		j.skip(attestor.CheckBase, e.Platform, "the policy says base.required: false")
		return
	}

	// A base counts if it is in this policy's catalogue, whatever it was looked up for. A failure to look one up stands
	// in for "not approved": asking again may find it.
	found := j.problems(attestor.CheckBase, j.ev.Problems, e.Problems)
	entry := j.approved(e.Base)
	switch {
	// Only a probe before the entry's date has one with a date: until then the entry refuses nothing.
	case entry != nil && entry.EffectiveFrom != nil:
		found = slices.DeleteFunc(found, func(f finding) bool { return f.reason.Code == attestor.CodeBaseUnsigned })
	case entry != nil:
		found = append(found, j.baseEntry(entry, e.Base, found)...)
	case len(found) == 0:
		found = append(found, notApproved(want, e.Base))
	}
	j.conclude(attestor.CheckBase, e.Platform, found)
}

// approved is the catalogue's entry that the evidence is about: by name, and
// by the repository of what was matched.
func (j *judgement) approved(b attestor.Base) *Approved {
	// Only a digest that was proven names a base; a tag or a claim of the author's names none.
	repository, digest, _ := strings.Cut(b.Reference, "@")
	if _, err := attestor.ParseDigest(digest); err != nil || b.Evidence == "" {
		return nil
	}

	// The name alone would let another policy's entry of the same name count. Both repositories are canonical.
	list := j.spec.Base.Approved
	i := slices.IndexFunc(list, func(a Approved) bool { return a.Name == b.Name && a.Repository == repository })
	if i < 0 {
		return nil
	}
	return &list[i]
}

func notApproved(want *Base, b attestor.Base) finding {
	names := make([]string, len(want.Approved))
	for i, a := range want.Approved {
		names[i] = a.Name + " (" + a.Repository + ")"
	}
	message := "no approved base was found in the image's layers"
	if b.Reference != "" {
		message = fmt.Sprintf("the base %s (%s) is not one of this policy's", b.Reference, b.Name)
	}

	// Hints are claims of the author's: they explain, and count for nothing.
	message += "; allowed: " + strings.Join(names, ", ")
	if len(b.Hints) > 0 {
		message += "; the image's author claims " + strings.Join(b.Hints, ", ")
	}
	return deny(attestor.CodeBaseNotApproved, b.Reference, message, "build FROM "+from(want.Approved[0], b))
}

// from is what a Dockerfile's FROM line should name.
func from(a Approved, b attestor.Base) string {
	switch {
	case b.Newest != "" && b.Name == a.Name:
		return a.Repository + "@" + string(b.Newest)
	case len(a.Tags) > 0:
		return a.Repository + ":" + a.Tags[0]
	}
	return a.Repository + "@" + string(a.Digests[0])
}

func (j *judgement) baseEntry(a *Approved, b attestor.Base, problems []finding) []finding {
	var found []finding

	// Squashed or recompressed layers prove less than the same blobs do, and the policy says how much is enough.
	level := j.spec.Base.Evidence
	if !b.Evidence.Satisfies(level) {
		found = append(found, deny(attestor.CodeBaseEvidenceTooWeak, b.Reference,
			fmt.Sprintf("base %s is proven by %s only; %s or stronger is required", a.Name, b.Evidence, level),
			"build without squashing or recompressing the base's layers, or lower spec.base.evidence"))
	}

	found = append(found, j.age(a, b)...)

	// The signature that was found must satisfy this policy's rule, not one that resembles it: texts are equal only for
	// rules that accept the same signatures.
	rule := a.SignedBy.rule()
	explained := slices.ContainsFunc(problems, func(f finding) bool {
		return f.reason.Code == attestor.CodeBaseUnsigned || f.reason.Code == attestor.CodeBaseSignatureUnknown
	})
	if rule != nil && b.SignedBy != rule.Text() && !explained {
		found = append(found, deny(
			attestor.CodeBaseUnsigned, b.Reference,
			fmt.Sprintf("base %s has no signature by %s", a.Name, rule.Text()),
			"use a base that its publisher signed: FROM "+from(*a, b),
		))
	}
	return found
}

// skew is how far in the future the clocks of several instances may put what
// one of them saw.
const skew = time.Minute

// age judges whether the base is listed, current, or not too long out of date.
func (j *judgement) age(a *Approved, b attestor.Base) []finding {
	// A listed digest and what a tag names now need no history.
	_, digest, _ := strings.Cut(b.Reference, "@")
	if slices.Contains(a.Digests, b.Digest) || slices.Contains(a.Digests, attestor.Digest(digest)) {
		return nil
	}

	fix := func() string { return "rebuild on the current base: FROM " + from(*a, b) }
	outdated := func(format string, args ...any) []finding {
		return []finding{deny(attestor.CodeBaseOutdated, b.Reference, fmt.Sprintf(format, args...), fix())}
	}
	unknown := func(why string) []finding {
		return []finding{deny(
			attestor.CodeBaseAgeUnknown,
			b.Reference,
			fmt.Sprintf(
				"it is not known since when base %s is out of date: %s; at most %s is allowed", a.Name, why,
				a.MaxBehind,
			),
			fix()+"; or list its digest",
		).as(attestor.StatusError)}
	}

	tags, behind := strings.Join(a.Tags, " or "), time.Duration(a.MaxBehind)
	switch {
	// Without tags the list above is all that is approved.
	case len(a.Tags) == 0:
		return outdated("base %s is not one of the digests that the policy lists", a.Name)
	case b.Current:
		return nil
	// Where no older digest is allowed, since when it is old makes no difference.
	case b.Superseded == nil && behind <= 0:
		return outdated("base %s is not the digest that %s names now; no older one is allowed", a.Name, tags)
	case b.Superseded == nil:
		// A base that nobody saw under its tag may be of any age.
		return unknown(cmp.Or(b.AgeUnknown, "it was never seen under "+tags))
	}

	// A time that has not come is no measure: a clock was wrong.
	age := j.ev.Time.Sub(*b.Superseded)
	if behind > 0 && age < -skew {
		return unknown("by the record it was on " + b.Superseded.UTC().Format(dateForm) + ", which is in the future")
	}

	if behind <= 0 || age > behind {
		return outdated(
			"base %s was superseded %s ago, on %s; at most %s is allowed", a.Name, days(max(age, 0)),
			b.Superseded.UTC().Format(dateForm), a.MaxBehind,
		)
	}
	return nil
}

func (v *validator) base(b *Base) {
	const path = "spec.base"
	v.notEmpty(path+".approved", len(b.Approved))
	if b.Required && len(b.Approved) == 0 && !v.has(path+".approved") {
		v.at(path+".required", "contradicts the missing spec.base.approved: no image could pass")
	}

	seen := newSeen(len(b.Approved))
	for i := range b.Approved {
		v.approved(index(path+".approved", i), &b.Approved[i])
		if name := b.Approved[i].Name; seen.again(name) {
			v.at(index(path+".approved", i)+".name", "duplicate %q", name)
		}
	}
}

func (v *validator) approved(path string, a *Approved) {
	v.match(path+".name", a.Name, nameForm, "lower-case letters, digits and hyphens, at most 63")
	if v.has(path + ".repository") {
		if ref, err := attestor.ParseReference(a.Repository + ":tag"); err != nil ||
			strings.ContainsAny(a.Repository, "@*") {
			v.at(
				path+".repository",
				"%q is not a repository: want REGISTRY/PATH without tag, such as gcr.io/distroless/static-debian12",
				clip(a.Repository),
			)
		} else {
			// Kept in its canonical form, in which the evidence names repositories.
			a.Repository = ref.Repository()
		}
	}

	v.notEmpty(path+".tags", len(a.Tags))
	v.matchAll(path+".tags", a.Tags, tagForm, "a tag")
	v.notEmpty(path+".digests", len(a.Digests))
	if len(a.Tags) == 0 && len(a.Digests) == 0 && !v.has(path+".tags") && !v.has(path+".digests") {
		v.at(path, "has neither tags nor digests, so that nothing would be approved")
	}

	if a.MaxBehind > 0 && len(a.Tags) == 0 {
		v.at(path+".maxBehind", "contradicts the missing tags: it is about how long ago a tag moved on")
	}
	v.signedBy(path+".signedBy", a.SignedBy)
}

func (l *linter) base() {
	if !l.s.Base.Required && len(l.s.Base.Approved) > 0 {
		l.d.at("spec.base.required", "is false, so that the approved bases have no effect")
	}
	for i, a := range l.s.Base.Approved {
		path := index("spec.base.approved", i)
		if a.SignedBy == nil {
			l.d.at(path, "%s has no signedBy: whoever can push to %s decides what is approved", a.Name, a.Repository)
		} else {
			l.signedBy(path+".signedBy", a.SignedBy)
		}

		if time.Duration(a.MaxBehind) > longBehind {
			l.d.at(path+".maxBehind", "allows %s without the publisher's fixes, which is long", a.MaxBehind)
		}
		switch {
		case a.EndOfLife.IsZero():
		case !l.now.Before(a.EndOfLife.start):
			l.d.at(path+".endOfLife", "%s is past its end of life since %s: it gets no more fixes", a.Name, a.EndOfLife)
		case a.EndOfLife.start.Sub(l.now) <= endSoon:
			l.d.at(path+".endOfLife", "%s comes to its end of life on %s", a.Name, a.EndOfLife)
		}
	}
}

func (a *Approved) exemplary() attestor.Base {
	b := attestor.Base{
		Name: a.Name, Reference: a.Repository + "@" + string(numbered('2')), Digest: numbered('2'),
		Evidence: attestor.LayersExact,
		Layers:   1, SignedBy: a.SignedBy.rule().Text(), Current: len(a.Tags) > 0, Newest: numbered('2'),
	}
	if len(a.Digests) > 0 {
		b.Reference, b.Digest, b.Newest, b.Listed = a.Repository+"@"+string(a.Digests[0]), a.Digests[0], "", true
	}
	return b
}

// basesOnlyHelp reports whether a base that passes by what was looked up for earlier passes by next, too. Of several bases
// the one counts that has the most layers in common with the image, so that a further one can take the place of one that
// passes. Its proof, its digest and its signer are compared again.
func basesOnlyHelp(earlier, next attestor.Needs) bool {
	if !proofLookedUp(earlier, next) {
		return false
	}

	return !slices.ContainsFunc(next.Bases, func(b attestor.ApprovedBase) bool {
		i := slices.IndexFunc(earlier.Bases, func(a attestor.ApprovedBase) bool {
			return a.Name == b.Name && a.Repository == b.Repository
		})
		var a attestor.ApprovedBase
		if i >= 0 {
			a = earlier.Bases[i]
		}

		// Whether a base is current was found out for the tags of then. A further digest is approved whatever its age, and
		// refuses only where somebody must have signed it.
		return !slices.Equal(a.Tags, b.Tags) || b.SignedBy != nil && !covers(a.Digests, b.Digests)
	})
}

// proofLookedUp reports whether the proof of a base that next asks for was looked up for earlier. A weaker proof makes further
// bases count. One by a statement counts by its builder and its signer, whom the evidence of a base does not name.
func proofLookedUp(earlier, next attestor.Needs) bool {
	return next.BaseEvidence.Satisfies(earlier.BaseEvidence) &&
		(next.BaseEvidence != attestor.Attested || attestedAlike(earlier, next))
}

// attestedAlike reports whether the same statements could name a base.
func attestedAlike(earlier, next attestor.Needs) bool {
	e, n := earlier.Provenance, next.Provenance
	if e == nil || n == nil {
		return e == n
	}
	return covers(e.Builders, n.Builders) && covers(n.Builders, e.Builders) && e.SignedBy.Text() == n.SignedBy.Text()
}

// basesCovered reports whether a base was required, and every entry of next looked up as it stands there.
func basesCovered(earlier, next attestor.Needs) bool {
	return earlier.BaseRequired && basesLookedUp(earlier, next)
}

// basesLookedUp reports whether every entry of next was looked up as it stands there, signature rule and level included.
func basesLookedUp(earlier, next attestor.Needs) bool {
	if !proofLookedUp(earlier, next) {
		return false
	}

	// Tags must be the same: what other tags named, and since when, was not looked up.
	for _, b := range next.Bases {
		if !slices.ContainsFunc(earlier.Bases, func(a attestor.ApprovedBase) bool {
			return a.Name == b.Name && a.Repository == b.Repository && a.SignedBy.Text() == b.SignedBy.Text() &&
				slices.Equal(a.Tags, b.Tags) && covers(a.Digests, b.Digests)
		}) {
			return false
		}
	}
	return true
}
