package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/v2/pstest"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/attestor-gate/attestor/internal/testkit/corpus"
	"github.com/attestor-gate/attestor/internal/testkit/registries"
	"github.com/attestor-gate/attestor/internal/testkit/slow"
)

const (
	workTopic        = "projects/dev/topics/gate-rejudge"
	workSubscription = "projects/dev/subscriptions/gate-rejudge"
)

// workBus is Google's Pub/Sub stand-in with the gate's own topic. The test carries the messages.
func workBus(t *testing.T) (client *pubsub.Client, env string) {
	t.Helper()
	bus := pstest.NewServer()
	conn, err := grpc.NewClient(bus.Addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	if client, err = pubsub.NewClient(t.Context(), "dev", option.WithGRPCConn(conn)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close(); _ = conn.Close(); _ = bus.Close() })
	_, err = client.TopicAdminClient.CreateTopic(t.Context(), &pubsubpb.Topic{Name: workTopic})
	_, subErr := client.SubscriptionAdminClient.CreateSubscription(t.Context(),
		&pubsubpb.Subscription{Name: workSubscription, Topic: workTopic, AckDeadlineSeconds: 600})
	if err := errors.Join(err, subErr); err != nil {
		t.Fatal(err)
	}
	return client, "PUBSUB_EMULATOR_HOST=" + bus.Addr
}

// TestAuditIsSpread publishes what an audit finds. A gate that gets the messages judges every image, signs nothing, and its
// record says what an audit in one process says.
func TestAuditIsSpread(t *testing.T) {
	t.Parallel()
	host := registries.Serve(t, registries.Memory(false))
	repos := fill(t, host, 3, 40)
	client, busEnv := workBus(t)
	env := append(append(os.Environ(), emulated(t)...), busEnv)
	dir := t.TempDir()
	write(t, dir, "policy.yaml", sweptPolicy)
	work := fmt.Sprintf("rejudge: {topic: %s, subscription: %s}\n", workTopic, workSubscription)
	write(t, dir, "gate.yaml", fmt.Sprintf(sweptConfig, host, "gate.db")+work)
	write(t, dir, "alone.yaml", fmt.Sprintf(sweptConfig, host, "alone.db"))
	run := func(code int, args ...string) string {
		t.Helper()
		cmd := exec.Command(program(t), args...)
		cmd.Dir, cmd.Env = dir, env
		out, err := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != code {
			t.Fatalf("%v ends with %d, want %d: %v\n%s", args, got, code, err, out)
		}
		return string(out)
	}

	// 120 tags in two messages.
	said := run(0, append([]string{"audit", "--config", "gate.yaml", "--spread"}, repos...)...)
	if !strings.Contains(said, "120 references published in 2 messages to "+workTopic) || !strings.Contains(said, "attestor report --since 2") {
		t.Errorf("the audit says %q", said)
	}

	serve := exec.CommandContext(context.WithoutCancel(t.Context()), program(t), "serve", "--config", "gate.yaml")
	serve.Dir, serve.Env = dir, env
	address := listening(t, serve)
	carried := 0
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Minute)
	defer stop()
	sub := client.Subscriber(workSubscription)
	sub.ReceiveSettings.MaxOutstandingMessages = 1
	err := sub.Receive(ctx, func(_ context.Context, m *pubsub.Message) {
		body := strings.Replace(corpus.Push(m.ID, string(m.Data), m.Attributes), "projects/acme/subscriptions/gate", workSubscription, 1)
		resp, err := http.Post(address+"/v1/events", "application/json", strings.NewReader(body)) //nolint:noctx // of this test
		if err != nil {
			t.Error(err)
			stop()
			return
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusNoContent {
			m.Nack()
			return
		}
		m.Ack()
		if carried++; carried == 2 {
			stop()
		}
	})
	if err != nil || carried != 2 {
		t.Fatalf("%d messages, %v", carried, err)
	}

	run(1, append([]string{"audit", "--config", "alone.yaml", "-o", "json", "--output-file", "alone.json"}, repos...)...)
	run(0, "report", "--config", "gate.yaml", "-o", "json", "--output-file", "spread.json")
	want, got := verdicts(t, dir, "alone.json"), verdicts(t, dir, "spread.json")
	if !slices.Equal(want, got) || len(got) != 3*39 {
		t.Errorf("in one process:\n%s\nspread:\n%s", strings.Join(want, "\n"), strings.Join(got, "\n"))
	}
	n := 0
	for line := range strings.Lines(run(0, "decisions", "list", "--config", "gate.yaml", "-o", "ndjson", "--limit", "0")) {
		var d struct {
			DryRun       bool
			Attestations []any
		}
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if n++; !d.DryRun || len(d.Attestations) > 0 {
			t.Errorf("a decision of the sweep is no dry run: %s", line)
		}
	}
	if n < 3*39 {
		t.Errorf("%d decisions are recorded", n)
	}
}

// verdicts are the rows of a report, as image and verdict.
func verdicts(t *testing.T, dir, file string) (out []string) {
	t.Helper()
	for _, row := range reported(t, dir, file)["rows"].([]any) {
		r := row.(map[string]any)
		out = append(out, fmt.Sprint(r["image"], " ", r["verdict"]))
	}
	slices.Sort(out)
	return out
}

