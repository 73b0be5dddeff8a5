package posture

import (
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
)

// restricts reports whether a provider's condition holds for no stranger at the same issuer. A stranger chooses
// branches, events, environments and names of repositories, has an owner of their own, and has the same issuer and
// audience as everybody.
func restricts(text string, mapping *node) bool {
	condition := parseCondition(text)
	if condition.root == nil {
		return false
	}

	// What a stranger can bring about either way is open; only a condition that fails whatever they choose tells them
	// apart.
	return condition.value(func(e ast.Expr) truth { return (&claims{mapping}).forStranger(e) }) == never
}

// claims are those of a token, under the names that a provider's mapping gives them.
type claims struct{ mapping *node }

// A claimKind says how the value of a claim is put together, and so which part of it is the owner's alone.
type claimKind int

const (
	claimFree       claimKind = iota // strangers have the same, or choose it
	claimOwner                       // the name of an owner
	claimRepository                  // begins with the owner, as "OWNER/NAME"
	claimSubject                     // "repo:OWNER/NAME:…" and the like
	claimMail
	claimOther // tells owners apart in a way of its own
)

// forStranger is the value of one question for the token of a stranger.
func (c *claims) forStranger(e ast.Expr) truth {
	if e.Kind() == ast.IdentKind || e.Kind() == ast.SelectKind {
		// An attribute may be mapped from a condition.
		if source := parseCondition(c.mapping.at(written(e)).written()); source.root != nil &&
			source.root.Kind() == ast.CallKind {
			return fold(source.root, (&claims{}).forStranger)
		}
	}
	if e.Kind() != ast.CallKind {
		return sometimes
	}

	call := e.AsCall()
	args := call.Args()

	switch name := call.FunctionName(); {
	case comparesEqual(e) && len(args) == 2:
		// A literal that names an owner is not the stranger's; anything else may be equal.
		if c.kind(args[0]) != claimFree && fixed(args[1]) || c.kind(args[1]) != claimFree && fixed(args[0]) {
			return never
		}
	case name == operators.In && len(args) == 2:
		if c.kind(args[0]) != claimFree && fixed(args[1]) || c.kind(args[1]) != claimFree && fixed(args[0]) {
			return never
		}
	case call.IsMemberFunction() && len(args) == 1:
		if text, ok := literal(args[0]).(string); ok && text != "" {
			return excludes(c.kind(call.Target()), name, text)
		}
	}

	return sometimes
}

// comparesEqual reports a == b, or a != b that is read as one; see [comparison].
func comparesEqual(e ast.Expr) bool {
	if c, ok := e.(comparison); ok {
		return c.operator == operators.Equals
	}
	return e.AsCall().FunctionName() == operators.Equals
}

// fixed reports a literal that is not empty, or a list of them.
func fixed(e ast.Expr) bool {
	if e.Kind() == ast.ListKind {
		return !slices.ContainsFunc(e.AsList().Elements(), func(item ast.Expr) bool { return !fixed(item) })
	}
	return e.Kind() == ast.LiteralKind && literal(e) != ""
}

// kind is what an expression takes from a token.
func (c *claims) kind(e ast.Expr) claimKind {
	switch e.Kind() {
	case ast.IdentKind, ast.SelectKind:
		return c.named(written(e))
	case ast.CallKind:
		return c.computed(e.AsCall())
	}

	return claimFree
}

// computed is the kind of a part, or another spelling, of a claim. Any other function may lose what tells owners apart.
func (c *claims) computed(call ast.CallExpr) claimKind {
	args := call.Args()
	switch name := call.FunctionName(); {
	case name == operators.Index && len(args) == 2:
		if field, ok := literal(args[1]).(string); ok { // assertion['sub']
			return c.named(written(args[0]) + "." + field)
		}

		at, _ := literal(args[1]).(int64)

		return c.part(args[0], at)
	case name == operators.Add && len(args) == 2:
		return c.kind(args[0])
	case call.IsMemberFunction() && len(args) == 0 &&
		slices.Contains([]string{"lowerAscii", "upperAscii", "trim"}, name):
		return c.kind(call.Target())
	case call.IsMemberFunction() && name == "extract" && len(args) == 1:
		// "repo:{owner}/" takes what stands between.
		if template, _ := literal(args[0]).(string); strings.HasPrefix(template, "{") ||
			strings.HasPrefix(template, "repo:{") {
			return c.kind(call.Target())
		}
	}

	return claimFree
}

// part is the kind of one part of a claim that is split: the first of a path, or what follows the first colon of a
// subject.
func (c *claims) part(e ast.Expr, at int64) claimKind {
	if e.Kind() != ast.CallKind || e.AsCall().FunctionName() != "split" || len(e.AsCall().Args()) != 1 {
		return claimFree
	}

	call := e.AsCall()
	switch kind := c.kind(call.Target()); {
	case kind == claimRepository && at == 0 && literal(call.Args()[0]) == "/":
		return claimOwner
	case kind == claimSubject && at == 1 && literal(call.Args()[0]) == ":":
		return claimRepository
	}

	return claimFree
}

// named is the kind of a claim by its name. An attribute is what it is mapped from.
func (c *claims) named(name string) claimKind {
	if source := c.mapping.at(name).written(); source != "" {
		if expression := parseCondition(source); expression.root != nil {
			return (&claims{}).kind(expression.root)
		}
		return claimFree
	}

	// By the last part of the name: an attribute may be mapped under any name, and its source decides above.
	switch short := name[strings.LastIndex(name, ".")+1:]; short {
	case "assertion", "google", "attribute", "iss", "aud", "exp", "iat", "nbf", "jti",
		"ref", "ref_type", "ref_protected", "base_ref", "head_ref", "event_name", "workflow", "environment",
		"runner_environment",
		"run_id", "run_number", "run_attempt", "sha", "repository_visibility", "job_workflow_sha", "workflow_sha",
		"pipeline_source", "environment_protected", "deployment_tier", "environment_action":
		return claimFree
	case "repository_owner", "namespace_path", "actor", "user_login", "terraform_organization_name", "owner":
		return claimOwner
	case "repository", "project_path", "job_workflow_ref", "workflow_ref", "ci_config_ref_uri":
		return claimRepository
	case "sub", "subject":
		return claimSubject
	case "email":
		return claimMail
	default:
		return claimOther
	}
}

