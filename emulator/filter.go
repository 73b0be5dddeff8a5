package emulator

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	maxFilter      = 16 << 10
	maxFilterDepth = 64
)

// A filter is parsed by the subset of AIP-160 that Container Analysis clients
// are known to send: AND, OR, NOT and "-", parentheses, juxtaposition as AND,
// comparisons of a field with a literal, has_prefix and has_suffix. OR binds
// tighter than AND. Whatever else there is, is INVALID_ARGUMENT: a filter that
// is not understood must never select everything.
//
//	expression := sequence { AND sequence }
//	sequence   := factor { factor }
//	factor     := term { OR term }
//	term       := [ NOT | "-" ] ( "(" expression ")" | comparison | call )
//	comparison := field ( = | != | < | <= | > | >= ) literal
//	              (of Cloud KMS also field ( : | => ) literal)
//	call       := ( has_prefix | has_suffix ) "(" field "," literal ")"

// node is part of a parsed filter.
type node interface{}

type (
	andNode struct{ sub []node }
	orNode  struct{ sub []node }
	notNode struct{ sub node }
	// testNode is a comparison or a call; op is the operator or function name.
	testNode struct {
		field, op, literal string
		test               func(*occView) bool
	}
)

type tokenKind int

const (
	tokEnd tokenKind = iota
	tokText
	tokString
	tokOperator // = != < <= > >=
	tokPunct    // ( ) , -
)

type token struct {
	kind tokenKind
	text string
	pos  int
}

// A dialect is what the filters of one list may compare, and how they write it.
type dialect struct {
	// compile type-checks a comparison or call.
	compile func(field, op, literal string) (node, error)
	// kms adds the two operators of Cloud KMS: ":" is containment, and "=>" is ">=".
	kms bool
}

type filterParser struct {
	dialect
	in    string
	pos   int
	tok   token
	depth int
}

func filterError(format string, args ...any) error {
	return invalid("filter", "invalid list filter: "+fmt.Sprintf(format, args...))
}

// parseFilter parses and type-checks a filter of occurrences.
func parseFilter(in string) (node, error) { return dialect{compile: compileTest}.parse(in) }

// parse parses and type-checks; a blank filter is a nil node and selects
// everything, as the API has it.
func (d dialect) parse(in string) (node, error) {
	if len(in) > maxFilter {
		return nil, filterError("longer than %d bytes", maxFilter)
	}
	if !utf8.ValidString(in) {
		return nil, filterError("not UTF-8")
	}

	if strings.TrimSpace(in) == "" {
		return nil, nil
	}
	p := &filterParser{dialect: d, in: in}
	if err := p.next(); err != nil {
		return nil, err
	}

	n, err := p.expression()
	if err != nil {
		return nil, err
	}
	if p.tok.kind != tokEnd {
		return nil, filterError("unexpected %q at position %d", p.tok.text, p.tok.pos)
	}
	return n, nil
}

func (p *filterParser) expression() (node, error) {
	// The depth is bounded, since each level is a call of the parser.
	if p.depth++; p.depth > maxFilterDepth {
		return nil, filterError("nested more than %d deep", maxFilterDepth)
	}
	defer func() { p.depth-- }()

	var sub []node
	for {
		n, err := p.factor()
		if err != nil {
			return nil, err
		}
		sub = append(sub, n)
		switch {
		case p.keyword("AND"):
			if err := p.next(); err != nil {
				return nil, err
			}
		case p.tok.kind == tokEnd, p.punct(")"):
			if len(sub) == 1 {
				return sub[0], nil
			}
			return andNode{sub}, nil
		}
	}
}

func (p *filterParser) factor() (node, error) {
	var sub []node
	for {
		n, err := p.term()
		if err != nil {
			return nil, err
		}
		sub = append(sub, n)
		if !p.keyword("OR") {
			break
		}

		if err := p.next(); err != nil {
			return nil, err
		}
	}

	if len(sub) == 1 {
		return sub[0], nil
	}
	return orNode{sub}, nil
}

func (p *filterParser) term() (node, error) {
	if p.keyword("NOT") || p.punct("-") {
		if err := p.next(); err != nil {
			return nil, err
		}
		n, err := p.simple()
		return notNode{n}, err
	}
	return p.simple()
}

func (p *filterParser) simple() (node, error) {
	if p.punct("(") {
		if err := p.next(); err != nil {
			return nil, err
		}
		n, err := p.expression()
		if err != nil {
			return nil, err
		}
		return n, p.expect(")")
	}

	if p.tok.kind != tokText || p.keyword("AND") || p.keyword("OR") || p.keyword("NOT") {
		return nil, filterError("want a field at position %d, got %q", p.tok.pos, p.tok.text)
	}
	field := p.tok.text
	if err := p.next(); err != nil {
		return nil, err
	}

	if p.punct("(") {
		return p.call(field)
	}
	if p.tok.kind != tokOperator {
		return nil, filterError("want an operator after %q at position %d", field, p.tok.pos)
	}

	op := p.tok.text
	if err := p.next(); err != nil {
		return nil, err
	}
	literal, err := p.literal()
	if err != nil {
		return nil, err
	}
	return p.compile(field, op, literal)
}

