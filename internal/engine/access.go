package engine

import (
	"context"
	"log/slog"
	"slices"

	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/server/identity"
)

// Access is who may do what by a configuration and its teams' files. No issuer is asked.
type Access struct {
	tokens *identity.Tokens
	rules  []identity.Rule
	broken error
}

// ReadAccess reads who may do what, as a service that starts now would.
func ReadAccess(ctx context.Context, c *config.Identity) (Access, error) {
	who, err := newIdentity(ctx, c, slog.New(slog.DiscardHandler))
	if err != nil {
		return Access{}, err
	}

	a := Access{}
	a.tokens, _ = who.verifier.(*identity.Tokens) // nil without an identity section
	if c == nil {
		return a, nil
	}
	if a.rules, err = rulesOf(c.Callers); err != nil {
		return Access{}, err
	}

	// A broken file grants what it granted before: the error comes beside the rules.
	if who.teams != nil {
		a.rules, a.broken = slices.Concat(a.rules, who.teams.Status().Rules), who.teams.Err()
	}
	return a, nil
}

// Rules lists who may do what, the configuration's own first.
func (a Access) Rules() []identity.Rule { return a.rules }

// Broken is why some teams' files grant nothing, or nil.
func (a Access) Broken() error { return a.broken }

// Of lists the rules that match a described caller, and its team.
func (a Access) Of(d identity.Described) (matched []identity.Rule, team string) {
	if a.tokens == nil {
		return nil, ""
	}
	return a.tokens.Explain(d)
}
