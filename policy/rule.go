package policy

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/ext"
	"github.com/attestor-gate/attestor"
)

// Bounds of rules. A rule that looks at each finding once stays far below
// them; findings against findings is refused at load.
const (
	maxRules          = 100
	maxExpression     = 4096
	maxEstimatedCost  = 100_000_000
	maxEvaluationCost = 1_000_000

	// What the estimate assumes at most.
	assumedFindings = 20_000
	assumedElements = 1_000
	assumedText     = 1_000
)

// A rule is a compiled CEL expression.
type rule struct {
	Rule
	program cel.Program
	claims  map[string]bool // the fields of image that it reads; "" for all
	sbom    map[string]bool // those of sbom
	vex     bool            // it reads vex
	reads   map[string]bool // what it reads of the variables of which evidence may lack something
	ast     *cel.Ast
	env     *cel.Env
}

// ruleEnv is made once: it never changes, and making it costs more than a whole
// policy besides.
var ruleEnv = sync.OnceValues(newRuleEnv)

// newRuleEnv declares what rules may name. There is no clock, no I/O and no
// function with an effect.
func newRuleEnv() (*cel.Env, error) {
	object := func(v any) *cel.Type { return cel.ObjectType("policy." + reflect.TypeOf(v).Name()) }
	return cel.NewEnv(
		ext.NativeTypes(
			ext.ParseStructTags(true), reflect.TypeFor[RuleSubject](), reflect.TypeFor[RuleImage](),
			reflect.TypeFor[RuleRequest](), reflect.TypeFor[RuleUser](), reflect.TypeFor[RuleBase](),
			reflect.TypeFor[RuleScan](), reflect.TypeFor[RuleFinding](), reflect.TypeFor[RuleProvenance](),
			reflect.TypeFor[RuleSBOM](), reflect.TypeFor[RulePackage](), reflect.TypeFor[RuleVEX](),
		),
		cel.Variable("subject", object(RuleSubject{})), cel.Variable("image", object(RuleImage{})),
		cel.Variable("request", object(RuleRequest{})), cel.Variable("user", object(RuleUser{})),
		cel.Variable("base", object(RuleBase{})), cel.Variable("scan", object(RuleScan{})),
		cel.Variable("sbom", object(RuleSBOM{})), cel.Variable("vex", cel.ListType(object(RuleVEX{}))),
		cel.Variable("provenance", cel.ListType(object(RuleProvenance{}))), cel.Variable("time", cel.TimestampType),
		ext.Strings(), ext.Sets(), cel.OptionalTypes(),
		// Bounds of the parser, which a policy's author, or who sends one to be simulated, could exhaust.
		cel.ParserExpressionSizeLimit(maxExpression), cel.ParserRecursionLimit(100),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals()),
	)
}

func (v *validator) ruleList(list []Rule) {
	const path = "spec.rules"
	if len(list) == 0 {
		return
	}
	if len(list) > maxRules {
		v.at(path, "%d rules, at most %d are allowed", len(list), maxRules)
		return
	}

	env, err := ruleEnv()
	if err != nil {
		v.at(path, "rules cannot be compiled: %v", err)
		return
	}

	for i, r := range list {
		at := index(path, i)
		v.match(at+".name", r.Name, nameForm, "lower-case letters, digits and hyphens, at most 63")
		if slices.ContainsFunc(list[:i], func(o Rule) bool { return o.Name != "" && o.Name == r.Name }) {
			v.at(at+".name", "duplicate %q", clip(r.Name))
		}

		v.text(at+".message", r.Message)
		v.text(at+".expression", r.Expression)
		if strings.TrimSpace(r.Expression) != "" {
			v.rules = append(v.rules, v.compile(env, r, at+".expression"))
		}
	}
}

