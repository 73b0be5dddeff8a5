package config

import (
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/attestor-gate/attestor"
)

func (i Identity) problems() []error {
	var out []error
	if i.Audience == "" && !i.UnsafeTrustPlatform {
		out = append(
			out,
			errors.New("identity.audience: required; without it a token meant for another service would do"),
		)
	}
	if len(i.Callers) == 0 && i.Teams == nil {
		out = append(out, errors.New("identity.callers is empty: no caller may do anything"))
	}

	for n, c := range i.Callers {
		for _, problem := range c.problems() {
			out = append(out, fmt.Errorf("identity.callers[%d]: %s", n, problem))
		}
	}
	if i.Teams != nil {
		out = append(out, i.Teams.problems()...)
	}
	return out
}

func (c Caller) problems() []string {
	var out []string

	// Two ways to name one caller could be read as either, or as both.
	if count(c.Email != "", c.Subject != "", len(c.Claims)+len(c.Patterns) > 0) != 1 {
		out = append(out, "want one of email, subject, and claims or patterns")
	}
	if len(c.Actions) == 0 || len(c.Images) == 0 {
		out = append(out, "actions and images are required")
	}
	return out
}

// teamMark stands for a team's name in what teams' files may grant.
const teamMark = "{team}"

func (t Teams) problems() []error {
	var out []error
	bad := func(format string, args ...any) { out = append(out, fmt.Errorf("identity.teams."+format, args...)) }
	if t.Directory == "" {
		bad("directory: required")
	}

	// Without a bound a team's file could grant anything, to anybody.
	if len(t.Allow) == 0 {
		bad("allow: required; it is the most that a team's file may grant")
	}
	for n, a := range t.Allow {
		if len(a.Actions) == 0 || len(a.Images) == 0 {
			bad("allow[%d]: actions and images are required", n)
		}
		for _, action := range a.Actions {
			if attestor.Action(action) == attestor.ActionPrune {
				bad("allow[%d].actions: prune is about every image, and so no team's", n)
			}
		}
		for _, image := range a.Images {
			// In acme/{team}-* the team pay would have what is the team pay-dev's.
			for segment := range strings.SplitSeq(image, "/") {
				if strings.Contains(segment, teamMark) && strings.Contains(segment, "*") {
					bad("allow[%d].images: %q: {team} and * stand in one path segment, so that one team's name could "+
						"match another's",
						n, image)
				}
			}
		}
	}
	if _, err := t.Most("a"); err != nil { // any team's name
		out = append(out, err)
	}
	return out
}

// Most is the most that a team's file may grant.
func (t Teams) Most(team string) ([]attestor.Grant, error) {
	var out []attestor.Grant
	var errs []error
	for n, a := range t.Allow {
		var g attestor.Grant
		for _, action := range a.Actions {
			g.Actions = append(g.Actions, attestor.Action(action))
		}
		for _, image := range a.Images {
			p, err := attestor.ParsePattern(strings.ReplaceAll(image, teamMark, team))
			if err != nil {
				errs = append(errs, fmt.Errorf("identity.teams.allow[%d].images: %w", n, err))
			}
			g.Images = append(g.Images, p)
		}
		out = append(out, g)
	}

	return out, errors.Join(errs...)
}

// maxTeamCallers bounds what one team's file may have.
const maxTeamCallers = 5000

// A TeamFile is a team's file.
type TeamFile struct {
	// Callers are who may do what, on the team's behalf.
	Callers []Caller `yaml:"callers"`
}

// A TeamCaller is a caller of a team's file, and the line that it begins in.
type TeamCaller struct {
	Caller
	Line int
}

// ParseTeam reads a team's file as strictly as the configuration. A file without callers is refused, as one that was
// cut off would be; callers: [] says that the team has none.
func ParseTeam(b []byte) ([]TeamCaller, error) {
	if len(b) > maxSize {
		return nil, errors.New("the file is larger than 1 MiB")
	}
	var f TeamFile
	if err := strictly(b, &f); err != nil {
		return nil, err
	}
	if f.Callers == nil {
		return nil, errors.New("callers is missing; write callers: [] for a team without any")
	}
	if len(f.Callers) > maxTeamCallers {
		return nil, fmt.Errorf("the file has %d callers, at most %d are allowed", len(f.Callers), maxTeamCallers)
	}

	var errs []error

	// The decoder keeps no lines: the document is read a second time for them.
	lines := callerLines(b)
	out := make([]TeamCaller, 0, len(f.Callers))
	for n, c := range f.Callers {
		t := TeamCaller{Caller: c}
		if n < len(lines) {
			t.Line = lines[n]
		}
		for _, problem := range c.problems() {
			errs = append(errs, fmt.Errorf("line %d: callers[%d]: %s", t.Line, n, problem))
		}
		out = append(out, t)
	}
	return out, errors.Join(errs...)
}

// callerLines are the lines in which the callers of a file begin.
func callerLines(b []byte) []int {
	var doc yaml.Node
	if yaml.Unmarshal(b, &doc) != nil || len(doc.Content) == 0 {
		return nil
	}

	var out []int
	root := doc.Content[0]
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value == "callers" {
			for _, item := range root.Content[i+1].Content {
				out = append(out, item.Line)
			}
		}
	}
	return out
}
