package policy

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
)

// maxReasons bounds what one check says, worst first. The evidence has all.
const maxReasons = 1000

// A finding is one thing that a check has to say, before exceptions and modes.
type finding struct {
	status attestor.Status
	reason attestor.Reason
	pkg    string                     // for exceptions that name packages
	about  string                     // what exceptions call it; "": the reason's subject
	path   string                     // for exceptions that name paths
	excuse *attestor.AppliedException // accepted for another reason than an exception, such as VEX
	final  bool                       // no exception excuses it
	named  bool                       // only an exception excuses it that names the code and the package
	note   bool                       // says nothing against the image
	floor  bool                       // no policy can allow it, so that no date waives it
	where  string                     // distinguishes findings of one package
}

// judgement is the state of judging one image.
type judgement struct {
	policy  *Policy
	spec    *Spec     // the policy in full; in a probe, with parts of it not in force yet
	at      time.Time // for the dates that the policy sets; ages count from the evidence's own time
	ev      attestor.Evidence
	next    int     // of the policy's dates, the first that has not come
	before  []probe // how the image is judged until each date ahead; none if all have come
	probe   *probe  // set if this judgement only collects what is found
	lacks   lacking // what the evidence does not answer
	checks  []attestor.Check
	remarks []attestor.Reason
	matched []bool // by exception
}

// Judge turns evidence into a verdict. It collects every reason, and is a pure
// function of the policy and the evidence.
func (p *Policy) Judge(ev attestor.Evidence) attestor.Verdict {
	return p.judgeKnowing(ev, lacking{}, ev.Time)
}

// judgeKnowing judges evidence that was gathered for another policy, by the dates of the policy as they stand at a
// time. lacks says what it does not answer.
func (p *Policy) judgeKnowing(ev attestor.Evidence, lacks lacking, at time.Time) attestor.Verdict {
	// Without a name nothing was loaded: the zero policy, which asks nothing and so denies.
	if p == nil || p.ref.Name == "" {
		return attestor.NewVerdict(ev, attestor.PolicyRef{}, attestor.AttestNeeds{}, nil, nil)
	}

	// The policy in full is judged; dates only take back what it refuses.
	whole := p.stages[len(p.stages)-1]
	j := &judgement{
		policy: p, spec: whole, at: at, ev: ev, lacks: lacks, matched: make([]bool, len(p.exceptions)),
		checks: make([]attestor.Check, 0, len(p.checks)*max(1, len(ev.Platforms))+1),
	}

	// What the policy refuses later is judged, too, so that it is a warning until then and not a surprise.
	j.next = p.inForce(at)
	j.before = j.probes()
	j.answers()

	// Only now is it known which exceptions matched nothing.
	j.stale()
	if len(j.remarks) > 0 {
		slices.SortFunc(j.remarks, func(a, b attestor.Reason) int {
			return cmp.Or(
				cmp.Compare(a.Code, b.Code), cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Message, b.Message),
			)
		})

		j.checks = append(
			j.checks, attestor.Check{Name: attestor.CheckPolicy, Status: attestor.StatusWarn, Reasons: j.remarks},
		)
	}

	// The verdict holds the answers against the table: a row that gave none is a denial.
	return attestor.NewVerdict(j.ev, p.ref, p.needs.Attest, p.questions, j.checks)
}

// answers puts the policy's questions to the evidence.
func (j *judgement) answers() {
	// The evidence is made to fit the policy first: what is left out here is judged by no check.
	j.platforms()
	for _, c := range j.policy.checks {
		if c.ofImage != nil {
			c.ofImage(j)
		}
	}

	for i := range j.ev.Platforms {
		e := &j.ev.Platforms[i]
		summary := e.Summary(j.ev.Time)
		for _, c := range j.policy.checks {
			if c.ofPlatform == nil {
				continue
			}
			first := len(j.checks)
			c.ofPlatform(j, e)
			j.describe(c, summary, first)
		}
	}

	// Rules come last and add refusals only: none makes up for a check that refused.
	j.rules()
}

// describe adds to a row's answers, from the first on, what the row saw. One that was skipped says why instead. The
// words have no part in the verdict.
func (j *judgement) describe(c check, p attestor.PlatformSummary, first int) {
	if c.found == nil {
		return
	}
	for i := first; i < len(j.checks); i++ {
		if j.checks[i].Status != attestor.StatusSkipped {
			j.checks[i].Found = c.found(p)
		}
	}
}

