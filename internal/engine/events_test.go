package engine_test

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/v2/pstest"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/event"
	"github.com/attestor-gate/attestor/internal/samples"
)

// A told is one event as a webhook got it.
type told struct {
	header   http.Header
	body     []byte
	unsigned error // why the signature was not good when the event arrived
	event    struct {
		SpecVersion, ID, Source, Type, Subject string
		Time                                   time.Time
		Data                                   struct {
			Decision, Verdict, Reason string
			Codes                     []string
			Labels                    map[string]string
			Caller                    *struct{ Subject string }
			Reasons                   []struct{ Code, Message string }
		}
	}
}

// A hook is a webhook's receiver: TLS on this machine, by a certificate of its own.
type hook struct {
	*httptest.Server
	got    chan told
	secret string
}

func newHook(t *testing.T, answer func(w http.ResponseWriter, n int)) *hook {
	t.Helper()
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	h := &hook{got: make(chan told, 20_000), secret: "whsec_" + base64.StdEncoding.EncodeToString(key)}
	verifier, err := standardwebhooks.NewWebhook(h.secret)
	if err != nil {
		t.Fatal(err)
	}
	var n atomic.Int64
	h.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		// Standard Webhooks allow a signature to be five minutes old when it arrives. The test may look at it later.
		got := told{header: r.Header, body: body, unsigned: verifier.Verify(body, r.Header)}
		_ = json.Unmarshal(body, &got.event) // what is not JSON has no id
		if answer != nil {
			answer(w, int(n.Add(1)))
		}
		h.got <- got
	}))
	t.Cleanup(h.Close)
	return h
}

