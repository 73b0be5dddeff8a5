package posture

import (
	"strings"

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

// parseCondition parses without checking types: functions and variables of the
// services are not declared here.
func parseCondition(text string) condition {
	env, err := cel.NewEnv(cel.ClearMacros())
	if err != nil || text == "" {
		return condition{}
	}

	parsed, issues := env.Parse(text)
	if issues.Err() != nil {
		return condition{}
	}

	return condition{parsed.NativeRep().Expr()}
}

// value folds constants. known gives the value of calls; nil, or sometimes,
// leaves them open.
func (c condition) value(known func(ast.CallExpr) truth) truth {
	if c.root == nil {
		return sometimes
	}
	return fold(c.root, known)
}

func fold(e ast.Expr, known func(ast.CallExpr) truth) truth {
	switch e.Kind() {
	case ast.LiteralKind:
		if b, ok := e.AsLiteral().Value().(bool); ok {
			return truthOf(b)
		}
	case ast.CallKind:
		return foldCall(e.AsCall(), known)
	}

	return sometimes
}

func truthOf(b bool) truth {
	if b {
		return always
	}
	return never
}

func foldCall(call ast.CallExpr, known func(ast.CallExpr) truth) truth {
	var args []truth
	for _, a := range call.Args() {
		args = append(args, fold(a, known))
	}

	switch name := call.FunctionName(); {
	case name == operators.LogicalNot && len(args) == 1:
		return args[0].not()
	case name == operators.LogicalAnd && len(args) == 2:
		return both(args[0], args[1])
	case name == operators.LogicalOr && len(args) == 2:
		return both(args[0].not(), args[1].not()).not()
	case (name == operators.Equals || name == operators.NotEquals) && len(args) == 2:
		return equal(call, args, name == operators.NotEquals)
	case known != nil:
		return known(call)
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

// equal compares two truths, or two literals such as 1 == 1.
func equal(call ast.CallExpr, args []truth, negated bool) truth {
	out := sometimes
	left, right := call.Args()[0], call.Args()[1]

	switch {
	case args[0] != sometimes && args[1] != sometimes:
		out = truthOf(args[0] == args[1])
	case left.Kind() == ast.LiteralKind && right.Kind() == ast.LiteralKind:
		out = truthOf(left.AsLiteral().Value() == right.AsLiteral().Value())
	}

	if negated {
		return out.not()
	}

	return out
}

// detects reports whether the condition can hold because a preconfigured WAF
// rule of a family, such as "sqli-", matches a request.
func (c condition) detects(family string) bool {
	found := false
	value := c.value(func(call ast.CallExpr) truth {
		if !strings.HasPrefix(call.FunctionName(), "evaluatePreconfigured") || len(call.Args()) == 0 {
			return sometimes
		}

		set, _ := literal(call.Args()[0]).(string)
		if !strings.HasPrefix(set, family) {
			return sometimes
		}
		if silenced(call) {
			return never
		}

		found = true

		return always
	})

	return found && value != never
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
