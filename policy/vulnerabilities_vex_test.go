package policy_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
)

const (
	ours    = `{name: ours, signedBy: {key: /keys/vex.pub}}`
	vendors = `{name: vendor, signedBy: {key: /keys/vendor.pub}, file: /vex/vendor.json}`

	oursText, vendorsText = `key="/keys/vex.pub"`, `file=/vex/vendor.json key="/keys/vendor.pub"`
)

// vexPolicy accepts statements of the sources, and of a project.
func vexPolicy(t *testing.T, more string) *policy.Policy {
	t.Helper()
	return with(t, `    vex: {accept: [not_affected, fixed], projects: [acme-security], sources: [`+ours+`, `+vendors+`]`+more+`}`)
}

// critical is a finding above the limits.
func critical() attestor.Vulnerability {
	return vulnerability("CVE-2026-1", func(v *attestor.Vulnerability) { v.Severity = attestor.Critical })
}

// says is a statement that excuses critical, changed.
func says(change ...func(*attestor.VEXStatement)) attestor.VEXStatement {
	st := attestor.VEXStatement{
		Source: oursText, Signer: "key sha256:1", IDs: []string{"CVE-2026-1"}, Status: "not_affected",
		Justification: "vulnerable_code_not_present", Exact: true, Time: today().Add(-24 * time.Hour),
	}
	for _, c := range change {
		c(&st)
	}
	return st
}

func by(source string) func(*attestor.VEXStatement) {
	return func(st *attestor.VEXStatement) { st.Source = source }
}

func affected(st *attestor.VEXStatement) { st.Status = "affected" }

func inPackage(kind, name, version string) func(*attestor.VEXStatement) {
	return func(st *attestor.VEXStatement) {
		st.Packages = append(st.Packages, attestor.VEXPackage{Type: kind, Name: name, Version: version})
	}
}

// claimed has statements of documents, and the finding that they are about.
func claimed(list ...attestor.VEXStatement) func(*attestor.Evidence) {
	return on(func(e *attestor.PlatformEvidence) {
		e.Scan.Findings, e.VEX = []attestor.Vulnerability{critical()}, list
	})
}

func TestVEXDocumentsExcuse(t *testing.T) {
	p := vexPolicy(t, "")
	for name, list := range map[string][]attestor.VEXStatement{
		"the whole image":              {says()},
		"fixed":                        {says(func(st *attestor.VEXStatement) { st.Status = "fixed" })},
		"by the second source":         {says(by(vendorsText))},
		"by both":                      {says(), says(by(vendorsText))},
		"the package":                  {says(inPackage("deb", "openssl", "3.0.11"))},
		"the package among others":     {says(inPackage("deb", "zlib1g", "1"), inPackage("deb", "openssl", "3.0.11"))},
		"by an alias":                  {says(func(st *attestor.VEXStatement) { st.IDs = []string{"GHSA-x", "CVE-2026-1"} })},
		"newer than affected":          {says(affected, func(st *attestor.VEXStatement) { st.Time = st.Time.Add(-time.Hour) }), says()},
		"beside affected of another":   {says(), says(affected, func(st *attestor.VEXStatement) { st.IDs = []string{"CVE-2026-2"} })},
		"beside affected of a package": {says(), says(affected, inPackage("deb", "zlib1g", "1"))},
		"beside a stranger's affected": {says(), says(affected, by(`key="/keys/mallory.pub"`))},
		"another version is affected":  {says(), says(affected, inPackage("deb", "openssl", "3.0.12"))},
	} {
		judged(t, p, passing(p, claimed(list...)), attestor.Pass)
		if t.Failed() {
			t.Fatal(name)
		}
	}

	// The Decision says who claimed what.
	c := check(t, p.Judge(passing(p, claimed(says()))), attestor.CheckVulnerabilities)
	if len(c.Exceptions) != 1 || c.Exceptions[0].Owner != "ours" ||
		c.Exceptions[0].Reason != "VEX not_affected: vulnerable_code_not_present (signed by key sha256:1)" {
		t.Errorf("exceptions %+v", c.Exceptions)
	}
}

