package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/server/identity"
)

func identityCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "identity",
		Short: "Say who may do what",
		Long:  "What the configuration and the teams' files let callers do. Nothing is asked over the network.",
		Args:  noArguments,
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(identityExplainCommand())
	return c
}

// describedFlags describe a caller, as its token would.
type describedFlags struct {
	identity.Described
	claims []string
}

func (f *describedFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&f.Email, "email", "", "the caller's verified `EMAIL`")
	c.Flags().StringVar(&f.Subject, "subject", "", "the caller's `SUBJECT` (sub)")
	c.Flags().StringArrayVar(&f.claims, "claim", nil, "a claim of the caller's token, `NAME=VALUE` (repeatable)")
	c.Flags().StringVar(&f.Issuer, "issuer", identity.Google, "the `URL` of who issues the caller's token")
}

// read completes the description; given is false where there is none.
func (f *describedFlags) read() (given bool, err error) {
	f.Claims = map[string]string{}
	for _, claim := range f.claims {
		name, value, ok := strings.Cut(claim, "=")
		if !ok || name == "" || value == "" {
			return false, fmt.Errorf("--claim %s: want NAME=VALUE", claim)
		}
		f.Claims[name] = value
	}
	return f.Email != "" || f.Subject != "" || len(f.Claims) > 0, nil
}

func identityExplainCommand() *cobra.Command {
	var path, format string
	var who describedFlags
	c := &cobra.Command{
		Use:   "explain [IMAGE]",
		Short: "Say who may do what, and which line of which file says so",
		Long: `Reads the configuration and the teams' files as a service that starts now would, and prints who may do what. Describe a caller as its token
does, by --email, --subject or --claim, to see what it may do; name an image to see who may do what to it; or give both. A team's file that
does not load grants nothing here, and is named; a service that runs keeps what the team had before.`,
		Example: "  attestor identity explain --config attestor.yaml --email ci@acme-pay.iam.gserviceaccount.com\n" +
			"  attestor identity explain --config attestor.yaml us-docker.pkg.dev/acme/pay/api",
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			described, err := who.read()
			if err != nil {
				return err
			}
			if !described && len(args) == 0 {
				return errors.New("want an image, or a caller by --email, --subject or --claim")
			}

			repository := ""
			if len(args) == 1 {
				if repository, err = repositoryOf(args[0]); err != nil {
					return err
				}
			}

			conf, err := engine.LoadConfig(path, os.Getenv)
			if err != nil {
				return err
			}
			access, err := engine.ReadAccess(c.Context(), conf.Identity)
			if err != nil {
				return err
			}

			// Reported, and not an error: the other teams' files hold.
			if err := access.Broken(); err != nil {
				fmt.Fprintf(c.ErrOrStderr(), "these grant nothing, or nothing new:\n%v\n", err)
			}

			// Without a described caller the rules of all callers are listed.
			rules := access.Rules()
			team := ""
			if described {
				rules, team = access.Of(who.Described)
			}
			return printAccess(c.OutOrStdout(), format, accessOf(rules, team, described, repository))
		},
	}

	c.Flags().StringVar(&path, "config", "", "the configuration `FILE`")
	_ = c.MarkFlagRequired("config")
	who.register(c)
	formatFlag(c, &format, "text", "json")
	return c
}

// repositoryOf is the repository of an image, with or without a tag.
func repositoryOf(image string) (string, error) {
	ref, err := attestor.ParseReference(image)
	if err != nil {
		if ref, err = attestor.ParseReference(image + ":any"); err != nil {
			return "", err
		}
	}
	return ref.Repository(), nil
}

// accessible is what the command says.
type accessible struct {
	Repository string         `json:"repository,omitempty"`
	Caller     bool           `json:"-"`              // a caller was described
	Team       string         `json:"team,omitempty"` // of that caller
	Grants     []accessReason `json:"grants"`
}

// An accessReason is one rule's grant.
type accessReason struct {
	Place    string            `json:"place"`
	Team     string            `json:"team,omitempty"`
	Callers  string            `json:"callers"`
	Actions  []attestor.Action `json:"actions"`
	Patterns []string          `json:"images"`
}

func accessOf(rules []identity.Rule, team string, described bool, repository string) accessible {
	out := accessible{Repository: repository, Caller: described, Team: team, Grants: []accessReason{}}
	for _, r := range rules {
		for _, g := range r.Grants {
			// A grant counts if one of its patterns has the repository, and names only those.
			a := accessReason{Place: r.Place, Team: r.Team, Callers: r.Who(), Actions: g.Actions}
			for _, p := range g.Images {
				if repository == "" || p.Match(repository) {
					a.Patterns = append(a.Patterns, p.String())
				}
			}
			if len(a.Patterns) > 0 {
				out.Grants = append(out.Grants, a)
			}
		}
	}

	return out
}

// printAccess ends with 1 where nobody may do anything.
func printAccess(w io.Writer, format string, a accessible) error {
	if format == "json" {
		if err := writeJSON(w, a); err != nil {
			return err
		}
	} else {
		accessText(w, a)
	}
	if len(a.Grants) == 0 {
		return &exit{code: attestor.ExitDeny}
	}
	return nil
}

func accessText(w io.Writer, a accessible) {
	on := ""
	if a.Repository != "" {
		on = " to " + a.Repository
	}
	switch {
	case len(a.Grants) == 0 && a.Caller:
		fmt.Fprintf(w, "this caller may do nothing%s\n", on)
		return
	case len(a.Grants) == 0:
		fmt.Fprintf(w, "nobody may do anything%s\n", on)
		return
	case a.Caller && a.Team != "":
		fmt.Fprintf(w, "this caller uses the share of the team %s\n", a.Team)
	}

	// What a caller may do is in all of its grants together.
	if a.Caller {
		var may []string
		for _, action := range attestor.Actions() {
			if slices.ContainsFunc(a.Grants, func(g accessReason) bool { return slices.Contains(g.Actions, action) }) {
				may = append(may, string(action))
			}
		}
		fmt.Fprintf(w, "this caller may %s%s\n", strings.Join(may, ", "), on)
	}
	for _, g := range a.Grants {
		var actions []string
		for _, action := range g.Actions {
			actions = append(actions, string(action))
		}
		fmt.Fprintf(w, "  %s: %s may %s on %s\n", g.Place, g.Callers, strings.Join(actions, ", "),
			strings.Join(g.Patterns, ", "))
	}
}