// TestSpreadIsRefused: where nobody would get the messages, or a flag would have no effect, nothing is published.
func TestSpreadIsRefused(t *testing.T) {
	t.Parallel()
	host := registries.Serve(t, registries.Memory(false))
	repos := fill(t, host, 1, 2)
	_, busEnv := workBus(t)
	env := append(append(os.Environ(), emulated(t)...), busEnv)
	dir := t.TempDir()
	write(t, dir, "policy.yaml", sweptPolicy)
	write(t, dir, "alone.yaml", fmt.Sprintf(sweptConfig, host, "alone.db"))
	write(t, dir, "gate.yaml", fmt.Sprintf(sweptConfig, host, "gate.db")+
		fmt.Sprintf("rejudge: {topic: %s, subscription: %s}\n", workTopic, workSubscription))
	for _, tt := range []struct {
		code int
		says string
		args []string
	}{
		{2, "rejudge.topic", []string{"--config", "alone.yaml", repos[0]}},
		{2, "--spread and --state exclude each other", []string{"--config", "gate.yaml", "--state", "x", repos[0]}},
		{2, "--spread and --policy exclude each other", []string{"--config", "gate.yaml", "--policy", "policy.yaml", repos[0]}},
		{2, "--spread and --server exclude each other", []string{"--server", "http://127.0.0.1:1", repos[0]}},
		{2, "there is no image to judge", []string{"--config", "gate.yaml", "--file", "/dev/null"}},
		{2, "say what to audit", []string{"--config", "gate.yaml"}},
	} {
		cmd := exec.Command(program(t), append([]string{"audit", "--spread"}, tt.args...)...)
		cmd.Dir, cmd.Env = dir, env
		out, _ := cmd.CombinedOutput() // its exit code is compared
		if code := cmd.ProcessState.ExitCode(); code != tt.code || !strings.Contains(string(out), tt.says) || strings.Contains(string(out), "published") {
			t.Errorf("%v: exit code %d, want %d and %q: %s", tt.args, code, tt.code, tt.says, out)
		}
	}
}

// endlessTags lists n tags, in pages of a thousand as Artifact Registry has them.
func endlessTags(n int) http.Handler {
	const page = 1000
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		first, _ := strconv.Atoi(r.URL.Query().Get("last")) // the first page is asked for without it
		last := min(n, first+page)
		tags := make([]string, 0, page)
		for i := first + 1; i <= last; i++ {
			tags = append(tags, strconv.Itoa(i))
		}
		if last < n {
			w.Header().Set("Link", fmt.Sprintf(`<%s?n=%d&last=%d>; rel="next"`, r.URL.Path, page, last))
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"name": "acme/huge", "tags": tags})
	})
}

// peakOf is the most that a process had resident, in bytes; 0 once it has ended.
func peakOf(pid int) int {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(status), "VmHWM:")
	fields := strings.Fields(after)
	if len(fields) == 0 {
		return 0
	}
	n, _ := strconv.Atoi(fields[0]) // the kernel's own format
	return n << 10
}

// TestAMillionIsPublishedInFlatMemory: who publishes a million references takes no more memory than who publishes ten
// thousand, as the kernel counts that of the program as it is shipped.
func TestAMillionIsPublishedInFlatMemory(t *testing.T) {
	slow.Skip(t)
	const allowed = 24 << 20 // more, for a hundred times as many
	path := filepath.Join(t.TempDir(), "attestor")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	peak := func(n int) int {
		host := registries.Serve(t, endlessTags(n))
		_, busEnv := workBus(t)
		dir := t.TempDir()
		write(t, dir, "policy.yaml", sweptPolicy)
		write(t, dir, "gate.yaml", fmt.Sprintf(sweptConfig, host, "gate.db")+
			fmt.Sprintf("rejudge: {topic: %s, subscription: %s}\n", workTopic, workSubscription))
		cmd := exec.CommandContext(t.Context(), path, "audit", "--config", "gate.yaml", "--spread", host+"/acme/huge")
		cmd.Dir, cmd.Env = dir, append(append(os.Environ(), emulated(t)...), busEnv)
		var said bytes.Buffer
		cmd.Stdout, cmd.Stderr = &said, &said
		start := time.Now()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}

		// While it runs: what the kernel tells of a process that has ended includes what its parent had when it was started.
		ended, most := make(chan error, 1), 0
		go func() { ended <- cmd.Wait() }()
		var err error
		for running := true; running; {
			select {
			case err = <-ended:
				running = false
			case <-time.After(20 * time.Millisecond):
				most = max(most, peakOf(cmd.Process.Pid))
			}
		}
		out := said.String()
		if want := fmt.Sprintf("%d references published in %d messages", n, n/100); err != nil || !strings.Contains(out, want) {
			t.Fatalf("%v: %s", err, out)
		}
		t.Logf("%d references: %d MB resident at most, %v, %v of CPU", n, most>>20, time.Since(start).Round(time.Millisecond),
			(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Round(time.Millisecond))
		return most
	}

	few, many := peak(10_000), peak(1_000_000)
	if many > few+allowed {
		t.Errorf("a million take %d MB, ten thousand %d MB", many>>20, few>>20)
	}
}
