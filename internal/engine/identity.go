package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/probe"
	"github.com/attestor-gate/attestor/server/identity"
)

const googleIssuer = "https://accounts.google.com"

// newIdentity is open on loopback where nothing is configured: such a
// configuration was refused where the service could be reached from elsewhere.
// issuers fetches what identifies callers before the first of them comes, and says
// what each issuer answered.
func newIdentity(
	c *config.Identity, log *slog.Logger,
) (who identity.Verifier, issuers func(context.Context) []probe.Result, err error) {
	if c == nil {
		return identity.Open(LocalCaller()), func(context.Context) []probe.Result { return nil }, nil
	}

	rules, err := rulesOf(c.Callers)
	if err != nil {
		return nil, nil, err
	}
	accepted := []identity.Issuer{}
	for _, i := range c.Issuers {
		accepted = append(accepted, identity.Issuer{URL: i.Issuer, JWKS: i.JWKS})
	}

	tokens, err := identity.New(identity.Config{
		Audience: c.Audience, Issuers: accepted, Rules: rules, IAPAudience: c.IAPAudience,
		UnsafeTrustPlatform: c.UnsafeTrustPlatform, Now: time.Now, Logger: log,
	})
	if err != nil {
		return nil, nil, err
	}
	return tokens, tokens.Probe, nil
}

// rulesOf makes a rule of each configured caller, with one grant.
func rulesOf(callers []config.Caller) ([]identity.Rule, error) {
	var rules []identity.Rule
	var errs []error
	for i, caller := range callers {
		var g attestor.Grant
		for _, a := range caller.Actions {
			g.Actions = append(g.Actions, attestor.Action(a))
		}
		for _, s := range caller.Images {
			p, err := attestor.ParsePattern(s)
			if err != nil {
				errs = append(errs, fmt.Errorf("identity.callers[%d].images: %w", i, err))
			}
			g.Images = append(g.Images, p)
		}

		rules = append(rules, identity.Rule{
			Issuer: cmp.Or(caller.Issuer, googleIssuer), Email: caller.Email, Subject: caller.Subject, Claims: caller.Claims,
			Grants: []attestor.Grant{g},
		})
	}
	return rules, errors.Join(errs...)
}

// CheckIdentity is what is wrong with the configured identities, without asking
// any issuer.
func CheckIdentity(c *config.Identity) error {
	_, _, err := newIdentity(c, slog.New(slog.DiscardHandler))
	return err
}

// LocalCaller is whoever runs this process: the operating system says who that is,
// and what they may do is up to the credentials that they have.
func LocalCaller() attestor.Caller {
	if u, err := user.Current(); err == nil {
		return attestor.LocalCaller(u.Username)
	}
	return attestor.LocalCaller(fmt.Sprintf("uid %d", os.Getuid()))
}
