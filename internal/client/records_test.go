package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/client"
	"github.com/attestor-gate/attestor/internal/event"
	"github.com/attestor-gate/attestor/internal/filter"
)

// A service that names the same pages again and again is an error, after what they held: in a circle of one page as of
// two, in every list.
func TestListsHaveAnEnd(t *testing.T) {
	for name, circle := range map[string]map[string]string{
		"one page": {"": "a", "a": "a"}, "two pages": {"": "a", "a": "b", "b": "a"},
	} {
		asked := 0
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			// A client that goes round for ever would be seen by the number of its questions, and is then stopped.
			if asked++; asked > 100 {
				w.WriteHeader(http.StatusNotFound)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			list := []struct{}{{}}
			_ = json.NewEncoder(w).Encode(map[string]any{
				"decisions": list, "records": list, "revocations": list, "changes": list, "events": list,
				"nextPageToken": circle[r.URL.Query().Get("pageToken")],
			})
		}))
		defer srv.Close()
		c, err := client.New(client.Options{Server: srv.URL, Notice: io.Discard})
		if err != nil {
			t.Fatal(err)
		}

		check := func(list string, items int, err error) {
			t.Helper()
			if asked != len(circle) || items != len(circle) || attestor.KindOf(err) != attestor.Upstream {
				t.Errorf("%s, %s: asked %d times, %d items, %v; want %d of each and an error", name, list, asked, items, err, len(circle))
			}
			asked = 0
		}
		ctx := t.Context()
		check(countedWith("decisions", c.Decisions(ctx, filter.Filter{})))
		check(countedWith("records", c.Records(ctx, filter.Filter{})))
		check(countedWith("revocations", c.Revocations(ctx, filter.Filter{})))
		check(countedWith("policy changes", c.PolicyChanges(ctx)))
		check(countedWith("events", c.Events(ctx, event.Filter{})))
	}
}

// countedWith is how many items a list has before its error.
func countedWith[T any](list string, all iter.Seq2[T, error]) (name string, items int, err error) {
	for _, e := range all {
		if e != nil {
			return list, items, e
		}
		items++
	}
	return list, items, nil
}

// A list is read page by page, with the same question each time; a page that
// cannot be read ends it with an error.
func TestDecisionsArePaged(t *testing.T) {
	var asked []url.Values
	broken := false
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Query())
		page := map[string]any{"decisions": []attestor.Decision{{ID: "1"}, {ID: "2"}}, "nextPageToken": "more"}
		if r.URL.Query().Get("pageToken") == "more" {
			if broken {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			page = map[string]any{"decisions": []attestor.Decision{{ID: "3"}}}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(page)
	}))
	defer srv.Close()
	c, err := client.New(client.Options{Server: srv.URL, Notice: io.Discard})
	if err != nil {
		t.Fatal(err)
	}

	read := func() (ids string, err error) {
		q := filter.Filter{Image: "r/a:1", Verdict: attestor.Deny, Since: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)}
		for d, e := range c.Decisions(t.Context(), q) {
			ids, err = ids+d.ID, e
		}
		return ids, err
	}
	if ids, err := read(); ids != "123" || err != nil {
		t.Errorf("read %q, %v", ids, err)
	}
	for _, q := range asked {
		if q.Get("image") != "r/a:1" || q.Get("verdict") != "deny" || q.Get("since") != "2026-11-01T00:00:00Z" || q.Has("until") || q.Has("policy") {
			t.Errorf("asked %v", q)
		}
	}
	if len(asked) != 2 {
		t.Errorf("asked %d times", len(asked))
	}

	broken = true
	if ids, err := read(); ids != "12" || err == nil {
		t.Errorf("read %q, %v, want an error after two", ids, err)
	}
}

