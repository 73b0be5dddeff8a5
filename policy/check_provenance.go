package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
)

func provenanceCheck() check {
	return check{
		name: attestor.CheckProvenance,
		asks: func(s *Spec) asking { return requiredIf(s.Provenance != nil) },
		needs: func(s *Spec, n *attestor.Needs) {
			if p := s.Provenance; p != nil {
				n.Provenance = &attestor.ProvenanceNeeds{Builders: p.Builders, SignedBy: p.SignedBy.rule()}
				if p.VSA != nil {
					n.Provenance.Summary = p.VSA.SignedBy.rule()
				}
			}
		},
		lacks:    provenanceLacks,
		validate: func(v *validator, s *Spec) { v.provenance(s.Provenance) },
		lint:     (*linter).provenance,
		demands: func(s *Spec) []string {
			p := s.Provenance
			if p == nil {
				return nil
			}
			out := []string{fmt.Sprintf(
				"provenance: SLSA level %d or higher, builders %s, sources %s", p.SLSALevel, anyOf(p.Builders),
				anyOf(p.Sources),
			)}
			if p.VSA != nil {
				out = append(out, fmt.Sprintf("or a verification summary by %s with %s",
					anyOf(p.VSA.Verifiers), strings.Join(p.VSA.Levels, ", ")))
			}
			for _, w := range p.ReusableWorkflows {
				out = append(out, fmt.Sprintf(
					"level 3: the reusable workflow %s at %s", w.Workflow,
					strings.Join(slices.Concat(w.Refs, w.Commits), ", "),
				))
			}
			return out
		},
		codes: func(s *Spec) (out givenCodes) {
			p := s.Provenance
			out.can(p != nil, attestor.CodeProvenanceMissing)
			out.only(p != nil && len(p.Builders) > 0, attestor.CodeProvenanceBuilder)
			out.only(p != nil && len(p.Sources) > 0, attestor.CodeProvenanceSource)
			out.only(p != nil && p.SLSALevel > 0, attestor.CodeProvenanceLevel)
			return out
		},
		exemplary: func(s *Spec, ev *attestor.Evidence) {
			if s.Provenance != nil {
				ev.Platforms[0].Provenance = []attestor.Provenance{s.Provenance.exemplary()}
			}
		},
		ofPlatform: (*judgement).provenance,
	}
}

// provenanceLacks holds how provenance was verified against how the policy wants it verified.
func provenanceLacks(_ *Policy, earlier, next attestor.Needs) lack {
	e, n := earlier.Provenance, next.Provenance
	switch {
	case n == nil:
		return lack{}
	case e == nil:
		return lack{why: otherProvenance}

	// What the old signer signed is in the evidence as verified, and the new one did not sign it. A signer less is no
	// such doubt: what they signed counts for nothing where the policy names none.
	case n.SignedBy != nil && e.SignedBy.Text() != n.SignedBy.Text(),
		n.Summary != nil && e.Summary.Text() != n.Summary.Text():
		return lack{why: otherProvenance}
	case e.SignedBy.Text() != n.SignedBy.Text(), e.Summary.Text() != n.Summary.Text():
		return lack{why: otherProvenance, certain: true}

	// Statements of Cloud Build that are attached to the image are read where they could be of a builder that counts. One
	// that counts is enough, so that more of them speak for the image only.
	case mayBeCloudBuild(n.Builders) && !mayBeCloudBuild(e.Builders):
		return lack{why: "attached statements of Cloud Build were not read", certain: true}
	}
	return lack{}
}

// mayBeCloudBuild reports whether Cloud Build is among the builders that count.
func mayBeCloudBuild(builders []string) bool {
	const prefix = "https://cloudbuild.googleapis.com/GoogleHostedWorker"
	return len(builders) == 0 ||
		slices.ContainsFunc(builders, func(b string) bool { return strings.HasPrefix(b, prefix) })
}

