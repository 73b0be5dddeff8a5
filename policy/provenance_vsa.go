package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/vsa"
)

// earlierStage reports whether summaries of an earlier stage satisfy the policy, and which build level they prove: 0
// for none. Where they do not, why is a clause for the message; "" where none is asked for.
func (j *judgement) earlierStage(e *attestor.PlatformEvidence) (level int, satisfied bool, why string) {
	want := j.spec.Provenance.VSA
	if want == nil {
		return 0, false, ""
	}

	// Only what the policy's own signer signed: evidence that was gathered for another one proves nothing here.
	rule := want.SignedBy.rule().Text()
	var all []vsa.Predicate
	for _, p := range e.Provenance {
		s := p.Summary
		if p.Source != attestor.ProvenanceFromSummary || s == nil || s.SignedBy != rule {
			continue
		}
		all = append(all, vsa.Predicate{
			Verifier: vsa.Verifier{ID: s.Verifier}, Policy: vsa.Resource{URI: s.Policy}, ResourceURI: s.Resource,
			VerificationResult: s.Result, VerifiedLevels: s.Levels, TimeVerified: s.Time,
		})
	}

	d := want.demand(j.ev.Image.Repository(), j.spec.Provenance.SLSALevel)

	// Only the newest of each verifier and policy counts: a refusal takes back the pass before it.
	newest := d.Newest(all)
	if len(newest) == 0 {
		return 0, false, ", nor a verification summary by " + anyOf(want.Verifiers) + " about this image"
	}

	// Every verifier and policy that the demand is about must have said yes last.
	for i, p := range newest {
		if unmet := d.Unmet(p, j.ev.Time); unmet != "" {
			return 0, false, fmt.Sprintf(", and the verification summary by %q does not satisfy: %s",
				clip(p.Verifier.ID), unmet)
		}

		// Of several the lowest level is proven: none may raise another's.
		if proven := vsa.Build(p.VerifiedLevels); i == 0 || proven < level {
			level = proven
		}
	}
	return level, true, ""
}

// demand is what the policy expects of a summary of an image. The policy's SLSA level holds for it too.
func (s *StageVSA) demand(repository string, slsaLevel int64) vsa.Demand {
	// Whoever writes "unevaluated" asks for no level of the build: a summary that proves one will do too.
	levels := slices.DeleteFunc(slices.Clone(s.Levels), func(l string) bool { return l == vsa.Unevaluated })
	if slsaLevel > 0 {
		levels = append(levels, fmt.Sprintf("SLSA_BUILD_LEVEL_%d", slsaLevel))
	}
	return vsa.Demand{
		Verifiers: s.Verifiers, Policies: s.Policies, Levels: levels, MaxAge: time.Duration(s.MaxAge),
		Resource: func(uri string) bool {
			named := vsa.Repository(uri)
			if len(s.Resources) == 0 {
				return named != "" && named == repository
			}
			return named != "" &&
				slices.ContainsFunc(s.Resources, func(p attestor.Pattern) bool { return p.Match(named) })
		},
	}
}

func (v *validator) stageVSA(path string, p *Provenance) {
	s := p.VSA
	if s == nil {
		return
	}
	v.notEmpty(path+".verifiers", len(s.Verifiers))
	v.notEmpty(path+".levels", len(s.Levels))
	v.notEmpty(path+".policies", len(s.Policies))
	v.notEmpty(path+".resources", len(s.Resources))
	for _, list := range []struct {
		name   string
		values []string
	}{{"verifiers", s.Verifiers}, {"levels", s.Levels}, {"policies", s.Policies}} {
		for i, value := range list.values {
			v.text(index(path+"."+list.name, i), value)
		}
	}

	// A level that no summary of a pass has would refuse all, or be one that a refusal has.
	for i, l := range s.Levels {
		if l == vsa.Failed || l != vsa.Unevaluated && strings.HasPrefix(l, "SLSA_BUILD_LEVEL_") &&
			vsa.Build([]string{l}) == 0 {
			v.at(index(path+".levels", i), "%q is not a level: want SLSA_BUILD_LEVEL_1 to 3, "+
				"SLSA_BUILD_LEVEL_UNEVALUATED for "+
				"no level of the build, or a word of the verifier", clip(l))
		}
	}
	v.signedBy(path+".signedBy", s.SignedBy)

	// A summary does not name builder and source: that they were demanded is known by the verifier's policy alone.
	if (len(p.Builders) > 0 || len(p.Sources) > 0) && len(s.Policies) == 0 {
		v.at(path, "needs policies beside builders or sources: name the verifier's policies that demand the same")
	}
}
