package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
)

// A Diagnostic is one thing wrong, or odd, in a policy file.
type Diagnostic struct {
	File    string   `json:"file"`
	Line    int      `json:"line"`
	Column  int      `json:"column"`
	Path    string   `json:"path,omitempty"` // spec.base.approved[0].name
	Message string   `json:"message"`
	Nearest string   `json:"nearest,omitempty"` // what was probably meant
	Allowed []string `json:"allowed,omitempty"`
}

// maxAllowed is how many allowed values a line names.
const maxAllowed = 24

// String is one line in the form that editors understand.
func (d Diagnostic) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: ", d.File, d.Line, d.Column)
	if d.Path != "" {
		b.WriteString(d.Path + ": ")
	}

	b.WriteString(d.Message)
	if d.Nearest != "" {
		fmt.Fprintf(&b, "; did you mean %s?", d.Nearest)
	}
	if len(d.Allowed) > 0 && len(d.Allowed) <= maxAllowed {
		fmt.Fprintf(&b, " (allowed: %s)", strings.Join(d.Allowed, ", "))
	}
	return b.String()
}

// Errors are all that is wrong with what was loaded. To [attestor.KindOf] they
// are Invalid.
type Errors []Diagnostic

// Error is one line for each.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, d := range e {
		lines[i] = d.String()
	}
	return strings.Join(lines, "\n")
}

// As presents the errors as an [attestor.Error], so that whoever sent a policy
// is told what is wrong with it.
func (e Errors) As(target any) bool {
	t, ok := target.(**attestor.Error)
	if ok {
		*t = &attestor.Error{
			Kind: attestor.Invalid,
			Msg:  "the policy is not valid: " + e.Error(),
			Fix:  "attestor policy lint " + e.file() + " says the same, and attestor policy schema prints the schema",
		}
	}
	return ok
}

// file is the first file with an error; FILE where a text was sent that is not a file.
func (e Errors) file() string {
	if len(e) > 0 && strings.HasSuffix(e[0].File, ".yaml") {
		return e[0].File
	}
	return "FILE"
}

func (e Errors) sorted() Errors {
	slices.SortStableFunc(e, func(a, b Diagnostic) int {
		return cmp.Or(
			cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Message, b.Message),
		)
	})

	// A fragment with a fault is read by every policy that uses it: the fault is listed once.
	return slices.CompactFunc(e, func(a, b Diagnostic) bool { return a.String() == b.String() })
}
