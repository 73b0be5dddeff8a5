package policy

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/attestor-gate/attestor"
)

// maxReasons bounds what one check says, worst first. The evidence has all.
const maxReasons = 1000

// A finding is one thing that a check has to say, before exceptions and modes.
type finding struct {
	status attestor.Status
	reason attestor.Reason
	pkg    string                     // for exceptions that name packages
	excuse *attestor.AppliedException // accepted for another reason than an exception, such as VEX
	final  bool                       // no exception excuses it
	note   bool                       // says nothing against the image
}

// judge is the state of one judgement.
type judge struct {
	policy  *Policy
	ev      attestor.Evidence
	unknown map[string]string // checks that the evidence cannot answer, and why
	checks  []attestor.Check
	remarks []attestor.Reason
	matched []bool // by exception
}

// Judge turns evidence into a verdict. It collects every reason, and is a pure
// function of the policy and the evidence.
func (p *Policy) Judge(ev attestor.Evidence) attestor.Verdict { return p.judge(ev, nil) }

func (p *Policy) judge(ev attestor.Evidence, unknown map[string]string) attestor.Verdict {
	if p == nil || p.ref.Name == "" {
		return attestor.NewVerdict(ev, attestor.PolicyRef{}, attestor.AttestNeeds{}, nil)
	}
	j := &judge{policy: p, ev: ev, unknown: unknown, matched: make([]bool, len(p.exceptions))}
	j.platforms()
	j.scope()
	for i := range j.ev.Platforms {
		e := &j.ev.Platforms[i]
		j.base(e)
		j.user(e)
		j.vulnerabilities(i, e)
		j.provenance(e)
	}
	j.rules()
	j.stale()
	if len(j.remarks) > 0 {
		slices.SortFunc(j.remarks, func(a, b attestor.Reason) int {
			return cmp.Or(cmp.Compare(a.Code, b.Code), cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Message, b.Message))
		})
		j.checks = append(j.checks, attestor.Check{Name: attestor.CheckPolicy, Status: attestor.StatusWarn, Reasons: j.remarks})
	}
	return attestor.NewVerdict(j.ev, p.ref, p.needs.Attest, j.checks)
}

func deny(code attestor.Code, subject, message, fix string) finding {
	return finding{status: attestor.StatusDeny, reason: attestor.Reason{Code: code, Subject: subject, Message: message, Fix: fix}}
}

func (f finding) as(s attestor.Status) finding { f.status = s; return f }

// severity is the finding's own, whatever else its check found: a warning beside a denial does not refuse.
func (f finding) severity() attestor.ReasonSeverity {
	switch {
	case f.status.Refuses():
		return attestor.Refuses
	case f.status == attestor.StatusWarn:
		return attestor.Warns
	}
	return attestor.Informs
}

// respond gives a finding the status that the policy sets for it; false means
// that the policy allows it.
func (f finding) respond(r Response) (finding, bool) {
	switch r {
	case RespondAllow:
		return f, false
	case RespondWarn:
		return f.as(attestor.StatusWarn), true
	}
	return f.as(attestor.StatusDeny), true
}

// settle turns what was found into a check: exceptions first, then the
// policy's mode for the check, then the worst that is left. It returns the
// check with the findings that were left, worst first.
func (j *judge) settle(name, platform string, found []finding) (*attestor.Check, []finding) {
	check := attestor.Check{Name: name, Platform: platform, Status: attestor.StatusPass, Reasons: []attestor.Reason{}}
	if why, unknown := j.unknown[name]; unknown && slices.ContainsFunc(found, func(f finding) bool { return !f.note }) {
		found = []finding{deny(attestor.CodeEvidenceMissing, name, "the recorded evidence cannot answer this policy: "+why, "judge the image afresh: attestor check IMAGE").as(attestor.StatusError)}
	}
	kept := make([]finding, 0, len(found))
	for _, f := range found {
		if j.excuse(&check, f) {
			continue
		}
		if f.status == attestor.StatusDeny && j.policy.doc.Spec.Checks[name] == CheckWarn {
			f.status = attestor.StatusWarn
		}
		if rank(f.status) > rank(check.Status) {
			check.Status = f.status
		}
		kept = append(kept, f)
	}
	slices.SortStableFunc(kept, func(a, b finding) int { return rank(b.status) - rank(a.status) })
	for i, f := range kept {
		f.reason.Severity = f.severity()
		if check.Status == attestor.StatusError && f.status != attestor.StatusError {
			break // a 503 lists only what waiting cures
		}
		if i == maxReasons {
			f.reason = attestor.Reason{Code: f.reason.Code, Severity: f.severity(), Message: fmt.Sprintf("and %d more reasons, which the evidence has", len(kept)-i)}
			check.Reasons = append(check.Reasons, f.reason)
			break
		}
		check.Reasons = append(check.Reasons, f.reason)
	}
	j.checks = append(j.checks, check)
	return &j.checks[len(j.checks)-1], kept
}

// rank orders statuses; what is not known counts as an error.
func rank(s attestor.Status) int {
	switch s {
	case attestor.StatusSkipped:
		return 0
	case attestor.StatusPass:
		return 1
	case attestor.StatusWarn:
		return 2
	case attestor.StatusDeny:
		return 4
	}
	return 3
}

// skip lists a check that did not apply, with why.
func (j *judge) skip(name, platform, why string) {
	j.skipFor(name, platform, attestor.Reason{Code: attestor.CodeNotAsked, Message: why})
}

func (j *judge) skipFor(name, platform string, r attestor.Reason) {
	j.checks = append(j.checks, attestor.Check{Name: name, Platform: platform, Status: attestor.StatusSkipped, Reasons: []attestor.Reason{r}})
}

