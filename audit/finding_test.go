package audit_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

// TestFindingsAreFoundWithoutDecoding: what is found in the bytes of stored findings is what is found in the findings.
func TestFindingsAreFoundWithoutDecoding(t *testing.T) {
	t.Parallel()
	published := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	full := attestor.Vulnerability{ID: "CVE-2026-1", Note: "projects/p/notes/CVE-2026-9", Package: "openssl", PackageType: "OS",
		Version: "CVE-2026-8", Path: "libz", Published: &published, DiffIDs: []attestor.Digest{"sha256:0"},
		VEX: []attestor.VEX{{Status: "fixed", Project: "package", Note: "id"}}}
	lists := map[string][]attestor.Vulnerability{
		"none":        {},
		"nil":         nil,
		"one":         {full},
		"two":         {full, {ID: "CVE-2026-2", Package: "libz"}},
		"upper case":  {{ID: "cve-2026-1", Package: "OpenSSL"}},
		"no package":  {{ID: "CVE-2026-1"}, {ID: "CVE-2026-2", Package: "openssl"}},
		"no id":       {{Package: "openssl"}, {ID: "CVE-2026-1"}},
		"escaped":     {{ID: "CVE-2026-1", Package: `a"b`}, {ID: "x", Package: `,"id":"CVE-2026-2`}, {ID: "<CVE>", Package: "libz"}},
		"not ASCII":   {{ID: "CVE-2026-1", Package: "lib\u017f"}, {ID: "\u212aCVE", Package: "libz"}},
		"not UTF-8":   {{ID: "CVE-2026-1\xff", Package: "libz"}},
		"a part":      {{ID: "CVE-2026-11", Package: "openssl1"}},
		"the other's": {{ID: "openssl", Package: "CVE-2026-1"}},
	}
	values := []string{"", "CVE-2026-1", "cve-2026-1", "CVE-2026-2", "CVE-2026-8", "CVE-2026-9", "openssl", "OPENSSL", "libz", "libs", "LIB\u017f",
		"kcve", `a"b`, "<cve>", "CVE-2026-1\ufffd", "package", "id", "fixed", `x","package":"libz`}
	for name, list := range lists {
		compact, err := json.Marshal(list)
		if err != nil {
			t.Fatal(err)
		}
		indented, err := json.MarshalIndent(list, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		var decoded []attestor.Vulnerability
		if err := json.Unmarshal(compact, &decoded); err != nil {
			t.Fatal(err)
		}

		for _, cve := range values {
			for _, pkg := range values {
				want := false
				for _, v := range decoded {
					want = want || (cve == "" || strings.EqualFold(v.ID, cve)) && (pkg == "" || strings.EqualFold(v.Package, pkg))
				}
				for form, stored := range map[string][]byte{"compact": compact, "indented": indented} {
					if got, err := audit.HeldBy(cve, pkg, stored); got != want || err != nil {
						t.Errorf("%s, %s: %q in %q: %v, %v, want %v", name, form, cve, pkg, got, err, want)
					}

					// What has the finding is never passed over.
					if lacks, plain := audit.Lacks(cve, pkg, stored); lacks && plain && want {
						t.Errorf("%s, %s: the summary says that %q in %q is lacking", name, form, cve, pkg)
					}
				}
			}
		}
	}
	if _, err := audit.HeldBy("CVE-2026-1", "", []byte(`{-2026-1"`)); err == nil {
		t.Error("what is no JSON has no error")
	}
}

// A finding begins with its id, and nothing within it has a member of that name or of a package's: stored findings are
// told apart by these.
func TestMembersThatTellFindingsApart(t *testing.T) {
	t.Parallel()
	member := func(f reflect.StructField) string {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		return name
	}
	finding := reflect.TypeFor[attestor.Vulnerability]()
	for i, want := range map[int]string{0: "id"} {
		if got := member(finding.Field(i)); got != want {
			t.Errorf("field %d is %q, want %q", i, got, want)
		}
	}
	for _, name := range []string{"ID", "Package"} {
		if f, _ := finding.FieldByName(name); f.Type.Kind() != reflect.String || strings.Contains(f.Tag.Get("json"), "omitempty") {
			t.Errorf("%s is a %v with %q: want a text that is always there", name, f.Type, f.Tag)
		}
	}

	seen := map[reflect.Type]bool{}
	var within func(reflect.Type)
	within = func(of reflect.Type) {
		switch of.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Array:
			within(of.Elem())
		case reflect.Map, reflect.Interface:
			t.Errorf("a finding has a %v: its members may have any name", of)
		case reflect.Struct:
			if seen[of] || of == reflect.TypeFor[time.Time]() {
				return
			}
			seen[of] = true
			for i := range of.NumField() {
				if name := member(of.Field(i)); name == "id" || name == "package" {
					t.Errorf("%v has a member %q", of, name)
				}
				within(of.Field(i).Type)
			}
		default:
		}
	}
	for i := range finding.NumField() {
		within(finding.Field(i).Type)
	}
	if !seen[reflect.TypeFor[attestor.VEX]()] {
		t.Error("the test does not look into VEX: it proves less")
	}
}

