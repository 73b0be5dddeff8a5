package server_test

import (
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/server"
)

// TestNobodysMessageIsAnothersDuplicate: whoever sends a message names its id and its subscription. One that a caller had
// no right for is acknowledged, and must not make the right caller's message a duplicate.
func TestNobodysMessageIsAnothersDuplicate(t *testing.T) {
	w := newWorld()
	base := serve(t, w, func(c *server.Config) {
		(&parts{w: w}).with(c)
		c.Identity = as{
			"pubsub": caller(t, "pubsub", "registry.example/team/**", attestor.ActionRejudge, attestor.ActionAttest),
			"other":  caller(t, "other", "registry.example/other/**", attestor.ActionRejudge),
		}
	})
	body := pushBody(t, "17", `{"action":"INSERT","digest":"`+repository+"@"+digestA+`"}`, nil)

	if got := send(t, "other", "POST", base+"/v1/events", body); got.status != 204 || len(w.asked) != 0 {
		t.Errorf("without the right: status %d, asked %v", got.status, w.asked)
	}
	for range 2 { // the second is a duplicate
		if got := send(t, "pubsub", "POST", base+"/v1/events", body); got.status != 204 || len(w.standing) != 1 || len(w.asked) != 1 {
			t.Errorf("with the right: status %d, attestations %v, asked %v", got.status, w.standing, w.asked)
		}
	}
}