// answering is a client of a service that answers everything with one status and body.
func answering(t *testing.T, status int, media, body string) (c *client.Client, asked *[]string) {
	t.Helper()
	asked = &[]string{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.URL.EscapedPath())
		w.Header().Set("Content-Type", media)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(srv.Close)

	c, err := client.New(client.Options{Server: srv.URL, Notice: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	return c, asked
}

// reads are what asks for one document by an id.
func reads(ctx context.Context, c *client.Client, id string) map[string]error {
	_, record := c.Record(ctx, id)
	_, text := c.PolicyText(ctx, id)
	_, revocation := c.Revocation(ctx, id)
	_, proof := c.Proof(ctx, id)
	return map[string]error{"Record": record, "PolicyText": text, "Revocation": revocation, "Proof": proof}
}

// A refusal has the kind that the record itself would have answered, and the exit code of whose fault it is.
func TestRefusalsHaveTheirKind(t *testing.T) {
	for status, want := range map[int]struct {
		kind attestor.Kind
		code int
	}{
		http.StatusBadRequest:            {attestor.Invalid, attestor.ExitUsage},
		http.StatusUnauthorized:          {attestor.Unauthenticated, attestor.ExitUsage},
		http.StatusForbidden:             {attestor.Forbidden, attestor.ExitUsage},
		http.StatusNotFound:              {attestor.NotFound, attestor.ExitUsage},
		http.StatusMethodNotAllowed:      {attestor.Invalid, attestor.ExitUsage},
		http.StatusRequestEntityTooLarge: {attestor.TooLarge, attestor.ExitUsage},
		http.StatusTooManyRequests:       {attestor.Unavailable, attestor.ExitError},
		http.StatusInternalServerError:   {attestor.Unavailable, attestor.ExitError},
		http.StatusNotImplemented:        {attestor.Unsupported, attestor.ExitError},
		http.StatusServiceUnavailable:    {attestor.Unavailable, attestor.ExitError},
	} {
		c, _ := answering(t, status, "application/problem+json", `{"title":"refused","detail":"because"}`)
		for name, err := range reads(t.Context(), c, "1") {
			e, ok := errors.AsType[*client.Error](err)
			if !ok || attestor.KindOf(err) != want.kind || e.ExitCode != want.code {
				t.Errorf("%d: %s: %v of kind %v, want kind %v and exit code %d", status, name, err, attestor.KindOf(err), want.kind, want.code)
			}
		}

		// An answer of something in front of the gate says nothing of the record.
		c, _ = answering(t, status, "text/html", "<h1>refused</h1>")
		for name, err := range reads(t.Context(), c, "1") {
			if attestor.KindOf(err) != attestor.Upstream {
				t.Errorf("%d of something else: %s: %v of kind %v, want kind %v", status, name, err, attestor.KindOf(err), attestor.Upstream)
			}
		}
	}
}

// A document about another id, or about none, is not believed.
func TestRecordsOfAnotherIDAreRefused(t *testing.T) {
	for _, body := range []string{
		`{"id":"2","verdict":"pass"}`, `{"verdict":"pass"}`, `{}`, `null`, `{"decisions":[{"id":"1","verdict":"pass"}]}`,
	} {
		c, _ := answering(t, http.StatusOK, "application/json", body)
		record, err := c.Record(t.Context(), "1")
		if attestor.KindOf(err) != attestor.Upstream || record.Decision.Verdict != "" {
			t.Errorf("Record is answered %s: %+v, %v", body, record.Decision, err)
		}
		revocation, err := c.Revocation(t.Context(), "1")
		if attestor.KindOf(err) != attestor.Upstream || revocation.ID != "" {
			t.Errorf("Revocation is answered %s: %+v, %v", body, revocation, err)
		}
		if text, err := c.PolicyText(t.Context(), "1"); attestor.KindOf(err) != attestor.Upstream || len(text) != 0 {
			t.Errorf("PolicyText is answered %s: %q, %v", body, text, err)
		}
	}

	c, _ := answering(t, http.StatusOK, "application/json", `{"id":"1","verdict":"pass","text":"kind: GatePolicy"}`)
	for name, err := range reads(t.Context(), c, "1") {
		if err != nil {
			t.Errorf("%s, about the id that was asked for: %v", name, err)
		}
	}
}

// An id never makes the path of another resource.
func TestIDsStayInTheirSegment(t *testing.T) {
	c, asked := answering(t, http.StatusOK, "application/json", `{"id":"","verdict":"pass","text":"kind: GatePolicy"}`)
	for _, id := range []string{"", ".", ".."} {
		for name, err := range reads(t.Context(), c, id) {
			if attestor.KindOf(err) != attestor.NotFound {
				t.Errorf("%s(%q): %v of kind %v, want kind %v", name, id, err, attestor.KindOf(err), attestor.NotFound)
			}
		}
	}
	if len(*asked) != 0 {
		t.Errorf("asked for %q", *asked)
	}

	for id, want := range map[string]string{"../policies": "..%2Fpolicies", "a/b": "a%2Fb", "a?b": "a%3Fb", "...": "..."} {
		*asked = nil
		reads(t.Context(), c, id)
		for _, path := range *asked {
			if !strings.HasPrefix(path, "/v1/decisions/"+want) && path != "/v1/revocations/"+want {
				t.Errorf("asked for %s, want the segment %s", path, want)
			}
		}
		if len(*asked) != 4 {
			t.Errorf("%q was asked for by %q", id, *asked)
		}
	}
}

// A proxy's own document is no answer: read as one, it would be an empty record, or a revocation that found nothing.
func TestAnotherDocumentIsNoAnswer(t *testing.T) {
	c, _ := answering(t, http.StatusOK, "application/json", `{"status": "ok"}`)
	img, err := attestor.ParseImage("r.example/a@sha256:" + strings.Repeat("a", 64))
	if err != nil {
		t.Fatal(err)
	}

	_, revoke := c.Revoke(t.Context(), img, "a reason that is long enough")
	_, redrive := c.Redrive(t.Context(), event.Filter{})
	_, simulate := c.Simulate(t.Context(), []byte("kind: GatePolicy"), client.SimulationPage{})
	for call, err := range map[string]error{
		"Decisions": last(c.Decisions(t.Context(), filter.Filter{})), "Records": last(c.Records(t.Context(), filter.Filter{})),
		"Events": last(c.Events(t.Context(), event.Filter{})), "Revoke": revoke, "Redrive": redrive, "Simulate": simulate,
	} {
		if err == nil {
			t.Errorf("%s takes it for an answer", call)
		}
	}
}

// last is the error that a list ends with.
func last[T any](list iter.Seq2[T, error]) (err error) {
	for _, e := range list {
		err = e
	}
	return err
}
