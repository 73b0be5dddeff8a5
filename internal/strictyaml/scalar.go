// Package strictyaml decides whether a YAML scalar is of the type that a field wants. YAML 1.1, YAML 1.2 and their
// parsers differ about "yes", 010 and 1_000, and many parsers read a quoted "false" as a boolean; here a value counts
// only where all of them read the same.
package strictyaml

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// The forms in which numbers count: decimal digits without leading zeros, signs of plus or underscores.
var (
	wholeForm  = regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`)
	numberForm = regexp.MustCompile(`^-?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?$`)
)

const decimal = " in decimal digits, without leading zeros, plus or underscores"

// Bool reads true or false, written without quotes.
func Bool(n *yaml.Node) (bool, error) {
	switch {
	case n.ShortTag() == "!!bool" && (n.Value == "true" || n.Value == "false"):
		return n.Value == "true", nil
	case quoted(n) && (n.Value == "true" || n.Value == "false"):
		return false, wrong(n, "true or false", "; remove the quotes")
	}
	return false, wrong(n, "true or false", "")
}

// Int reads a whole decimal number of 64 bits, written without quotes.
func Int(n *yaml.Node) (int64, error) {
	const want = "a whole number"
	switch {
	case quoted(n) && wholeForm.MatchString(n.Value):
		return 0, wrong(n, want, "; remove the quotes")
	case n.ShortTag() == "!!int" && !wholeForm.MatchString(n.Value):
		return 0, wrong(n, want, decimal)
	case n.ShortTag() != "!!int":
		return 0, wrong(n, want, "")
	}

	// A number that does not fit is refused: cut to 64 bits it would be another.
	i, err := strconv.ParseInt(n.Value, 10, 64)
	if err != nil {
		return 0, wrong(n, want, " of 64 bits")
	}

	return i, nil
}

// Float reads a finite decimal number, written without quotes.
func Float(n *yaml.Node) (float64, error) {
	const want = "a number"
	tag := n.ShortTag()
	switch {
	case quoted(n) && numberForm.MatchString(n.Value):
		return 0, wrong(n, want, "; remove the quotes")
	case tag != "!!int" && tag != "!!float":
		return 0, wrong(n, want, "")
	case strings.ContainsAny(n.Value, "0123456789") && !numberForm.MatchString(n.Value):
		return 0, wrong(n, want, decimal)
	case !numberForm.MatchString(n.Value): // .nan, .inf
		return 0, wrong(n, want, "")
	}
	f, err := strconv.ParseFloat(n.Value, 64)
	if err != nil {
		return 0, wrong(n, want, " of 64 bits")
	}
	return f, nil
}

// Text reads a text. Numbers, booleans and null are none until they are quoted: 1.10 is a text with three digits to one
// reader, and a number with two to another. A date stays the text that it was written as.
func Text(n *yaml.Node) (string, error) {
	switch n.ShortTag() {
	case "!!str", "!!timestamp":
		return n.Value, nil
	}
	return "", wrong(n, "a text", "; put it in quotes")
}

// quoted reports whether the value is a text because of its quotes.
func quoted(n *yaml.Node) bool {
	return n.ShortTag() == "!!str" && n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0
}

func wrong(n *yaml.Node, want, more string) error {
	value := n.Value
	if len(value) > 100 {
		value = value[:100] + "…"
	}
	return fmt.Errorf("%q is not %s%s", value, want, more)
}
