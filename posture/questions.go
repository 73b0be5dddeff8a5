package posture

import (
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
)

// A question is a part of a condition that is true or false for a request. Answers to several may exclude each other: a
// path is not "/a" and "/b" at once.
type question struct {
	text    string // [written]
	subject string // what it compares with a literal, written; "" where it does something else
	how     string // the operator or function
	value   any    // the literal; only texts are compared with each other
}

// Functions that compare a text with a part of it.
const (
	beginsWith = "startsWith"
	endsWith   = "endsWith"
	hasWithin  = "contains"
)

func questionOf(e ast.Expr) question {
	q := question{text: written(e)}
	inner := e
	if c, ok := e.(comparison); ok {
		inner = c.Expr
	}
	if inner.Kind() != ast.CallKind {
		return q
	}

	call := inner.AsCall()
	args := call.Args()
	switch name := call.FunctionName(); {
	case len(args) == 2 && comparesEqual(e):
		subject, other := args[0], args[1]
		if subject.Kind() == ast.LiteralKind {
			subject, other = other, subject
		}
		if subject.Kind() != ast.LiteralKind && other.Kind() == ast.LiteralKind {
			q.subject, q.how, q.value = written(subject), operators.Equals, literal(other)
		}
	case len(args) == 1 && call.IsMemberFunction() && slices.Contains([]string{beginsWith, endsWith, hasWithin}, name):
		if text, ok := literal(args[0]).(string); ok {
			q.subject, q.how, q.value = written(call.Target()), name, text
		}
	}

	return q
}

// excludes reports whether q answered with yes excludes another answer, about the same subject.
func (q question) excludes(other question, yes bool) bool {
	if q.subject == "" || q.subject != other.subject {
		return false
	}

	// What equals a literal is known whole.
	if q.how == operators.Equals {
		holds, known := other.of(q.value)
		return known && holds != yes
	}

	mine, _ := q.value.(string)
	others, isText := other.value.(string)
	switch {
	case !isText:
		return false
	case other.how == operators.Equals:
		holds, known := q.of(others)
		return yes && known && !holds

	// Two beginnings of one text: one of them begins with the other.
	case yes && q.how == other.how && q.how == beginsWith:
		return !strings.HasPrefix(mine, others) && !strings.HasPrefix(others, mine)
	case yes && q.how == other.how && q.how == endsWith:
		return !strings.HasSuffix(mine, others) && !strings.HasSuffix(others, mine)
	case yes:
		return false

	// What is part of a part is part of the whole.
	case other.how == hasWithin:
		return strings.Contains(mine, others)
	case other.how == q.how && q.how == beginsWith:
		return strings.HasPrefix(mine, others)
	case other.how == q.how && q.how == endsWith:
		return strings.HasSuffix(mine, others)
	}

	return false
}

// of answers the question for a known value.
func (q question) of(value any) (holds, known bool) {
	text, isText := value.(string)
	part, asText := q.value.(string)
	switch {
	// Numbers of different types may be equal, so that only texts are told apart.
	case !isText || !asText:
		return false, false
	case q.how == operators.Equals:
		return text == part, true
	case q.how == beginsWith:
		return strings.HasPrefix(text, part), true
	case q.how == endsWith:
		return strings.HasSuffix(text, part), true
	}

	return strings.Contains(text, part), true
}

// A contradiction is answers to two questions that exclude each other, as bits of all answers.
type contradiction struct{ asked, answers int }

// contradictions are those among the answers to questions. There may be more: what is not seen to be impossible counts
// as possible.
func contradictions(questions []question) []contradiction {
	var out []contradiction
	for i, q := range questions {
		for j, other := range questions {
			if i == j {
				continue
			}
			both := 1<<i | 1<<j
			if q.excludes(other, true) {
				out = append(out, contradiction{both, both})
			}
			if q.excludes(other, false) {
				out = append(out, contradiction{both, 1 << i})
			}
		}
	}

	return out
}

// possible reports whether questions can be answered like this, each by one bit, for one request.
func possible(all []contradiction, answers int) bool {
	return !slices.ContainsFunc(all, func(c contradiction) bool { return answers&c.asked == c.answers })
}