// BenchmarkFindings looks for what 120 stored findings do not have.
func BenchmarkFindings(b *testing.B) {
	list := make([]attestor.Vulnerability, 120)
	for i := range list {
		list[i] = attestor.Vulnerability{ID: "CVE-2026-0", Note: "projects/goog-vulnz/notes/CVE-2026-0", Package: "openssl", Version: "3.0.11-1~deb12u2",
			DiffIDs: []attestor.Digest{attestor.DigestOf(nil)}}
	}
	stored, err := json.Marshal(list)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(stored)))
	for range b.N {
		if held, err := audit.HeldBy("CVE-2026-1", "", stored); held || err != nil {
			b.Fatal(held, err)
		}
	}
}

// A summary tells of most findings that they lack what is searched for, and has none where it could be wrong.
func TestSummariesOfFindings(t *testing.T) {
	t.Parallel()
	of := func(findings ...attestor.Vulnerability) []byte {
		b, err := json.Marshal(findings)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	two := of(attestor.Vulnerability{ID: "CVE-2026-1", Package: "OpenSSL"}, attestor.Vulnerability{ID: "CVE-2026-2", Package: "libz"})
	for _, tt := range []struct {
		cve, pkg     string
		stored       []byte
		lacks, plain bool
	}{
		{"CVE-2026-3", "", two, true, true},
		{"", "curl", two, true, true},
		{"CVE-2026-3", "openssl", two, true, true},
		{"CVE-2026-1", "curl", two, true, true},
		{"cve-2026-1", "", two, false, true},
		{"", "OPENSSL", two, false, true},
		{"CVE-2026-2", "openssl", two, false, true}, // of two findings: only these themselves tell
		{"", "open\u017fsl", two, false, true},      // equal to openssl in another case
		{"", `a\b`, two, false, true},
		{"CVE-2026-3", "", of(attestor.Vulnerability{ID: "CVE-2026-1", Package: "a<b"}), false, false},
		{"CVE-2026-3", "", of(attestor.Vulnerability{ID: "CVE-2026-1", Package: "lib\u017f"}), false, false},
		{"CVE-2026-3", "", []byte(`[{"id": "CVE-2026-3", "package": "libz"}]`), false, false},
		{"CVE-2026-3", "", []byte(`[{"id":"CVE-2026-1"}]`), false, false},
		{"CVE-2026-3", "", nil, false, false},
	} {
		lacks, plain := audit.Lacks(tt.cve, tt.pkg, tt.stored)
		if plain != tt.plain || plain && lacks != tt.lacks {
			t.Errorf("%q in %q in %s: lacks %v, plain %v, want %v, %v", tt.cve, tt.pkg, tt.stored, lacks, plain, tt.lacks, tt.plain)
		}
	}
}

// A search for a finding looks at a bounded number of decisions, of images and of bytes for a page, and says that it
// goes on. What it has seen it does not read again, and then gets further.
func TestSearchesForFindingsAreBounded(t *testing.T) {
	for name, tt := range map[string]struct {
		decisions  int
		perImage   int
		size       int // of one finding's text
		cold, warm int // pages, at least and at most
		counted    int
	}{
		"decisions": {1600, 1600, 1, 2, 2, -1},
		"images":    {700, 1, 1, 2, 1, 1},
		"bytes":     {30, 1, 1 << 20, 2, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			conf := audit.Config{SQLite: migratedFile(t), Now: clockAt(day).now, Timeout: 5 * time.Minute}
			filled, err := audit.Open(t.Context(), conf)
			if err != nil {
				t.Fatal(err)
			}
			_, err = filled.Load(t.Context(), func(yield func(attestor.Record) bool) {
				for n := range tt.decisions {
					r := record(n, attestor.Deny, func(r *attestor.Record) {
						f := &r.Evidence.Platforms[0].Scan.Findings[0]
						image := (n + tt.perImage - 1) / tt.perImage
						f.Version = fmt.Sprintf("%d-%s", image, strings.Repeat("v", tt.size))

						// The oldest one is what is looked for.
						if n > 0 {
							f.ID = fmt.Sprintf("CVE-2026-%d", 5000+image)
						}
					})
					if !yield(r) {
						return
					}
				}
			})
			if err := errors.Join(err, filled.Close()); err != nil {
				t.Fatal(err)
			}

			// A process that has read nothing yet.
			s := open(t, conf)
			if pages := searched(t, s, "CVE-2026-1234", tt.decisions); pages < tt.cold {
				t.Errorf("%d pages at first, want %d or more", pages, tt.cold)
			}
			if pages := searched(t, s, "CVE-2026-1234", tt.decisions); pages > tt.warm {
				t.Errorf("%d pages once more, want %d at most", pages, tt.warm)
			}

			// What no page knows is not counted either.
			n, exact, err := s.CountUpTo(t.Context(), audit.Filter{CVE: "CVE-2026-1234"}, 10)
			if n != tt.counted || exact != (n >= 0) || err != nil {
				t.Errorf("%d counted, exact %v, %v, want %d", n, exact, err, tt.counted)
			}
		})
	}
}