// provenance wants one statement that satisfies everything; of several that do
// not, the one that comes nearest is reported.
func (j *judgement) provenance(e *attestor.PlatformEvidence) {
	want := j.spec.Provenance
	if want == nil || want.EffectiveFrom != nil {
		j.skip(attestor.CheckProvenance, e.Platform, "the policy does not ask for provenance")
		return
	}

	problems := j.problems(attestor.CheckProvenance, j.ev.Problems, e.Problems)
	var nearest []finding
	best, level := false, 0
	for i := range e.Provenance {
		found, counts := want.unmet(&e.Provenance[i])
		if counts && len(found) == 0 {
			level = max(level, want.proven(&e.Provenance[i]).level)
		}
		if counts && (!best || len(found) < len(nearest)) {
			nearest, best = found, true
		}
	}

	// A summary of an earlier stage is as good as a statement that meets the requirements. Of problems that are about
	// summaries none is overlooked: the newest may be the one that was not read.
	stage, satisfied, why := j.earlierStage(e)
	switch {
	case satisfied && len(problems) == 0:
		level = max(level, stage)

	// One statement that meets the requirements is enough: another one, which could not be read, cannot void it.
	case best && len(nearest) == 0:
		problems = slices.DeleteFunc(problems, func(f finding) bool {
			return f.reason.Code == attestor.CodeProvenanceUnavailable
		})
	case best:
		problems = append(problems, nearest...)
	case len(problems) == 0:
		problems = append(problems, deny(
			attestor.CodeProvenanceMissing, j.ev.Image.Sibling(e.Digest).String(),
			"no verified provenance was found"+why,
			"build with Cloud Build, options.requestedVerifyOption: VERIFIED, or attach a signed statement and name "+
				"its signer in spec.provenance.signedBy",
		))
	}

	// What was proven is claimed only where nothing is left to be said against it.
	if c, left := j.conclude(attestor.CheckProvenance, e.Platform, problems); len(left) == 0 &&
		c.Status == attestor.StatusPass {
		c.BuildLevel = level
	}
}

// unmet lists what one statement lacks. A statement attached with cosign counts only if the policy names its signer.
func (p *Provenance) unmet(s *attestor.Provenance) (found []finding, counts bool) {
	// Cloud Build's statements are verified with Google's keys. Anybody can attach one with cosign, which proves
	// something only where the policy says who signs.
	if s.Source != "cloud-build" && (s.Source != "cosign" || p.SignedBy == nil) {
		return nil, false
	}
	at := p.proven(s)
	if len(p.Builders) > 0 && !slices.Contains(p.Builders, at.builder) &&
		(at.workflow == "" || !slices.Contains(p.Builders, at.workflow)) {
		found = append(found, deny(
			attestor.CodeProvenanceBuilder, at.builder,
			fmt.Sprintf("built by %q; allowed: %s", at.builder, strings.Join(p.Builders, ", ")),
			"build with one of them, or add the builder to spec.provenance.builders",
		))
	}

	if int64(at.level) < p.SLSALevel {
		message := fmt.Sprintf("the provenance is of SLSA level %d; at least %d is required", at.level, p.SLSALevel)
		if at.why != "" {
			message += ": " + at.why
		}
		found = append(found, deny(
			attestor.CodeProvenanceLevel, at.builder, message, "build with a builder of that level",
		))
	}

	if len(p.Sources) > 0 &&
		!slices.ContainsFunc(p.Sources, func(pattern string) bool { return matchSource(pattern, s.SourceURI) }) {
		found = append(found, deny(
			attestor.CodeProvenanceSource, s.SourceURI,
			fmt.Sprintf("built from %q; allowed: %s", s.SourceURI, strings.Join(p.Sources, ", ")),
			"build from one of them, or add the repository to spec.provenance.sources",
		))
	}
	return found, true
}

// A proven level is what one statement is worth to the policy.
type provenLevel struct {
	level    int
	builder  string
	workflow string // of reusableWorkflows, that gave it its level; "": none did
	why      string // it is not of level 3, if the policy names workflows that would be
}

