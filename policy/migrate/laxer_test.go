package migrate_test

import (
	"fmt"
	"slices"
	"strings"
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

// TestUnchosen: a part that judges other workloads, and a policy that is in force beside the chosen one, are said, since
// they may refuse what the import passes.
func TestUnchosen(t *testing.T) {
	isp := "apiVersion: kritis.grafeas.io/v1beta1\nkind: ImageSecurityPolicy\nmetadata: {name: %s}\nspec: {}\n"
	for _, tt := range []struct {
		name, file, text, chosen, want string
	}{
		{"a check set", "p.yaml", "", "Production", "checkSets[1]"},
		{"a rule", "p.yaml", "defaultAdmissionRule: {evaluationMode: ALWAYS_DENY, enforcementMode: ENFORCED_BLOCK_AND_AUDIT_LOG}\n" +
			"clusterAdmissionRules: {us.a: {evaluationMode: REQUIRE_ATTESTATION, enforcementMode: ENFORCED_BLOCK_AND_AUDIT_LOG, " +
			"requireAttestationsBy: [projects/acme/attestors/gate]}}\n", "us.a", "defaultAdmissionRule"},
		{"a group", "v.toml", "[checks]\napproved=true\n[required.prod]\nnobody=true\n", "prod", "all"},
		{"another policy of a namespace", "k.yaml", fmt.Sprintf(isp, "one") + "---\n" + fmt.Sprintf(isp, "two"), "one", "ImageSecurityPolicy two"},
	} {
		s := policy.Source{Name: tt.file, Text: []byte(tt.text)}
		if tt.text == "" {
			s = source(t, "platform-sets.yaml")
		}
		p, result := imported(t, options(func(o *migrate.Options) { o.Select = []string{tt.chosen} }), s)
		said := slices.ContainsFunc(result.Fields, func(f migrate.Field) bool {
			return f.Treatment == migrate.Unchosen && f.Source == s.Name && strings.Contains(f.Note, tt.want)
		})
		if !said || !strings.Contains(string(p.Text()), "# Not chosen") {
			t.Errorf("%s: %+v\n%s", tt.name, result.Fields, p.Text())
		}
	}

	// A source of one part has nothing else.
	_, result := imported(t, options(), source(t, "platform-freshness.yaml"))
	if slices.ContainsFunc(result.Fields, func(f migrate.Field) bool { return f.Treatment == migrate.Unchosen }) {
		t.Errorf("%+v", result.Fields)
	}
}

// TestAttestorsOfAProject: the gate attests for all that a rule names, so that it cannot pass an image for fewer.
func TestAttestorsOfAProject(t *testing.T) {
	rule := "defaultAdmissionRule: {evaluationMode: REQUIRE_ATTESTATION, enforcementMode: ENFORCED_BLOCK_AND_AUDIT_LOG, " +
		"requireAttestationsBy: [projects/acme/attestors/built, projects/acme/attestors/scanned]}\n"
	p, _ := imported(t, options(), policy.Source{Name: "p.yaml", Text: []byte(rule)})
	want := []string{"projects/acme/attestors/built", "projects/acme/attestors/scanned", "projects/acme/attestors/gate"}
	if got := p.Needs().Attest.Attestors; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// TestEveryFieldOfVoucherIsSaid: a key that judges images, or could, is in the output.
func TestEveryFieldOfVoucherIsSaid(t *testing.T) {
	text := "dryrun=false\nscanner='g'\nfailon='low'\nvalid_repos=['gcr.io/acme']\nmetadata_client='containeranalysis'\n" +
		"image_project='p'\nbinauth_project='p'\nsigner='kms'\ntrusted_projects=['p']\ntrusted_builder_identities=['a@p']\n" +
		"[checks]\ndiy=true\nsnakeoil=true\nnobody=false\n" +
		"[server]\nport=1\n[ejson]\ndir='d'\n[sops]\nfile='f'\n[metrics]\nbackend='b'\n[statsd]\naddr='a'\n[opentelemetry]\naddr='a'\n" +
		"[pubsub]\nproject='p'\n[containeranalysis]\nbuild_detail_fallback_project='p'\n[grafeasos]\nhostname='h'\n" +
		"[repository.acme]\norg-url='https://github.com/acme'\n[[kms_keys]]\ncheck='diy'\n"
	_, result := imported(t, options(), policy.Source{Name: "v.toml", Text: []byte(text)})
	var got []string
	for _, f := range result.Fields {
		got = append(got, f.Path)
	}
	for line := range strings.Lines(text) {
		key := strings.Trim(strings.TrimSpace(strings.Split(line, "=")[0]), "[]")
		key, _, _ = strings.Cut(key, ".")
		if key == "checks" {
			break
		}
		if !slices.ContainsFunc(got, func(p string) bool { return strings.HasPrefix(p, key) }) {
			t.Errorf("%s is not said: %v", key, got)
		}
	}
	for _, key := range []string{"checks.diy", "checks.snakeoil", "checks.nobody", "server", "ejson", "sops", "metrics", "statsd", "opentelemetry",
		"pubsub", "containeranalysis", "grafeasos", "repository", "kms_keys[0]"} {
		if !slices.Contains(got, key) {
			t.Errorf("%s is not said: %v", key, got)
		}
	}
}