// Each of them lacks one thing, and the finding is refused.
func TestVEXDocumentsThatDoNotExcuse(t *testing.T) {
	p := vexPolicy(t, "")
	for name, list := range map[string][]attestor.VEXStatement{
		"none":                         nil,
		"by a stranger":                {says(by(`key="/keys/mallory.pub"`))},
		"by nobody":                    {says(by(""))},
		"of the vendor's key attached": {says(by(`key="/keys/vendor.pub"`))},
		"of another vulnerability":     {says(func(st *attestor.VEXStatement) { st.IDs = []string{"CVE-2026-2"} })},
		"of a longer id":               {says(func(st *attestor.VEXStatement) { st.IDs = []string{"CVE-2026-11"} })},
		"affected":                     {says(affected)},
		"under investigation":          {says(func(st *attestor.VEXStatement) { st.Status = "under_investigation" })},
		"another image, or any":        {says(func(st *attestor.VEXStatement) { st.Exact = false })},
		"without a time":               {says(func(st *attestor.VEXStatement) { st.Time = time.Time{} })},
		"of tomorrow":                  {says(func(st *attestor.VEXStatement) { st.Time = today().Add(time.Hour) })},
		"another package":              {says(inPackage("deb", "zlib1g", "3.0.11"))},
		"another version":              {says(inPackage("deb", "openssl", "3.0.12"))},
		"no version":                   {says(inPackage("deb", "openssl", ""))},
		"another type":                 {says(inPackage("golang", "openssl", "3.0.11"))},
		"a type that is not known":     {says(inPackage("house", "openssl", "3.0.11"))},
		"a part in another form":       {says(inPackage("", "", ""))},
		"older than affected":          {says(), says(affected, func(st *attestor.VEXStatement) { st.Time = st.Time.Add(time.Hour) })},
		"as old as affected":           {says(), says(affected)},
		"as old as affected, before":   {says(affected), says()},
		"affected at no time":          {says(), says(affected, func(st *attestor.VEXStatement) { st.Time = time.Time{} })},
		"affected of any image":        {says(), says(affected, by(vendorsText), func(st *attestor.VEXStatement) { st.Exact = false })},
		"another source disagrees":     {says(), says(affected, by(vendorsText))},
		"another source investigates":  {says(by(vendorsText)), says(func(st *attestor.VEXStatement) { st.Status = "under_investigation" })},
		"a part is affected":           {says(), says(affected, by(vendorsText), inPackage("deb", "openssl", ""))},
		"an unnamed part is affected":  {says(), says(affected, by(vendorsText), inPackage("", "", ""))},
	} {
		judged(t, p, passing(p, claimed(list...)), attestor.Deny, attestor.CodeFixableSeverityExceeded)
		if t.Failed() {
			t.Fatal(name)
		}
	}

	// The same statements excuse nothing for a policy that names no source.
	judged(t, with(t), passing(p, claimed(says())), attestor.Deny, attestor.CodeFixableSeverityExceeded)

	// A disagreement is said.
	r := check(t, p.Judge(passing(p, claimed(says(), says(affected, by(vendorsText))))), attestor.CheckVulnerabilities).Reasons
	if !slices.ContainsFunc(r, func(r attestor.Reason) bool {
		return strings.HasSuffix(r.Message, "VEX: vendor says affected, which outweighs not_affected by ours")
	}) {
		t.Errorf("reasons %+v", r)
	}
}

