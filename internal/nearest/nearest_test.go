package nearest_test

import (
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/internal/nearest"
)

func TestTo(t *testing.T) {
	words := []string{"policies", "registries", "attest", "audit", "check"}
	for s, want := range map[string]string{
		"polices": "policies", "Policies": "policies", "regsitries": "registries", "chek": "check", "audti": "audit",
		"atest": "attest", "": "", "zzz": "", "completely-different": "", strings.Repeat("policies", 20): "",
	} {
		if got := nearest.To(s, words); got != want {
			t.Errorf("To(%q) = %q, want %q", s, got, want)
		}
	}
	if got := nearest.To("check", nil); got != "" {
		t.Errorf("of no words: %q", got)
	}
}

func TestQuestion(t *testing.T) {
	if got := nearest.Question("chek", []string{"check"}); got != "; did you mean check?" {
		t.Errorf("got %q", got)
	}
	if got := nearest.Question("zzz", []string{"check"}); got != "" {
		t.Errorf("got %q", got)
	}
}
