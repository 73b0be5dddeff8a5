package deploy_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var section = regexp.MustCompile(`(?m)^### (\S+)$`)

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

// TestAlerts: each has a section that says what to do, and each section has its alert. What they ask of which metric,
// TestAlertsAndDashboard of internal/engine holds against a service.
func TestAlerts(t *testing.T) {
	var a alerts
	strictly(t, "monitoring/alerts.yaml", &a)
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

// TestAlertsArePlanned: Cloud Monitoring gets each alert with its query, as urgent, after as long, and with the way to its
// section; and each panel where it is.
func TestAlertsArePlanned(t *testing.T) {
	var a alerts
	strictly(t, "monitoring/alerts.yaml", &a)
	p := planExample(t, readDirs(t), oneProject,
		`{"notification_channels": ["projects/acme/notificationChannels/1"], "runbook": "https://acme.example/on-call"}`)
	planned := p.of("google_monitoring_alert_policy")
	if len(planned) != len(a.Groups[0].Rules) {
		t.Errorf("%d alerts are planned of %d", len(planned), len(a.Groups[0].Rules))
	}
	for _, r := range a.Groups[0].Rules {
		in := p.instances[`module.monitoring.google_monitoring_alert_policy.alert["`+r.Alert+`"]`]
		if in == nil {
			t.Errorf("%s is not planned", r.Alert)
			continue
		}
		minutes, err := time.ParseDuration(r.For)
		if err != nil {
			t.Error(err)
		}
		const query = "conditions.0.condition_prometheus_query_language.0."
		for path, want := range map[string]string{
			query + "query": r.Expr, query + "duration": fmt.Sprint(int(minutes.Seconds()), "s"), query + "alert_rule": r.Alert,
			"severity":     map[string]string{"page": "CRITICAL", "ticket": "WARNING"}[r.Labels["severity"]],
			"display_name": r.Alert, "conditions.0.display_name": r.Annotations["summary"],
			"notification_channels": "projects/acme/notificationChannels/1", "enabled": "",
			"documentation.0.content": r.Annotations["description"] + "\n\n[What to do](https://acme.example/on-call#" + strings.ToLower(r.Alert) + ")",
		} {
			if got := in.text(path); got != want {
				t.Errorf("%s: %s is %q, want %q", r.Alert, path, got, want)
			}
		}
	}

	var source struct {
		Panels []struct {
			Title   string
			GridPos struct{ X, Y, W, H int }
			Targets []struct{ Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal(read(t, "monitoring/dashboard.json"), &source); err != nil {
		t.Fatal(err)
	}
	var made struct {
		Mosaic struct {
			Columns int
			Tiles   []struct {
				XPos, YPos, Width, Height int
				Widget                    struct {
					Title string
					Chart struct {
						Sets []struct {
							Legend string `json:"legendTemplate"`
							Query  struct {
								Text string `json:"prometheusQuery"`
							} `json:"timeSeriesQuery"`
						} `json:"dataSets"`
					} `json:"xyChart"`
				}
			}
		} `json:"mosaicLayout"`
	}
	if err := json.Unmarshal([]byte(p.of("google_monitoring_dashboard")[0].text("dashboard_json")), &made); err != nil {
		t.Fatal(err)
	}
	if len(made.Mosaic.Tiles) != len(source.Panels) || len(source.Panels) < 10 {
		t.Fatalf("%d tiles of %d panels", len(made.Mosaic.Tiles), len(source.Panels))
	}
	for i, panel := range source.Panels {
		tile := made.Mosaic.Tiles[i]
		at := []int{tile.XPos, tile.YPos, tile.Width, tile.Height}
		if tile.Widget.Title != panel.Title || !slices.Equal(at, []int{panel.GridPos.X, panel.GridPos.Y, panel.GridPos.W, panel.GridPos.H}) ||
			tile.XPos+tile.Width > made.Mosaic.Columns || len(tile.Widget.Chart.Sets) != len(panel.Targets) {
			t.Errorf("%s: the tile is %+v", panel.Title, tile)
			continue
		}
		for j, target := range panel.Targets {
			if set := tile.Widget.Chart.Sets[j]; set.Query.Text != target.Expr || set.Legend != target.LegendFormat {
				t.Errorf("%s: a line is %+v", panel.Title, set)
			}
		}
	}
}

// TestDashboard: no panel lies on another, and each line has a legend.
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

	seen := map[[2]int]string{}

	for _, p := range d.Panels {
		at := [2]int{p.GridPos.X, p.GridPos.Y}
		if seen[at] != "" || p.GridPos.W == 0 || p.GridPos.H == 0 {
			t.Errorf("%s lies on %q", p.Title, seen[at])
		}

		seen[at] = p.Title
		for _, target := range p.Targets {
			if target.LegendFormat == "" {
				t.Errorf("%s: a line without a legend", p.Title)
			}
		}
	}
}
