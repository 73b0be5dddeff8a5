package main

import (
	"bytes"
	"go/scanner"
	"go/token"
	"strings"
)

// tokens is source text as the compiler reads it: without comments and layout.
// What a run found out holds for as long as this text is the same. Comments
// that the compiler or `go test` reads are kept: directives, and the output
// that an example has to print.
func tokens(text []byte) []byte {
	var kept []byte
	write := func(s string) {
		kept = append(kept, s...)
		kept = append(kept, ' ')
	}
	separator := ""
	output := false

	each(text, func(_ int, tok token.Token, literal string) {
		if tok == token.COMMENT {
			output = output || printed(literal)
			if output || strings.HasPrefix(literal, "//go:") {
				write(literal)
			}
			return
		}
		output = false

		// Of a list that is laid out over lines the last element has a comma too, and the last statement of a block a
		// line's end: neither is there on one line.
		closes := tok == token.RPAREN || tok == token.RBRACK || tok == token.RBRACE
		if separator != "" && !closes {
			write(separator)
		}
		separator = ""

		switch {
		case tok == token.COMMA || tok == token.SEMICOLON:
			separator = tok.String()
		case literal != "":
			write(literal)
		default:
			write(tok.String())
		}
	})

	return kept
}

// printed reports whether the comment begins what an example has to print.
func printed(comment string) bool {
	s := strings.ToLower(strings.TrimSpace(strings.TrimPrefix(comment, "//")))

	return strings.HasPrefix(s, "output:") || strings.HasPrefix(s, "unordered output:")
}

// uncommented is source text with its layout and without its comments.
func uncommented(text []byte) string {
	if !bytes.Contains(text, []byte("//")) && !bytes.Contains(text, []byte("/*")) {
		return string(text)
	}
	var kept []byte
	at := 0
	each(text, func(offset int, tok token.Token, literal string) {
		if tok == token.COMMENT {
			kept = append(kept, text[at:offset]...)
			at = offset + len(literal)
		}
	})

	return string(append(kept, text[at:]...))
}

// each calls visit for every token of the text, comments among them, with the
// token's offset.
func each(text []byte, visit func(offset int, tok token.Token, literal string)) {
	fset := token.NewFileSet()
	file := fset.AddFile("", fset.Base(), len(text))
	var s scanner.Scanner
	s.Init(file, text, nil, scanner.ScanComments)
	for {
		pos, tok, literal := s.Scan()
		if tok == token.EOF {
			return
		}
		visit(file.Offset(pos), tok, literal)
	}
}
