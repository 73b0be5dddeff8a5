package engine_test

import (
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/filter"
)

// Only who may read everything, for now and later, is counted without being asked about each repository.
func TestCountsAskWhatACallerMayRead(t *testing.T) {
	t.Parallel()
	pattern := func(text string) attestor.Pattern {
		p, err := attestor.ParsePattern(text)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	grant := func(a attestor.Action, images ...string) attestor.Grant {
		g := attestor.Grant{Actions: []attestor.Action{a}}
		for _, i := range images {
			g.Images = append(g.Images, pattern(i))
		}
		return g
	}

	for name, tt := range map[string]struct {
		grants     []attestor.Grant
		everything bool
	}{
		"everything":                  {[]attestor.Grant{grant(attestor.ActionRead, "**")}, true},
		"one pattern, and everything": {[]attestor.Grant{grant(attestor.ActionRead, "r.example/a/**", "**")}, true},
		"one pattern":                 {[]attestor.Grant{grant(attestor.ActionRead, "r.example/**")}, false},
		"another right on everything": {[]attestor.Grant{grant(attestor.ActionCheck, "**"), grant(attestor.ActionRead, "r.example/**")}, false},
		"nothing":                     {nil, false},
	} {
		f := filter.Filter{Policy: "production", Visible: func(string) bool { return false }}
		got := engine.Unrestricted(attestor.Caller{Grants: tt.grants}, f)
		if (got.Visible == nil) != tt.everything || got.Policy != f.Policy {
			t.Errorf("%s: asked about each repository: %t", name, got.Visible != nil)
		}
	}
}
