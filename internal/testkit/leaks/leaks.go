// Package leaks finds goroutines that tests of the whole program leave running.
package leaks

import (
	"fmt"
	"net/http"
	"os"

	"go.uber.org/goleak"
)

// Code is the exit code of tests that ended with code: 1 if they passed and left a
// goroutine running.
func Code(code int) int {
	// Idle connections of the default client are no leak of a test's.
	http.DefaultClient.CloseIdleConnections()

	// A library of Google's clients starts one when it is linked, and never ends it.
	err := goleak.Find(
		goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"),
		// One that receives from Pub/Sub looks at its end only every half minute.
		goleak.IgnoreAnyFunction("cloud.google.com/go/pubsub/v2.(*messageIterator).streamKeepAliveHandler"),
	)
	if err == nil {
		return code
	}

	fmt.Fprintln(os.Stderr, err)
	return max(code, 1)
}
