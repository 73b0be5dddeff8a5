package audit_test

import (
	"fmt"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/testkit/postgres"
)

// ownCPU is what this process has used.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkRecording records decisions as the gate does, 64 at once and alone, with and
// without the log. An attested one is begun and finished; a denied one is finished. The
// databases sync each commit.
func BenchmarkRecording(b *testing.B) {
	now := clockAt(day).now
	for _, engine := range []struct {
		name string
		open func(b *testing.B) audit.Config
	}{
		{"sqlite", func(b *testing.B) audit.Config {
			return audit.Config{SQLite: filepath.Join(b.TempDir(), "r.db"), Now: now}
		}},
		{"postgresql", func(b *testing.B) audit.Config {
			pg, err := postgres.NewDurable()
			if err != nil {
				b.Skip(err)
			}
			b.Cleanup(func() { _ = pg.Close() })
			dsn, err := pg.Database("bench")
			if err != nil {
				b.Fatal(err)
			}
			return audit.Config{PostgreSQL: dsn, Now: now}
		}},
	} {
		b.Run(engine.name, func(b *testing.B) {
			c := engine.open(b)
			c.Timeout = time.Minute
			s := open(b, c)
			var ids atomic.Int64
			for _, kind := range []string{"attested", "denied"} {
				for _, at := range []int{1, 64} {
					for _, log := range []string{"unlogged", "logged"} {
						b.Run(fmt.Sprintf("%s/%d-at-once/%s", kind, at, log), func(b *testing.B) {
							b.SetParallelism(at)
							one := func() {
								r := record(1, attestor.Deny, func(r *attestor.Record) { r.Decision.ID = fmt.Sprint("b-", ids.Add(1)) })
								if kind == "attested" {
									attest(&r)
									if err := s.Begin(b.Context(), r); err != nil {
										b.Error(err)
									}
								}
								if err := s.FinishLogged(b.Context(), r, log == "logged"); err != nil {
									b.Error(err)
								}
							}
							// On a busy machine it tells more than the time. PostgreSQL's own is not in it. The search index is behind
							// what is recorded: its work is measured with the decisions that it is for, and not with those that follow.
							before := ownCPU()
							defer func() {
								b.StopTimer()
								if err := s.IndexAll(b.Context()); err != nil {
									b.Error(err)
								}
								b.ReportMetric(float64((ownCPU()-before).Microseconds())/float64(b.N), "cpu-us/op")
							}()
							if at == 1 {
								for range b.N {
									one()
								}
								return
							}
							b.RunParallel(func(p *testing.PB) {
								for p.Next() {
									one()
								}
							})
						})
					}
				}
			}
		})
	}
}
