package deploy_test

import (
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var recordLayout = flag.String("record-layout", "", "write the layout of the examples to this file of testdata/upgrade")

// A layout is what Terraform's state has after an apply of each example: the resources' addresses, and for each the name that
// Google knows it by, or nothing.
type addresses map[string]map[string]string

// plannedExamples are the plans of the examples, with what they can have.
func plannedExamples(t *testing.T, dirs map[string]dir, roots ...string) map[string]*plan {
	t.Helper()
	out := map[string]*plan{}
	for _, root := range roots {
		out[root] = planExample(t, dirs, root, map[string]string{oneProject: `{}`, splitProjects: everyOption}[root])
	}
	return out
}

func layoutOf(plans map[string]*plan) addresses {
	out := addresses{}
	for root, p := range plans {
		out[root] = map[string]string{}
		for _, in := range p.of("") {
			out[root][in.addr] = p.identity(in)
		}
	}
	return out
}

// TestRecordLayout writes a layout where it is asked to.
func TestRecordLayout(t *testing.T) {
	if *recordLayout == "" {
		t.Skip("-record-layout names no file")
	}
	text, err := json.MarshalIndent(layoutOf(plannedExamples(t, readDirs(t), oneProject, splitProjects)), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("testdata/upgrade", *recordLayout), append(text, '\n'), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A move is a moved block: by what it begins with, the address of its module; within it, from and to.
type move struct{ within, from, to string }

// moves are the moved blocks of a root module and of all that it calls.
func moves(dirs map[string]dir, d dir, within string) []move {
	var out []move
	for _, b := range d.blocks {
		if b.Type != "moved" {
			continue
		}
		text := func(name string) string {
			r := b.Body.Attributes[name].Expr.Range()
			return string(d.text[r.Filename][r.Start.Byte:r.End.Byte])
		}
		out = append(out, move{within, text("from"), text("to")})
	}
	calls := d.of("module")
	for _, name := range slices.Sorted(maps.Keys(calls)) {
		if to, ok := moduleDir(dirs, d.path, calls[name]); ok {
			out = append(out, moves(dirs, to, within+"module."+name+".")...)
		}
	}
	return out
}

// moved is where terraform looks for what an earlier state has at an address. A block without a key moves every instance.
func moved(all []move, addr string) string {
	const key = `(?:\["[^"]*"\]|\[[0-9]+\])?`
	for _, m := range all {
		within := strings.ReplaceAll(regexp.QuoteMeta(m.within), `\.`, key+`\.`)
		within = strings.ReplaceAll(within, `module`+key+`\.`, `module\.`)
		if at := regexp.MustCompile(`^(` + within + `)` + regexp.QuoteMeta(m.from) + `(\[.*\])?$`).FindStringSubmatch(addr); at != nil {
			addr = at[1] + m.to + at[2]
		}
	}
	return addr
}

// node is an address without keys.
func node(addr string) string {
	return regexp.MustCompile(`\["[^"]*"\]|\[[0-9]+\]`).ReplaceAllString(addr, "")
}

// renewed are the resources whose name changed since, by their node: terraform makes another one and deletes the first.
func renewed() map[string]string {
	return map[string]string{
		"module.edge.google_compute_managed_ssl_certificate.edge": "created before the first one is deleted; former_certificates serve meanwhile",
		"module.build.google_cloudbuild_trigger.image":            "has no state of its own",
	}
}

// lost is what an upgrade to these plans would take from an operator who has an earlier layout, and which exceptions it met.
func lost(dirs map[string]dir, plans map[string]*plan, before addresses) (out []string, met set) {
	met = set{}
	now := layoutOf(plans)
	for root, p := range plans {
		protected := set{}
		for _, in := range p.of("") {
			if shown(in.lifecycle["prevent_destroy"]) == "true" {
				protected[in.node()] = true
			}
		}
		all := moves(dirs, dirs[root], "")
		for addr, name := range before[root] {
			to := moved(all, addr)
			id, there := now[root][to]
			switch {
			case !there && protected[node(to)]: // the plan is refused until somebody has decided
				met[node(to)] = true
			case !there:
				out = append(out, root+": "+addr+" is destroyed")
			case id != name && renewed()[node(to)] != "":
				met[node(to)] = true
			case id != name:
				out = append(out, root+": "+addr+" was "+name+" and is replaced by "+id)
			}
		}
	}
	slices.Sort(out)
	return out, met
}

func readLayouts(t *testing.T) map[string]addresses {
	t.Helper()
	files, err := filepath.Glob("testdata/upgrade/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d layouts, %v", len(files), err)
	}
	out := map[string]addresses{}
	for _, f := range files {
		var l addresses
		if err := json.Unmarshal(read(t, f), &l); err != nil {
			t.Fatal(err)
		}
		out[f] = l
	}
	return out
}

// TestUpgradesKeepWhatIsThere: of whatever an earlier layout made, an upgrade destroys and replaces nothing but what is named.
func TestUpgradesKeepWhatIsThere(t *testing.T) {
	dirs := readDirs(t)
	plans := plannedExamples(t, dirs, oneProject, splitProjects)
	met := set{}
	for file, l := range readLayouts(t) {
		if len(l[oneProject]) < 80 || len(l[splitProjects]) < 100 {
			t.Errorf("%s: only %d and %d resources", file, len(l[oneProject]), len(l[splitProjects]))
		}
		gone, these := lost(dirs, plans, l)
		for _, g := range gone {
			t.Errorf("%s: %s", file, g)
		}
		met.add(these)
	}
	want := set{"module.events.google_pubsub_topic.source": true}
	for n := range renewed() {
		want[n] = true
	}
	if !maps.Equal(met, want) {
		t.Errorf("the exceptions that earlier layouts meet are %v, want %v: docs/deploy.md tells of them", met, want)
	}
}

// TestMovedBlocks is the check's own: a resource that is renamed is lost without a moved block, and kept by one; and so is one
// that a name at Google replaces.
func TestMovedBlocks(t *testing.T) {
	before := layoutOf(plannedExamples(t, readDirs(t), splitProjects))
	const out = "terraform/modules/network/outputs.tf"
	for name, c := range map[string]struct {
		change func(string) string
		more   string // at the end of the module's outputs
		want   string
	}{
		"nothing": {nil, "", ""},
		"renamed": {renameEgress, "", "google_compute_address.egress is destroyed"},
		"moved":   {renameEgress, "\nmoved {\n  from = google_compute_address.egress\n  to   = google_compute_address.out\n}\n", ""},
		"moved elsewhere": {
			renameEgress, "\nmoved {\n  from = google_compute_address.other\n  to   = google_compute_address.out\n}\n", "is destroyed",
		},
		"instances moved": {
			func(s string) string {
				return strings.ReplaceAll(s, "google_compute_router_nat\" \"other", "google_compute_router_nat\" \"further")
			},
			"\nmoved {\n  from = google_compute_router_nat.other\n  to   = google_compute_router_nat.further\n}\n", "",
		},
		"renamed at Google": {
			func(s string) string { return strings.ReplaceAll(s, `name    = "gate-egress"`, `name    = "gate-out"`) }, "", "is replaced by",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dirs := readDirsChanged(t, func(file, text string) string {
				if c.change != nil && strings.HasPrefix(file, "terraform/modules/network/") {
					text = c.change(text)
				}
				if file == out {
					text += c.more
				}
				return text
			})
			gone, _ := lost(dirs, plannedExamples(t, dirs, splitProjects), before)
			if all := strings.Join(gone, "\n"); (c.want == "") != (len(gone) == 0) || !strings.Contains(all, c.want) {
				t.Errorf("want %q, lost are:\n%s", c.want, all)
			}
		})
	}
}

func renameEgress(s string) string {
	return strings.NewReplacer(`"google_compute_address" "egress"`, `"google_compute_address" "out"`,
		"google_compute_address.egress", "google_compute_address.out").Replace(s)
}