// proven raises a statement to level 3 if a workflow signed it that the policy names. What the certificate says
// decides, and nothing that the statement says of itself.
func (p *Provenance) proven(s *attestor.Provenance) provenLevel {
	at := provenLevel{level: s.SLSALevel, builder: s.Builder}
	if p == nil || len(p.ReusableWorkflows) == 0 || s.Source != "cosign" || at.level >= 3 {
		return at
	}
	if at.why = s.Workflow.Isolated(); at.why != "" {
		return at
	}

	at.why = fmt.Sprintf("the workflow %q is not in spec.provenance.reusableWorkflows", s.Workflow.URI)
	for _, w := range p.ReusableWorkflows {
		ref, ok := s.Workflow.Ref(w.Workflow)
		if !ok {
			continue
		}

		// The workflow's name alone is not enough: whoever may push to its repository can change what it does.
		if w.allows(ref, s.Workflow.Commit) {
			return provenLevel{level: 3, builder: s.Workflow.URI, workflow: w.Workflow}
		}
		at.why = fmt.Sprintf("the workflow was called at %q, and its refs or commits in spec.provenance do "+
			"not allow that", ref)
	}
	return at
}

// allows reports whether the workflow was vetted at this reference, or at this commit.
func (w *ReusableWorkflow) allows(ref, commit string) bool {
	if commit != "" && slices.Contains(w.Commits, commit) {
		return true
	}

	// git-check-ref-format: a reference has neither empty components nor any that begins with a dot.
	return strings.HasPrefix(ref, "refs/") && !hasDots(ref) &&
		slices.ContainsFunc(w.Refs, func(pattern string) bool { return attestor.MatchPath(pattern, ref) })
}

// A source is a URI's scheme and the rest as a pattern of path segments.
type source struct {
	scheme  string
	pattern attestor.Pattern
}

func parseSource(s string) (source, error) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok || scheme == "" || strings.Trim(scheme, "abcdefghijklmnopqrstuvwxyz") != "" {
		return source{}, fmt.Errorf("want a scheme, such as https://github.com/acme/*")
	}
	p, err := attestor.ParsePattern(rest)
	return source{scheme: scheme, pattern: p}, err
}

// matchSource compares by path segment, after taking from a URI what does not
// name the repository: "git+", "@ref", ".git".
func matchSource(pattern, uri string) bool {
	want, err := parseSource(pattern)
	if err != nil {
		return false
	}

	uri, _, _ = strings.Cut(strings.TrimPrefix(uri, "git+"), "#")
	scheme, rest, ok := strings.Cut(uri, "://")
	if authority, _, _ := strings.Cut(rest, "/"); strings.Contains(authority, "@") {
		return false // RFC 3986, 3.2.1: of https://github.com@elsewhere.example/… the host is elsewhere.example
	}

	rest, _, _ = strings.Cut(rest, "@")
	rest = strings.TrimSuffix(strings.TrimSuffix(rest, "/"), ".git")
	return ok && scheme == want.scheme && !strings.ContainsAny(rest, "?%\\") && !hasDots(rest) &&
		want.pattern.Match(rest)
}

