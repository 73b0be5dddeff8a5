package server_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/server"
)

// TestRevocationsOfOthersAreNotListed: a list has what its caller may read, whether the store heeds the filter or not.
func TestRevocationsOfOthersAreNotListed(t *testing.T) {
	for _, heeds := range []bool{true, false} {
		w := newWorld()
		p := &parts{w: w}
		base := serve(t, w, func(c *server.Config) {
			p.with(c)
			list := c.History.Revocations
			c.History.Revocations = func(ctx context.Context, f server.DecisionFilter) (server.RevocationPage, error) {
				if !heeds {
					f.Visible = func(string) bool { return true }
				}
				return list(ctx, f)
			}
			c.Identity = as{
				"all":    caller(t, "all", "**", attestor.ActionRead),
				"owner":  caller(t, "owner", repository, attestor.ActionRead),
				"others": caller(t, "others", "registry.example/other/**", attestor.ActionRead),
			}
		})
		p.revoke("r000001")

		for who, want := range map[string]int{"all": 1, "owner": 1, "others": 0} {
			got := send(t, who, "GET", base+"/v1/revocations?repository=app&since=9999d", "")
			var page server.RevocationPage
			if err := json.Unmarshal([]byte(got.body), &page); err != nil || got.status != 200 || len(page.Revocations) != want {
				t.Errorf("%s sees %d revocations, want %d: %v, %d %s", who, len(page.Revocations), want, err, got.status, got.body)
			}
		}
		if got := send(t, "all", "GET", base+"/v1/revocations?verdict=deny", ""); got.status != 400 || !strings.Contains(got.body, "verdict") {
			t.Errorf("a filter that revocations do not have: %d %s", got.status, got.body)
		}
	}
}

// TestHistoryIsInPages: pages of both lists follow each other by their tokens, and a token of one list is refused by the other.
func TestHistoryIsInPages(t *testing.T) {
	w := newWorld()
	p := &parts{w: w}
	base := serve(t, w, p.with)
	for n := range 5 {
		p.revoke(fmt.Sprintf("r%06d", n))
		c := attestor.PolicyChange{ID: fmt.Sprintf("p%06d", n), Time: t0, Cause: attestor.PoliciesReloaded, Policies: []attestor.PolicyInForce{
			{Name: "production", Digest: attestor.DigestOf([]byte{byte(n)}), Source: "production.yaml"},
		}}
		if _, err := w.store().RecordPolicies(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}

	var tokens []string
	for path, prefix := range map[string]string{"/v1/revocations": "r", "/v1/policy-changes": "p"} {
		var ids, sizes []string
		for token := ""; ; {
			got := send(t, "admin", "GET", base+path+"?pageSize=2&pageToken="+token, "")
			var page struct {
				Revocations, Changes []struct{ ID string }
				NextPageToken        string
			}
			if err := json.Unmarshal([]byte(got.body), &page); err != nil || got.status != 200 {
				t.Fatalf("%s: %d %s, %v", path, got.status, got.body, err)
			}
			items := append(page.Revocations, page.Changes...)
			for _, one := range items {
				ids = append(ids, one.ID)
			}
			sizes = append(sizes, fmt.Sprint(len(items)))
			if token = page.NextPageToken; token == "" {
				break
			}
			tokens = append(tokens, path, token)
		}
		want := "X4 X3 X2 X1 X0"
		if got := strings.Join(ids, " "); got != strings.ReplaceAll(want, "X", prefix+"00000") || strings.Join(sizes, " ") != "2 2 1" {
			t.Errorf("%s lists %s in pages of %v", path, got, sizes)
		}
	}

	for i := 0; i < len(tokens); i += 2 {
		other := map[string]string{"/v1/revocations": "/v1/policy-changes", "/v1/policy-changes": "/v1/revocations"}[tokens[i]]
		for _, path := range []string{other, "/v1/decisions"} {
			if got := send(t, "admin", "GET", base+path+"?pageToken="+tokens[i+1], ""); got.status != 400 {
				t.Errorf("%s takes a token of %s: %d %s", path, tokens[i], got.status, got.body)
			}
		}
	}
	for _, bad := range []string{"pageSize=0", "pageSize=x", "pageToken=x", "since=1d"} {
		if got := send(t, "admin", "GET", base+"/v1/policy-changes?"+bad, ""); got.status != 400 {
			t.Errorf("%s: %d %s", bad, got.status, got.body)
		}
	}
}

// TestLogAgreesWithReady: of a condition without which images are decided on, neither the answer nor the log says that
// the gate is not ready; of another, both do.
func TestLogAgreesWithReady(t *testing.T) {
	for _, informational := range []bool{true, false} {
		var b bytes.Buffer
		base := serve(t, newWorld(), func(c *server.Config) {
			c.Logger = slog.New(slog.NewTextHandler(&b, nil))
			c.Ready = func(context.Context) []server.Condition {
				return []server.Condition{{Name: "policies", Err: errBoom, Informational: informational}}
			}
		})
		got := send(t, "", "GET", base+"/ready", "")
		said := b.String()
		if (got.status == 200) != informational || strings.Contains(said, "not ready") == informational || !strings.Contains(said, "condition=policies") {
			t.Errorf("informational %v: %d %s, and the log says %s", informational, got.status, got.body, said)
		}

		// The clock stands still: the condition is not looked at again, and not logged again.
		send(t, "", "GET", base+"/ready", "")
		if again := b.String(); strings.Count(again, "condition=policies") != 1 {
			t.Errorf("informational %v: asked again, the log says %s", informational, again)
		}
	}
}

// Reading a revocation takes no slot of those who wait for a decision.
func TestARevocationIsReadBesideDecisions(t *testing.T) {
	w := newWorld()
	p := &parts{w: w}
	w.hold, w.entered = make(chan struct{}), make(chan struct{})
	s := newServer(t, w, func(c *server.Config) {
		p.with(c)
		c.Limits.Concurrent, c.Limits.Queue = 1, 1
		c.Identity = as{"builder": caller(t, "builder", "**", attestor.ActionAttest, attestor.ActionRead)}
	})
	s.SetQueueWait(time.Millisecond)
	srv := httptest.NewServer(s.Handler())
	defer srv.Close()
	p.revoke("r000001")

	decided := make(chan answer)
	go func() { decided <- send(t, "builder", "POST", srv.URL+"/v1/attest", image(":v1")) }()
	<-w.entered
	if got := send(t, "builder", "GET", srv.URL+"/v1/revocations/r000001", ""); got.status != 200 {
		t.Errorf("%d %s", got.status, got.body)
	}
	close(w.hold)
	<-decided
}
