package policy_test

import (
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/attestor-gate/attestor/policy"
)

// listed repeats a row with its number in place of "#".
func listed(n int, row string) string {
	rows := make([]string, n)
	for i := range rows {
		rows[i] = strings.ReplaceAll(row, "#", strconv.FormatInt(int64(i), 16))
	}
	return "[" + strings.Join(rows, ",") + "]"
}

// cpu is the processor time of this thread. It does not grow while others run.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_THREAD, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// A policy may come from whoever may simulate. Reading it costs as much as its
// length: sixteen times the rows cost about sixteen times the work, and not 256
// times, as a list does that is compared each with each.
func TestLongListsAreReadOnce(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	const few, times = 1000, 16
	for name, spec := range longLists() {
		cost := func(rows, repeats int) time.Duration {
			text := []byte(policyWith(spec(rows)))
			start := cpu(t)
			for range repeats {
				_, _ = policy.Parse(policy.Source{Name: "policy", Text: text}) // its cost is what is tested
			}
			return cpu(t) - start
		}

		// As many rows in short lists as in a long one: some systems count a thread's time in steps of milliseconds, and
		// a short list alone may seem to cost nothing. Of two the smaller: the garbage collector's turns are another's work.
		short, long := cost(few, times), min(cost(few*times, 1), cost(few*times, 1))
		if long > 5*short && long > 200*time.Millisecond {
			t.Errorf("%s: %v for %d lists of %d rows, %v for one of %d", name, short, times, few, long, few*times)
		}
	}
}

// policyWith is a policy with one field of its spec.
func policyWith(spec string) string {
	text := "apiVersion: attestor/v1\nkind: GatePolicy\nmetadata: {name: x}\nspec:\n  mode: enforce\n"
	for field, value := range map[string]string{
		"images": "[a.io/x]", "base": "{required: false}", "user": "{nonRoot: true}", "attestors": "[projects/d/attestors/g]",
		"vulnerabilities": "{maximumFixableSeverity: HIGH, maximumUnfixableSeverity: HIGH}",
	} {
		if !strings.HasPrefix(spec, field+":") {
			text += "  " + field + ": " + value + "\n"
		}
	}
	return text + "  " + spec + "\n"
}

// longLists are the lists of a policy, with as many rows as asked for.
func longLists() map[string]func(n int) string {
	const limits = "vulnerabilities: {maximumFixableSeverity: HIGH, maximumUnfixableSeverity: HIGH, "
	one := func(before, row, after string) func(int) string {
		return func(n int) string { return before + listed(n, row) + after }
	}
	two := func(before, row, between, other, after string) func(int) string {
		return func(n int) string { return before + listed(n/2, row) + between + listed(n/2, other) + after }
	}
	until := "owner: o, reason: r, expires: 2099-01-01}"
	return map[string]func(n int) string{
		"images":                    one("images: ", "a.io/#", ""),
		"malformed images":          one("images: ", "'#*/'", ""),
		"approved bases":            one("base: {required: true, approved: ", "{name: b#, repository: a.io/b#}", "}"),
		"tags of one base":          one("base: {required: true, approved: [{name: b, repository: a.io/b, tags: ", "t#", "}]}"),
		"allowed and blocked CVEs":  two(limits+"blockedCves: ", "CVE-2026-1#", ", allowedCves: ", "{id: CVE-2026-2#}", "}"),
		"exceptions":                one("exceptions: ", "{check: user, subject: s#}", ""),
		"exceptions and blocked":    two(limits+"blockedCves: ", "CVE-2026-1#", "}\n  exceptions: ", "{check: vulnerabilities, subject: CVE-1-#}", ""),
		"images of one exception":   one("exceptions: [{check: user, subject: s, images: ", "a.io/#", ", "+until+"]"),
		"packages of one exception": one("exceptions: [{check: vulnerabilities, subject: CVE-2026-1, packages: ", "p#", ", "+until+"]"),
		"platforms":                 one("platforms: ", "linux/a#", ""),
		"package types":             one(limits+"scan: {packageTypes: ", "T#", "}}"),
		"trusted scanners":          one(limits+"scan: {trusted: ", "projects/project-#/notes/n", "}}"),
		"builders and sources":      two("provenance: {slsaLevel: 1, builders: ", "b#", ", sources: ", "'https://a.io/#/*'", "}"),
		"attestors":                 one("attestors: ", "projects/d#/attestors/g", ""),
		"rules":                     one("rules: ", "{name: r#, expression: 'true', message: m}", ""),
		"unknown fields": func(n int) string {
			return strings.NewReplacer(",", "\n  ", "[", "", "]", "").Replace(listed(n, "imagess#: 1"))
		},
	}
}
