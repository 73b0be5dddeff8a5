package report_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
)

// TestSecretsAreOneLine: that none is reported stands beside the check, and is no hint at every image that passes; what refuses or warns is
// told in full.
func TestSecretsAreOneLine(t *testing.T) {
	const none = "no secret is reported; the scanner does not report whether it searched for any"
	check := func(status attestor.Status, reasons ...attestor.Reason) attestor.Check {
		return attestor.Check{Name: attestor.CheckSecrets, Platform: "linux/amd64", Status: status, Reasons: reasons}
	}
	remark := attestor.Reason{Code: attestor.CodeSecretsNotReported, Severity: attestor.Informs, Message: none, Fix: "f"}
	found := attestor.Reason{Code: attestor.CodeSecretFound, Severity: attestor.Refuses, Message: "m", Fix: "f"}
	d := attestor.Decision{Platforms: []attestor.PlatformSummary{{Child: attestor.Child{Platform: "linux/amd64"}}}}

	c := check(attestor.StatusPass, remark)
	if got := describe.Fact(d, c); got != none || len(describe.FindingsOf(c)) != 0 {
		t.Errorf("%q, %d findings", got, len(describe.FindingsOf(c)))
	}
	for _, c := range []attestor.Check{
		check(attestor.StatusDeny, found, remark), check(attestor.StatusDeny, found),
		check(attestor.StatusWarn, attestor.Reason{Code: attestor.CodeSecretFound, Severity: attestor.Warns, Message: "m", Fix: "f"}),
	} {
		all := describe.FindingsOf(c)
		told := slices.ContainsFunc(all, func(f describe.Finding) bool { return f.Code == attestor.CodeSecretFound })
		if !told || strings.Contains(describe.Fact(d, c), none) {
			t.Errorf("%s: %+v", c.Status, all)
		}
	}
}
