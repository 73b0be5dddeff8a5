package engine

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/probe"
)

// Names of the checks about summaries.
const (
	summaryKeys     = "summary keys"
	summaryDeletion = "summary deletion"
)

// An asked remembers the answers to questions that probes ask every few seconds. Its zero value remembers nothing.
type asked struct {
	at      time.Time
	results []probe.Result
}

// again asks if the last answer is older than preflightFor, or had an error that is not about permissions alone.
func (a *asked) again(ask func() []probe.Result) []probe.Result {
	fresh := time.Since(a.at) < preflightFor
	if fresh && !slices.ContainsFunc(a.results, func(r probe.Result) bool { return r.Err != nil && !r.Informational }) {
		return a.results
	}
	a.results, a.at = ask(), time.Now()
	return a.results
}

// probeSummaryKeys asks whether the keys can be read, sign summaries, are two, and may be used.
func (e *Engine) probeSummaryKeys(ctx context.Context) []probe.Result {
	if e.summaries == nil {
		return nil
	}

	// One lock for all probes: of those at one time one asks.
	e.checked.Lock()
	defer e.checked.Unlock()

	return e.keysAsked.again(func() []probe.Result {
		return []probe.Result{probe.Ask("summaries", "vsa", "its keys sign summaries", 0, func() error {
			return e.summaries.Preflight(ctx)
		})}
	})
}

// probeSummaryDeletion asks whether replaced and revoked summaries can be deleted. A gate without that permission
// answers all the same, and says of each that is left that it is there.
func (e *Engine) probeSummaryDeletion(ctx context.Context) []probe.Result {
	if e.summaries == nil {
		return nil
	}
	e.checked.Lock()
	defer e.checked.Unlock()

	return e.deletionAsked.again(func() []probe.Result {
		var questions []func() []probe.Result
		for _, repository := range e.summaryPlaces() {
			questions = append(questions, func() []probe.Result {
				r := probe.Ask("summaries", repository, "summaries can be deleted", 0, func() error {
					return e.summaries.MayDelete(ctx, repository)
				})
				r.Informational = true
				return []probe.Result{r}
			})
		}
		return probe.Together(probesAtOnce, questions)
	})
}

// summaryPlaces are repositories that summaries go to, as far as policies name them: what a policy sets, or what its
// images begin with. For a pattern a name is added that no image has; permissions are granted above it.
func (e *Engine) summaryPlaces() []string {
	var out []string
	for _, p := range e.Policies.Set().All() {
		n := p.Needs().Attest.Summary
		if n == nil {
			continue
		}
		if n.Repository != "" {
			out = append(out, n.Repository)
			continue
		}
		for _, pattern := range p.Images() {
			if place := placeOf(pattern); place != "" {
				out = append(out, place)
			}
		}
	}

	slices.Sort(out)
	return slices.Compact(out)
}

// placeOf is a repository that a pattern matches, or one beside them; "" where not even the registry is named.
func placeOf(pattern attestor.Pattern) string {
	literal, _, wild := strings.Cut(pattern.String(), "*")
	if !wild {
		return literal
	}
	literal = literal[:strings.LastIndexByte(literal, '/')+1]
	if literal == "" {
		return ""
	}
	return literal + "attestor-asks-for-permissions"
}
