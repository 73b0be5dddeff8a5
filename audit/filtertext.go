package audit

import (
	"fmt"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/when"
)

// A FilterText is a [Filter] as text, from flags or a form.
type FilterText struct {
	Image, Repository, Verdict, Policy string
	Since, Until                       string // RFC 3339, a date, or a duration before now; "": no limit
}

// ParseFilter parses a filter. A duration means that long before now. The error is
// an [attestor.Error] of kind Invalid that names the field.
func ParseFilter(t FilterText, now time.Time) (Filter, error) {
	f := Filter{Image: t.Image, Repository: t.Repository, Policy: t.Policy, Verdict: attestor.Outcome(t.Verdict)}
	switch f.Verdict {
	case "", attestor.Pass, attestor.Deny, attestor.Undecided:
	default:
		return f, &attestor.Error{
			Kind: attestor.Invalid,
			Msg:  fmt.Sprintf("%q is not a verdict", t.Verdict),
			Fix:  "use pass, deny or error",
		}
	}

	for _, bound := range []struct {
		name, text string
		into       *time.Time
	}{{"since", t.Since, &f.Since}, {"until", t.Until, &f.Until}} {
		if bound.text == "" {
			continue
		}
		at, err := when.ParseInstant(bound.text, now)
		if err != nil {
			return f, &attestor.Error{Kind: attestor.Invalid, Msg: bound.name + ": " + err.Error()}
		}
		*bound.into = at
	}
	return f, nil
}