// compile type-checks an expression and refuses what could cost too much.
func (v *validator) compile(env *cel.Env, r Rule, path string) rule {
	out := rule{Rule: r, env: env}
	checked, issues := env.Compile(r.Expression)
	if issues.Err() != nil {
		for _, e := range issues.Errors() {
			v.at(path, "line %d, column %d of the expression: %s", e.Location.Line(), e.Location.Column()+1, e.Message)
		}
		return out
	}

	if checked.OutputType() != cel.BoolType {
		v.at(path, "is of type %s; a rule is true or false", checked.OutputType())
		return out
	}

	// Refused at load, where its author sees it, and not at each image.
	cost, err := env.EstimateCost(checked, sizes{})
	if err != nil || cost.Max > maxEstimatedCost {
		v.at(path, "could cost too much to evaluate: do not compare each element of a list with each of another")
		return out
	}

	// The estimate assumes sizes; the limit holds whatever the evidence's sizes are.
	program, err := env.Program(checked, cel.CostLimit(maxEvaluationCost), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		v.at(path, "cannot be prepared: %v", err)
		return out
	}
	out.program, out.claims, out.ast = program, fieldsRead(checked, "image"), checked
	out.sbom = fieldsRead(checked, "sbom")
	v.sbomRule(path, out.sbom)
	out.reads = map[string]bool{"sbom": len(out.sbom) > 0}
	for _, variable := range []string{"user", "base", "scan", "provenance"} {
		out.reads[variable] = len(fieldsRead(checked, variable)) > 0
	}
	subject := fieldsRead(checked, "subject")
	out.reads["subject.uploaded"] = subject["uploaded"] || subject[""]
	if out.vex = len(fieldsRead(checked, "vex")) > 0; out.vex && v.doc.Spec.Vulnerabilities.VEX == nil {
		v.at(path, "reads vex, which needs spec.vulnerabilities.vex: without it nobody's statements are looked for")
	}
	return out
}

// sbomRule refuses a rule about packages that an image without an SBOM would satisfy.
func (v *validator) sbomRule(path string, read map[string]bool) {
	s := v.doc.Spec.SBOM
	switch {
	case len(read) == 0:
	case s == nil:
		v.at(path, "reads sbom, which needs spec.sbom: without it none is looked for")
	case !s.Required && !read["formats"]:
		v.at(path, "would be judged of an image without an SBOM as of one without packages: test size(sbom.formats) > "+
			"0, or set spec.sbom.required")
	}
}

// fieldsRead lists the fields of a variable that an expression names; "" for all.
func fieldsRead(a *cel.Ast, variable string) map[string]bool {
	read, fields := map[string]bool{}, map[int64]bool{}
	ast.PreOrderVisit(a.NativeRep().Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.SelectKind:
			if of := e.AsSelect().Operand(); of.Kind() == ast.IdentKind && of.AsIdent() == variable {
				read[e.AsSelect().FieldName()], fields[of.ID()] = true, true
			}
		case ast.IdentKind:
			if e.AsIdent() == variable && !fields[e.ID()] {
				read[""] = true
			}
		}
	}))

	return read
}

// sizes gives the estimate the largest evidence.
type sizes struct{}

func (sizes) EstimateSize(n cost.AstNode) *cost.SizeEstimate {
	switch n.Type().Kind() {
	case types.ListKind:
		if path := n.Path(); len(path) > 0 && slices.Contains([]string{"findings", "packages", "claims", "vex"},
			path[len(path)-1]) {
			return &cost.SizeEstimate{Max: assumedFindings}
		}
		return &cost.SizeEstimate{Max: assumedElements}
	case types.MapKind:
		return &cost.SizeEstimate{Max: assumedElements}
	}
	return &cost.SizeEstimate{Max: assumedText}
}

func (sizes) EstimateCallCost(string, string, *cost.AstNode, []cost.AstNode) *cost.CallEstimate {
	return nil
}

