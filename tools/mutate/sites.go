package main

import (
	"crypto/sha256"
	"fmt"
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"path"
	"strings"
)

// The operators. Each mutant is one of them at one place.
const (
	opTrue     = "true"     // a condition, or an operand of &&, always holds
	opFalse    = "false"    // a condition, or an operand of ||, never holds
	opBoundary = "boundary" // < and <=, > and >= change places
	opConstant = "constant" // 0 and 1 change places, another number grows by one; true and false change places
	opArith    = "arith"    // + and -, * and / change places
	opRemove   = "remove"   // a call, an assignment, a continue or a break is not made
	opNilError = "nilerror" // an error that is returned becomes nil
	opEmpty    = "empty"    // what is ranged over, or a composite of several elements, becomes empty
	opReturn   = "return"   // a function returns zero values at once
	opCase     = "case"     // a case of a switch never matches
)

// An edit is one change of a file's text, by offsets. Of a mutant's edits the
// opening one stands before the node and the closing one after it.
type edit struct {
	kind     editKind
	pos, end int // end > pos for what is replaced
	text     string
}

type editKind int

// In the order in which they are written at one offset.
const (
	closing editKind = iota
	replacing
	opening
)

// A mutant is one small change of the program, switched on by its number.
type mutant struct {
	number    int // at run time; assigned last
	source    int // index of its file
	line      int
	start     int // offsets of the node
	end       int
	file      string
	function  string
	operator  string
	before    string // the node's text, without comments
	after     string // what the mutant makes of it
	nth       int    // among those of this function that look alike, from 1
	enclosing string // a hash of the function's tokens
	edits     []edit
}

// id names the mutant for people and for lists: it does not change when lines
// move, nor when the rest of the function is laid out anew.
func (m mutant) id() string {
	return fmt.Sprintf("%s %s %s #%d `%s`", m.file, m.function, m.operator, m.nth, oneLine(m.before))
}

// movable is an id with the package in place of the file, so that what is known
// of a mutant outlives a move to another file.
func movable(id string) string {
	file, rest, _ := strings.Cut(id, " ")

	return path.Dir(file) + " " + rest
}

// oneLine is source text without its layout.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	s = strings.NewReplacer("( ", "(", ", )", ")", " )", ")", "[ ", "[", ", ]", "]", "{ ", "{", ", }", "}", " }", "}").
		Replace(s)
	if len(s) > 120 {
		sum := sha256.Sum256([]byte(s))
		s = fmt.Sprintf("%s…%x", s[:100], sum[:4])
	}

	return s
}

// finder collects the mutants of one file.
type finder struct {
	t        *target
	n        int // index of the file
	function string
	result   *types.Signature // of the innermost function
	hash     string
	parents  []ast.Node
	found    []mutant
}

func (t *target) find() []mutant {
	var all []mutant
	for i := range t.sources {
		f := &finder{t: t, n: i}
		for _, d := range t.sources[i].file.Decls {
			f.declaration(d)
		}
		all = append(all, f.found...)
	}

	// Mutants that look alike are numbered, so that an id names one.
	alike := map[string]int{}
	for i := range all {
		key := all[i].id()
		alike[key]++
		all[i].nth = alike[key]
	}

	return all
}

func (f *finder) declaration(d ast.Decl) {
	f.function, f.result = "package", nil
	f.hash = f.tokensOf(d)
	switch d := d.(type) {
	case *ast.FuncDecl:
		f.function = d.Name.Name
		if d.Recv != nil {
			f.function = strings.TrimLeft(f.text(d.Recv.List[0].Type), "*") + "." + d.Name.Name
		}
		if d.Body == nil {
			return
		}

		if obj, ok := f.t.info.Defs[d.Name].(*types.Func); ok {
			f.result, _ = obj.Type().(*types.Signature)
		}
		f.early(d)
		f.walk(d.Body)
	case *ast.GenDecl:
		if d.Tok == token.VAR {
			f.walk(d)
		}
	}
}

// tokensOf hashes a declaration without comments and layout.
func (f *finder) tokensOf(d ast.Decl) string {
	sum := sha256.Sum256(tokens(f.t.sources[f.n].text[f.offset(d.Pos()):f.offset(d.End())]))

	return fmt.Sprintf("%x", sum[:6])
}

func (f *finder) offset(p token.Pos) int { return f.t.fset.Position(p).Offset }

func (f *finder) text(n ast.Node) string {
	return string(f.t.sources[f.n].text[f.offset(n.Pos()):f.offset(n.End())])
}

// add notes a mutant; the number's place in an edit's text is %d.
func (f *finder) add(operator string, n ast.Node, after string, edits ...edit) {
	f.found = append(f.found, mutant{
		source: f.n, line: f.t.fset.Position(n.Pos()).Line, start: f.offset(n.Pos()), end: f.offset(n.End()),
		file: f.t.sources[f.n].name, function: f.function, operator: operator,
		before: uncommented([]byte(f.text(n))), after: after, enclosing: f.hash, edits: edits,
	})
}

