package attestor

import "slices"

// An Action is something that a caller may be allowed to do.
type Action string

// The actions, as the configuration names them.
const (
	ActionAttest     Action = "attest"
	ActionCheck      Action = "check" // dry run
	ActionRead       Action = "read"  // decisions, attestations, policies, pages
	ActionSimulate   Action = "simulate"
	ActionRevoke     Action = "revoke"
	ActionRejudge    Action = "rejudge" // events and re-judging
	ActionBreakGlass Action = "break-glass"
	ActionPosture    Action = "posture"
	ActionPrune      Action = "prune" // deleting decisions that are older than the retention
)

// Actions lists them all.
func Actions() []Action {
	return []Action{
		ActionAttest, ActionCheck, ActionRead, ActionSimulate,
		ActionRevoke, ActionRejudge, ActionBreakGlass, ActionPosture, ActionPrune,
	}
}

// A Grant allows actions on repositories. Empty lists allow nothing.
type Grant struct {
	Actions []Action
	Images  []Pattern
}

// A Caller is an identity that was verified, with what it may do. The zero
// value may do nothing.
type Caller struct {
	Subject string // stable and canonical: an email, or issuer-specific subject
	Issuer  string
	Grants  []Grant
	Team    string // whose share of the gate it uses; "": none's, it has its own
}

// May reports whether the caller may do a to images of a canonical repository.
func (c Caller) May(a Action, repository string) bool {
	return slices.ContainsFunc(c.Grants, func(g Grant) bool {
		// Action and repository must be of one grant: two grants do not add up to a third.
		return slices.Contains(g.Actions, a) &&
			slices.ContainsFunc(g.Images, func(p Pattern) bool { return p.Match(repository) })
	})
}

// MayAnywhere reports whether the caller may do a to some images; what it sees
// of each is up to [Caller.May].
func (c Caller) MayAnywhere(a Action) bool {
	return slices.ContainsFunc(
		c.Grants, func(g Grant) bool { return slices.Contains(g.Actions, a) && len(g.Images) > 0 },
	)
}

// MayEverywhere reports whether the caller may do a to every image: a grant on the
// pattern "**". Others that happen to match all repositories of today do not count.
func (c Caller) MayEverywhere(a Action) bool {
	return slices.ContainsFunc(c.Grants, func(g Grant) bool {
		return slices.Contains(g.Actions, a) &&
			slices.ContainsFunc(g.Images, func(p Pattern) bool { return p.text == "**" })
	})
}

// LocalCaller is whoever runs the program on their own machine with their own
// credentials: there is nobody to ask but the operating system.
func LocalCaller(user string) Caller {
	everything, err := ParsePattern("**")
	if err != nil {
		panic("attestor: the pattern ** does not parse") // a constant
	}
	return Caller{Subject: user, Issuer: "local", Grants: []Grant{{Actions: Actions(), Images: []Pattern{everything}}}}
}
