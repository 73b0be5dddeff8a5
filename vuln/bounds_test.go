package vuln_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/vuln"
)

// TestWalkEnds: a list is read to its end. One that has more pages than are read, or turns in a circle, is an error.
func TestWalkEnds(t *testing.T) {
	down := errors.New("down")
	for _, tt := range []struct {
		name   string
		tokens []string // of the next page, by the page's number; the last is the end where it is ""
		most   int
		pages  int
		says   string
	}{
		{"one page", []string{""}, 3, 1, ""},
		{"as many as are read", []string{"a", "b", ""}, 3, 3, ""},
		{"one more", []string{"a", "b", "c", ""}, 3, 3, "more than 3 pages"},
		{"a page that is its own next one", []string{"a", "a", "a", "a"}, 4, 2, "does not end"},
		{"two that are each other's", []string{"a", "b", "a", "b", "a"}, 4, 4, "more than 4 pages"},
		{"none", nil, 0, 0, "more than 0 pages"},
	} {
		var asked []string
		n, err := vuln.Walk(tt.most, func(token string) (string, error) {
			asked = append(asked, token)
			return tt.tokens[len(asked)-1], nil
		})
		if n != tt.pages || (err == nil) != (tt.says == "") || err != nil && !strings.Contains(attestor.Message(err), tt.says) {
			t.Errorf("%s: %d pages, %v, want %d, %q", tt.name, n, err, tt.pages, tt.says)
		}
		for i, token := range asked {
			if want := append([]string{""}, tt.tokens...)[i]; token != want {
				t.Errorf("%s: page %d was asked for by %q, want %q", tt.name, i, token, want)
			}
		}
	}
	if n, err := vuln.Walk(3, func(string) (string, error) { return "next", down }); n != 1 || !errors.Is(err, down) {
		t.Errorf("a page that could not be read: %d, %v", n, err)
	}
}

// TestAsManyFindingsAsAreRead: 200,000 findings and secrets of an image are read, one more is an error and never a shorter list.
func TestAsManyFindingsAsAreRead(t *testing.T) {
	img := api(t)
	found := finding(uri(img), "CVE-2026-1", grafeaspb.Severity_LOW)
	secret := corpus.Secret(uri(img), apiKey, "/k")
	for _, tt := range []struct {
		findings, secrets int
		ok                bool
	}{{199_999, 1, true}, {199_999, 2, false}} {
		all := make(occurrences, 0, tt.findings+tt.secrets)
		for range tt.findings {
			all = append(all, found)
		}
		for range tt.secrets {
			all = append(all, secret)
		}
		scan, err := vuln.ScanOf(attestor.ScanRequest{Image: img}, nil, all)
		if (err == nil) != tt.ok || err == nil && (len(scan.Findings) != 1 || len(scan.Secrets) != tt.secrets) {
			t.Errorf("%d findings, %d secrets: %v, %d and %d", tt.findings, tt.secrets, err, len(scan.Findings), len(scan.Secrets))
		}
	}
}

// TestSystemsThatHideOne: whoever may write findings cannot hide the system that is over behind others.
func TestSystemsThatHideOne(t *testing.T) {
	img := api(t)
	of := func(n int) *grafeaspb.Occurrence {
		return finding(uri(img), fmt.Sprintf("CVE-2026-%d", n), grafeaspb.Severity_LOW, corpus.OfSystem(fmt.Sprintf("cpe:/o:debian:debian_linux:%d", 1000+n)))
	}
	var others occurrences
	for n := range 63 {
		others = append(others, of(n))
	}
	over := finding(uri(img), "CVE-2026-1000", grafeaspb.Severity_LOW, corpus.OfSystem("cpe:/o:debian:debian_linux:9"))
	for name, tt := range map[string]struct {
		put  occurrences
		want string
	}{
		"as many as are kept": {slices.Concat(others, occurrences{over}), "debian 9"},
		"one more":            {slices.Concat(others, occurrences{of(63), over}), ""},
		"one more, behind it": {slices.Concat(occurrences{over}, others, occurrences{of(63)}), ""},
	} {
		f := newFixture(t)
		f.put(t, "acme", complete(uri(img)))
		f.put(t, "acme", tt.put...)
		got := f.scanner(t, nil).Scan(t.Context(), attestor.ScanRequest{Image: img})
		switch {
		case tt.want == "" && (got.State != attestor.ScanUnavailable || got.Problem == nil || !strings.Contains(got.Problem.Message, "64 operating systems")):
			t.Errorf("%s: %q, %+v", name, got.State, got.Problem)
		case tt.want != "" && (got.State != attestor.ScanComplete || got.System == nil || got.System.Name() != tt.want):
			t.Errorf("%s: %q, %+v, want %s", name, got.State, got.System, tt.want)
		}
	}
}
