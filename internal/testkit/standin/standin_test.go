package standin_test

import (
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	grafeas "cloud.google.com/go/grafeas/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/api/option"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/samples"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

const truth = "the whole truth of it"

// listen serves truth, and counts how often it was told.
func listen(t *testing.T) (s *standin.Server, told func() int) {
	t.Helper()
	n := make(chan int, 1)
	n <- 0
	s, err := standin.Listen(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n <- <-n + 1
		w.Header().Set("Docker-Content-Digest", "sha256:0")
		_, _ = io.WriteString(w, truth)
	}))

	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s, func() int { i := <-n; n <- i; return i }
}

// get asks over a connection of its own, so that nothing is retried.
func get(t *testing.T, s *standin.Server) (status int, header http.Header, body string, err error) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()

	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Addr()+"/v2/app/manifests/v1", nil)
	if err != nil {
		t.Fatal(err)
	}

	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, resp.Header, string(b), err
}

func TestFaults(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fault  standin.Fault
		status int
		body   string
		broken bool
		told   int
		header string
	}{
		"none":        {standin.Fault{}, 200, truth, false, 1, ""},
		"refused":     {standin.Fault{Effect: standin.Refuse}, 0, "", true, 0, ""},
		"too many":    {standin.Fault{Effect: standin.TooMany, RetryAfter: "7"}, 429, "TOOMANYREQUESTS", false, 0, "7"},
		"500":         {standin.Fault{Effect: standin.Fail}, 500, "UNKNOWN", false, 0, ""},
		"503":         {standin.Fault{Effect: standin.Fail, Status: 503}, 503, "UNKNOWN", false, 0, ""},
		"half":        {standin.Fault{Effect: standin.Reset}, 200, truth[:len(truth)/2], true, 1, ""},
		"wrong bytes": {standin.Fault{Effect: standin.Corrupt}, 200, truth[:10] + string(truth[10]^1) + truth[11:], false, 1, ""},
		"answer lost": {standin.Fault{Effect: standin.Lose}, 0, "", true, 1, ""},
		"another match": {standin.Fault{Effect: standin.Refuse,
			Match: func(r *http.Request) bool { return r.Method == http.MethodPut }}, 200, truth, false, 1, ""},
		"skipped": {standin.Fault{Effect: standin.Refuse, Skip: 1}, 200, truth, false, 1, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, told := listen(t)
			s.Inject(tt.fault)
			code, header, body, err := get(t, s)
			if (err != nil) != tt.broken || code != tt.status || !strings.Contains(body, tt.body) {
				t.Errorf("got %d %q, %v", code, body, err)
			}

			if tt.broken && code == 0 && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("got %v, want a reset", err)
			}
			if got := header.Get("Retry-After"); got != tt.header {
				t.Errorf("Retry-After %q", got)
			}

			if told() != tt.told {
				t.Errorf("it took effect %d times, want %d", told(), tt.told)
			}
		})
	}
}

func TestAFaultHitsSoManyCalls(t *testing.T) {
	t.Parallel()
	s, _ := listen(t)
	remove := s.Inject(standin.Fault{Effect: standin.Fail, Skip: 1, Count: 2})
	s.Inject(standin.Fault{Effect: standin.TooMany, Count: 1}) // the second takes what the first leaves
	var got []int

	for range 5 {
		code, _, _, err := get(t, s)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, code)
	}

	want := [5]int{429, 500, 500, 200, 200}
	if [5]int(got) != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if hit := remove(); hit != 2 {
		t.Errorf("hit %d calls, want 2", hit)
	}

	calls := s.Calls()
	if len(calls) != 5 || calls[0].Fault != standin.TooMany || calls[1].Fault != standin.Fail || calls[1].Status != 500 || calls[4].Fault != standin.None {
		t.Errorf("recorded %+v", calls)
	}
	if c := calls[4]; c.What != "GET /v2/app/manifests/v1" || c.Bytes != int64(len(truth)) || c.End.Before(c.Start) {
		t.Errorf("recorded %+v", c)
	}

	if n, b := s.Totals(); n != 5 || b < int64(2*len(truth)) {
		t.Errorf("totals: %d calls, %d bytes", n, b)
	}

	s.ResetCalls()
	if n, _ := s.Totals(); n != 0 || len(s.Calls()) != 0 {
		t.Error("the record was not emptied")
	}
}

