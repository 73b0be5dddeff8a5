package emulator_test

import (
	"crypto/sha256"
	"fmt"
	"runtime"
	"testing"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor/emulator"
)

// BenchmarkMillion fills an emulator with a million occurrences, 10,000 images
// of 99 findings and an attestation each, and measures what the gate does to
// it then. B/occurrence is heap after collection.
func BenchmarkMillion(b *testing.B) {
	const images, findings = 10_000, 99
	g := newGoogle(b, emulator.Options{})
	g.createNote(b, note)
	before := heap()

	for i := range images {
		if _, err := g.Grafeas.BatchCreateOccurrences(ctxFor(b), &grafeaspb.BatchCreateOccurrencesRequest{
			Parent: "projects/p", Occurrences: scan(i, findings)}); err != nil {
			b.Fatal(err)
		}
	}

	used := heap() - before
	fmt.Printf("%d occurrences: %d MiB of heap, %d bytes each\n", images*(findings+1), used>>20, used/(images*(findings+1)))

	i := 0
	next := func() string { i++; return image(i * 7919 % images) }

	b.Run("scan-of-an-image", func(b *testing.B) {
		for b.Loop() {
			r := next()
			if got := len(g.list(b, "projects/p", fmt.Sprintf("((kind = \"VULNERABILITY\") OR (kind = \"DISCOVERY\")) "+
				"AND ((resourceUrl = \"https://%s\") OR (resourceUrl = %q))", r, r))); got != findings {
				b.Fatalf("%d findings", got)
			}
		}
	})

	b.Run("attestations-of-a-digest", func(b *testing.B) {
		for b.Loop() {
			r := next()
			o, err := g.Grafeas.ListNoteOccurrences(ctxFor(b), &grafeaspb.ListNoteOccurrencesRequest{Name: note,
				Filter: fmt.Sprintf("has_suffix(resourceUrl, %q)", r[len(r)-71:])}).Next()
			if err != nil || o.GetResourceUri() != r {
				b.Fatal(o, err)
			}
		}
	})

	b.Run("attest-and-revoke", func(b *testing.B) {
		for b.Loop() {
			o, err := g.Grafeas.CreateOccurrence(ctxFor(b), &grafeaspb.CreateOccurrenceRequest{Parent: "projects/p",
				Occurrence: attestation(note, imageA, []byte("p"), []byte("s"))})
			if err != nil {
				b.Fatal(err)
			}
			if err := g.Grafeas.DeleteOccurrence(ctxFor(b), &grafeaspb.DeleteOccurrenceRequest{Name: o.GetName()}); err != nil {
				b.Fatal(err)
			}
		}
	})

	b.Run("page-of-the-project", func(b *testing.B) {
		c := grafeaspb.NewGrafeasClient(g.Conn())
		for b.Loop() {
			r, err := c.ListOccurrences(ctxFor(b), &grafeaspb.ListOccurrencesRequest{Parent: "projects/p", PageSize: 1000})
			if err != nil || len(r.GetOccurrences()) != 1000 {
				b.Fatal(err)
			}
		}
	})
}

func image(i int) string {
	return fmt.Sprintf("us-docker.pkg.dev/p/r/app-%d@sha256:%x", i%100, sha256.Sum256(fmt.Append(nil, i)))
}

func scan(i, findings int) []*grafeaspb.Occurrence {
	out := []*grafeaspb.Occurrence{attestation(note, image(i), payloadFor("us-docker.pkg.dev/p/r/app", digestA), make([]byte, 72))}
	for j := range findings {
		out = append(out, vulnerability("https://"+image(i), fmt.Sprintf("CVE-2026-%d", (i*31+j*97)%20_000)))
	}
	return out
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
