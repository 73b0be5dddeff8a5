package waiting_test

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/attestor-gate/attestor/internal/waiting"
)

func TestNotice(t *testing.T) {
	for name, tt := range map[string]struct {
		takes time.Duration
		then  string // what it is waited for after two minutes; "": the same
		want  string
	}{
		"an answer at once": {0, "", ""},
		"an answer in time": {time.Second - 1, "", ""},
		"a second":          {time.Second + 1, "", "waiting for the scan of r/a:1, at most 10m\n"},
		"a little later":    {time.Minute, "", "waiting for the scan of r/a:1, at most 10m\n"},
		"more than a minute": {time.Minute + 2*time.Second, "", "waiting for the scan of r/a:1, at most 10m\n" +
			"still waiting for the scan of r/a:1: 1m1s of at most 10m\n"},
		"the first line early": {0, "the scan of r/a:1", "waiting for the scan of r/a:1, at most 10m\n"},
		"something else then":  {time.Minute, "the service", "waiting for the scan of r/a:1, at most 10m\nwaiting for the service, at most 10m\n"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b bytes.Buffer
				n := waiting.Start(&b, "the scan of r/a:1", 10*time.Minute)
				time.Sleep(tt.takes)
				synctest.Wait()
				if tt.then != "" {
					n.For(tt.then)
					n.For(tt.then) // the same again says nothing
				}
				n.Stop()
				if b.String() != tt.want {
					t.Errorf("after %v it said %q, want %q", tt.takes, b.String(), tt.want)
				}
			})
		})
	}
}