func (p *filterParser) call(function string) (node, error) {
	if function != "has_prefix" && function != "has_suffix" {
		return nil, filterError("unknown function %q", function)
	}
	if err := p.next(); err != nil {
		return nil, err
	}

	if p.tok.kind != tokText {
		return nil, filterError("want a field as the first argument of %s", function)
	}
	field := p.tok.text
	if err := p.next(); err != nil {
		return nil, err
	}

	if err := p.expect(","); err != nil {
		return nil, err
	}
	if p.tok.kind != tokString {
		return nil, filterError("want a quoted string as the second argument of %s", function)
	}

	literal, err := p.literal()
	if err != nil {
		return nil, err
	}
	if err := p.expect(")"); err != nil {
		return nil, err
	}
	return p.compile(field, function, literal)
}

func (p *filterParser) literal() (string, error) {
	sign := ""
	if p.punct("-") {
		sign = "-"
		if err := p.next(); err != nil {
			return "", err
		}
	}

	if p.tok.kind != tokString && p.tok.kind != tokText || sign != "" && p.tok.kind != tokText {
		return "", filterError("want a value at position %d, got %q", p.tok.pos, p.tok.text)
	}
	if p.keyword("AND") || p.keyword("OR") || p.keyword("NOT") {
		return "", filterError("want a value at position %d, got the keyword %s", p.tok.pos, p.tok.text)
	}
	text := sign + p.tok.text
	return text, p.next()
}

func (p *filterParser) keyword(k string) bool { return p.tok.kind == tokText && p.tok.text == k }
func (p *filterParser) punct(c string) bool   { return p.tok.kind == tokPunct && p.tok.text == c }

func (p *filterParser) expect(c string) error {
	if !p.punct(c) {
		return filterError("want %q at position %d, got %q", c, p.tok.pos, p.tok.text)
	}
	return p.next()
}

// next reads a token into p.tok.
func (p *filterParser) next() error {
	for p.pos < len(p.in) && strings.IndexByte(" \t\r\n", p.in[p.pos]) >= 0 {
		p.pos++
	}
	start := p.pos
	if start == len(p.in) {
		p.tok = token{tokEnd, "end of filter", start}
		return nil
	}

	switch c := p.in[start]; {
	case c == '"' || c == '\'':
		return p.quoted(c)
	case strings.IndexByte("(),-", c) >= 0:
		p.pos++
		p.tok = token{tokPunct, string(c), start}
	case c == ':' && p.kms:
		p.pos++
		p.tok = token{tokOperator, ":", start}
	case strings.IndexByte("=!<>", c) >= 0:
		p.pos++
		if p.pos < len(p.in) && p.in[p.pos] == '=' && c != '=' {
			p.pos++
		}
		if p.kms && c == '=' && p.pos < len(p.in) && p.in[p.pos] == '>' {
			p.pos++
			p.tok = token{tokOperator, ">=", start}
			return nil
		}

		p.tok = token{tokOperator, p.in[start:p.pos], start}
		if p.tok.text == "!" {
			return filterError("unknown operator \"!\" at position %d", start)
		}
	case textByte(c):
		for p.pos < len(p.in) && (textByte(p.in[p.pos]) || p.in[p.pos] == '-') {
			p.pos++
		}
		p.tok = token{tokText, p.in[start:p.pos], start}
	default:
		return filterError("unexpected %q at position %d", c, start)
	}
	return nil
}

// textByte is what an unquoted field or value is made of.
func textByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '.'
}

func (p *filterParser) quoted(quote byte) error {
	start := p.pos
	var b strings.Builder
	for i := start + 1; i < len(p.in); i++ {
		switch c := p.in[i]; c {
		case quote:
			p.pos, p.tok = i+1, token{tokString, b.String(), start}
			return nil
		case '\\':
			i++
			if i == len(p.in) || strings.IndexByte(`"'\`, p.in[i]) < 0 {
				return filterError("unknown escape at position %d", i-1)
			}
			b.WriteByte(p.in[i])
		default:
			b.WriteByte(c)
		}
	}

	return filterError("unterminated string at position %d", start)
}

// invalid is INVALID_ARGUMENT about one field of the request.
func invalid(field, msg string) error {
	return withDetails(status.New(codes.InvalidArgument, msg), badField(field, msg))
}
