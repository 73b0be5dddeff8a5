package main

import (
	"go/ast"
	"go/token"
	"go/types"
	"slices"
	"strings"
)

func (f *finder) caseClause(c *ast.CaseClause) {
	block, ok := f.parents[len(f.parents)-1].(*ast.BlockStmt)
	if !ok || len(f.parents) < 2 {
		return
	}
	sw, ok := f.parents[len(f.parents)-2].(*ast.SwitchStmt)
	if !ok || sw.Body != block {
		return
	}

	for _, e := range c.List {
		if sw.Tag == nil {
			f.condition(e, true, true)
			continue
		}
		b, ok := f.t.info.Types[e].Type.Underlying().(*types.Basic)
		switch {
		case !ok:
		case b.Info()&types.IsString != 0:
			f.wrap(opCase, e, "a case that never matches", "mutate__other(%d, ", ")")
		case b.Info()&types.IsInteger != 0:
			f.wrap(opCase, e, "a case that never matches", "mutate__flipped(%d, ", ")")
		}
	}
}

// returned makes an error nil, and a boolean true or false.
func (f *finder) returned(n *ast.ReturnStmt) {
	for i, e := range n.Results {
		tv := f.t.info.Types[e]
		if tv.Type == nil || tv.IsNil() {
			continue
		}
		if f.boolean(e) {
			f.condition(e, true, true)
		}

		// An error is the last result, by convention.
		last := i == len(n.Results)-1
		if _, tuple := tv.Type.(*types.Tuple); tuple || !last || !f.returnsError() {
			continue
		}
		f.wrap(opNilError, e, "nil", "mutate__nil(%d, ", ")")
	}
}

// returnsError reports whether the function around the node returns an error
// last.
func (f *finder) returnsError() bool {
	signature := f.result

	// The function around a return may be a literal within the declared one.
	for _, p := range slices.Backward(f.parents) {
		if lit, ok := p.(*ast.FuncLit); ok {
			signature, _ = f.t.info.Types[lit].Type.(*types.Signature)
			break
		}
	}

	if signature == nil || signature.Results().Len() == 0 {
		return false
	}
	last := signature.Results().At(signature.Results().Len() - 1).Type()

	return types.Identical(last, types.Universe.Lookup("error").Type())
}

// statement leaves a statement out.
func (f *finder) statement(n ast.Node) {
	switch p := f.parent().(type) {
	case *ast.BlockStmt, *ast.CaseClause:
	case *ast.CommClause:
		if p.Comm == n {
			return
		}
	default:
		return // the clause of an if, a for or a switch, or a labelled statement
	}

	switch s := n.(type) {
	case *ast.ExprStmt:
		call, ok := s.X.(*ast.CallExpr)
		if !ok || f.arid(call) {
			return
		}
	case *ast.DeferStmt:
		if f.arid(s.Call) {
			return
		}
	case *ast.AssignStmt:
		if s.Tok == token.DEFINE || blank(s.Lhs) {
			return
		}
	case *ast.BranchStmt:
		if s.Tok == token.GOTO || s.Tok == token.FALLTHROUGH {
			return
		}
	}
	f.wrap(opRemove, n, "", "if !mutate__on(%d) { ", " }")
}

func blank(list []ast.Expr) bool {
	return !slices.ContainsFunc(list, func(e ast.Expr) bool {
		name, ok := e.(*ast.Ident)
		return !ok || name.Name != "_"
	})
}

// arid reports whether nobody wants a test of the call's presence: it locks,
// frees, measures or writes the log, or it ends the function.
func (f *finder) arid(call *ast.CallExpr) bool {
	name := ""
	switch fun := call.Fun.(type) {
	case *ast.Ident:
		name = fun.Name
	case *ast.SelectorExpr:
		name = fun.Sel.Name
		if f.logs(call) {
			return true
		}
	case *ast.CallExpr: // defer p.time("x")()
		return true
	}

	return slices.Contains([]string{
		"panic", "cancel", "stop", "Lock", "Unlock", "RLock", "RUnlock", "Close", "Done", "Wait",
		"Stop", "Exit", "Grow",
	}, name)
}

// logs reports whether the call writes the log.
func (f *finder) logs(call *ast.CallExpr) bool {
	fun, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	t := f.t.info.Types[fun.X].Type

	return t != nil && strings.HasSuffix(t.String(), "log/slog.Logger")
}
