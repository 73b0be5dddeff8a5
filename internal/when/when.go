// Package when has the one grammar of times that people write: in policies,
// the configuration, flags, the API and on pages.
//
// A duration is one or more numbers with units, largest unit first, each unit
// at most once: 90s, 1h30m, 1d12h. The units are d (24 hours), h, m, s and ms;
// the last number may have a fraction, as in 1.5h. A bare 0 needs no unit.
//
// An instant is how long ago it was (30d), a date (2026-11-01, its beginning in
// UTC) or RFC 3339 (2026-11-01T08:00:00Z).
package when

import (
	"fmt"
	"math"
	"math/big"
	"strings"
	"time"

	"github.com/attestor-gate/attestor/internal/plain"
)

// Day is 24 hours: durations know no daylight saving.
const Day = 24 * time.Hour

// DurationExamples and InstantExamples complete messages of the form "want …".
const (
	DurationExamples = "numbers with units, such as 90s, 1.5h, 2d or 1d12h"
	InstantExamples  = "a duration ago such as 30d, a date such as 2026-11-01, or RFC 3339 such as 2026-11-01T08:00:00Z"
)

// DurationPattern is the grammar of durations as a regular expression that JSON
// schemas can hold. The empty text matches it too and is to be excluded by its
// length.
const DurationPattern = `^(0|([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?|` +
	`[0-9]+\.[0-9]+d|([0-9]+d)?[0-9]+\.[0-9]+h|([0-9]+d)?([0-9]+h)?[0-9]+\.[0-9]+m|` +
	`([0-9]+d)?([0-9]+h)?([0-9]+m)?[0-9]+\.[0-9]+s|([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?[0-9]+\.[0-9]+ms)$`

// units are in the order in which a duration names them.
var units = [...]struct {
	name string
	size time.Duration
}{{"d", Day}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}}

// maxText bounds what is parsed: the longest duration without needless digits
// is far shorter.
const maxText = 64

// ParseDuration reads a duration of the package's grammar. It is never
// negative; one beyond the range of [time.Duration] is refused.
func ParseDuration(s string) (time.Duration, error) {
	if s == "0" {
		return 0, nil
	}
	if s == "" || len(s) > maxText {
		return 0, notA("duration", s, DurationExamples)
	}

	// Exact, so that 0.1h is the same everywhere and a long text cannot overflow.
	total := new(big.Rat)
	next, fraction := 0, false
	for rest := s; rest != ""; {
		// A fraction is for the last number only: 1.5h30m is a slip.
		if fraction {
			return 0, notA("duration", s, DurationExamples)
		}

		number, after := cutNumber(rest)
		unit := unitAt(after, next)
		if number == "" || unit < 0 {
			return 0, notA("duration", s, DurationExamples)
		}

		// The text is digits with at most one point, so that it always parses.
		n, _ := new(big.Rat).SetString(number)
		total.Add(total, n.Mul(n, new(big.Rat).SetInt64(int64(units[unit].size))))
		fraction = strings.Contains(number, ".")
		next, rest = unit+1, after[len(units[unit].name):]
	}

	if total.Cmp(new(big.Rat).SetInt64(math.MaxInt64)) > 0 {
		return 0, fmt.Errorf("%q is too long: the longest duration is %s", clip(s), FormatDuration(math.MaxInt64))
	}
	nanoseconds := new(big.Int).Quo(total.Num(), total.Denom())

	return time.Duration(nanoseconds.Int64()), nil
}

// cutNumber cuts digits, with at most one point between them, off the front of
// s; number is "" if s does not begin with a number.
func cutNumber(s string) (number, after string) {
	digits := func(s string) int {
		return len(s) - len(strings.TrimLeft(s, "0123456789"))
	}

	n := digits(s)
	if n == 0 {
		return "", s
	}
	if fraction := strings.TrimPrefix(s[n:], "."); fraction != s[n:] {
		if f := digits(fraction); f > 0 {
			n += 1 + f
		}
	}

	return s[:n], s[n:]
}

// unitAt is the index of the unit that s begins with, from among those that may
// still come, or -1.
func unitAt(s string, from int) int {
	letters := s[:len(s)-len(strings.TrimLeft(s, "dhms"))]
	for i := from; i < len(units); i++ {
		if units[i].name == letters {
			return i
		}
	}
	return -1
}

// FormatDuration writes the shortest text that [ParseDuration] reads as d, down
// to milliseconds; less than a millisecond is 0.
func FormatDuration(d time.Duration) string {
	var b strings.Builder
	for _, u := range units {
		if n := d / u.size; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
			d -= n * u.size
		}
	}
	if b.Len() == 0 {
		return "0"
	}
	return b.String()
}

// ParseInstant reads an instant of the package's grammar; a duration counts
// back from now.
func ParseInstant(s string, now time.Time) (time.Time, error) {
	if ago, err := ParseDuration(s); err == nil {
		return now.Add(-ago), nil
	}
	if day, err := ParseDate(s); err == nil {
		return day, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return time.Time{}, notA("time", s, InstantExamples)
	}
	return t, nil
}

// ParseDate reads a day, such as 2026-11-01, and returns its beginning in UTC.
func ParseDate(s string) (time.Time, error) {
	t, err := time.Parse(time.DateOnly, s)
	if err != nil || len(s) != len(time.DateOnly) {
		return time.Time{}, notA("date", s, "a date such as 2026-11-01")
	}
	return t, nil
}

func notA(what, s, want string) error {
	return fmt.Errorf("%q is not a %s: want %s", clip(s), what, want)
}

// clip keeps hostile input from filling a message.
func clip(s string) string { return plain.Clip(s, maxText) }
