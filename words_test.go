package attestor_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// counted finds a number with a noun in the plural, as in "%d images".
var counted = regexp.MustCompile(`(?:(\S+) )?%d ([a-z]+s)\b`)

// isLimit reports whether an argument is the constant of a limit: a message with one is about a number above it.
func isLimit(arg ast.Expr) bool {
	name := ""
	switch e := arg.(type) {
	case *ast.Ident:
		name = e.Name
	case *ast.SelectorExpr:
		name = e.Sel.Name
	}
	name = strings.ToLower(name)
	return strings.HasPrefix(name, "max") || strings.HasPrefix(name, "min")
}

// texts are the literal texts among arguments, with those that are added to each other.
func texts(args []ast.Expr) (all []string) {
	for _, arg := range args {
		switch e := arg.(type) {
		case *ast.BinaryExpr:
			all = append(all, texts([]ast.Expr{e.X, e.Y})...)
		case *ast.BasicLit:
			if text, err := strconv.Unquote(e.Value); err == nil && e.Kind == token.STRING {
				all = append(all, text)
			}
		}
	}
	return all
}

// A number of things may be 1, and "1 images" is not written: the noun comes from Plural. Allowed are limits, which are
// above 1, and what is never a noun.
func TestNumbersDoNotForceAPlural(t *testing.T) {
	limit := map[string]bool{"than": true, "most": true, "to": true}
	foreign := map[string]bool{"%d of %d occurrences failed": true} // the words of Container Analysis' own answer
	notNouns := map[string]bool{"is": true, "has": true, "was": true, "pass": true, "ms": true, "bytes": true, "bits": true}

	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == "testkit" || d.Name() == "tools" ||
			d.Name() == "bench" || strings.HasPrefix(d.Name(), ".") && path != ".") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}

		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || slices.ContainsFunc(call.Args, isLimit) {
				return true
			}
			for _, text := range texts(call.Args) {
				for _, m := range counted.FindAllStringSubmatch(text, -1) {
					if !foreign[text] && !limit[m[1]] && !notNouns[m[2]] && !strings.Contains(text, "1 to %d") && !strings.Contains(text, "at most %d") {
						t.Errorf("%s: %q is written for 1 too: take the noun from Plural", set.Position(call.Pos()), m[0])
					}
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// goneWords are metaphors that needed their author, and abbreviations of thoughts. docs/glossary.md and the terms of the
// field have better ones.
var goneWords = map[string]string{
	"aside": "informational, or unjudged", "beginning": "start or prefix", "board": "join", "bury": "expire or compact", "earnest": "enforced",
	"flight": "call", "glance": "stat", "lane": "queue", "lend": "give", "lends": "give", "poses": "claims", "settled": "final, answered, …",
	"told": "logged, answered, relevant, …", "unadmit": "withdraw",
}

// identifierWord finds the words of which an identifier consists.
var identifierWord = regexp.MustCompile(`[A-Z]?[a-z]+|[A-Z]+`)

// TestGoneWordsStayGone: an identifier of the product has no word that gave way to another one. Files have names that say
// what is in them. InFlight and Settle are terms of the field, and configuration that is published.
func TestGoneWordsStayGone(t *testing.T) {
	published := map[string]bool{"InFlight": true}
	emptyNames := map[string]bool{"adapters": true, "common": true, "helpers": true, "history": true, "look": true, "misc": true,
		"more": true, "parts": true, "rest_of": true, "things": true, "types": true, "util": true, "utils": true, "validate_more": true, "words": true}

	found := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && path != ".") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		if emptyNames[strings.TrimSuffix(d.Name(), ".go")] {
			t.Errorf("%s: the name does not say what the file holds", path)
		}

		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			name, ok := n.(*ast.Ident)
			if !ok || published[name.Name] {
				return true
			}
			found++
			for _, word := range identifierWord.FindAllString(name.Name, -1) {
				if better, gone := goneWords[strings.ToLower(word)]; gone {
					t.Errorf("%s: %s: instead of %q write %s", set.Position(name.Pos()), name.Name, word, better)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 10_000 {
		t.Fatalf("%d identifiers were read: this test would prove nothing", found)
	}
}