// receiver is the hook in a configuration, with its files in dir.
func (h *hook) receiver(t *testing.T, dir, name string) config.Receiver {
	t.Helper()
	secret, ca := filepath.Join(dir, name+".secret"), filepath.Join(dir, name+".pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: h.Certificate().Raw})
	if err := os.WriteFile(secret, []byte(h.secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ca, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	return config.Receiver{Name: name, Webhook: &config.Webhook{URL: h.URL + "/events?token=t", SecretFile: secret, CA: ca}}
}

// next is the next event, whose signature was good when it arrived.
func (h *hook) next(t *testing.T) told {
	t.Helper()
	select {
	case got := <-h.got:
		if got.unsigned != nil {
			t.Errorf("%s: %v", got.body, got.unsigned)
		}
		return got
	case <-time.After(time.Minute):
		t.Fatal("no event arrives")
		return told{}
	}
}

// The whole way of one denial: judged, recorded, sent, signed. It carries neither what
// callers wrote nor who they are, and a pass carries nothing.
func TestADenialIsTold(t *testing.T) {
	t.Parallel()
	h := newHook(t, nil)
	full := newHook(t, nil)
	w := newWorld(t, worldOptions{policy: anywherePolicy, config: func(c *config.Config) {
		dir := t.TempDir()
		all := full.receiver(t, dir, "full")
		all.Include = []string{"labels", "text", "callers"}
		c.Events = &config.Events{Source: "https://gate.example", Receivers: []config.Receiver{h.receiver(t, dir, "chat"), all}}
	}})

	base := baseImage(t)
	good := w.push("app/good", "v1", imageOn(t, base, "65532", entry{"app", "1"}))
	bad := w.push("app/bad", "v1", imageOn(t, base, "", entry{"app", "2"}))
	w.scan(good, samples.Clean)
	w.scan(bad, samples.Clean)
	if a := w.post(good, false); a.decision.Verdict != attestor.Pass {
		t.Fatalf("%s", a.body)
	}
	a := w.do(http.MethodPost, "/v1/attest", `{"image": "`+bad+`", "labels": {"team": "payments-secret"}}`)
	var d attestor.Decision
	if err := json.Unmarshal(a.body, &d); err != nil || d.Verdict != attestor.Deny {
		t.Fatalf("%s, %v", a.body, err)
	}

	got := h.next(t)
	ev := got.event
	want := "decision-denied-" + d.ID
	if ev.SpecVersion != "1.0" || ev.Source != "https://gate.example" || ev.Type != "decision.denied" || ev.ID != want ||
		ev.Subject != d.Image.Reference || ev.Data.Decision != d.ID || ev.Data.Verdict != "deny" || len(ev.Data.Codes) == 0 {
		t.Errorf("event %s, want one that tells of %s", got.body, d.ID)
	}
	if id := got.header.Get("webhook-id"); id != want {
		t.Errorf("webhook-id is %q, want %q", id, want)
	}
	if kind := got.header.Get("Content-Type"); kind != "application/cloudevents+json; charset=utf-8" {
		t.Errorf("Content-Type %q", kind)
	}
	for _, private := range []string{"payments-secret", d.Refusals()[0].Message, `"caller"`} {
		if strings.Contains(string(got.body), private) {
			t.Errorf("the event holds %q: %s", private, got.body)
		}
	}

	// Whoever is configured to see more sees it.
	got = full.next(t)
	if ev = got.event; ev.Data.Labels["team"] != "payments-secret" || ev.Data.Caller == nil ||
		ev.Data.Reasons[0].Message != d.Refusals()[0].Message {
		t.Errorf("event %s lacks what its receiver includes", got.body)
	}

	w.stop()
	if len(h.got) != 0 {
		t.Errorf("a pass was told too, or a denial twice: %s", (<-h.got).body)
	}
}

// A webhook that does not answer holds up no answer of the gate, and gets its events once it does.
func TestADeafReceiverHoldsUpNoAnswer(t *testing.T) {
	t.Parallel()
	hears := make(chan struct{})
	h := newHook(t, func(http.ResponseWriter, int) { <-hears })
	hear := sync.OnceFunc(func() { close(hears) })
	t.Cleanup(hear)
	w := newWorld(t, worldOptions{policy: anywherePolicy, config: func(c *config.Config) {
		c.Events = &config.Events{Source: "https://gate.example", Receivers: []config.Receiver{h.receiver(t, t.TempDir(), "deaf")}}
	}})

	want := map[string]bool{}
	for n := range 3 { // each would wait for the one before it
		bad := w.push("app/bad", fmt.Sprint("v", n), imageOn(t, baseImage(t), "", entry{"app", fmt.Sprint(n)}))
		w.scan(bad, samples.Clean)
		a := w.post(bad, false)
		if a.decision.Verdict != attestor.Deny {
			t.Fatalf("%s", a.body)
		}
		want["decision-denied-"+a.decision.ID] = true
	}
	if len(h.got) != 0 {
		t.Fatal("the receiver has heard: this test would prove nothing")
	}

	hear()
	for len(want) > 0 {
		delete(want, h.next(t).event.ID)
	}
}

// What would lose events, or send them where they must not go, is refused at load.
func TestEventsAreRefusedAtLoad(t *testing.T) {
	t.Parallel()
	const good = `{name: chat, webhook: {url: "https://chat.example/", secretFile: s}}`
	for text, want := range map[string]string{
		"events: {source: 'https://gate.example', receivers: [" + good + "]}":                                                         "",
		"events: {source: 'https://gate.example', receivers: [{name: bus, topic: projects/p/topics/t, types: [override.used]}]}":      "",
		"events: {receivers: [" + good + "]}":                                                                                         "events.source",
		"events: {source: gate, receivers: [" + good + "]}":                                                                           "events.source",
		"events: {source: 'https://gate.example', receivers: []}":                                                                     "events.receivers",
		"events: {source: 'https://gate.example', receivers: [" + good + ", " + good + "]}":                                           "duplicate",
		"events: {source: 'https://gate.example', receivers: [{name: Chat, topic: projects/p/topics/t}]}":                             "name",
		"events: {source: 'https://gate.example', receivers: [{name: chat}]}":                                                         "want one of",
		"events: {source: 'https://gate.example', receivers: [{name: rows, table: projects/p/topics/t}]}":                             "",
		"events: {source: 'https://gate.example', receivers: [{name: rows, table: rows}]}":                                            "table",
		"events: {source: 'https://gate.example', receivers: [{name: rows, table: projects/p/topics/t, topic: projects/p/topics/t}]}": "want one of",
		"events: {source: 'https://gate.example', receivers: [{name: rows, table: projects/p/topics/t, types: [override.used]}]}":     "types",
		"events: {source: 'https://gate.example', receivers: [{name: bus, topic: t}]}":                                                "topic",
		"events: {source: 'https://gate.example', receivers: [{name: bus, topic: projects/p/topics/t, types: [everything]}]}":         "types",
		"events: {source: 'https://gate.example', receivers: [{name: bus, topic: projects/p/topics/t, include: [secrets]}]}":          "include",
		"events: {source: 'https://gate.example', receivers: [{name: c, webhook: {url: 'http://c.example/', secretFile: s}}]}":        "https",
		"events: {source: 'https://gate.example', receivers: [{name: c, webhook: {url: 'https://c.example/'}}]}":                      "secretFile",
		"events: {source: 'https://gate.example', receivers: [{name: c, webhook: {url: 'https://u:p@c.example/', secretFile: s}}]}":   "user name",
	} {
		_, err := loadText(t, leastConfig+text+"\n")
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}

	none := strings.Replace(leastConfig, "{sqlite: decisions.db}", "{none: true}", 1)
	if _, err := loadText(t, none+"events: {source: 'https://gate.example', receivers: ["+good+"]}\n"); err == nil || !strings.Contains(err.Error(), "store") {
		t.Errorf("without a store: %v", err)
	}
}

// Decisions go to the topic of rows, passes and dry runs too, each as a row.
func TestDecisionsAreRows(t *testing.T) {
	bus := pstest.NewServer()
	t.Cleanup(func() { _ = bus.Close() })
	t.Setenv("PUBSUB_EMULATOR_HOST", bus.Addr)
	const topic = "projects/acme/topics/gate-rows"
	if _, err := bus.GServer.CreateTopic(t.Context(), &pubsubpb.Topic{Name: topic}); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, worldOptions{policy: anywherePolicy, config: func(c *config.Config) {
		c.Events = &config.Events{Source: "https://gate.example", Receivers: []config.Receiver{{Name: "rows", Table: topic, Include: []string{"callers"}}}}
	}})
	image := w.push("app/good", "v1", imageOn(t, baseImage(t), "65532", entry{"app", "1"}))
	w.scan(image, samples.Clean)
	want := map[string]bool{}
	for _, dry := range []bool{true, false} {
		a := w.post(image, dry)
		if a.decision.Verdict != attestor.Pass {
			t.Fatalf("%s", a.body)
		}
		want["decision-recorded-"+a.decision.ID] = dry
	}

	deadline := time.Now().Add(time.Minute)
	for len(bus.Messages()) < len(want) && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond)
	}
	w.stop()
	for _, m := range bus.Messages() {
		var row event.Row
		if err := json.Unmarshal(m.Data, &row); err != nil {
			t.Fatal(err)
		}
		dry, ok := want[row.EventID]
		if !ok || row.DryRun != dry || row.Verdict != "pass" || row.Digest == "" || row.Caller == "" || row.Policy == "" {
			t.Errorf("row %s", m.Data)
		}
		delete(want, row.EventID)
	}
	if len(want) > 0 {
		t.Errorf("no rows of %v", want)
	}
}