// rules evaluates each rule for each platform. Anything but a plain true is no
// pass: false denies, and what cannot be evaluated is an error.
func (j *judgement) rules() {
	if len(j.policy.rules) == 0 {
		return
	}
	for i := range j.ev.Platforms {
		e := &j.ev.Platforms[i]
		// Made once for all rules of a platform: lists of findings are long.
		variables := ruleVariables(&j.ev, e, j.spec.Provenance)
		if slices.ContainsFunc(j.policy.rules, func(r rule) bool { return len(r.sbom) > 0 }) {
			variables["sbom"] = j.spec.ruleSBOM(e)
		}
		if slices.ContainsFunc(j.policy.rules, func(r rule) bool { return r.vex }) {
			variables["vex"] = j.spec.ruleVEX(e)
		}
		for n := range j.policy.rules {
			r := &j.policy.rules[n]
			found := r.evaluate(variables, e.Config.Clipped)

			// A statement that was not read may say the opposite of those that were.
			if r.vex {
				found = append(found, j.unreadVEX(r.Name, e)...)
			}

			// Facts that nobody looked for make a rule neither true nor false.
			if why := j.lacksOf(r); why != "" {
				found = []finding{
					evidenceMissing(r.Name, "the recorded evidence cannot answer a rule that reads "+why),
				}
			}

			// Set only in a probe before the rule's date: until then it does not refuse. Errors stay.
			if j.spec.Rules[n].EffectiveFrom != nil {
				found = slices.DeleteFunc(found, func(f finding) bool { return f.status == attestor.StatusDeny })
			}
			j.conclude(attestor.RulePrefix+r.Name, e.Platform, found)
		}
	}
}

func (r *rule) evaluate(variables map[string]any, clipped []string) []finding {
	fix := r.Fix
	if fix == "" {
		fix = "see rule " + r.Name + " in spec.rules: " + r.Expression
	}
	result, _, err := r.program.Eval(variables)
	if err != nil {
		return []finding{deny(
			attestor.CodeRuleFailed, r.Name, "the rule could not be evaluated: "+clip(firstLine(err.Error())),
			`a missing map key is an error: test for it first, as in "team" in image.labels && …; or correct spec.rules`,
		).as(attestor.StatusError)}
	}

	// Anything else, such as an unknown value, is not true.
	if result != types.True {
		return []finding{deny(attestor.CodeRuleViolated, r.Name, r.Message, fix)}
	}

	// What holds of a part may not hold of the whole: who wants to hide a
	// label from a rule would only have to set enough others.
	for _, field := range clipped {
		if r.claims[field] || r.claims[""] {
			return []finding{deny(
				attestor.CodeRuleFailed, r.Name,
				"the rule could not be evaluated: image."+field+" is larger than what is kept of it (256 "+
					"entries of 64 KiB)",
				"build the image with less in it",
			).as(attestor.StatusError)}
		}
	}
	return nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// lacksOf names what a rule reads that the evidence was not gathered for, and why; "" for nothing.
func (j *judgement) lacksOf(r *rule) string {
	if l := j.lacks.checks[attestor.CheckVulnerabilities]; r.vex && l.why != "" {
		return "vex: " + l.why
	}
	for _, variable := range slices.Sorted(maps.Keys(j.lacks.rules)) {
		if r.reads[variable] {
			return variable + ": " + j.lacks.rules[variable]
		}
	}
	return ""
}

// unreadVEX is the error of a rule that reads vex, where not all statements are known.
func (j *judgement) unreadVEX(rule string, e *attestor.PlatformEvidence) []finding {
	failed := func(code attestor.Code, message, fix string) []finding {
		return []finding{deny(code, rule, message, fix).as(attestor.StatusError)}
	}
	if slices.ContainsFunc(slices.Concat(j.ev.Problems, e.Problems), func(p attestor.Problem) bool {
		return p.Code == attestor.CodeVEXUnavailable
	}) {
		return failed(attestor.CodeRuleFailed, "the rule reads vex, and documents could not be read, so that not all "+
			"statements are known",
			"repeat the request when the documents can be read; the evidence says why they could not")
	}
	return nil
}
