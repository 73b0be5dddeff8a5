package attestor

import (
	"slices"
	"strings"
	"time"
)

// A PolicyChange records which policies an instance of the gate put in force. Each decision names the policy that
// judged it by its digest; a PolicyChange says when, and by what, that text came into force.
type PolicyChange struct {
	ID       string          `json:"id"`
	Time     time.Time       `json:"time"` // since when the policies are in force
	Cause    PolicyCause     `json:"cause"`
	Policies []PolicyInForce `json:"policies"`      // all that are in force from then on, by name
	Changes  []PolicyDiff    `json:"changes"`       // against the change before, by name
	Log      *LogEntry       `json:"log,omitempty"` // of its entry in the record's log; not part of what is recorded
}

// A PolicyCause is what put policies in force.
type PolicyCause string

// What puts policies in force.
const (
	PoliciesAtStart  PolicyCause = "start"  // an instance started with them
	PoliciesReloaded PolicyCause = "reload" // their files changed while an instance ran
)

// A PolicyInForce is one policy of a [PolicyChange].
type PolicyInForce struct {
	Name   string `json:"name"`
	Digest Digest `json:"digest"` // of its text
	Source string `json:"source"` // the file that it was read from
}

// A PolicyDiff says how one policy changed. Before is "" for a policy that is new, After for one that is gone.
type PolicyDiff struct {
	Name   string `json:"name"`
	Before Digest `json:"before,omitempty"`
	After  Digest `json:"after,omitempty"`
}

// DiffPolicies returns how the policies after differ from those before, by name. The file that a policy is read from
// makes no difference: instances may keep the same text in different places.
func DiffPolicies(before, after []PolicyInForce) []PolicyDiff {
	byName := map[string]PolicyDiff{}
	for _, p := range before {
		byName[p.Name] = PolicyDiff{Name: p.Name, Before: p.Digest}
	}
	for _, p := range after {
		// Of a policy that is new the zero value has no digest before.
		d := byName[p.Name]
		d.Name, d.After = p.Name, p.Digest
		byName[p.Name] = d
	}

	out := []PolicyDiff{}
	for _, d := range byName {
		if d.Before != d.After {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b PolicyDiff) int { return strings.Compare(a.Name, b.Name) })
	return out
}
