package emulator_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/api/iterator"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor/emulator"
)

// occurrencesIn finds what a document holds by another way than Load does.
func occurrencesIn(t *testing.T, b []byte) []*grafeaspb.Occurrence {
	t.Helper()
	var v any
	unmarshal(t, string(b), &v)
	var out []*grafeaspb.Occurrence
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, x := range v {
				walk(x)
			}
		case map[string]any:
			if _, ok := v["resourceUri"]; !ok {
				for _, x := range v {
					walk(x)
				}
				return
			}

			b, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}

			o := &grafeaspb.Occurrence{}
			if err := protojson.Unmarshal(b, o); err != nil {
				t.Fatal(err)
			}

			out = append(out, o)
		}
	}

	walk(v)
	return out
}

func TestLoadSamples(t *testing.T) {
	files, err := filepath.Glob("testdata/samples/*.json")
	if err != nil || len(files) < 12 {
		t.Fatalf("%d samples, %v", len(files), err)
	}

	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}

			want := occurrencesIn(t, b)
			if len(want) == 0 {
				t.Fatal("the sample holds no occurrence")
			}

			g := newGoogle(t, emulator.Options{})
			if n, err := g.Load(strings.NewReader(string(b))); n != len(want) || err != nil {
				t.Fatalf("loaded %d, %v; want %d", n, err, len(want))
			}

			var got []*grafeaspb.Occurrence
			parents := map[string]bool{}

			for _, o := range want {
				parents[strings.Join(strings.Split(o.GetName(), "/")[:2], "/")] = true
			}

			for p := range parents {
				got = append(got, g.list(t, p, "")...)
			}

			byName := func(a, b *grafeaspb.Occurrence) int { return strings.Compare(a.GetName(), b.GetName()) }
			slices.SortFunc(got, byName)
			slices.SortFunc(want, byName)
			if diff := cmp.Diff(want, got, protocmp.Transform()); diff != "" {
				t.Errorf("-sample +listed\n%s", diff)
			}

			for _, o := range got {
				n, err := g.Grafeas.GetOccurrenceNote(ctxFor(t), &grafeaspb.GetOccurrenceNoteRequest{Name: o.GetName()})
				if err != nil || n.GetName() != o.GetNoteName() || n.GetKind() != o.GetKind() {
					t.Errorf("note of %s: %v, %v", o.GetName(), n, err)
				}
			}
		})
	}
}

// list is all pages of a list.
func (g google) list(t testing.TB, parent, filter string) []*grafeaspb.Occurrence {
	t.Helper()
	var out []*grafeaspb.Occurrence
	it := g.Grafeas.ListOccurrences(ctxFor(t), &grafeaspb.ListOccurrencesRequest{Parent: parent, Filter: filter, PageSize: 1000})

	for {
		switch o, err := it.Next(); {
		case errors.Is(err, iterator.Done):
			return out
		case err != nil:
			t.Fatal(err)
		default:
			out = append(out, o)
		}
	}
}

func TestLoadShapes(t *testing.T) {
	const occ = `{"name":"projects/p/occurrences/1","resourceUri":"r","noteName":"projects/p/notes/n",` +
		`"kind":"DISCOVERY","discovery":{"analysisStatus":"COMPLETE"}}`
	const note = `{"name":"projects/p/notes/n","discovery":{"analysisKind":"VULNERABILITY"},"shortDescription":"mine"}`

	for _, tt := range []struct {
		name, in string
		want     int
	}{
		{"one", occ, 1},
		{"array", "[" + occ + "]", 1},
		{"list response", `{"occurrences":[` + occ + `],"nextPageToken":"x"}`, 1},
		{"stream", occ + "\n" + note, 2},
		{"notes", `{"notes":[` + note + `]}`, 1},
		{"note before and after", "[" + note + "," + occ + "," + note + "]", 2},
		{"twice the same", "[" + occ + "," + occ + "]", 1},
		{"snake case", `{"name":"projects/p/occurrences/1","resource_uri":"r","note_name":"projects/p/notes/n","discovery":{"analysis_status":1}}`, 1},
		{"no name", `{"resourceUri":"r","noteName":"projects/p/notes/n","discovery":{}}`, 1},
		{"yaml", "createTime: '2022-08-19T15:38:34.159772Z'\nupdateTime: 2022-08-19T15:38:34.159772Z\n" +
			"name: projects/p/occurrences/1\nnoteName: projects/p/notes/n\nresourceUri: r\nkind: DISCOVERY\n" +
			"discovery:\n  analysisStatus: SCANNING\n---\nname: projects/p/occurrences/2\n" +
			"noteName: projects/p/notes/n\nresourceUri: r\ndiscovery: {}\n", 2},
		{"unnamed with a summary", `{"image_summary":{"digest":"x"},"discovery_summary":{"discovery":[` + occ + `]}}`, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGoogle(t, emulator.Options{})
			if n, err := g.Load(strings.NewReader(tt.in)); n != tt.want || err != nil {
				t.Fatalf("loaded %d, %v; want %d", n, err, tt.want)
			}

			n := must[*grafeaspb.Note](t)(g.Grafeas.GetNote(ctxFor(t), &grafeaspb.GetNoteRequest{Name: "projects/p/notes/n"}))
			if strings.Contains(tt.in, "mine") && n.GetShortDescription() != "mine" {
				t.Errorf("the note's description is %q, want the file's", n.GetShortDescription())
			}
		})
	}
}

