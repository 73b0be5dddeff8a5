package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
)

func (j *judge) base(e *attestor.PlatformEvidence) {
	want := &j.policy.doc.Spec.Base
	if !want.Required {
		j.skip(attestor.CheckBase, e.Platform, "the policy says base.required: false")
		return
	}
	found := j.problems(attestor.CheckBase, j.ev.Problems, e.Problems)
	entry := j.approved(e.Base)
	switch {
	case entry != nil:
		found = append(found, j.baseEntry(entry, e.Base, found)...)
	case len(found) == 0:
		found = append(found, notApproved(want, e.Base))
	}
	j.settle(attestor.CheckBase, e.Platform, found)
}

// approved is the catalogue's entry that the evidence is about: by name, and
// by the repository of what was matched.
func (j *judge) approved(b attestor.Base) *Approved {
	repository, digest, _ := strings.Cut(b.Reference, "@")
	if _, err := attestor.ParseDigest(digest); err != nil || b.Evidence == "" {
		return nil
	}
	list := j.policy.doc.Spec.Base.Approved // whose repositories are canonical
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

func (j *judge) baseEntry(a *Approved, b attestor.Base, problems []finding) []finding {
	var found []finding
	level := j.policy.doc.Spec.Base.Evidence
	if !b.Evidence.Satisfies(level) {
		found = append(found, deny(attestor.CodeBaseEvidenceTooWeak, b.Reference,
			fmt.Sprintf("base %s is proven by %s only; %s or stronger is required", a.Name, b.Evidence, level),
			"build without squashing or recompressing the base's layers, or lower spec.base.evidence"))
	}
	found = append(found, j.age(a, b)...)
	rule := a.SignedBy.rule()
	explained := slices.ContainsFunc(problems, func(f finding) bool {
		return f.reason.Code == attestor.CodeBaseUnsigned || f.reason.Code == attestor.CodeBaseSignatureUnknown
	})
	if rule != nil && b.SignedBy != rule.Text() && !explained {
		found = append(found, deny(attestor.CodeBaseUnsigned, b.Reference,
			fmt.Sprintf("base %s has no signature by %s", a.Name, rule.Text()), "use a base that its publisher signed: FROM "+from(*a, b)))
	}
	return found
}

// skew is how far in the future the clocks of several instances may put what
// one of them saw.
const skew = time.Minute

// age judges whether the base is listed, current, or not too long out of date.
func (j *judge) age(a *Approved, b attestor.Base) []finding {
	// A listed digest and what a tag names now need no history.
	_, digest, _ := strings.Cut(b.Reference, "@")
	if slices.Contains(a.Digests, b.Digest) || slices.Contains(a.Digests, attestor.Digest(digest)) {
		return nil
	}

	fix := "rebuild on the current base: FROM " + from(*a, b)
	outdated := func(format string, args ...any) []finding {
		return []finding{deny(attestor.CodeBaseOutdated, b.Reference, fmt.Sprintf(format, args...), fix)}
	}
	unknown := func(why string) []finding {
		return []finding{deny(attestor.CodeBaseAgeUnknown, b.Reference,
			fmt.Sprintf("since when base %s is not what its tags name is not known: %s; at most %s is allowed", a.Name, why, a.MaxBehind),
			fix+"; or list its digest").as(attestor.StatusError)}
	}

	tags, behind := strings.Join(a.Tags, " or "), time.Duration(a.MaxBehind)
	switch {
	case len(a.Tags) == 0:
		return outdated("base %s is not one of the digests that the policy lists", a.Name)
	case b.Current:
		return nil
	case b.Superseded == nil && behind <= 0:
		return outdated("base %s is not what %s names now, and no older digest is allowed", a.Name, tags)
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
		return outdated("base %s was superseded %s ago, on %s; at most %s is allowed", a.Name, days(max(age, 0)), b.Superseded.UTC().Format(dateForm), a.MaxBehind)
	}
	return nil
}
