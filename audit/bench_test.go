package audit_test

import (
	"fmt"
	"iter"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

const benchHistory = 200_000

// history is many decisions on few thousand repositories, one in five refused
// and one in a thousand on an index.
func history(n int) iter.Seq[attestor.Record] {
	return func(yield func(attestor.Record) bool) {
		for i := range n {
			verdict := attestor.Pass
			switch {
			case i%5 == 0:
				verdict = attestor.Deny
			case i%97 == 0:
				verdict = attestor.Undecided
			}

			r := record(i, verdict, func(r *attestor.Record) {
				img, err := attestor.ParseImage(fmt.Sprintf("us-docker.pkg.dev/acme/team-%d/service-%d@%s", i%40, i%3000, digest(i%60_000)))
				if err != nil {
					panic(err)
				}

				r.Evidence.Image, r.Decision.Image.Reference, r.Decision.Image.Digest = img, img.String(), img.Digest()
				r.Evidence.Platforms[0].Digest = img.Digest()
				r.Decision.Platforms[0].Digest = img.Digest()
				if i%1000 == 0 {
					r.Evidence.Index = true
					r.Evidence.Platforms[0].Digest = digest(1_000_000 + i)
				}

				r.Decision.Policy.Name = fmt.Sprint("policy-", i%7)
			})

			if !yield(r) {
				return
			}
		}
	}
}

func BenchmarkStore(b *testing.B) {
	now := clockAt(day.AddDate(1, 0, 0)).now
	for _, engine := range []struct {
		name string
		open func(b *testing.B) audit.Config
	}{
		{"sqlite", func(b *testing.B) audit.Config {
			return audit.Config{SQLite: filepath.Join(b.TempDir(), "r.db"), Now: now}
		}},
		{"postgresql", func(b *testing.B) audit.Config { return audit.Config{PostgreSQL: shared.database(b), Now: now} }},
	} {
		b.Run(engine.name, func(b *testing.B) {
			c := engine.open(b)
			c.Timeout = time.Minute
			s := open(b, c)
			if err := s.Bulk(b.Context(), history(benchHistory)); err != nil {
				b.Fatal(err)
			}

			if strings.HasPrefix(engine.name, "postgres") {
				if _, err := s.Writer().Exec("ANALYZE"); err != nil { //nolint:misspell // SQL's spelling
					b.Fatal(err)
				}
			}

			benchQueries(b, s)
			b.Run("finish", func(b *testing.B) {
				for i := range b.N {
					finish(b, s, record(1, attestor.Deny, func(r *attestor.Record) { r.Decision.ID = fmt.Sprint(b.N, "-", i) }))
				}
			})
		})
	}
}

func benchQueries(b *testing.B, s *audit.Store) {
	ctx := b.Context()
	deep, err := s.List(ctx, audit.Filter{}, 1000, "")
	if err != nil {
		b.Fatal(err)
	}

	middle := day.Add(benchHistory / 2 * time.Minute)
	for _, q := range []struct {
		name, token string
		f           audit.Filter
	}{
		{"newest", "", audit.Filter{}},
		{"second-page", deep.Next, audit.Filter{}},
		{"verdict", "", audit.Filter{Verdict: attestor.Undecided}},
		{"repository", "", audit.Filter{Repository: "us-docker.pkg.dev/acme/team-3/service-1203"}},
		{"pattern", "", audit.Filter{Repository: "us-docker.pkg.dev/acme/team-3/**"}},
		{"pattern-verdict", "", audit.Filter{Repository: "us-docker.pkg.dev/acme/team-3/**", Verdict: attestor.Deny}},
		{"digest", "", audit.Filter{Image: string(digest(31_234))}},
		{"child-digest", "", audit.Filter{Image: string(digest(1_031_000))}},
		{"policy-verdict", "", audit.Filter{Policy: "policy-3", Verdict: attestor.Undecided}},
		{"middle", "", audit.Filter{Until: middle}},
		{"nothing", "", audit.Filter{Policy: "none"}},
		{"overridden", "", audit.Filter{BreakGlass: true}},
	} {
		b.Run("list/"+q.name, func(b *testing.B) {
			for range b.N {
				if _, err := s.List(ctx, q.f, 50, q.token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}

	b.Run("record", func(b *testing.B) {
		for range b.N {
			if _, err := s.Record(ctx, "0199-100000"); err != nil {
				b.Fatal(err)
			}
		}
	})

	b.Run("walk-10000", func(b *testing.B) {
		for range b.N {
			n := 0
			for _, err := range s.Records(ctx, audit.Filter{Since: day.Add((benchHistory - 10_000) * time.Minute)}) {
				if err != nil {
					b.Fatal(err)
				}
				n++
			}

			if n != 10_000 {
				b.Fatalf("walked %d", n)
			}
		}
	})
}
