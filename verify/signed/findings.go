package signed

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// findings collects why candidates did not satisfy a rule, for the message,
// and the first failure to look at one.
type findings struct {
	count   int
	why     []string
	unknown error
}

// maxReasons keeps a message readable whatever was pushed.
const maxReasons = 4

// reject notes that a candidate was looked at and does not satisfy.
func (f *findings) reject(format string, args ...any) {
	f.count++
	why := clip(fmt.Sprintf(format, args...))
	for _, w := range f.why {
		if w == why {
			return
		}
	}
	if len(f.why) < maxReasons {
		f.why = append(f.why, why)
	}
}

// fail notes that a candidate could not be looked at.
func (f *findings) fail(err error) {
	if f.unknown == nil {
		f.unknown = err
	}
}

// String is what was found, for a message.
func (f *findings) String() string {
	switch {
	case f.count == 0:
		return "it has none"
	case f.count == 1:
		return "found one, " + strings.Join(f.why, "; ")
	case f.count > len(f.why):
		return fmt.Sprintf("found %d, among them: %s", f.count, strings.Join(f.why, "; "))
	}
	return fmt.Sprintf("found %d: %s", f.count, strings.Join(f.why, "; "))
}

// clip keeps hostile text from filling a message or breaking its line.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
	if len(s) > 240 {
		return strings.ToValidUTF8(s[:240], "") + "…"
	}
	return s
}

// notFound reports whether a registry said that there is no such thing.
func notFound(err error) bool {
	te, ok := errors.AsType[*transport.Error](err)
	return ok && te.StatusCode == http.StatusNotFound
}