// searched looks through all pages for a finding that one of so many decisions has, and returns how many there were.
func searched(t *testing.T, s *audit.Store, cve string, most int) (pages int) {
	t.Helper()
	found := 0
	for token := ""; pages == 0 || token != ""; pages++ {
		page, err := s.List(t.Context(), audit.Filter{CVE: cve}, 10, token)
		if err != nil {
			t.Fatal(err)
		}
		found += len(page.Decisions)
		if token = page.Next; pages > most {
			t.Fatal("the pages do not end")
		}
	}
	if found != 1 {
		t.Errorf("%d found, want one", found)
	}
	return pages
}

// Evidence that was changed after it was searched once explains nothing: what has the finding is read again, and is
// compared with its hash again.
func TestASummaryShowsNothing(t *testing.T) {
	s := openSQLite(t, migratedFile(t), clockAt(day))
	finish(t, s, record(1, attestor.Deny))
	if pages := searched(t, s, "CVE-2026-1234", 1); pages != 1 {
		t.Fatalf("%d pages", pages)
	}
	hash := audit.HashOf(findingsOf(t, record(1, attestor.Deny)))
	res, err := s.Writer().ExecContext(t.Context(), `UPDATE blobs SET data = (SELECT data FROM blobs WHERE hash <> $1 LIMIT 1) WHERE hash = $1`, hash)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := res.RowsAffected(); n != 1 || err != nil {
		t.Fatalf("%d blobs changed, %v", n, err)
	}
	if page, err := s.List(t.Context(), audit.Filter{CVE: "CVE-2026-1234"}, 10, ""); err == nil {
		t.Errorf("%d decisions are shown by findings that were changed", len(page.Decisions))
	}
}

// findingsOf are the findings of a record, as they are stored.
func findingsOf(t *testing.T, r attestor.Record) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := attestor.EncodeFindings(&b, r.Evidence.Platforms[0].Scan.Findings); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
