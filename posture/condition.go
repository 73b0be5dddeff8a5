package posture

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
)

// A truth is what is known of an expression before it is evaluated.
type truth int

const (
	sometimes truth = iota // depends on the request
	always
	never
)

func (t truth) not() truth {
	switch t {
	case always:
		return never
	case never:
		return always
	}
	return t
}

// A condition is an expression in CEL, as Cloud Armor, IAM and Workload Identity
// Federation have them; the zero condition is one that does not parse.
type condition struct{ root ast.Expr }

// conditions is the environment in which conditions are parsed. It is the same for all, and safe for concurrent use.
var conditions = sync.OnceValues(func() (*cel.Env, error) { return cel.NewEnv(cel.ClearMacros()) })

// parseCondition parses without checking types: functions and variables of the
// services are not declared here.
func parseCondition(text string) condition {
	env, err := conditions()
	if err != nil || text == "" {
		return condition{}
	}

	parsed, issues := env.Parse(text)
	if issues.Err() != nil {
		return condition{}
	}

	return condition{parsed.NativeRep().Expr()}
}

// value folds constants. known gives the value of what else may be true or false: calls, comparisons, fields; nil, or
// sometimes, leaves them open.
func (c condition) value(known func(ast.Expr) truth) truth {
	if c.root == nil {
		return sometimes
	}
	return fold(c.root, known)
}

// byCases is the value of a condition whose questions are answered with yes and no in turn: "a || !a" always holds.
// With many questions it is sometimes.
func (c condition) byCases() truth {
	var questions []question
	index := func(text string) int {
		return slices.IndexFunc(questions, func(q question) bool { return q.text == text })
	}
	c.value(func(e ast.Expr) truth {
		if q := questionOf(e); index(q.text) < 0 {
			questions = append(questions, q)
		}
		return sometimes
	})

	// 1,024 cases at most.
	const most = 10
	if c.root == nil || len(questions) > most {
		return sometimes
	}

	holds, fails, impossible := false, false, contradictions(questions)
	for answers := range 1 << len(questions) {
		if !possible(impossible, answers) {
			continue
		}
		t := c.value(func(e ast.Expr) truth {
			i := index(written(e))
			return truthOf(i >= 0 && answers>>i&1 == 1)
		})
		holds, fails = holds || t != never, fails || t != always
	}

	// It always holds only if no combination of answers makes it fail, and never only if none makes it hold.
	switch {
	case !fails:
		return always
	case !holds:
		return never
	}

	return sometimes
}

func fold(e ast.Expr, known func(ast.Expr) truth) truth {
	switch e.Kind() {
	case ast.LiteralKind:
		if b, ok := e.AsLiteral().Value().(bool); ok {
			return truthOf(b)
		}
		return sometimes
	case ast.CallKind:
		return foldCall(e, known)
	}

	return open(e, known)
}

// open is the value of an expression that is no combination of others.
func open(e ast.Expr, known func(ast.Expr) truth) truth {
	if t := constant(e); t != sometimes || known == nil {
		return t
	}
	return known(e)
}

func truthOf(b bool) truth {
	if b {
		return always
	}
	return never
}

func foldCall(e ast.Expr, known func(ast.Expr) truth) truth {
	call := e.AsCall()
	name, args := call.FunctionName(), call.Args()
	of := func(i int) truth { return fold(args[i], known) }

	switch {
	case name == operators.LogicalNot && len(args) == 1:
		return of(0).not()
	case name == operators.LogicalAnd && len(args) == 2:
		return both(of(0), of(1))
	case name == operators.LogicalOr && len(args) == 2:
		return both(of(0).not(), of(1).not()).not()
	case name == operators.Conditional && len(args) == 3:
		return either(of(0), of(1), of(2))
	case (name == operators.Equals || name == operators.NotEquals) && len(args) == 2:
		return equal(e, of(0), of(1), name == operators.NotEquals, known)
	}

	return open(e, known)
}

// either is the value of a ? b : c.
func either(a, b, c truth) truth {
	switch {
	case a == always || b == c:
		return b
	case a == never:
		return c
	}

	return sometimes
}

func both(a, b truth) truth {
	switch {
	case a == never || b == never:
		return never
	case a == always && b == always:
		return always
	}

	return sometimes
}

