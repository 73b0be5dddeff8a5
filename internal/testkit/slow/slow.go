// Package slow holds back the tests that take minutes.
package slow

import "os"

// TB is what is needed of a testing.TB, so that no test framework is linked.
type TB interface {
	Helper()
	Skip(args ...any)
}

// Skip skips a test that takes minutes, unless GATE_TEST_ALL=1 asks for every test.
func Skip(tb TB) {
	tb.Helper()
	if os.Getenv("GATE_TEST_ALL") != "1" {
		tb.Skip("slow: runs in make test-all (GATE_TEST_ALL=1)")
	}
}
