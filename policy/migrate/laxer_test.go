package migrate_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
	"github.com/attestor-gate/attestor/policy/migrate"
)

// TestSourcesTogether: a rule that only reports takes nothing from a policy that is in force.
func TestSourcesTogether(t *testing.T) {
	project := policy.Source{Name: "project.yaml", Text: []byte("defaultAdmissionRule: {evaluationMode: REQUIRE_ATTESTATION, " +
		"enforcementMode: DRYRUN_AUDIT_LOG_ONLY, requireAttestationsBy: [projects/acme/attestors/gate]}\n")}
	dry := policy.Source{Name: "v.toml", Text: []byte("dryrun=true\n[checks]\nnobody=true\n")}
	for _, tt := range []struct {
		name    string
		sources []policy.Source
		want    attestor.Mode
	}{
		{"Kritis, and a rule that reports", []policy.Source{source(t, "kritis-vsp-strict.yaml"), project}, attestor.Enforce},
		{"the other way round", []policy.Source{project, source(t, "kritis-vsp-strict.yaml")}, attestor.Enforce},
		{"a platform policy, and a rule that reports", []policy.Source{source(t, "platform-freshness.yaml"), project}, attestor.Enforce},
		{"the rule alone", []policy.Source{project}, attestor.DryRun},
		{"Voucher in a dry run, and the rule", []policy.Source{dry, project}, attestor.DryRun},
		{"Voucher in a dry run", []policy.Source{dry}, attestor.DryRun},
	} {
		p, result := imported(t, options(), tt.sources...)
		if p.Ref().Mode != tt.want {
			t.Errorf("%s: the mode is %s, want %s", tt.name, p.Ref().Mode, tt.want)
		}
		i := slices.IndexFunc(result.Fields, func(f migrate.Field) bool { return f.Path == "defaultAdmissionRule.enforcementMode" })
		if i >= 0 && (result.Fields[i].Treatment == migrate.Carried) != (tt.want == attestor.DryRun) {
			t.Errorf("%s: %+v", tt.name, result.Fields[i])
		}
	}
}

// TestPrefixesOfVoucher: a directory has no name that the prefix is none of.
func TestPrefixesOfVoucher(t *testing.T) {
	for _, tt := range []struct {
		prefix, repository string
		passes             bool
	}{
		{"gcr.io/acme/team/", "gcr.io/acme/team/api", true},
		{"gcr.io/acme/team/", "gcr.io/acme/team", false},
		{"gcr.io/acme/team/", "gcr.io/acme/team/sub/api", true},
		{"gcr.io/acme/team", "gcr.io/acme/team", true},
		{"gcr.io/acme/team", "gcr.io/acme/team-evil/api", false},
		{"docker.io/library/", "index.docker.io/library/nginx", true},
		{"index.docker.io/library/", "index.docker.io/library/nginx", false},
	} {
		text := fmt.Sprintf("valid_repos = [%q, \"gcr.io/another\"]\n[checks]\ndiy = true\n", tt.prefix)
		p, _ := imported(t, options(func(o *migrate.Options) { o.Images = append(o.Images, "index.docker.io/**") }),
			policy.Source{Name: "v.toml", Text: []byte(text)})
		i := image{repository: tt.repository, user: "1000"}
		if v := p.Judge(i.evidence(p)); (v.Outcome() == attestor.Pass) != tt.passes {
			t.Errorf("%s, %s: %s, want a pass: %t", tt.prefix, tt.repository, v.Outcome(), tt.passes)
		}
	}
}