func deny(code attestor.Code, subject, message, fix string) finding {
	return finding{
		status: attestor.StatusDeny,
		reason: attestor.Reason{Code: code, Subject: subject, Message: message, Fix: fix},
	}
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

	// Whatever is not known to be laxer denies.
	return f.as(attestor.StatusDeny), true
}

// treat is respond in the words of a Treatment. Whatever is not known to be laxer denies.
func (f finding) treat(t Treatment) (finding, bool) {
	switch t {
	case TreatIgnore:
		return f, false
	case TreatWarn:
		return f.as(attestor.StatusWarn), true
	}
	return f.as(attestor.StatusDeny), true
}

func stricter(a, b Treatment) Treatment {
	order := []Treatment{TreatIgnore, TreatWarn} // anything else is deny
	if i, j := slices.Index(order, a), slices.Index(order, b); i < 0 || j >= 0 && i > j {
		return a
	}
	return b
}

// conclude turns what was found into a check: the policy's dates first, then exceptions, then the
// policy's mode for the check, then the worst that is left. It returns the
// check with the findings that were left, worst first.
func (j *judgement) conclude(name, platform string, found []finding) (*attestor.Check, []finding) {
	// A probe has no verdict: nothing reads the check that it returns.
	if j.probe != nil {
		j.probe.collect(answer{name, platform}, found)
		return &attestor.Check{Name: name, Platform: platform, Status: attestor.StatusPass}, nil
	}

	check := attestor.Check{Name: name, Platform: platform, Status: attestor.StatusPass, Reasons: []attestor.Reason{}}
	found = j.dated(answer{name, platform}, found)

	// Evidence that was not gathered for this question neither refuses by it nor lets pass: the answer is an error, unless
	// what was not looked up could not change it.
	if l := j.lacks.checks[name]; l.leavesOpen(found) {
		found = []finding{evidenceMissing(name, "the recorded evidence cannot answer this policy: "+l.why)}
	}

	// The check has the most severe status of what is left. A mode turns a denial into a warning, never an error: what
	// could not be found out is not the policy's to overlook.
	kept := found[:0]
	for _, f := range found {
		if j.excuse(&check, f) {
			continue
		}
		if f.status == attestor.StatusDeny && j.spec.Checks[name] == CheckWarn {
			f.status = attestor.StatusWarn
		}

		if rank(f.status) > rank(check.Status) {
			check.Status = f.status
		}
		kept = append(kept, f)
	}

	// The most severe reasons come first, and stay when the list is cut.
	slices.SortStableFunc(kept, func(a, b finding) int { return rank(b.status) - rank(a.status) })
	for i, f := range kept {
		f.reason.Severity = f.severity()
		if check.Status == attestor.StatusError && f.status != attestor.StatusError {
			break // a 503 lists only what waiting cures
		}
		if i == maxReasons {
			f.reason = attestor.Reason{
				Code:     f.reason.Code,
				Severity: f.severity(),
				Message:  fmt.Sprintf("and %d more reasons, which the evidence has", len(kept)-i),
			}
			check.Reasons = append(check.Reasons, f.reason)
			break
		}
		check.Reasons = append(check.Reasons, f.reason)
	}
	j.checks = append(j.checks, check)
	return &j.checks[len(j.checks)-1], kept
}

// evidenceMissing is the error of a question that recorded evidence does not answer.
func evidenceMissing(subject, message string) finding {
	return deny(attestor.CodeEvidenceMissing, subject, message, "judge the image afresh: attestor check IMAGE").as(
		attestor.StatusError)
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
	// A denial outweighs an error: asking again does not help, whatever else would be found out.
	case attestor.StatusDeny:
		return 4
	}
	return 3
}

// skip lists a check that did not apply, with why.
func (j *judgement) skip(name, platform, why string) {
	j.skipFor(name, platform, attestor.Reason{Code: attestor.CodeNotAsked, Message: why})
}

func (j *judgement) skipFor(name, platform string, r attestor.Reason) {
	if j.probe != nil {
		return
	}

	// What a limit refuses until its date refuses now, even if the check will not be asked for later.
	if j.refusesNow(answer{name, platform}) {
		j.conclude(name, platform, nil)
		return
	}

	j.checks = append(
		j.checks,
		attestor.Check{Name: name, Platform: platform, Status: attestor.StatusSkipped, Reasons: []attestor.Reason{r}},
	)
}

