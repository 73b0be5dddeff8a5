package verify_test

import (
	"testing"

	"go.uber.org/goleak"
)

// Nothing that a hostile registry does may leave a goroutine behind. Kept
// connections of the tests' own clients are not meant.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("internal/poll.runtime_pollWait"),
		goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"),
		goleak.IgnoreTopFunction("github.com/docker/go-events.(*Broadcaster).run"), // distribution never ends it
	)
}
