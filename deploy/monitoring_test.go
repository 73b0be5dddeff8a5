package deploy_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	declared = regexp.MustCompile(`(?:Name:\s+|gauge\()"(attestor_[a-z_]+)"`)
	metric   = regexp.MustCompile(`\battestor_[a-z_]+\b`)
	suffix   = regexp.MustCompile(`_(bucket|sum|count)$`)
	section  = regexp.MustCompile(`(?m)^### (\S+)$`)
)

// walk visits several directories.
func walk(dirs []string, visit fs.WalkDirFunc) error {
	for _, dir := range dirs {
		if err := filepath.WalkDir(dir, visit); err != nil {
			return err
		}
	}
	return nil
}

// metricNames are those that the program registers.
func metricNames(t *testing.T) []string {
	t.Helper()
	var out []string
	err := walk([]string{"../server", "../cmd", "../internal"}, func(path string, e os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			for _, m := range declared.FindAllStringSubmatch(string(read(t, path)), -1) {
				out = append(out, m[1])
			}
		}
		return err
	})

	if err != nil || len(out) < 10 {
		t.Fatalf("%d metrics, %v", len(out), err)
	}
	return out
}

func checkExpression(t *testing.T, where, expr string, known []string, used map[string]bool) {
	t.Helper()
	found := metric.FindAllString(expr, -1)
	if len(found) == 0 {
		t.Errorf("%s: no metric in %q", where, expr)
	}

	for _, m := range found {
		m = suffix.ReplaceAllString(m, "")
		used[m] = true
		if !slices.Contains(known, m) {
			t.Errorf("%s: there is no metric %s", where, m)
		}
	}

	if strings.Count(expr, "(") != strings.Count(expr, ")") || strings.Count(expr, "{") != strings.Count(expr, "}") {
		t.Errorf("%s: brackets do not match in %q", where, expr)
	}
}

type alerts struct {
	Groups []struct {
		Name  string `yaml:"name"`
		Rules []struct {
			Alert       string            `yaml:"alert"`
			Expr        string            `yaml:"expr"`
			For         string            `yaml:"for"`
			Labels      map[string]string `yaml:"labels"`
			Annotations map[string]string `yaml:"annotations"`
		} `yaml:"rules"`
	} `yaml:"groups"`
}

// TestAlerts: each names metrics that there are, and has a section that says
// what to do; each section has its alert.
func TestAlerts(t *testing.T) {
	var a alerts
	strictly(t, "monitoring/alerts.yaml", &a)
	known := metricNames(t)
	text := string(read(t, "../docs/operations.md"))
	var sections, names []string

	for _, m := range section.FindAllStringSubmatch(text, -1) {
		if strings.HasPrefix(m[1], "Attestor") {
			sections = append(sections, m[1])
		}
	}

	if len(a.Groups) != 1 {
		t.Fatalf("%d groups", len(a.Groups))
	}

	for _, r := range a.Groups[0].Rules {
		if slices.Contains(names, r.Alert) {
			t.Errorf("%s stands twice", r.Alert)
		}

		names = append(names, r.Alert)
		checkExpression(t, r.Alert, r.Expr, known, map[string]bool{})
		if s := r.Labels["severity"]; s != "page" && s != "ticket" {
			t.Errorf("%s: severity %q", r.Alert, s)
		}
		if !regexp.MustCompile(`^[0-9]+m$`).MatchString(r.For) {
			t.Errorf("%s: for %q; Terraform reads minutes", r.Alert, r.For)
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" ||
			!strings.HasSuffix(r.Annotations["runbook"], "operations.md#"+strings.ToLower(r.Alert)) {
			t.Errorf("%s: summary, description or runbook is missing", r.Alert)
		}
	}

	slices.Sort(names)
	slices.Sort(sections)
	if len(names) < 10 || !slices.Equal(names, sections) {
		t.Errorf("alerts and sections of docs/operations.md differ:\n%v\n%v", names, sections)
	}
}

// TestDashboard: its panels name metrics that there are, and all of them are
// somewhere on it.
func TestDashboard(t *testing.T) {
	var d struct {
		Title  string
		Panels []struct {
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr, LegendFormat string }
		}
	}

	if err := json.Unmarshal(read(t, "monitoring/dashboard.json"), &d); err != nil {
		t.Fatal(err)
	}

	known, used := metricNames(t), map[string]bool{}
	seen := map[[2]int]string{}

	for _, p := range d.Panels {
		at := [2]int{p.GridPos.X, p.GridPos.Y}
		if seen[at] != "" || p.GridPos.W == 0 || p.GridPos.H == 0 {
			t.Errorf("%s lies on %q", p.Title, seen[at])
		}

		seen[at] = p.Title
		for _, target := range p.Targets {
			checkExpression(t, p.Title, target.Expr, known, used)
			if target.LegendFormat == "" {
				t.Errorf("%s: a line without a legend", p.Title)
			}
		}
	}

	for _, m := range known {
		if !used[m] {
			t.Errorf("%s is on no panel", m)
		}
	}
}
