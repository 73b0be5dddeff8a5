package attestor

import "fmt"

// A Severity is Container Analysis's effective severity of one package's
// vulnerability. The zero value is unspecified, which is a level of its own:
// it is not "less than MINIMAL", and comparing it by < would be a mistake, so
// that there is no order on the type; see [Ceiling.Allows].
type Severity string

// The severities, in Container Analysis's words.
const (
	Unspecified Severity = "UNSPECIFIED"
	Minimal     Severity = "MINIMAL"
	Low         Severity = "LOW"
	Medium      Severity = "MEDIUM"
	High        Severity = "HIGH"
	Critical    Severity = "CRITICAL"
)

// Severities lists the levels, most severe first, the unspecified one last.
func Severities() []Severity {
	return []Severity{Critical, High, Medium, Low, Minimal, Unspecified}
}

// rank is 1 to 5, and 0 for what is not a known level.
func (s Severity) rank() int {
	switch s {
	case Minimal:
		return 1
	case Low:
		return 2
	case Medium:
		return 3
	case High:
		return 4
	case Critical:
		return 5
	}
	return 0
}

// Known is false for the unspecified level and for anything else that is not
// one of the five.
func (s Severity) Known() bool { return s.rank() > 0 }

// Foreign reports whether somebody gave a severity that this version does not know. It may be worse than [Critical].
func (s Severity) Foreign() bool {
	return !s.Known() && s != "" && s != Unspecified && s != "SEVERITY_UNSPECIFIED"
}

// A Ceiling is the highest severity that is allowed, in Binary Authorization's
// words. The zero value allows nothing.
type Ceiling string

// The two ceilings that are not severities.
const (
	BlockAll Ceiling = "BLOCK_ALL" // admits images without findings
	AllowAll Ceiling = "ALLOW_ALL" // admits any severity, unspecified too
)

// ParseCeiling accepts BLOCK_ALL, MINIMAL, LOW, MEDIUM, HIGH, CRITICAL and
// ALLOW_ALL, as written.
func ParseCeiling(s string) (Ceiling, error) {
	c := Ceiling(s)
	if c == BlockAll || c == AllowAll || Severity(s).Known() {
		return c, nil
	}
	return "", &Error{
		Kind: Invalid,
		Msg: fmt.Sprintf(
			"%q is not a severity limit: want BLOCK_ALL, MINIMAL, LOW, MEDIUM, HIGH, CRITICAL or ALLOW_ALL", clip(s),
		),
	}
}

// Allows reports whether a finding of severity s stays within the ceiling.
// Only ALLOW_ALL lets an unspecified severity through, as in Binary
// Authorization's own vulnerability check.
func (c Ceiling) Allows(s Severity) bool {
	if c == AllowAll {
		return true
	}
	return s.Known() && s.rank() <= Severity(c).rank()
}