// nothing lists a check that the policy asks for, and that nothing in the evidence is about.
func (j *judgement) nothing(name, platform, why string) {
	j.nothingFor(name, platform, attestor.Reason{Code: attestor.CodeNotAsked, Message: why})
}

func (j *judgement) nothingFor(name, platform string, r attestor.Reason) {
	// That nothing was found says nothing where it was not looked for.
	if j.lacks.checks[name].leavesOpen(nil) {
		j.conclude(name, platform, nil)
		return
	}
	j.skipFor(name, platform, r)
}

// problems are those of a check that hold for a platform, or for the image as
// a whole. A problem that no row of the table owns belongs to platforms.
func (j *judgement) problems(check string, lists ...[]attestor.Problem) []finding {
	var out []finding
	for _, list := range lists {
		for _, p := range list {
			// A problem that no row owns must not be lost: it refuses the image as such.
			of := p.Check
			if find(j.policy.checks, of) == nil {
				of = attestor.CheckPlatforms
			}

			if of != check {
				continue
			}

			// "Anything else is read as Error": a status that this version does not know must not be lost.
			f := finding{status: attestor.StatusError, reason: p.Reason}
			if p.Status == attestor.StatusDeny {
				f.status = attestor.StatusDeny
			}

			// What is wrong with the image as such, no exception excuses: nobody knows what it would let in.
			f.final = check == attestor.CheckPlatforms
			out = append(out, f)
		}
	}
	return out
}

// platforms fits the evidence to the policy's platforms and reports whatever
// is wrong with the image as such. It never passes: that an image exists
// proves nothing about it.
func (j *judgement) platforms() {
	found := j.problems(attestor.CheckPlatforms, j.ev.Problems)
	incomplete := func(message string) {
		found = append(found, deny(
			attestor.CodeEvidenceMissing, "", message, "report this as a defect of the gate, or correct the evidence",
		).as(attestor.StatusError))
	}

	// The evidence's time is the only clock: without it every age would be that of a date long past or to come.
	if j.ev.Time.IsZero() {
		incomplete("the evidence has no time, so that nothing in it can be dated")
	}

	// What passes is signed for the image's digest, so that it must be the digest of what was judged.
	resolved := !j.ev.Image.IsZero()
	if !resolved && len(found) == 0 {
		incomplete("the evidence names no image")
	}
	if resolved && !j.ev.Index && len(j.ev.Platforms) > 0 &&
		(len(j.ev.Platforms) != 1 || j.ev.Platforms[0].Digest != j.ev.Image.Digest()) {
		incomplete("the evidence is of other manifests than the image")
	}

	// A platform that is left out here is not signed for, nor is the index that holds it.
	found = append(found, j.fit()...)
	if len(found) > 0 {
		j.conclude(attestor.CheckPlatforms, "", found)
	}

	// A problem of one platform refuses that one, and with it the image: no platform is left out for it.
	for _, e := range j.ev.Platforms {
		if own := j.problems(attestor.CheckPlatforms, e.Problems); len(own) > 0 {
			j.conclude(attestor.CheckPlatforms, e.Platform, own)
		}
	}
}

// fit leaves out the platforms that the policy is not about. Evidence gathered
// for this policy has none.
func (j *judgement) fit() []finding {
	want := j.spec.Platforms
	if want == nil {
		if len(j.ev.Left) == 0 {
			return nil
		}
		f := deny(
			attestor.CodeEvidenceMissing, "",
			fmt.Sprintf("%d children were left out, though the policy is about all platforms", len(j.ev.Left)),
			"judge the image afresh, without naming platforms",
		)

		// The children that are here were judged in full; NewVerdict leaves out the index's digest, which admits all.
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

	// An image of which no platform is left was not judged at all: that is a denial, unless it was never resolved,
	// which a problem says.
	had := len(j.ev.Platforms)
	j.ev.Platforms, j.ev.Left = kept, left
	if len(kept) > 0 || had == 0 && len(j.ev.Problems) > 0 {
		return nil
	}

	return []finding{
		{final: true, status: attestor.StatusDeny, reason: attestor.Reason{Code: attestor.CodePlatformNotAllowed,
			Message: fmt.Sprintf("none of the image's platforms is among those of the policy: %v", []string(want)),
			Fix:     "build the image for one of them, or add its platform to spec.platforms"}},
	}
}

// days is how long something took, for people.
func days(d time.Duration) string {
	if d < 48*time.Hour {
		return Duration(d.Truncate(time.Minute)).String()
	}
	return describe.Plural(int(d.Hours()/24), "day")
}
