package referrers_test

import (
	"testing"

	"go.uber.org/goleak"
)

// Whatever the tests did, no goroutine outlives them, but for one that the
// registry of some of them never ends.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/docker/go-events.(*Broadcaster).run"))
}
