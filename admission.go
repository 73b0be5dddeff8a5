package attestor

import "time"

// An Admission is an image that stands admitted: by a pass in its own right, or
// by an override alone.
type Admission struct {
	Image      Image
	Decision   string    // that admitted it last
	Time       time.Time // of that decision
	BreakGlass bool      // an override is its only ground

	Looked  time.Time // when it was last found to pass or to be refused
	Verdict Outcome   // of that look
	Cause   Cause     // of a refusal by re-judging; "": none was found yet
	Changed string    // the decision that recorded the last change of Verdict or Cause
	Since   time.Time // of that decision

	// Tried is when it was last judged, with or without an answer.
	Tried time.Time
}

// A Cause says why an admitted image would not be admitted now.
type Cause string

// The causes. Only a new finding can lead to a revocation.
const (
	CauseFinding Cause = "new-finding" // a vulnerability that was not known when the image was admitted
	CausePolicy  Cause = "policy"      // the policy has changed, or another one governs
	CauseOutage  Cause = "error"       // a check has no answer
	CauseTime    Cause = "other"       // a base, a scan, an exception or a grace is too old now; anything else
)

// A Rejudgement is the result of judging an admission again.
type Rejudgement struct {
	Admission Admission // as it was read
	Time      time.Time
	Answered  bool    // it passed or was refused; false: it could not be judged
	Verdict   Outcome // where it was answered
	Cause     Cause   // of a refusal
	Decision  string  // the record of a change of Verdict or Cause; "": nothing has changed
}

// A Run goes over all admissions, by any number of instances.
type Run struct {
	ID      string
	Started time.Time
	Ended   time.Time // zero: it goes on
	Caller  CallerRef
	Covered int // images that were judged, with or without an answer
	Changed int // of these, with another verdict or cause than before
	Failed  int // of these, without an answer
	Revoked int
	Stopped bool // more images were due for revocation than the cap
}

// An Override is one that was granted and attested.
type Override struct {
	Image     Image
	Decision  string // that granted it
	Time      time.Time
	By        string
	Reason    string
	Expires   *time.Time // nil: it stands until it is revoked
	Digests   []Digest   // that were attested
	Attestors []string   // that attested
	Closed    Closing    // "": it is open
	ClosedAt  time.Time
	ClosedBy  string // the decision or revocation that closed it
}

// Overdue reports whether an override should have ended before now.
func (o Override) Overdue(now time.Time) bool {
	return o.Closed == "" && o.Expires != nil && !now.Before(*o.Expires)
}

// A StandingOverride is an open override as a look-up of attestations shows it: its
// attestations are valid, and admit the image by it alone.
type StandingOverride struct {
	Decision  string     `json:"decision"` // that granted it
	By        string     `json:"by"`
	Time      time.Time  `json:"time"`
	Expires   *time.Time `json:"expires,omitempty"` // nil: it stands until it is revoked
	Overdue   bool       `json:"overdue,omitempty"` // it should have ended
	Attestors []string   `json:"attestors"`         // that attested
}

// Standing is an open override in the form for those who look its attestations up at now.
func (o Override) Standing(now time.Time) StandingOverride {
	return StandingOverride{
		Decision: o.Decision, By: o.By, Time: o.Time, Expires: o.Expires,
		Overdue: o.Overdue(now), Attestors: append([]string{}, o.Attestors...),
	}
}

// Until says when an override ends, in the words that follow its author.
func (o StandingOverride) Until() string {
	switch {
	case o.Expires == nil:
		return "until it is revoked"
	case o.Overdue:
		return "overdue since " + o.Expires.UTC().Format(time.RFC3339)
	}
	return "until " + o.Expires.UTC().Format(time.RFC3339)
}

// A Closing says why an override is not open any more.
type Closing string

// The closings.
const (
	ClosedPassed     Closing = "passed"     // the image has passed since, in its own right
	ClosedOverridden Closing = "overridden" // another override that is in force covers it
	ClosedExpired    Closing = "expired"    // its attestations were deleted at its end
	ClosedRevoked    Closing = "revoked"    // its attestations were deleted before its end
)

// Grounds are what admits the digests of an override beside it.
type Grounds struct {
	Keep   []Digest // that have another ground, and so keep their attestations at the override's end
	Passed bool     // a pass is among the grounds; false: overrides in force alone
	By     string   // one of the decisions that are grounds; "": there is none
}