// wrap puts text before and behind a node.
func (f *finder) wrap(operator string, n ast.Node, after, before, behind string) {
	f.add(
		operator,
		n,
		after,
		edit{
			kind: opening,
			pos:  f.offset(n.Pos()),
			text: before,
		},
		edit{kind: closing, pos: f.offset(n.End()), text: behind},
	)
}

// early returns zero values before a function does anything.
func (f *finder) early(d *ast.FuncDecl) {
	if len(d.Body.List) == 0 {
		return
	}

	// *new(T) is the zero value of any type.
	zeros := []string{}
	if d.Type.Results != nil {
		for _, r := range d.Type.Results.List {
			for range max(1, len(r.Names)) {
				zeros = append(zeros, "*new("+f.text(r.Type)+")")
			}
		}
	}

	statement := strings.TrimSpace("return " + strings.Join(zeros, ", "))
	f.add(opReturn, d.Name, "return zero values at once",
		edit{kind: opening, pos: f.offset(d.Body.Lbrace) + 1, text: " if mutate__on(%d) { " + statement + " }; "})
}

func (f *finder) walk(root ast.Node) {
	ast.Inspect(root, func(n ast.Node) bool {
		// Inspect calls with nil when it leaves a node: the path gets shorter.
		if n == nil {
			f.parents = f.parents[:len(f.parents)-1]
			return true
		}

		// The log is not tested: nothing in a call of it is mutated.
		if call, ok := n.(*ast.CallExpr); ok && f.logs(call) {
			return false
		}

		f.node(n)
		f.parents = append(f.parents, n)
		return true
	})
}

func (f *finder) parent() ast.Node {
	if len(f.parents) == 0 {
		return nil
	}

	return f.parents[len(f.parents)-1]
}

func (f *finder) node(n ast.Node) {
	switch n := n.(type) {
	case *ast.IfStmt:
		f.condition(n.Cond, true, true)
	case *ast.ForStmt:
		if n.Cond != nil {
			f.condition(n.Cond, false, true) // a loop without end proves nothing quickly
		}
	case *ast.RangeStmt:
		f.ranged(n.X)
	case *ast.CaseClause:
		f.caseClause(n)
	case *ast.ReturnStmt:
		f.returned(n)
	case *ast.ExprStmt, *ast.AssignStmt, *ast.IncDecStmt, *ast.BranchStmt, *ast.SendStmt, *ast.DeferStmt:
		f.statement(n)
	case *ast.BinaryExpr:
		f.arithmetic(n)
		f.free(n)
	case *ast.UnaryExpr:
		f.free(n)
	case *ast.BasicLit:
		f.number(n)
	case *ast.Ident:
		f.truth(n)
	case *ast.CompositeLit:
		f.composite(n)
	}
}

// free takes a boolean expression that stands in no condition: an argument, a
// field, the right side of an assignment.
func (f *finder) free(e ast.Expr) {
	if !f.boolean(e) {
		return
	}
	switch p := f.parent().(type) {
	case *ast.BinaryExpr, *ast.UnaryExpr, *ast.ParenExpr, *ast.IfStmt, *ast.ForStmt, *ast.CaseClause, *ast.ReturnStmt:
		if b, ok := p.(*ast.BinaryExpr); !ok || b.Op == token.LAND || b.Op == token.LOR {
			return // belongs to the condition that it is part of
		}
	}
	f.condition(e, true, true)
}

// boolean reports whether e is a boolean whose value is not known before the
// program runs.
func (f *finder) boolean(e ast.Expr) bool {
	tv, ok := f.t.info.Types[e]
	if !ok || tv.Value != nil || tv.Type == nil {
		return false
	}
	b, ok := tv.Type.Underlying().(*types.Basic)

	return ok && b.Info()&types.IsBoolean != 0
}

// condition makes e hold always or never. Dropping an operand of && or || is
// harder to notice than exchanging the two operators, so that the exchange
// itself is left out; so is whatever follows from the operands' mutants.
func (f *finder) condition(e ast.Expr, always, never bool) {
	if !f.boolean(e) {
		return
	}
	switch e := e.(type) {
	case *ast.ParenExpr:
		f.condition(e.X, always, never)
		return
	case *ast.UnaryExpr:
		if e.Op == token.NOT {
			f.condition(e.X, never, always)
			return
		}
	case *ast.BinaryExpr:
		switch e.Op {
		case token.LAND:
			if never {
				f.wrap(opFalse, e, "false", "((", ") && !mutate__on(%d))")
			}
			f.condition(e.X, true, false)
			f.condition(e.Y, true, false)
			return
		case token.LOR:
			if always {
				f.wrap(opTrue, e, "true", "((", ") || mutate__on(%d))")
			}
			f.condition(e.X, false, true)
			f.condition(e.Y, false, true)
			return
		}
	}

	if always {
		f.wrap(opTrue, e, "true", "((", ") || mutate__on(%d))")
	}
	if never {
		f.wrap(opFalse, e, "false", "((", ") && !mutate__on(%d))")
	}

	if b, ok := e.(*ast.BinaryExpr); ok {
		f.boundary(b) // innermost, since it takes the operator apart
	}
}