// hasDots reports whether a path could name something else than it reads.
func hasDots(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

func (v *validator) provenance(p *Provenance) {
	const path = "spec.provenance"
	if p == nil {
		return
	}
	if p.SLSALevel < 0 || p.SLSALevel > 4 {
		v.at(path+".slsaLevel", "%d is not a SLSA level: want 0 to 4", p.SLSALevel)
	}

	v.notEmpty(path+".builders", len(p.Builders))
	v.notEmpty(path+".sources", len(p.Sources))
	for i, b := range p.Builders {
		v.text(index(path+".builders", i), b)
	}

	for i, s := range p.Sources {
		if _, err := parseSource(s); err != nil {
			v.at(index(path+".sources", i), "%q is not a source pattern: %s", clip(s), message(err))
		}
	}

	v.stageVSA(path+".vsa", p)
	if p.SLSALevel == 0 && len(p.Builders) == 0 && len(p.Sources) == 0 && p.VSA == nil {
		v.at(path, "demands nothing: give slsaLevel, builders or sources, or leave it out")
	}
	v.signedBy(path+".signedBy", p.SignedBy)
	v.reusableWorkflows(path+".reusableWorkflows", p)
}

// The forms of workflows and commits.
var (
	workflowForm = regexp.MustCompile(
		`\Ahttps://(github\.com|[a-z0-9-]+\.ghe\.com)/[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+/\.github/workflows/[^/\s*]+\.ya?ml\z`,
	)
	commitForm = regexp.MustCompile(`\A([0-9a-f]{40}|[0-9a-f]{64})\z`)
)

func (v *validator) reusableWorkflows(path string, p *Provenance) {
	v.notEmpty(path, len(p.ReusableWorkflows))

	// A certificate of GitHub's is what the rule is about, and signedBy is what has one verified.
	if len(p.ReusableWorkflows) > 0 && !v.has(path[:strings.LastIndex(path, ".")]+".signedBy") {
		v.at(path, "needs signedBy: without it no statement that is attached to the image counts")
	} else if len(p.ReusableWorkflows) > 0 && p.SignedBy != nil &&
		(p.SignedBy.Keyless == nil || !attestor.IsGitHubIssuer(p.SignedBy.Keyless.Issuer)) {
		v.at(path, "needs signedBy.keyless with the issuer https://token.actions.githubusercontent.com, or that of a "+
			"ghe.com tenant")
	}

	seen := newSeen(len(p.ReusableWorkflows))
	for i, w := range p.ReusableWorkflows {
		at := index(path, i)
		v.match(at+".workflow", w.Workflow, workflowForm,
			"https://github.com/OWNER/REPOSITORY/.github/workflows/FILE.yml")
		if seen.again(w.Workflow) {
			v.at(at+".workflow", "duplicate %q", clip(w.Workflow))
		}
		v.notEmpty(at+".refs", len(w.Refs))
		v.notEmpty(at+".commits", len(w.Commits))
		v.matchAll(at+".commits", w.Commits, commitForm, "a commit's 40 or 64 hexadecimal digits")
		for n, ref := range w.Refs {
			if why := attestor.CheckPathPattern(ref); why != "" {
				v.at(index(at+".refs", n), "%q %s", clip(ref), why)
			} else if !strings.HasPrefix(ref, "refs/tags/") && !strings.HasPrefix(ref, "refs/heads/") {
				v.at(index(at+".refs", n), "%q is not a reference: want refs/tags/… or refs/heads/…", clip(ref))
			}
		}
		if !v.has(at+".refs") && !v.has(at+".commits") {
			v.at(at, "has neither refs nor commits, so that any version of the workflow would do")
		}
	}
}

func (l *linter) provenance() {
	p := l.s.Provenance
	if p == nil {
		return
	}
	if len(p.Builders) == 0 {
		l.d.at("spec.provenance", "names no builders: any builder whose statement verifies will do")
	}

	if p.SignedBy != nil {
		l.signedBy("spec.provenance.signedBy", p.SignedBy)
	}

	for i, w := range p.ReusableWorkflows {
		for n, ref := range w.Refs {
			if strings.HasPrefix(ref, "refs/heads/") {
				l.d.at(
					index(index("spec.provenance.reusableWorkflows", i)+".refs", n),
					"%q is a branch: whoever may push to it changes what counts as level 3; name tags or commits",
					clip(ref),
				)
			}
		}
	}
}

func (p *Provenance) exemplary() attestor.Provenance {
	out := attestor.Provenance{
		Source:        "cloud-build",
		Builder:       "https://cloudbuild.googleapis.com/GoogleHostedWorker",
		SLSALevel:     int(max(p.SLSALevel, 3)),
		SourceURI:     "https://github.com/acme/app",
		PredicateType: "https://slsa.dev/provenance/v1",
	}
	if p.SignedBy != nil {
		out.Source = "cosign"
	}

	if len(p.Builders) > 0 {
		out.Builder = p.Builders[0]
	}
	if len(p.Sources) > 0 {
		out.SourceURI = strings.NewReplacer("**", "app", "*", "app").Replace(p.Sources[0])
	}
	return out
}

func anyOf(list []string) string {
	if len(list) == 0 {
		return "any"
	}
	return strings.Join(list, ", ")
}
