// Package posture judges Cloud Run services and jobs by the hardening rules of
// docs/posture.md. It reads definitions (Knative YAML or JSON as gcloud exports
// it, the v2 API's JSON, Terraform plans) and IAM policies, and says for each
// rule what was found, what is required, and the flag or line to change.
//
// A definition that cannot be read is an error, never a finding. A rule without
// its evidence is skipped, and its fix names the missing input; profile strict
// makes that an error. The package makes no network calls: [Attested] answers
// whether an image is attested.
package posture

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/attestor-gate/attestor"
)

// Attested says whether a valid attestation of the gate stands for an image.
// False with an error means that it could not be found out.
type Attested interface {
	Attested(ctx context.Context, img attestor.Image) (bool, error)
}

// Config is what a [Judge] needs.
type Config struct {
	Profile  Profile
	Attested Attested // nil: IMAGE_ATTESTED is skipped
	Now      func() time.Time

	// Bases are those that a policy approves; nil: BASE_NOT_APPROVED is skipped.
	Bases []attestor.ApprovedBase
}

// A Judge holds a profile. It is safe for concurrent use.
type Judge struct{ c Config }

// New refuses a profile that [Builtin] or [ParseProfile] did not make.
func New(c Config) (*Judge, error) {
	if c.Profile.name == "" || c.Now == nil {
		return nil, errors.New("posture: a profile and a clock are required")
	}
	return &Judge{c: c}, nil
}

// A Source is a document and what to call it.
type Source struct {
	Name string
	Text []byte
}

// An IAM is a policy as `get-iam-policy` prints it. Service names the service
// or job that it is of, where there are several; Region and Kind (service or
// job) tell apart those of one name.
type IAM struct {
	Service string
	Region  string
	Kind    string
	Source
}

// Input is what is judged, and further evidence about it.
type Input struct {
	Definitions []Source
	IAM         []IAM    // of services and jobs
	ProjectIAM  []Source // of their project
	Region      string   // of definitions that do not say theirs
}

// A finding is one rule put to one service, its sentence still in parts.
type finding struct {
	attestor.PostureFinding
	found    string
	required string // "" for none
}

// reported joins the parts.
func (f finding) reported() attestor.PostureFinding {
	f.Message = f.found

	if f.required != "" {
		f.Message += "; required: " + f.required
	}

	return f.PostureFinding
}

// Judge reads and judges. Its error is an [attestor.Error] of kind Invalid or
// TooLarge that names everything that could not be read.
func (j *Judge) Judge(ctx context.Context, in Input) (attestor.PostureReport, error) {
	// Nothing is judged unless everything was read: a verdict on some documents
	// would be taken for one on all of them.
	m, err := read(in)
	if err != nil {
		return attestor.PostureReport{}, err
	}

	used := make([]use, len(j.c.Profile.exceptions))
	known := map[attestor.Image]asked{}
	r := attestor.PostureReport{Profile: j.c.Profile.name, Services: m.defined()}
	for _, s := range m.workloads {
		for _, rule := range rules() {
			if !rule.concerns(s) {
				continue
			}

			c := &judging{ctx: ctx, s: s, model: m, profile: j.c.Profile, attested: j.c.Attested,
				bases: j.c.Bases, known: known}
			f, missing := j.finding(c, rule, used)

			// A plan that only makes services gets no skipped finding for each
			// rule about its surroundings, but missing evidence is reported.
			if rule.resources != nil && !s.surrounded && !missing {
				continue
			}

			r.Findings = append(r.Findings, f.reported())
		}
	}

	// An unread part is an error, and counts in the verdict.
	for _, a := range m.unjudged {
		r.Findings = append(r.Findings, a.finding())
	}

	r.Findings = append(r.Findings, j.reportExceptions(m, used)...)
	r.Verdict = sum(r.Findings)

	return r, nil
}

