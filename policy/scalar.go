package policy

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
)

// The enumerations; every value that files may hold is in [enumValues].
type (
	// Names is what to do about user names.
	Names string
	// Response is what to do about something found.
	Response string
	// Binary is the same, without the middle way.
	Binary string
	// Continuous is whether continuous analysis is demanded.
	Continuous string
	// CheckMode is whether a check refuses or warns.
	CheckMode string
	// VEXStatus is a VEX statement's status.
	VEXStatus string
)

// The values that code compares with.
const (
	NamesRefuse  Names = "refuse"
	NamesResolve Names = "resolve"

	RespondDeny  Response = "deny"
	RespondWarn  Response = "warn"
	RespondAllow Response = "allow"

	BinaryDeny  Binary = "deny"
	BinaryAllow Binary = "allow"

	ContinuousRequired Continuous = "required"
	ContinuousOptional Continuous = "optional"

	CheckEnforce CheckMode = "enforce"
	CheckWarn    CheckMode = "warn"
)

// enumValues lists what a type's texts may be; nil where it is no enumeration.
func enumValues(t reflect.Type) []string {
	switch t {
	case reflect.TypeFor[attestor.Mode]():
		return []string{"enforce", "dryRun"}
	case reflect.TypeFor[attestor.Level]():
		return []string{"layers-exact", "diffids-verified", "attested"}
	case reflect.TypeFor[attestor.Ceiling]():
		return []string{"BLOCK_ALL", "MINIMAL", "LOW", "MEDIUM", "HIGH", "CRITICAL", "ALLOW_ALL"}
	case reflect.TypeFor[attestor.Severity]():
		return []string{"MINIMAL", "LOW", "MEDIUM", "HIGH", "CRITICAL"}
	case reflect.TypeFor[Names]():
		return []string{"refuse", "resolve"}
	case reflect.TypeFor[Response]():
		return []string{"deny", "warn", "allow"}
	case reflect.TypeFor[Binary]():
		return []string{"deny", "allow"}
	case reflect.TypeFor[Continuous]():
		return []string{"required", "optional"}
	case reflect.TypeFor[CheckMode]():
		return []string{"enforce", "warn"}
	case reflect.TypeFor[attestor.Outcome]():
		return []string{"pass", "deny", "error"}
	case reflect.TypeFor[attestor.Code]():
		return codeNames()
	case reflect.TypeFor[VEXStatus]():
		return []string{"not_affected", "fixed"}
	}
	return nil
}

func codeNames() []string {
	var names []string
	for _, c := range attestor.Codes() {
		names = append(names, string(c.Code))
	}
	return names
}

// OrAll is a list, or the word "all", which is nil.
type OrAll []string

// Has reports whether s is in the list, or the list is all.
func (l OrAll) Has(s string) bool { return l == nil || slices.Contains(l, s) }

// MarshalJSON writes "all" for nil.
func (l OrAll) MarshalJSON() ([]byte, error) {
	if l == nil {
		return []byte(`"all"`), nil
	}
	return json.Marshal([]string(l))
}

// A Duration is written as whole numbers with the units s, m, h and d, such
// as 14d or 1h30m; a bare 0 is allowed.
type Duration time.Duration

// UnmarshalText refuses negative, fractional and overflowing durations.
func (d *Duration) UnmarshalText(b []byte) error {
	s := string(b)
	if s == "0" {
		*d = 0
		return nil
	}
	var sum int64
	last := time.Duration(math.MaxInt64)
	for rest := s; rest != ""; {
		i := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
		if i <= 0 {
			return badDuration(s)
		}
		n, err := strconv.ParseInt(rest[:i], 10, 64)
		unit := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}[rest[i]]
		if err != nil || unit == 0 || unit >= last || n > (math.MaxInt64-sum)/int64(unit) {
			return badDuration(s)
		}
		sum += n * int64(unit)
		last, rest = unit, rest[i+1:]
	}
	if s == "" {
		return badDuration(s)
	}
	*d = Duration(sum)
	return nil
}

func badDuration(s string) error {
	return fmt.Errorf("%q is not a duration: want whole numbers with the units d, h, m, s in that order, such as 14d or 1h30m", clip(s))
}

// MarshalText writes what UnmarshalText reads.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String is the shortest form, with days.
func (d Duration) String() string {
	rest := time.Duration(d)
	if rest < time.Second {
		return "0"
	}
	var b strings.Builder
	for _, u := range []struct {
		unit time.Duration
		name byte
	}{{24 * time.Hour, 'd'}, {time.Hour, 'h'}, {time.Minute, 'm'}, {time.Second, 's'}} {
		if n := rest / u.unit; n > 0 {
			fmt.Fprintf(&b, "%d%c", n, u.name)
			rest -= n * u.unit
		}
	}
	return b.String()
}

// A Date is a day that ends at its end, UTC. The zero value is no day.
type Date struct{ start time.Time }

const dateForm = "2006-01-02"

// UnmarshalText accepts YYYY-MM-DD only.
func (d *Date) UnmarshalText(b []byte) error {
	t, err := time.Parse(dateForm, string(b))
	if err != nil || len(b) != len(dateForm) {
		return fmt.Errorf("%q is not a date: want YYYY-MM-DD", clip(string(b)))
	}
	*d = Date{start: t.UTC()}
	return nil
}

// MarshalText writes what UnmarshalText reads.
func (d Date) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String is YYYY-MM-DD.
func (d Date) String() string { return d.start.Format(dateForm) }

// IsZero reports whether no date was given.
func (d Date) IsZero() bool { return d.start.IsZero() }

// End is the first instant that is no longer in the day.
func (d Date) End() time.Time { return d.start.AddDate(0, 0, 1) }

// Equal lets dates be compared by value.
func (d Date) Equal(o Date) bool { return d.start.Equal(o.start) }

// clip keeps hostile input from filling a message.
func clip(s string) string {
	if len(s) > 100 {
		return s[:100] + "…"
	}
	return s
}
