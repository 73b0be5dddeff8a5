package attestor

import (
	"encoding/json"
	"fmt"
	"slices"
)

// A ReasonSeverity says what a reason does to the verdict. It is the only thing that distinguishes refusals from
// remarks: in logs, metrics, reports and simulations alike. The zero value is "not said", which a check that refuses
// reads as its code's own severity; see [Check.WithSeverities].
type ReasonSeverity string

// The severities of reasons.
const (
	Refuses ReasonSeverity = "refuses" // the image does not pass because of it
	Warns   ReasonSeverity = "warns"   // somebody should look at it; the image may pass
	Informs ReasonSeverity = "informs" // an explanation or a hint
)

func (s ReasonSeverity) known() bool { return s == Refuses || s == Warns || s == Informs }

// A Reason says what was found, what was allowed, and what to do about it. Its severity is set when its check is
// sealed: evidence, which holds facts and no opinions, has reasons without one.
type Reason struct {
	Code     Code           `json:"code"`
	Severity ReasonSeverity `json:"severity,omitempty"`
	Subject  string         `json:"subject,omitempty"` // what it is about: a CVE, a layer, a user
	Message  string         `json:"message"`
	Fix      string         `json:"fix,omitempty"`

	// RetryAfter is the number of seconds that a dependency asked to wait before it is asked again; 0 if it named no
	// time.
	RetryAfter int `json:"retryAfter,omitempty"`

	// EffectiveFrom is the day, as in 2027-03-01, from which the policy refuses the image for this reason, and Owner is
	// who answers for that day. Both are "" for a reason that no date of the policy concerns.
	EffectiveFrom string `json:"effectiveFrom,omitempty"`
	Owner         string `json:"owner,omitempty"`
}

// WithSeverities returns the check with a severity for each reason. What the judge said stays; the rest follows from
// the check's status and the code. In a check that refuses at least one reason then refuses, unless it has none or its
// judge called all of them remarks.
func (c Check) WithSeverities() Check {
	judged := c.Reasons
	c.Reasons = slices.Clone(judged)
	for i, r := range judged {
		c.Reasons[i].Severity = severityIn(c.Status, r)
	}

	if !c.Status.Refuses() || slices.ContainsFunc(c.Reasons, refusing) {
		return c
	}

	// The policy made a remark its refusal, as rootGroup: deny does. A severity that was not said must never hide a
	// refusal, so that every reason without one refuses.
	for i, r := range judged {
		if !r.Severity.known() {
			c.Reasons[i].Severity = Refuses
		}
	}
	return c
}

// severityIn is the severity of one reason of a check with a status.
func severityIn(status Status, r Reason) ReasonSeverity {
	own := r.Code.Severity()
	switch {
	case r.Severity.known():
		return r.Severity
	case status.Refuses() && r.Severity != "":
		return Refuses // a word of another version: the worst that it can mean
	case status.Refuses():
		return own
	case own == Informs:
		return Informs
	case status == StatusWarn || own == Warns:
		return Warns
	}
	return Informs // the check passed or was skipped: what refuses elsewhere explains here
}

func refusing(r Reason) bool { return r.Severity == Refuses }

// DecidingReasons returns the reasons because of which the check denies or errs. A check that passes, warns or was
// skipped has none.
func (c Check) DecidingReasons() []Reason {
	var out []Reason
	for _, r := range c.WithSeverities().Reasons {
		if refusing(r) {
			out = append(out, r)
		}
	}
	return out
}

// UnmarshalJSON reads a check of any version. Records written before reasons had a severity get it here, from their
// code and the check's status; the stored bytes stay as they are.
func (c *Check) UnmarshalJSON(text []byte) error {
	type plain Check // without this method
	var read plain
	if err := json.Unmarshal(text, &read); err != nil {
		return fmt.Errorf("reading a check: %w", err)
	}
	*c = Check(read).WithSeverities()
	return nil
}

// seal gives a check the form in which it enters a Decision: status and severities agree. A judge that contradicts
// itself has a defect, and the image is refused.
func seal(c Check) Check {
	c = c.WithSeverities()
	decided := slices.ContainsFunc(c.Reasons, refusing)
	switch {
	case c.Status.Refuses() && !decided:
		// The check refuses by its status, and nobody could see why: every encoder goes by the severity.
		c.Reasons = append(c.Reasons, Reason{
			Code: CodeCheckMissing, Severity: Refuses, Subject: c.Name,
			Message: fmt.Sprintf("check %s refused the image without giving a reason", c.Name),
			Fix:     "report this as a defect of the gate: a check that refuses must say why",
		})

	case !c.Status.Refuses() && decided:
		// A reason refuses, and the check would let the image pass: the refusal holds.
		c.Status = StatusDeny
	}
	return c
}