func TestSilenceEndsWithTheCaller(t *testing.T) {
	t.Parallel()
	s, told := listen(t)
	s.Inject(standin.Fault{Effect: standin.Silence})
	transport := &http.Transport{ResponseHeaderTimeout: 20 * time.Millisecond}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Addr()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}

	resp, err := transport.RoundTrip(req)
	if err == nil {
		resp.Body.Close()
		t.Error("it answered")
	}

	if told() != 0 {
		t.Error("it took effect")
	}
}

func TestLatencyIsInTheRecord(t *testing.T) {
	t.Parallel()
	s, _ := listen(t)
	s.SetLatency(30 * time.Millisecond)
	if _, _, body, err := get(t, s); err != nil || body != truth {
		t.Fatal(body, err)
	}

	if c := s.Calls()[0]; c.End.Sub(c.Start) < 30*time.Millisecond {
		t.Errorf("the call took %v", c.End.Sub(c.Start))
	}
}

func TestDownAndUpAgain(t *testing.T) {
	t.Parallel()
	s, _ := listen(t)
	before := s.Addr()
	s.Down()
	if _, _, _, err := get(t, s); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v, want a refusal", err)
	}

	if s.Open() != 0 {
		t.Errorf("%d connections are open", s.Open())
	}
	if err := s.Up(); err != nil || s.Addr() != before {
		t.Fatal(s.Addr(), err)
	}

	if _, _, body, err := get(t, s); err != nil || body != truth {
		t.Error(body, err)
	}
	// The client may have read the answer before the server has counted what it wrote.
	for until := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		in, out := s.Wire()
		if in > 0 && out > int64(len(truth)) {
			break
		}
		if time.Now().After(until) {
			t.Fatalf("on the wire: %d, %d", in, out)
		}
	}
}

func TestWorld(t *testing.T) {
	t.Parallel()
	w, err := standin.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})

	all, err := samples.All()
	if err != nil {
		t.Fatal(err)
	}

	good := all[1]
	image, err := w.Push(t.Context(), good.Repository, good.Tag, good.Image, nil, samples.Clean)
	if err != nil {
		t.Fatal(err)
	}

	if d, _ := good.Image.Digest(); image != w.Registry.Addr()+"/app/good@"+d.String() {
		t.Errorf("pushed %s", image)
	}
	if found, err := w.Attestations(t.Context(), image); err != nil || len(found) != 0 {
		t.Errorf("attestations: %v, %v", found, err)
	}

	path, err := w.WriteConfig(t.TempDir(), standin.Options{More: "limits: {queue: 1}"})
	if err != nil {
		t.Fatal(err)
	}

	b, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(b), w.Registry.Addr()) || !strings.Contains(string(b), "queue: 1") {
		t.Errorf("%s: %v", b, err)
	}

	// Google's services over TCP, as the gate's process asks them.
	c, err := grafeas.NewClient(t.Context(), option.WithEndpoint(w.Google.Addr()), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))

	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	w.ResetCalls()
	w.SetLatency(10 * time.Millisecond)
	if _, err := c.GetNote(t.Context(), &grafeaspb.GetNoteRequest{Name: samples.Note}); err != nil {
		t.Error(err)
	}

	calls := w.Google.Calls()
	if len(calls) != 1 || calls[0].What != "POST /grafeas.v1.Grafeas/GetNote" || calls[0].End.Sub(calls[0].Start) < 10*time.Millisecond || calls[0].Bytes == 0 {
		t.Errorf("recorded %+v", calls)
	}

	w.Inject(emulator.Fault{Method: "GetNote", Code: codes.ResourceExhausted})
	if _, err := c.GetNote(t.Context(), &grafeaspb.GetNoteRequest{Name: samples.Note}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("got %v", err)
	}

	w.ClearFaults()
	w.Google.Inject(standin.Fault{Effect: standin.Refuse, Count: 1})
	if _, err := c.GetOccurrence(t.Context(), &grafeaspb.GetOccurrenceRequest{Name: "projects/dev/occurrences/none"}); status.Code(err) == codes.NotFound {
		t.Error("a refused call was answered")
	}

	if _, err := w.KMS.GetPublicKey(t.Context(), &kmspb.GetPublicKeyRequest{Name: samples.Key}); err != nil {
		t.Error(err)
	}
}