// subjectForms are how subjects of well-known issuers begin, each with what ends the name of the owner.
func subjectForms() map[string]string {
	return map[string]string{"repo:": "/", "project_path:": "/", "organization:": ":", "repository_owner:": ":"}
}

// excludes is the value of a function on texts for a stranger's claim: never, if none of theirs has such a value.
func excludes(kind claimKind, function, text string) truth {
	switch {
	case kind == claimFree:
		return sometimes
	case function == "matches":
		return excludesPattern(kind, text)
	case kind == claimMail:
		return truthOf(false).unless(function == "contains" || function == "endsWith" && !strings.Contains(text, "@"))
	case kind == claimOther:
		// Numbers and short words begin, end and are within the claims of strangers too.
		const distinctive = 8
		return never.unless(len(text) < distinctive)
	case function == "endsWith" && kind == claimSubject && strings.HasPrefix(text, "@"):
		return never // a subject that is an address
	case function == "startsWith":
		return truthOf(false).unless(!pinsOwner(kind, text))
	}

	// What a repository or a subject contains, and how it ends, is up to its owner.
	return sometimes
}

// unless is sometimes where open is true.
func (t truth) unless(open bool) truth {
	if open {
		return sometimes
	}
	return t
}

// pinsOwner reports whether the beginning of a claim holds the whole name of its owner: "acme" is also how
// "acme-evil/x" begins.
func pinsOwner(kind claimKind, text string) bool {
	switch kind {
	case claimRepository:
		return strings.Contains(text, "/")
	case claimSubject:
		for begin, end := range subjectForms() {
			if strings.HasPrefix(begin, text) {
				return false
			}
			if rest, ok := strings.CutPrefix(text, begin); ok {
				return strings.Contains(rest, end)
			}
		}

		return true // of an issuer whose subjects are of another form
	}

	return false
}

// excludesPattern tries a pattern on tokens of strangers: such as are like nothing in it, and such as are like what it
// matches, with another owner.
func excludesPattern(kind claimKind, pattern string) truth {
	re, err := regexp.Compile(pattern)
	if err != nil || everyText(pattern, false) {
		return sometimes
	}

	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return sometimes
	}

	for _, s := range samples(parsed.Simplify(), 0) {
		if slices.ContainsFunc(strangers(kind, s), re.MatchString) {
			return sometimes
		}
	}

	return never
}

// strangers are claims of strangers that are like s.
func strangers(kind claimKind, s string) []string {
	switch kind {
	case claimOwner:
		return []string{"stranger", "evil" + s, s + "evil"}
	case claimRepository:
		owner, rest, whole := strings.Cut(s, "/")
		if !whole {
			rest = "x"
		}
		return []string{"stranger/tool", "evil" + s, "evil" + owner + "/" + rest, owner + "evil/" + rest,
			"stranger/" + rest, "stranger/" + s}
	case claimMail:
		return []string{"stranger@evil.example", "stranger@evil" + s, s + "@evil.example", s + ".evil.example"}
	case claimSubject:
		out := []string{"repo:stranger/tool:ref:refs/heads/main", "repo:b-2/x:environment:production",
			"project_path:stranger/tool:ref_type:branch:ref:main",
			"organization:stranger:project:a:workspace:w:run_phase:plan"}
		for begin, end := range subjectForms() {
			owner, rest, _ := strings.Cut(strings.TrimPrefix(s, begin), end)
			out = append(out, begin+"stranger"+end+"tool:environment:"+s, begin+"stranger"+end+rest,
				begin+owner+"evil"+end+rest,
				begin+"evil"+owner+end+rest)
		}

		return out
	case claimOther:
		// The ids that issuers give: numbers, UUIDs, words.
		return []string{"27182818", "3141592653", "0f8fad5b-d9cb-469f-a165-70867728950e", "stranger", "stranger-one"}
	}

	return nil
}

// maxSamples bounds how many texts are made of one pattern.
const maxSamples = 64

// samples are texts that a pattern matches, one for each of its alternatives.
func samples(re *syntax.Regexp, depth int) []string {
	if depth > 20 {
		return []string{""}
	}

	switch re.Op {
	case syntax.OpLiteral:
		return []string{string(re.Rune)}
	case syntax.OpCharClass:
		if len(re.Rune) > 0 {
			return []string{string(re.Rune[0])}
		}
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return []string{"x"}
	case syntax.OpCapture, syntax.OpPlus:
		return samples(re.Sub[0], depth+1)
	case syntax.OpStar, syntax.OpQuest, syntax.OpRepeat:
		return append([]string{""}, samples(re.Sub[0], depth+1)...)
	case syntax.OpAlternate:
		var out []string
		for _, sub := range re.Sub {
			out = append(out, samples(sub, depth+1)...)
		}

		return out[:min(len(out), maxSamples)]
	case syntax.OpConcat:
		out := []string{""}
		for _, sub := range re.Sub {
			var longer []string
			for _, tail := range samples(sub, depth+1) {
				for _, head := range out {
					longer = append(longer, head+tail)
				}
			}
			out = longer[:min(len(longer), maxSamples)]
		}

		return out
	}

	return []string{""}
}
