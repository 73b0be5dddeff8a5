package signed

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/plain"
	"github.com/attestor-gate/attestor/internal/referrers"
)

// findings collects the reasons why signatures do not satisfy a rule, for the
// message, and the first failure to read one.
type findings struct {
	rejected int
	reasons  []string // distinct, maxReasons at most
	unread   error

	largeIsUnread bool // what is too large counts as not read; else as rejected
}

// maxReasons keeps a message readable whatever was pushed.
const maxReasons = 4

// reject notes that a signature was read and does not satisfy the rule.
func (f *findings) reject(format string, args ...any) {
	f.rejected++
	reason := clip(fmt.Sprintf(format, args...))
	if len(f.reasons) < maxReasons && !slices.Contains(f.reasons, reason) {
		f.reasons = append(f.reasons, reason)
	}
}

// fail notes that a signature could not be read.
func (f *findings) fail(err error) {
	if f.unread == nil {
		f.unread = err
	}
}

// unusable notes an error of the registry's reader: a flaw rejects what was read.
func (f *findings) unusable(err error) {
	if f.largeIsUnread && referrers.IsTooLarge(err) {
		f.fail(&attestor.Error{
			Kind: attestor.Upstream, Code: attestor.CodeBaseSignatureUnknown,
			Msg: "a statement that is attached was not read: " + err.Error(),
			Fix: "delete it, or divide it",
		})
		return
	}
	if flaw, ok := errors.AsType[referrers.Flaw](err); ok {
		f.reject("%s", flaw)
		return
	}
	f.fail(err)
}

// String describes the rejected signatures, for a message.
func (f *findings) String() string {
	reasons := strings.Join(f.reasons, "; ")
	switch {
	case f.rejected == 0:
		return "it has none"
	case f.rejected == 1:
		return "found one: " + reasons
	case f.rejected > len(f.reasons):
		return fmt.Sprintf("found %d, for example: %s", f.rejected, reasons)
	}
	return fmt.Sprintf("found %d: %s", f.rejected, reasons)
}

// clip keeps hostile text from filling a message or breaking its line.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	return plain.Clip(s, 240)
}