// The stricter statement holds between a project of the API and a document, unless the
// policy names an order.
func TestVEXOrder(t *testing.T) {
	of := func(status string, list ...attestor.VEXStatement) func(*attestor.Evidence) {
		return on(func(e *attestor.PlatformEvidence) {
			v := critical()
			v.VEX = []attestor.VEX{{Status: status, Project: "acme-security"}}
			e.Scan.Findings, e.VEX = []attestor.Vulnerability{v}, list
		})
	}
	denied := []attestor.Code{attestor.CodeFixableSeverityExceeded}
	for _, tt := range []struct {
		order string
		ev    func(*attestor.Evidence)
		want  attestor.Outcome
	}{
		{"", of("affected", says()), attestor.Deny},
		{"", of("not_affected", says(affected)), attestor.Deny},
		{", order: [ours, vendor, acme-security]", of("affected", says()), attestor.Pass},
		{", order: [ours, vendor, acme-security]", of("not_affected", says(affected)), attestor.Deny},
		{", order: [acme-security, ours, vendor]", of("not_affected", says(affected)), attestor.Pass},
		{", order: [acme-security, ours, vendor]", of("affected", says()), attestor.Deny},
		{", order: [vendor, acme-security, ours]", of("not_affected", says(affected)), attestor.Pass},
	} {
		p := vexPolicy(t, tt.order)
		codes := denied
		if tt.want == attestor.Pass {
			codes = nil
		}
		judged(t, p, passing(p, tt.ev), tt.want, codes...)
	}
}

// Statements never reach what no exception could excuse either.
func TestVEXDocumentsAndWhatIsFinal(t *testing.T) {
	p := vexPolicy(t, "")
	about := func(id string, change func(*attestor.Vulnerability)) func(*attestor.Evidence) {
		return on(func(e *attestor.PlatformEvidence) {
			v := vulnerability(id, change)
			e.Scan.Findings = []attestor.Vulnerability{v}
			e.VEX = []attestor.VEXStatement{says(func(st *attestor.VEXStatement) { st.IDs = []string{id} })}
		})
	}
	judged(t, p, passing(p, about("CVE-2021-44228", func(*attestor.Vulnerability) {})), attestor.Deny, attestor.CodeCVEBlocked)
	judged(t, p, passing(p, about("MAL-2026-1", func(v *attestor.Vulnerability) { v.Malicious = true })),
		attestor.Deny, attestor.CodeMaliciousPackage)
}

// Documents that could not be read leave open whether a finding is excused, and whether
// what excuses it still holds. Without such a finding they change nothing.
func TestUnreadVEXDocuments(t *testing.T) {
	unread := on(func(e *attestor.PlatformEvidence) {
		e.Problems = append(e.Problems, attestor.Problem{
			Check: attestor.CheckVulnerabilities, Status: attestor.StatusError,
			Reason: attestor.Reason{Code: attestor.CodeVEXUnavailable, Message: "down"},
		})
	})
	p := vexPolicy(t, "")
	judged(t, p, passing(p, unread), attestor.Pass)
	judged(t, p, passing(p, unread, findings(vulnerability("CVE-2026-3"))), attestor.Pass)

	for name, change := range map[string]func(*attestor.Evidence){
		"nothing excuses it": claimed(), "something does": claimed(says()),
	} {
		v := p.Judge(passing(p, change, unread))
		c := check(t, v, attestor.CheckVulnerabilities)
		if v.Outcome() == attestor.Pass || c.Status != attestor.StatusError {
			t.Errorf("%s: %s, check %s", name, v.Outcome(), c.Status)
		}
	}

	// What is blocked by name stays denied.
	v := p.Judge(passing(p, findings(vulnerability("CVE-2021-44228")), unread))
	if v.Outcome() != attestor.Deny {
		t.Errorf("blocked: %s", v.Outcome())
	}
}

func TestVEXThatDoesNotLoad(t *testing.T) {
	for want, fields := range map[string]string{
		"names nobody":                      `accept: [fixed]`,
		"has neither key nor keyless":       `accept: [fixed], sources: [{name: a, signedBy: {}}]`,
		"signedBy is missing":               `accept: [fixed], sources: [{name: a}]`,
		"duplicate":                         `accept: [fixed], sources: [` + ours + `, ` + ours + `]`,
		"is not among projects and sources": `accept: [fixed], sources: [` + ours + `], order: [ours, theirs]`,
		"lacks \"acme-security\"":           `accept: [fixed], projects: [acme-security], sources: [` + ours + `], order: [ours]`,
		"list is empty":                     `accept: [fixed], sources: []`,
		"is malformed":                      `accept: [fixed], sources: [{name: "A b", signedBy: {key: /k}}]`,
	} {
		_, err := policy.Parse(policy.Source{Name: "p.yaml", Text: []byte(edited(t, "    vex: {"+fields+"}"))})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
