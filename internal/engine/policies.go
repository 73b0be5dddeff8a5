package engine

import (
	"context"
	"log/slog"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
)

// policiesEvery is how often it is looked whether other policies are in force than were recorded last.
const policiesEvery = time.Second

// recordPolicies records the policies that this instance starts with and each change of them, until ctx ends. A
// database that is away holds up no decision: the change is recorded when the database is back, with the time at which
// it came into force.
func (e *Engine) recordPolicies(ctx context.Context) {
	ticker := time.NewTicker(policiesEvery)
	defer ticker.Stop()

	cause, failing := attestor.PoliciesAtStart, false
	var recorded attestor.Digest // of the set
	for {
		set, status := e.Policies.Set(), e.Policies.Status()

		// A set that was put in force between the two calls is taken with the next look.
		if set.Digest() == status.Digest && set.Digest() != recorded {
			_, err := e.Store.RecordPolicies(ctx, policyChange(set, cause, status.Loaded))
			switch {
			case err == nil:
				recorded, cause = set.Digest(), attestor.PoliciesReloaded
			case !failing && ctx.Err() == nil:
				e.log.ErrorContext(ctx, "the policies in force are not recorded yet; they are tried again",
					slog.String("error", err.Error()))
			}
			failing = err != nil
		}

		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// policyChange is a change to the policies of a set.
func policyChange(set *policy.Set, cause attestor.PolicyCause, since time.Time) attestor.PolicyChange {
	c := attestor.PolicyChange{ID: newID(), Time: since, Cause: cause, Policies: []attestor.PolicyInForce{}}
	for _, p := range set.All() {
		ref := p.Ref()
		c.Policies = append(c.Policies, attestor.PolicyInForce{Name: ref.Name, Digest: ref.Digest, Source: p.File()})
	}
	return c
}
