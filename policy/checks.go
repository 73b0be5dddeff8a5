package policy

import (
	"slices"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/exception"
)

// checks is the table of checks, in the order in which a policy lists and judges them. It is the only list of them: to
// add a check, add its row; docs/adding.md walks through it.
//
// Two answers of a decision have no row, since no policy may leave them out and no exception excuses them: "platforms",
// which says whether the evidence can be judged at all and refuses every problem that no row owns, and "policy", which
// holds remarks about the policy itself. The rules of spec.rules are judged after the table.
func checks() []check {
	return []check{
		scopeCheck(),
		baseCheck(),
		userCheck(),
		vulnerabilitiesCheck(),
		secretsCheck(),
		provenanceCheck(),
		packagesCheck(),
	}
}

// A check is one question that policies put to the evidence, with all that this package knows of it. The functions may
// be nil unless their comment says otherwise. They are pure, and all but validate may rely on a valid document.
type check struct {
	// name is what decisions, exceptions and modes call the check. A problem in the evidence that bears the name is the
	// check's to judge.
	name string

	// asks says how a policy asks the question. It is required.
	asks func(s *Spec) asking

	// needs adds what must be found out for the check.
	needs func(s *Spec, n *attestor.Needs)

	// lacks says what evidence that was gathered for earlier needs does not answer of the check for next. It keeps a
	// simulation from judging by facts that nobody looked for. next are the needs of p.
	lacks func(p *Policy, earlier, next attestor.Needs) lack

	// validate reports settings that are malformed or contradict each other.
	validate func(v *validator, s *Spec)

	// lint reports settings that are legal but odd.
	lint func(l *linter)

	// demands says in sentences what is asked of an image.
	demands func(s *Spec) []string

	// codes lists the codes of the reasons that refuse, and whether these settings can give them.
	codes func(s *Spec) givenCodes

	// remarks lists the codes of reasons that never refuse.
	remarks []attestor.Code

	// allowed compiles the exceptions that the check's own settings hold, beside those of spec.exceptions.
	allowed func(s *Spec) exception.List

	// subject reports whether a text that looks like the code of a reason is a subject of the check's findings.
	subject func(text string) bool

	// inPackages says that what it finds is in packages, which exceptions can name.
	inPackages bool

	// found says in a few words what the check saw of a platform. Reports have them beside the check's reasons.
	found func(p attestor.PlatformSummary) string

	// exemplary changes evidence so that the check passes.
	exemplary func(s *Spec, ev *attestor.Evidence)

	// ofImage and ofPlatform judge: exactly one of them is set. Whichever it is answers every time, by conclude or by
	// skip: an answer that is missing is a denial.
	ofImage    func(j *judgement)
	ofPlatform func(j *judgement, e *attestor.PlatformEvidence)
}

// asking is how a policy asks a check's question. The zero value is "not at all".
type asking int

const (
	notAsked asking = iota // the check is skipped
	judged                 // what is known is judged, and may be nothing
	required               // an image cannot pass without an answer
)

func requiredIf(when bool) asking {
	if when {
		return required
	}
	return notAsked
}

// A givenCode is a code by which a check refuses.
type givenCode struct {
	code     attestor.Code
	possible bool // under the policy's settings
	alone    bool // the settings alone decide it; other codes the evidence can bring along as problems, too
}

// givenCodes is a list that is made by calling can and only.
type givenCodes []givenCode

// can adds codes that the evidence can bring along too.
func (l *givenCodes) can(possible bool, codes ...attestor.Code) {
	for _, c := range codes {
		*l = append(*l, givenCode{code: c, possible: possible})
	}
}

// only adds codes that no image can be refused for unless the settings make it possible.
func (l *givenCodes) only(possible bool, codes ...attestor.Code) {
	for _, c := range codes {
		*l = append(*l, givenCode{code: c, possible: possible, alone: true})
	}
}

// find returns the row of a check, or nil. The nil row of an unknown name owns nothing and excuses nothing.
func find(table []check, name string) *check {
	i := slices.IndexFunc(table, func(c check) bool { return c.name == name })
	if i < 0 {
		return nil
	}
	return &table[i]
}

// questions are the answers without which there is no verdict but a denial. An empty table asks nothing, which is a
// denial as well.
func questions(table []check) []attestor.Question {
	out := make([]attestor.Question, len(table))
	for i, c := range table {
		out[i] = attestor.Question{Check: c.name, OfImage: c.ofImage != nil}
	}
	return out
}

// requires reports whether a policy asks for at least one check that an image could pass.
func requires(table []check, s *Spec) bool {
	return len(s.Rules) > 0 || slices.ContainsFunc(table, func(c check) bool { return c.asks(s) == required })
}

// skips reports whether a check never applies.
func skips(table []check, s *Spec, name string) bool {
	c := find(table, name)
	return c != nil && c.asks(s) == notAsked
}

// excusable lists the checks that exceptions and modes can be about: those of the table and the policy's own rules.
// What is malformed or cannot be signed is not for a policy to overlook.
func excusable(table []check, s *Spec) []string {
	var names []string
	for _, c := range table {
		names = append(names, c.name)
	}
	for _, r := range s.Rules {
		names = append(names, attestor.RulePrefix+r.Name)
	}
	return names
}