func (f *finder) boundary(e *ast.BinaryExpr) {
	swap, ok := map[token.Token]struct{ name, with string }{
		token.LSS: {"less", "<="}, token.LEQ: {"most", "<"}, token.GTR: {"more", ">="}, token.GEQ: {"least", ">"},
	}[e.Op]
	if ok {
		f.call(opBoundary, e, swap.with, "mutate__"+swap.name+"(%d, ")
	}
}

// call turns a binary expression into a call of a function that knows both
// operators.
func (f *finder) call(operator string, e *ast.BinaryExpr, with, function string) {
	at := f.offset(e.OpPos)
	f.add(operator, e, f.text(e.X)+" "+with+" "+f.text(e.Y),
		edit{kind: opening, pos: f.offset(e.Pos()), text: function},
		edit{kind: replacing, pos: at, end: at + len(e.Op.String()), text: ","},
		edit{kind: closing, pos: f.offset(e.End()), text: ")"})
}

func (f *finder) arithmetic(e *ast.BinaryExpr) {
	// A constant stays one, as the compiler may need it: the length of an array does.
	tv := f.t.info.Types[e]
	if tv.Value != nil || tv.Type == nil {
		return
	}
	b, ok := tv.Type.Underlying().(*types.Basic)
	if !ok || b.Info()&types.IsNumeric == 0 || b.Info()&types.IsComplex != 0 {
		return
	}

	swap, ok := map[token.Token]struct{ name, with string }{
		token.ADD: {"add", "-"}, token.SUB: {"sub", "+"}, token.MUL: {"mul", "/"}, token.QUO: {"quo", "*"},
	}[e.Op]
	if ok {
		f.call(opArith, e, swap.with, "mutate__"+swap.name+"(%d, ")
	}
}

// number changes a whole number where it does not have to be constant.
func (f *finder) number(n *ast.BasicLit) {
	tv := f.t.info.Types[n]
	if n.Kind != token.INT || tv.Value == nil || f.constantParent() {
		return
	}
	basic, ok := tv.Type.(*types.Basic)
	if !ok || basic.Info()&types.IsInteger == 0 {
		return // of a named type: a duration, mostly, in which one more is nothing
	}

	value, ok := constant.Int64Val(tv.Value)
	if !ok {
		return
	}

	// A 1 becomes 0, since 2 may well do the same as 1.
	changed := value + 1
	if value == 1 {
		changed = 0
	}

	kind := basic.Name()
	if basic.Info()&types.IsUntyped != 0 {
		kind = "int"
	}
	f.wrap(opConstant, n, fmt.Sprint(changed), "mutate__either(%d, "+kind+"(", fmt.Sprintf("), %s(%d))", kind, changed))
}

// constantParent reports whether the literal is part of a larger constant, the
// capacity of a make, a key, or the length of an array.
func (f *finder) constantParent() bool {
	switch p := f.parent().(type) {
	case *ast.CallExpr:
		name, ok := p.Fun.(*ast.Ident)
		return ok && name.Name == "make" || f.t.info.Types[p].Value != nil || f.t.info.Types[p.Fun].IsType()
	case *ast.KeyValueExpr, *ast.ArrayType, *ast.ValueSpec:
		return true
	case ast.Expr:
		return f.t.info.Types[p].Value != nil
	}

	return false
}

// truth exchanges true and false where they stand for themselves.
func (f *finder) truth(n *ast.Ident) {
	obj := f.t.info.Uses[n]
	if obj == nil || obj.Parent() != types.Universe || (n.Name != "true" && n.Name != "false") {
		return
	}
	if p, ok := f.parent().(ast.Expr); ok && f.t.info.Types[p].Value != nil {
		return
	}

	changed := "false"
	if n.Name == "false" {
		changed = "true"
	}
	f.wrap(opConstant, n, changed, "(", " != mutate__on(%d))")
}

// ranged makes a loop over nothing.
func (f *finder) ranged(x ast.Expr) {
	tv := f.t.info.Types[x]
	if tv.Type == nil || tv.Value != nil {
		return
	}

	switch u := tv.Type.Underlying().(type) {
	case *types.Slice, *types.Map:
	case *types.Basic:
		if u.Info()&(types.IsString|types.IsInteger) == 0 {
			return
		}
	default:
		return
	}

	f.wrap(opEmpty, x, "nothing to range over", "mutate__zero(%d, ", ")")
}

// composite empties a list or map that is written out.
func (f *finder) composite(n *ast.CompositeLit) {
	tv := f.t.info.Types[n]
	if len(n.Elts) == 0 || tv.Type == nil || n.Type == nil {
		return
	}
	if _, ok := f.parent().(*ast.RangeStmt); ok {
		return // ranged does it
	}

	if u, ok := f.parent().(*ast.UnaryExpr); ok && u.Op == token.AND {
		return
	}
	switch tv.Type.Underlying().(type) {
	case *types.Slice, *types.Map:
		f.wrap(opEmpty, n, "nil", "mutate__zero(%d, ", ")")
	}
}
