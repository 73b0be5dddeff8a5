package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/probe"
	"github.com/attestor-gate/attestor/server/identity"
	"github.com/attestor-gate/attestor/server/teams"
)

const googleIssuer = "https://accounts.google.com"

// identified is who identifies callers.
type identified struct {
	verifier identity.Verifier
	issuers  func(context.Context) []probe.Result // fetches what identifies callers, and says what each issuer answered
	teams    *teams.Teams                         // nil: the configuration has all callers
}

// newIdentity is open on loopback where nothing is configured: such a
// configuration was refused where the service could be reached from elsewhere.
func newIdentity(ctx context.Context, c *config.Identity, log *slog.Logger) (identified, error) {
	if c == nil {
		return identified{verifier: identity.Open(LocalCaller()), issuers: nobodyAsked}, nil
	}

	rules, err := rulesOf(c.Callers)
	if err != nil {
		return identified{}, err
	}
	accepted := []identity.Issuer{}
	for _, i := range c.Issuers {
		accepted = append(accepted, identity.Issuer{URL: i.Issuer, JWKS: i.JWKS})
	}

	tokens, err := identity.New(identity.Config{
		Audience: c.Audience, Issuers: accepted, Rules: rules, NoRules: c.Teams != nil, IAPAudience: c.IAPAudience,
		UnsafeTrustPlatform: c.UnsafeTrustPlatform, Now: time.Now, Logger: log,
	})
	if err != nil || c.Teams == nil {
		return identified{verifier: tokens, issuers: tokens.Probe}, err
	}

	found, err := teams.New(ctx, teams.Config{
		Directory: c.Teams.Directory, Parse: teamRules(c.Teams.Directory), Check: tokens.Check, Most: c.Teams.Most,
		Reserved: rules, Use: tokens.SetTeams, Logger: log,
	})
	return identified{verifier: tokens, issuers: tokens.Probe, teams: found}, err
}

// ruleOf makes a rule of a configured caller, with one grant.
func ruleOf(caller config.Caller) (identity.Rule, error) {
	var g attestor.Grant
	for _, a := range caller.Actions {
		g.Actions = append(g.Actions, attestor.Action(a))
	}

	var errs []error
	for _, s := range caller.Images {
		p, err := attestor.ParsePattern(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("images: %w", err))
		}
		g.Images = append(g.Images, p)
	}
	return identity.Rule{
		Issuer: cmp.Or(caller.Issuer, googleIssuer), Email: caller.Email, Subject: caller.Subject,
		Claims:   caller.Claims,
		Patterns: caller.Patterns, Grants: []attestor.Grant{g},
	}, errors.Join(errs...)
}

// rulesOf makes a rule of each caller of the configuration.
func rulesOf(callers []config.Caller) ([]identity.Rule, error) {
	var rules []identity.Rule
	var errs []error
	for i, caller := range callers {
		r, err := ruleOf(caller)
		if err != nil {
			errs = append(errs, fmt.Errorf("identity.callers[%d].%w", i, err))
		}
		r.Place = fmt.Sprintf("identity.callers[%d]", i)
		rules = append(rules, r)
	}
	return rules, errors.Join(errs...)
}

// teamRules reads the files of teams in a directory.
func teamRules(dir string) func(team string, text []byte) ([]identity.Rule, error) {
	return func(team string, text []byte) ([]identity.Rule, error) {
		callers, err := config.ParseTeam(text)
		if err != nil {
			return nil, err
		}

		var rules []identity.Rule
		var errs []error
		for _, caller := range callers {
			r, err := ruleOf(caller.Caller)
			if err != nil {
				errs = append(errs, fmt.Errorf("line %d: %w", caller.Line, err))
			}
			r.Team, r.Place = team, fmt.Sprintf("%s:%d", filepath.Join(dir, team+".yaml"), caller.Line)
			rules = append(rules, r)
		}
		return rules, errors.Join(errs...)
	}
}

// probeTeams reports whether teams' files are in force as they are on the disk. Other teams are served meanwhile, so
// that this is informational.
func (e *Engine) probeTeams(context.Context) []probe.Result {
	if e.teams == nil {
		return nil
	}
	r := probe.Ask("teams", e.Config.Identity.Teams.Directory, "every team's file is in force", 0, e.teams.Err)
	r.Informational = true
	return []probe.Result{r}
}

// teamGauges are the alarm of teams' files that do not load.
func teamGauges(t *teams.Teams) []prometheus.Collector {
	gauge := func(name, help string, value func(teams.Status) int) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help},
			func() float64 { return float64(value(t.Status())) })
	}
	return []prometheus.Collector{
		gauge("attestor_teams", "Teams with a file.", func(s teams.Status) int { return len(s.Teams) }),
		// A directory that cannot be read is one more.
		gauge("attestor_team_files_broken", "Teams' files that do not load; what those teams had before is in force.",
			func(s teams.Status) int {
				if s.Err != nil {
					return len(s.Broken) + 1
				}
				return len(s.Broken)
			}),
	}
}

// CheckIdentity is what is wrong with the configured identities, without asking
// any issuer.
func CheckIdentity(c *config.Identity) error {
	_, err := newIdentity(context.Background(), c, slog.New(slog.DiscardHandler))
	return err
}

// LocalCaller is whoever runs this process: the operating system says who that is,
// and what they may do is up to the credentials that they have.
func LocalCaller() attestor.Caller {
	// In a container the number may have no name.
	if u, err := user.Current(); err == nil {
		return attestor.LocalCaller(u.Username)
	}
	return attestor.LocalCaller(fmt.Sprintf("uid %d", os.Getuid()))
}
