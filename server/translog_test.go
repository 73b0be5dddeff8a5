package server_test

import (
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/server"
)

// Checkpoints and tiles tell the ids and times of every decision, and a proof tells of
// one: each is for whoever may read that much.
func TestLogIsForWhoMayReadEverything(t *testing.T) {
	w := newWorld()
	first := serve(t, w, nil)
	send(t, "admin", "POST", first+"/v1/attest", image(":v1"))
	p := &parts{w: w}

	for _, tt := range []struct {
		name, who, path string
		public          bool
		status          int
		body            string
	}{
		{"the checkpoint", "admin", "/log/checkpoint", false, 200, "checkpoint"},
		{"the cosigned checkpoint", "admin", "/log/checkpoint/witnessed", false, 200, "cosigned"},
		{"a tile", "admin", "/log/tile/0/000", false, 200, "tile 0/000"},
		{"a tile of several segments", "admin", "/log/tile/entries/x001/000.p/7", false, 200, "tile entries/x001/000.p/7"},
		{"no such tile", "admin", "/log/tile/0/001", false, 404, ""},
		{"a proof", "admin", "/v1/decisions/d000001/proof", false, 200, "proof of d000001"},
		{"the proof of what is not kept any more", "admin", "/v1/decisions/pruned/proof", false, 200, "proof of pruned"},

		{"a reader of one team: checkpoint", "reader", "/log/checkpoint", false, 403, ""},
		{"a reader of one team: cosigned checkpoint", "reader", "/log/checkpoint/witnessed", false, 403, ""},
		{"a reader of one team: tile", "reader", "/log/tile/0/000", false, 403, ""},
		{"a reader of one team: the proof of what is not kept", "reader", "/v1/decisions/pruned/proof", false, 404, ""},
		{"no right to read", "nobody", "/v1/decisions/d000001/proof", false, 403, ""},
		{"a stranger: checkpoint", "", "/log/checkpoint", false, 401, ""},
		{"a stranger: tile", "", "/log/tile/0/000", false, 401, ""},
		{"a stranger: proof", "", "/v1/decisions/d000001/proof", false, 401, ""},

		{"public: checkpoint", "", "/log/checkpoint", true, 200, "checkpoint"},
		{"a stranger: cosigned checkpoint", "", "/log/checkpoint/witnessed", false, 401, ""},
		{"public: cosigned checkpoint", "", "/log/checkpoint/witnessed", true, 200, "cosigned"},
		{"public: tile", "", "/log/tile/0/000", true, 200, "tile 0/000"},
		{"public: proofs hold decisions, and are not", "", "/v1/decisions/d000001/proof", true, 401, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			base := serve(t, w, func(c *server.Config) { p.with(c); c.Log.Public = tt.public })
			got := send(t, tt.who, "GET", base+tt.path, "")
			if got.status != tt.status || tt.status == 200 && got.body != tt.body || tt.status != 200 && strings.Contains(got.body, "tile 0") {
				t.Errorf("%d %s, want %d %s", got.status, got.body, tt.status, tt.body)
			}
		})
	}

	// Without a signed log the routes say how to have one.
	got := send(t, "admin", "GET", serve(t, w, func(c *server.Config) { p.with(c); c.Log = nil })+"/log/checkpoint", "")
	if got.status != 501 || !strings.Contains(got.body, "log.key") {
		t.Errorf("%d %s", got.status, got.body)
	}
}
