package attestor_test

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
)

// encodedAsMarshalDoes compares how a finding is encoded, alone and beside another one, with json.Marshal.
func encodedAsMarshalDoes(t *testing.T, v attestor.Vulnerability) {
	t.Helper()
	for _, list := range [][]attestor.Vulnerability{{v}, {v, {ID: "CVE-2026-1"}, v}} {
		want, wantErr := json.Marshal(list)
		var got bytes.Buffer
		err := attestor.EncodeFindings(&got, list)
		if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%+v: %v\n%s\nwant %v\n%s", v, err, &got, wantErr, want)
		}
	}
}

// TestFindingsAreEncodedAsMarshalDoes: the hash of evidence is that of what json.Marshal returns, of every field alone
// and of all together. A field that this forgets would be no part of the evidence.
func TestFindingsAreEncodedAsMarshalDoes(t *testing.T) {
	t.Parallel()
	score, yes, at := 7.5, true, time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	values := map[reflect.Type]any{
		reflect.TypeFor[string](): "text", reflect.TypeFor[attestor.Severity](): attestor.High, reflect.TypeFor[bool](): true,
		reflect.TypeFor[*float64](): &score, reflect.TypeFor[*bool](): &yes, reflect.TypeFor[*time.Time](): &at,
		reflect.TypeFor[[]attestor.Digest](): []attestor.Digest{"sha256:1", "sha256:2"},
		reflect.TypeFor[[]attestor.VEX]():    []attestor.VEX{{Status: "fixed", Project: "p", Note: "n", Justification: "j"}},
	}

	var all attestor.Vulnerability
	for i := range reflect.TypeFor[attestor.Vulnerability]().NumField() {
		var one attestor.Vulnerability
		for _, v := range []*attestor.Vulnerability{&one, &all} {
			field := reflect.ValueOf(v).Elem().Field(i)
			value, ok := values[field.Type()]
			if !ok {
				t.Fatalf("the test has no value of %v: give it one", field.Type())
			}
			if field.Type() != reflect.TypeFor[[]attestor.VEX]() || v == &one {
				field.Set(reflect.ValueOf(value))
			}
		}
		encodedAsMarshalDoes(t, one)
	}
	encodedAsMarshalDoes(t, all) // without VEX, with which nothing is plain
	encodedAsMarshalDoes(t, attestor.Vulnerability{})

	no := false
	encodedAsMarshalDoes(t, attestor.Vulnerability{KnownExploited: &no, DiffIDs: []attestor.Digest{}, VEX: []attestor.VEX{}})
	for c := range 0x110 {
		encodedAsMarshalDoes(t, attestor.Vulnerability{ID: "a" + string(rune(c)) + "b"})
		encodedAsMarshalDoes(t, attestor.Vulnerability{DiffIDs: []attestor.Digest{"x", attestor.Digest(string(rune(c)))}})
	}
	for _, text := range []string{"\xff", "\u2028", "\U0001f600", "a\xf0\x28b"} {
		encodedAsMarshalDoes(t, attestor.Vulnerability{Path: text})
	}
	for _, n := range []float64{
		0, math.Copysign(0, -1), 1e-6, 9.99e-7, -1e-7, 1e20, 1e21, -1e21, 0.1, 1.0 / 3, 10, math.MaxFloat64, math.SmallestNonzeroFloat64,
		math.NaN(), math.Inf(1), math.Inf(-1),
	} {
		encodedAsMarshalDoes(t, attestor.Vulnerability{CVSS: &n})
		encodedAsMarshalDoes(t, attestor.Vulnerability{EPSS: &n})
	}
	for _, at := range []time.Time{
		{}, time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.FixedZone("", -5*3600-1800)), time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 1, 1, 0, 0, 0, 1, time.FixedZone("", 30*3600)),
	} {
		encodedAsMarshalDoes(t, attestor.Vulnerability{Published: &at})
	}
}

// Findings are written some at a time, whatever their size: none is lost between two writes.
func TestManyFindingsAreEncodedAsMarshalDoes(t *testing.T) {
	t.Parallel()
	list := make([]attestor.Vulnerability, 700)
	for i := range list {
		list[i] = attestor.Vulnerability{ID: strings.Repeat("x", i), Package: []string{"plain", "<not>"}[i%2]}
	}
	want, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	w := &portions{}
	if err := attestor.EncodeFindings(w, list); err != nil || !bytes.Equal(w.Bytes(), want) {
		t.Fatalf("%v, %d bytes, want %d", err, w.Len(), len(want))
	}
	if w.most > len(want)/4 || w.writes < 4 {
		t.Errorf("%d of %d bytes are held at once, %d writes", w.most, len(want), w.writes)
	}
}

// portions is a buffer that knows how it was written.
type portions struct {
	bytes.Buffer
	writes, most int
}

func (c *portions) Write(p []byte) (int, error) {
	c.writes, c.most = c.writes+1, max(c.most, len(p))
	return c.Buffer.Write(p)
}

func FuzzFindingsAreEncodedAsMarshalDoes(f *testing.F) {
	f.Add("CVE-2026-1", "openssl", "3.0 <b>", 7.5, true, int64(1))
	f.Fuzz(func(t *testing.T, id, pkg, path string, n float64, yes bool, nanos int64) {
		at := time.Unix(0, nanos)
		encodedAsMarshalDoes(t, attestor.Vulnerability{ID: id, Note: path, Package: pkg, Path: path, CVSS: &n, Fixable: yes, KnownExploited: &yes,
			Severity: attestor.Severity(pkg), DiffIDs: []attestor.Digest{attestor.Digest(id)}, Published: &at})
	})
}

// BenchmarkFindings encodes 120 findings.
func BenchmarkFindings(b *testing.B) {
	score, at := 7.5, time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	list := make([]attestor.Vulnerability, 120)
	for i := range list {
		list[i] = attestor.Vulnerability{ID: "CVE-2026-00001", Note: "projects/goog-vulnz/notes/CVE-2026-00001", Severity: attestor.High, Package: "openssl",
			PackageType: "OS", Version: "3.0.11-1~deb12u2", FixedVersion: "3.0.15-1~deb12u1", CVSS: &score, Published: &at,
			DiffIDs: []attestor.Digest{attestor.DigestOf(nil)}}
	}
	b.ReportAllocs()
	for range b.N {
		if err := attestor.EncodeFindings(&bytes.Buffer{}, list); err != nil {
			b.Fatal(err)
		}
	}
}