// equal compares two truths, two literals such as 1 == 1, or an expression with itself. Of any other comparison
// "a != b" is known as the opposite of "a == b".
func equal(e ast.Expr, a, b truth, negated bool, known func(ast.Expr) truth) truth {
	left, right := e.AsCall().Args()[0], e.AsCall().Args()[1]
	out := sometimes

	switch {
	case a != sometimes && b != sometimes:
		out = truthOf(a == b)
	case left.Kind() == ast.LiteralKind && right.Kind() == ast.LiteralKind:
		out = truthOf(left.AsLiteral().Value() == right.AsLiteral().Value())
	case written(left) == written(right):
		out = always
	case literal(left) == "" || literal(right) == "":
		// "sub" and "path" are never empty, so that no request and no token equals the empty text.
		out = never
	case known != nil && !negated:
		return known(e)
	case known != nil:
		return known(comparison{e, operators.Equals}).not()
	}

	if negated {
		return out.not()
	}

	return out
}

// A comparison is an expression whose operator is read as another.
type comparison struct {
	ast.Expr
	operator string
}

// constant is the value of a call that holds for every request: a path begins with "/", and every text contains "".
func constant(e ast.Expr) truth {
	if e.Kind() != ast.CallKind || !e.AsCall().IsMemberFunction() || len(e.AsCall().Args()) != 1 {
		return sometimes
	}

	text, ok := literal(e.AsCall().Args()[0]).(string)
	if !ok {
		return sometimes
	}

	// RFC 9110, 4.2.3: "an empty path component is equivalent to an absolute path of "/"", so that each path has one.
	target := written(e.AsCall().Target())
	path := strings.HasPrefix(target, "request.path")

	switch name := e.AsCall().FunctionName(); {
	case name == "matches" && everyText(text, path),
		(name == "contains" || name == "startsWith" || name == "endsWith") && text == "",
		(name == "contains" || name == "startsWith") && text == "/" && path:
		return always
	}

	return sometimes
}

// everyText reports whether a pattern matches texts that have nothing in common, or paths that have only the first "/".
func everyText(pattern string, path bool) bool {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return false
	}

	// A pattern that matches all of these, which have no letter in common, is taken to match every text.
	for _, probe := range []string{"a", "Zq", "0", "x/y-z", "~", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.b"} {
		if path {
			probe = "/" + probe
		}
		if !re.MatchString(probe) {
			return false
		}
	}

	return true
}

// written is an expression as text, the same for the same expression.
func written(e ast.Expr) string {
	operator := ""
	if c, ok := e.(comparison); ok {
		e, operator = c.Expr, c.operator
	}

	switch e.Kind() {
	case ast.LiteralKind:
		return fmt.Sprintf("%T:%v", e.AsLiteral().Value(), e.AsLiteral().Value())
	case ast.IdentKind:
		return e.AsIdent()
	case ast.SelectKind:
		return written(e.AsSelect().Operand()) + "." + e.AsSelect().FieldName()
	case ast.CallKind:
		call := e.AsCall()
		parts := []string{}
		if call.IsMemberFunction() {
			parts = append(parts, written(call.Target()))
		}
		for _, a := range call.Args() {
			parts = append(parts, written(a))
		}

		return cmp.Or(operator, call.FunctionName()) + "(" + strings.Join(parts, ", ") + ")"
	case ast.ListKind:
		var parts []string
		for _, item := range e.AsList().Elements() {
			parts = append(parts, written(item))
		}

		return "[" + strings.Join(parts, ", ") + "]"
	}

	return fmt.Sprintf("expression %d", e.ID())
}

// silenced reports sensitivity 0, which "means that no rules are enabled by
// default" (Cloud Armor, WAF rules), without a rule that is opted in.
func silenced(call ast.CallExpr) bool {
	if len(call.Args()) < 2 || call.Args()[1].Kind() != ast.MapKind {
		return false
	}

	zero, optIn := false, false
	for _, entry := range call.Args()[1].AsMap().Entries() {
		e := entry.AsMapEntry()
		switch key, _ := literal(e.Key()).(string); key {
		case "sensitivity":
			n, ok := literal(e.Value()).(int64)
			zero = ok && n == 0
		case "opt_in_rule_ids":
			optIn = e.Value().Kind() == ast.ListKind && e.Value().AsList().Size() > 0
		}
	}

	return zero && !optIn
}

func literal(e ast.Expr) any {
	if e.Kind() != ast.LiteralKind {
		return nil
	}
	return e.AsLiteral().Value()
}