func TestLoadRefusesAllOfABadFile(t *testing.T) {
	const good = `{"name":"projects/p/occurrences/1","resourceUri":"r","noteName":"projects/p/notes/n","discovery":{}}`
	for _, tt := range []struct{ name, in, want string }{
		{"empty", "", "has neither occurrences nor notes"},
		{"nothing in it", `{"a":[1,"x",null]}`, "has neither occurrences nor notes"},
		{"no JSON", `[` + good, "unexpected EOF"},
		{"second is broken", good + `{`, "unexpected EOF"},
		{"unknown field", `{"resourceUri":"r","noteName":"projects/p/notes/n","discovery":{},"nope":1}`, "unknown field"},
		{"no details", `{"name":"projects/p/occurrences/1","resourceUri":"r","noteName":"projects/p/notes/n"}`, "no details"},
		{"no resource", `{"noteName":"projects/p/notes/n","discovery":{}}`, "no resourceUri"},
		{"other kind", `{"resourceUri":"r","noteName":"projects/p/notes/n","kind":"BUILD","discovery":{}}`, "details of a DISCOVERY"},
		{"bad name", `{"name":"x","resourceUri":"r","noteName":"projects/p/notes/n","discovery":{}}`, "invalid resource name"},
		{"bad note", `{"resourceUri":"r","noteName":"n","discovery":{}}`, "invalid resource name"},
		{"provider's without a name", `{"resourceUri":"r","noteName":"projects/goog-vulnz/notes/n","discovery":{}}`, "has no name"},
		{"two of one name", `[` + good + `,` + strings.Replace(good, `"r"`, `"s"`, 1) + `]`, "with other content"},
		{"note without type", `{"name":"projects/p/notes/n"}`, "a note of some type"},
		{"too deep", strings.Repeat("[", 50) + strings.Repeat("]", 50), "is nested 17 deep; at most 16"},
		{"yaml alias", "a: &x {}\nb: *x\n", "aliases"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGoogle(t, emulator.Options{})
			in := tt.in
			if tt.name != "empty" && strings.HasPrefix(in, "{") && tt.name != "nothing in it" {
				in = `{"name":"projects/p/occurrences/0","resourceUri":"r","noteName":"projects/p/notes/n","discovery":{}}` + in
			}

			n, err := g.Load(strings.NewReader(in))
			if n != 0 || err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("loaded %d, %v; want an error with %q", n, err, tt.want)
			}
			if got := g.list(t, "projects/p", ""); len(got) != 0 {
				t.Errorf("%d occurrences were kept of a refused file", len(got))
			}
		})
	}
}

func TestLoadReplacesByName(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	for _, r := range []string{"r1", "r2"} {
		in := fmt.Sprintf(`{"name":"projects/p/occurrences/1","resourceUri":%q,"noteName":"projects/p/notes/n","discovery":{}}`, r)
		if _, err := g.Load(strings.NewReader(in)); err != nil {
			t.Fatal(err)
		}
	}

	if got := g.list(t, "projects/p", `resourceUrl="r1"`); len(got) != 0 {
		t.Errorf("%d occurrences under the replaced resource", len(got))
	}
	if got := g.list(t, "projects/p", ""); len(got) != 1 || got[0].GetResourceUri() != "r2" {
		t.Errorf("listed %v, want one of r2", got)
	}
}

func TestLoadBeyondTheLimit(t *testing.T) {
	g := newGoogle(t, emulator.Options{MaxOccurrences: 1})
	_, err := g.Load(strings.NewReader(
		`[{"name":"projects/p/occurrences/1","resourceUri":"r","noteName":"projects/p/notes/n","discovery":{}},` +
			`{"name":"projects/p/occurrences/2","resourceUri":"r","noteName":"projects/p/notes/n","discovery":{}}]`))
	wantCode(t, err, codes.ResourceExhausted)
}