// finding applies one rule to one service. missing reports that the rule lacks
// evidence that the caller could provide.
func (j *Judge) finding(c *judging, rule rule, used []use) (f finding, missing bool) {
	f.PostureFinding = attestor.PostureFinding{
		Rule: rule.id, Service: c.s.fullName(), Kind: c.s.kind, Owner: c.s.owner(), File: c.s.file, Line: c.s.line,
		Status: attestor.StatusSkipped,
	}

	// Neither a rule that is off nor one about something else passes: the
	// finding stays skipped, and [sum] does not count it as a pass.
	level := j.c.Profile.levels[rule.id]
	if level == off {
		f.found = "profile " + j.c.Profile.name + " does not ask for this"
		return f, false
	}
	if c.s.kind != kindPlan && !rule.appliesTo(c.s.kind) {
		f.found = "does not apply to " + indefinite(c.s.kind)
		return f, false
	}

	a := c.requireInPlan(rule, rule.judge(c))
	c.fix = a.remedy

	// A value in "after_unknown" may turn out to be anything, so that a rule does
	// not pass on the known part alone. A violation in the known part stands.
	if hidden := c.s.hiddenFrom(rule); a.state == stateSatisfied && hidden != "" {
		a = afterApply(hidden)
	}

	f.found, f.required = a.found, a.required

	// Every state is listed: the zero answer, or one that a new rule invents, is
	// an error and not a pass.
	switch a.state {
	case stateSatisfied:
		f.Status, f.required = attestor.StatusPass, ""
	case stateNotInPlan:
		f.Status = attestor.StatusSkipped
	case stateWarned:
		f.Status = attestor.StatusWarn
		f.Fix = a.remedy.of(c.s)
	case stateMissing:
		f.Status, f.Fix, missing = attestor.StatusSkipped, a.supply, true

		if j.c.Profile.missing == deny && level == deny {
			f.Status = attestor.StatusError
		}
	case stateViolated:
		f.Status = attestor.StatusDeny
		if level == warn {
			f.Status = attestor.StatusWarn
		}

		// Exceptions come last, so that each excuses only what was found here.
		f.Fix = a.remedy.of(c.s)
		j.except(&f, c.s, a.faults, used)
	default:
		f.Status, f.Fix = attestor.StatusError, a.supply
		f.found = cmp.Or(f.found, "the rule gave no answer")
	}

	return f, missing
}

// indefinite is a kind of workload with its article.
func indefinite(kind string) string {
	switch kind {
	case kindInstance:
		return "an instance"
	case kindPool:
		return "a worker pool"
	}
	return "a " + kind
}

// sum is the verdict of findings. A deny outweighs an error, an error outweighs
// a pass, and findings without any pass are denied.
func sum(findings []attestor.PostureFinding) attestor.Outcome {
	outcome, passed := attestor.Pass, false
	for _, f := range findings {
		switch f.Status {
		case attestor.StatusDeny:
			return attestor.Deny
		case attestor.StatusPass:
			// A pass by exception does not count: a profile that excuses every
			// finding has judged nothing.
			passed = passed || len(f.Exceptions) == 0
		case attestor.StatusWarn, attestor.StatusSkipped:
		default: // an error, or an unknown status: the verdict is open
			outcome = attestor.Undecided
		}
	}

	// Skipped rules and warnings alone are no evidence that anything is right.
	if outcome == attestor.Pass && !passed {
		return attestor.Deny
	}

	return outcome
}

// judging is the application of one rule to one service.
type judging struct {
	ctx      context.Context //nolint:containedctx // of one call of Judge
	s        *workload
	model    *model
	profile  Profile
	attested Attested
	bases    []attestor.ApprovedBase
	known    map[attestor.Image]asked
	fix      remedy // of the answer
	open     string // the first value of a plan's resources that decides and is known only after apply
}

type asked struct {
	ok  bool
	err error
}

// isAttested asks once for each image. With an error the answer is false,
// whatever the implementation of [Attested] returned beside it.
func (c *judging) isAttested(img attestor.Image) (bool, error) {
	a, done := c.known[img]
	if !done {
		a.ok, a.err = c.attested.Attested(c.ctx, img)
		c.known[img] = a
	}

	return a.ok && a.err == nil, a.err
}

// invalid joins what was wrong with the documents, sorted, into one error.
func invalid(errs []error) error {
	if len(errs) == 0 {
		return nil
	}

	// Sorted, so that two runs report the same.
	slices.SortStableFunc(errs, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	const most = 20
	left := ""
	if len(errs) > most {
		left = fmt.Sprintf("\nand %d more", len(errs)-most)
		errs = errs[:most]
	}

	return &attestor.Error{
		Kind: attestor.Invalid, Msg: errors.Join(errs...).Error() + left,
		Fix: "pass the output of `gcloud run services describe NAME --format export`, the v2 API's JSON, or " +
			"the output of " +
			"`terraform show -json PLAN`",
	}
}
