// Package parts decides which tests run on a machine.
package parts

import "os"

// TB is what is needed of a testing.TB, so that no test framework is linked.
type TB interface {
	Helper()
	Skip(args ...any)
}

// Slow skips what takes minutes, unless everything is asked for.
func Slow(tb TB) {
	tb.Helper()
	if os.Getenv("GATE_TEST_ALL") != "1" {
		tb.Skip("slow: runs in make test-all (GATE_TEST_ALL=1)")
	}
}