// problems are those of a check that hold for a platform, or for the image as
// a whole. What belongs to no check that is judged apart belongs to platforms.
func (j *judge) problems(check string, lists ...[]attestor.Problem) []finding {
	var out []finding
	for _, list := range lists {
		for _, p := range list {
			of := p.Check
			switch of {
			case attestor.CheckScope, attestor.CheckBase, attestor.CheckUser, attestor.CheckVulnerabilities, attestor.CheckProvenance:
			default:
				of = attestor.CheckPlatforms
			}
			if of != check {
				continue
			}
			f := finding{status: attestor.StatusError, reason: p.Reason}
			if p.Status == attestor.StatusDeny {
				f.status = attestor.StatusDeny
			}
			f.final = check == attestor.CheckPlatforms
			out = append(out, f)
		}
	}
	return out
}

// platforms fits the evidence to the policy's platforms and reports whatever
// is wrong with the image as such. It never passes: that an image exists
// speaks for nothing.
func (j *judge) platforms() {
	found := j.problems(attestor.CheckPlatforms, j.ev.Problems)
	incomplete := func(message string) {
		found = append(found, deny(attestor.CodeEvidenceMissing, "", message, "report this as a defect of the gate, or correct the evidence").as(attestor.StatusError))
	}
	if j.ev.Time.IsZero() {
		incomplete("the evidence has no time, so that nothing in it can be dated")
	}
	resolved := !j.ev.Image.IsZero()
	if !resolved && len(found) == 0 {
		incomplete("the evidence names no image")
	}
	if resolved && !j.ev.Index && len(j.ev.Platforms) > 0 && (len(j.ev.Platforms) != 1 || j.ev.Platforms[0].Digest != j.ev.Image.Digest()) {
		incomplete("the evidence is of other manifests than the image")
	}
	found = append(found, j.fit()...)
	if len(found) > 0 {
		j.settle(attestor.CheckPlatforms, "", found)
	}
	for _, e := range j.ev.Platforms {
		if own := j.problems(attestor.CheckPlatforms, e.Problems); len(own) > 0 {
			j.settle(attestor.CheckPlatforms, e.Platform, own)
		}
	}
}

// fit leaves out the platforms that the policy is not about. Evidence gathered
// for this policy has none.
func (j *judge) fit() []finding {
	want := j.policy.doc.Spec.Platforms
	if want == nil {
		if len(j.ev.Left) == 0 {
			return nil
		}
		f := deny(attestor.CodeEvidenceMissing, "", fmt.Sprintf("%d children were left out, though the policy is about all platforms", len(j.ev.Left)), "judge the image afresh, without naming platforms")
		f.note = true
		return []finding{f.as(attestor.StatusWarn)}
	}
	var kept []attestor.PlatformEvidence
	left := slices.Clone(j.ev.Left)
	for _, e := range j.ev.Platforms {
		if slices.ContainsFunc(want, func(w string) bool { return attestor.SamePlatform(w, e.Platform) }) {
			kept = append(kept, e)
		} else {
			left = append(left, e.Child)
		}
	}
	had := len(j.ev.Platforms)
	j.ev.Platforms, j.ev.Left = kept, left
	if len(kept) > 0 || had == 0 && len(j.ev.Problems) > 0 {
		return nil
	}
	return []finding{{final: true, status: attestor.StatusDeny, reason: attestor.Reason{Code: attestor.CodePlatformNotAllowed,
		Message: fmt.Sprintf("none of the image's platforms is among those of the policy: %v", []string(want)),
		Fix:     "build the image for one of them, or add its platform to spec.platforms"}}}
}

func (j *judge) scope() {
	s, repo := j.policy.doc.Spec.Scope, j.ev.Image.Repository()
	found := j.problems(attestor.CheckScope, j.ev.Problems)
	switch {
	case s == nil && len(found) == 0:
		j.skip(attestor.CheckScope, "", "the policy has no scope beyond its images")
		return
	case repo == "":
		j.skip(attestor.CheckScope, "", "the image was not resolved")
		return
	case s == nil:
		j.settle(attestor.CheckScope, "", found)
		return
	}
	if len(s.TrustedDirectories) > 0 && !slices.ContainsFunc(s.TrustedDirectories, func(p attestor.Pattern) bool { return p.Match(repo) }) {
		found = append(found, deny(attestor.CodeOutOfScope, repo, fmt.Sprintf("%s is in none of the trusted directories %v", repo, s.TrustedDirectories),
			"push the image to one of them, or add its directory to spec.scope.trustedDirectories"))
	}
	if longest := time.Duration(s.MaxUploadAge); longest > 0 {
		found = append(found, j.uploadAge(longest, len(found) > 0)...)
	}
	j.settle(attestor.CheckScope, "", found)
}

func (j *judge) uploadAge(longest time.Duration, explained bool) []finding {
	up := j.ev.Uploaded
	if up == nil {
		if explained && slices.ContainsFunc(j.ev.Problems, func(p attestor.Problem) bool { return p.Check == attestor.CheckScope }) {
			return nil
		}
		return []finding{deny(attestor.CodeUploadTimeUnknown, "", "when the image was uploaded is not known, and spec.scope.maxUploadAge asks for it",
			"keep the image in Artifact Registry, which records it, or remove maxUploadAge").as(attestor.StatusError)}
	}
	if age := j.ev.Time.Sub(*up); age > longest {
		return []finding{deny(attestor.CodeUploadTooOld, "", fmt.Sprintf("uploaded %s ago, on %s; at most %s is allowed", days(age), up.UTC().Format(dateForm), Duration(longest)),
			"rebuild and push the image")}
	}
	return nil
}

// days is how long something took, for people.
func days(d time.Duration) string {
	if d < 48*time.Hour {
		return Duration(d.Truncate(time.Minute)).String()
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}
