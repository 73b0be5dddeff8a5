package server_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/attestor-gate/attestor/server"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Connections that the default client keeps for its next request.
		goleak.IgnoreTopFunction("internal/poll.runtime_pollWait"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
		// The Pub/Sub client's, which it leaves behind.
		goleak.IgnoreAnyFunction("go.opencensus.io/stats/view.(*worker).start"),
		goleak.IgnoreAnyFunction("cloud.google.com/go/pubsub/v2.(*messageIterator).streamKeepAliveHandler"),
	)
}

// run serves s until the test, or stop, ends it.
func run(t testing.TB, s *server.Server) (address string, stop func() error) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	ctx, cancel := context.WithCancel(context.Background())
	result := make(chan error, 1)
	go func() { result <- s.Serve(ctx, ln) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-result
	})
	t.Cleanup(func() { _ = stop() })
	return ln.Addr().String(), stop
}

func TestStopLetsRequestsFinish(t *testing.T) {
	w := newWorld()
	w.hold, w.entered = make(chan struct{}), make(chan struct{})
	address, stop := run(t, newServer(t, w, nil))
	got := make(chan answer)
	go func() { got <- send(t, "builder", "POST", "http://"+address+"/v1/attest", image(":v1")) }()
	<-w.entered
	stopped := make(chan error)
	go func() { stopped <- stop() }()
	waitUntilRefused(t, address)

	select {
	case err := <-stopped:
		t.Fatalf("stopped under a running request: %v", err)
	default:
	}

	close(w.hold)
	if a := <-got; a.status != 200 || !strings.Contains(a.body, `"created":true`) {
		t.Errorf("the running request was answered %d %s", a.status, a.body)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Serve returned %v, want nil", err)
	}

	if n := len(w.decisions()); n != 1 {
		t.Errorf("%d decisions recorded, want 1", n)
	}
}

// waitUntilRefused returns once nothing is accepted any more.
func waitUntilRefused(t testing.TB, address string) {
	t.Helper()
	for {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return
		}
		c.Close()
	}
}

// pipes is a listener within the process, so that time can be a test's own.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes"} }

func (p *pipes) client() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		select {
		case p.conns <- theirs:
			return ours, nil
		case <-p.done:
			return nil, net.ErrClosed
		}
	}}}
}

// serveIn serves s in a synctest bubble.
func serveIn(t *testing.T, s *server.Server) (p *pipes, stop func(), stopped chan error) {
	t.Helper()
	p = &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	stopped = make(chan error, 1)
	go func() { stopped <- s.Serve(ctx, p) }()
	return p, cancel, stopped
}

// ask makes a request as the builder; a status of 0 is no answer.
func (p *pipes) ask(method, path, body string) (status int, answer string) {
	r, err := http.NewRequest(method, "http://gate"+path, strings.NewReader(body))
	if err != nil {
		return 0, err.Error()
	}

	r.Header.Set("Authorization", "builder")
	r.Header.Set("Content-Type", "application/json")
	res, err := p.client().Do(r)
	if err != nil {
		return 0, err.Error()
	}
	defer res.Body.Close()

	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error()
	}

	return res.StatusCode, string(b)
}

// A request that was on its way when the server was stopped learns from /ready
// that this instance is stopping.
func TestStoppingIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.hold = make(chan struct{})
		s := newServer(t, w, nil)
		p, stop, stopped := serveIn(t, s)
		if status, _ := p.ask("GET", "/ready", ""); status != 200 {
			t.Errorf("before: %d", status)
		}

		go p.ask("POST", "/v1/attest", image(":v1"))
		synctest.Wait()
		stop()
		synctest.Wait()
		r := httptest.NewRecorder()
		s.Handler().ServeHTTP(r, httptest.NewRequest("GET", "/ready", nil))
		if body := r.Body.String(); r.Code != 503 || !strings.Contains(body, "stopping") || r.Header().Get("Connection") != "close" {
			t.Errorf("while stopping, /ready is %d %s %v", r.Code, body, r.Header())
		}

		close(w.hold)
		if err := <-stopped; err != nil {
			t.Errorf("Serve returned %v, want nil", err)
		}
	})
}

// Who still waits when the drain is nearly over is told to come again, and
// nothing was signed; what is being signed is not broken off.
func TestStopAnswersWhoStillWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.hold = make(chan struct{}) // for ever
		p, stop, stopped := serveIn(t, newServer(t, w, nil))
		answered := make(chan int, 1)
		go func() {
			status, _ := p.ask("POST", "/v1/attest", image(":v1"))
			answered <- status
		}()

		synctest.Wait()
		start := time.Now()
		stop()
		if got := <-answered; got != 503 || time.Since(start) != 20*time.Second {
			t.Errorf("answered %d after %s, want 503 after 20s", got, time.Since(start))
		}

		if err := <-stopped; err != nil {
			t.Errorf("Serve returned %v, want nil", err)
		}

		if len(w.standing) != 0 || len(w.decisions()) != 0 {
			t.Errorf("signed %v, recorded %d", w.standing, len(w.decisions()))
		}
	})
}

// The time for reading a request does not count once it has been read.
func TestLongWaitOutlivesTheReadTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.hold = make(chan struct{})
		p, stop, stopped := serveIn(t, newServer(t, w, nil))
		time.AfterFunc(44*time.Second, func() { close(w.hold) })
		if status, body := p.ask("POST", "/v1/attest", image(":v1")); status != 200 {
			t.Errorf("answered %d %s, want 200", status, body)
		}

		stop()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
}

// The same over TCP, where it is the network that keeps the deadline.
func TestWorkOutlivesTheReadTimeout(t *testing.T) {
	w := newWorld()
	w.hold = make(chan struct{})
	s := newServer(t, w, nil)
	s.SetReadTimeouts(50*time.Millisecond, 50*time.Millisecond)
	address, _ := run(t, s)
	time.AfterFunc(200*time.Millisecond, func() { close(w.hold) })
	if got := send(t, "builder", "POST", "http://"+address+"/v1/attest", image(":v1")); got.status != 200 {
		t.Errorf("answered %d %s, want 200", got.status, got.body)
	}
}

func TestStopDoesNotBreakOffASignature(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.attestFn = func() error { time.Sleep(25 * time.Second); return nil } // of the bubble's time
		p, stop, stopped := serveIn(t, newServer(t, w, nil))
		answered := make(chan int, 1)
		go func() {
			status, _ := p.ask("POST", "/v1/attest", image(":v1"))
			answered <- status
		}()

		synctest.Wait()
		stop()
		if got := <-answered; got != 200 {
			t.Errorf("answered %d, want 200", got)
		}

		if err := <-stopped; err != nil || len(w.standing) != 1 || len(w.decisions()) != 1 {
			t.Errorf("Serve returned %v; signed %v, recorded %d", err, w.standing, len(w.decisions()))
		}
	})
}

func TestStopGivesUpAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.attestFn = func() error { time.Sleep(40 * time.Second); return nil }
		p, stop, stopped := serveIn(t, newServer(t, w, nil))
		go p.ask("POST", "/v1/attest", image(":v1"))
		synctest.Wait()
		stop()
		if err := <-stopped; err == nil {
			t.Error("Serve returned nil with a request cut off")
		}

		time.Sleep(time.Minute)
		if len(w.decisions()) != 1 {
			t.Errorf("%d decisions recorded: what was signed must be", len(w.decisions()))
		}
	})
}

func TestSlowClientsAreCutOff(t *testing.T) {
	w := newWorld()
	s := newServer(t, w, nil)
	s.SetReadTimeouts(50*time.Millisecond, 100*time.Millisecond)
	address, _ := run(t, s)

	for name, sent := range map[string]string{
		"slow header": "POST /v1/attest HTTP/1.1\r\nHost: x\r\nX-Slow: ",
		"slow body":   "POST /v1/attest HTTP/1.1\r\nHost: x\r\nAuthorization: builder\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
	} {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, sent); err != nil {
			t.Fatal(err)
		}

		_ = c.SetReadDeadline(time.Now().Add(30 * time.Second)) // far beyond; what counts is that it ends
		b, err := io.ReadAll(c)
		if nerr, ok := errors.AsType[net.Error](err); ok && nerr.Timeout() {
			t.Errorf("%s: the connection stands", name)
		}

		if strings.Contains(string(b), " 200 ") {
			t.Errorf("%s: answered %s", name, b)
		}

		c.Close()
	}

	if len(w.asked) != 0 {
		t.Errorf("the registry was asked %v", w.asked)
	}
}

func TestServeLimitsHeaders(t *testing.T) {
	address, _ := run(t, newServer(t, newWorld(), nil))
	got := send(t, "builder", "POST", "http://"+address+"/v1/attest", image(":v1"), "X-Padding", strings.Repeat("x", 64<<10))
	if got.status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status = %d, want 431", got.status)
	}
}

// Requests that two readers might take apart differently are refused.
func TestSmuggledRequestsAreRefused(t *testing.T) {
	w := newWorld()
	address, _ := run(t, newServer(t, w, nil))
	common := "Host: x\r\nAuthorization: builder\r\nContent-Type: application/json\r\n"
	body := image(":v1")

	for name, raw := range map[string]string{
		"two lengths":        fmt.Sprintf("POST /v1/attest HTTP/1.1\r\n%sContent-Length: %d\r\nContent-Length: 1\r\n\r\n%s", common, len(body), body),
		"unknown encoding":   "POST /v1/attest HTTP/1.1\r\n" + common + "Transfer-Encoding: gzip\r\n\r\n" + body,
		"space before colon": fmt.Sprintf("POST /v1/attest HTTP/1.1\r\n%sContent-Length : %d\r\n\r\n%s", common, len(body), body),
		"no host": fmt.Sprintf("POST /v1/attest HTTP/1.1\r\nAuthorization: builder\r\n"+
			"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body),
		"two hosts": fmt.Sprintf("POST /v1/attest HTTP/1.1\r\nHost: y\r\n%sContent-Length: %d\r\n\r\n%s", common, len(body), body),
		"two content types": fmt.Sprintf("POST /v1/attest HTTP/1.1\r\n%sContent-Type: text/plain\r\n"+
			"Content-Length: %d\r\nConnection: close\r\n\r\n%s", common, len(body), body),
		"two authorizations":   fmt.Sprintf("POST /v1/attest HTTP/1.1\r\n%sAuthorization: admin\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", common),
		"no body, no length":   "POST /v1/attest HTTP/1.1\r\n" + common + "Connection: close\r\n\r\n",
		"a length and no body": "POST /v1/attest HTTP/1.0\r\n" + common + "Content-Length: 10\r\n\r\n",
	} {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}

		_, _ = io.WriteString(c, raw)
		_ = c.(*net.TCPConn).CloseWrite()
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err == nil {
			if res.StatusCode < 400 {
				t.Errorf("%s: status %d", name, res.StatusCode)
			}
			res.Body.Close()
		}

		c.Close()
	}

	if len(w.asked) != 0 {
		t.Errorf("the registry was asked %v", w.asked)
	}
}

func TestCallersHaveTheirOwnRate(t *testing.T) {
	w := newWorld()
	base := serve(t, w, func(c *server.Config) { c.Limits.CallerRate = 0.5 })

	for i := range server.CallerBurst + 1 {
		got := send(t, "builder", "POST", base+"/v1/attest", image(":v1"))
		if want := map[bool]int{true: 200, false: 429}[i < server.CallerBurst]; got.status != want {
			t.Errorf("request %d: status %d, want %d", i+1, got.status, want)
		}
		if i < server.CallerBurst {
			continue
		}

		if got.header.Get("Retry-After") != "2" {
			t.Errorf("Retry-After = %q, want 2", got.header.Get("Retry-After"))
		}
		if detail := got.problem(t).Detail; !strings.Contains(detail, "more requests than 0.5 a second (limits.callerRate)") {
			t.Errorf("the problem does not name the limit: %q", detail)
		}
	}

	if got := send(t, "admin", "POST", base+"/v1/attest", image(":v1")); got.status != 200 {
		t.Errorf("another caller: status %d", got.status)
	}

	w.mu.Lock()
	w.now = w.now.Add(2 * time.Second)
	w.mu.Unlock()
	if got := send(t, "builder", "POST", base+"/v1/attest", image(":v1")); got.status != 200 {
		t.Errorf("2 s later: status %d", got.status)
	}
}

func TestQueueIsBounded(t *testing.T) {
	w := newWorld()
	w.hold, w.entered = make(chan struct{}), make(chan struct{}, 10)
	s := newServer(t, w, func(c *server.Config) { c.Limits.Concurrent, c.Limits.Queue = 1, 1 })
	s.SetQueueWait(time.Hour)
	srv := httptest.NewServer(s.Handler())
	defer srv.Close()

	answers := make(chan answer, 2)
	ask := func() { answers <- send(t, "builder", "POST", srv.URL+"/v1/attest", image(":v1")) }
	go ask()
	<-w.entered // it works
	go ask()

	for server.WaitingForTest(s) == 0 {
		time.Sleep(time.Millisecond) // the second is on its way into the queue
	}

	if got := send(t, "builder", "POST", srv.URL+"/v1/attest", image(":v1")); got.status != 429 || got.header.Get("Retry-After") == "" {
		t.Errorf("the third: status %d, Retry-After %q", got.status, got.header.Get("Retry-After"))
	} else if detail := got.problem(t).Detail; !strings.Contains(detail,
		"as many requests run (1) and wait (1) as are allowed (limits.concurrency, limits.queue)") {
		t.Errorf("the problem does not name the limits: %q", detail)
	}

	if got := send(t, "", "GET", srv.URL+"/health", ""); got.status != 200 {
		t.Errorf("/health while busy: %d", got.status)
	}

	close(w.hold)
	for range 2 {
		if got := <-answers; got.status != 200 {
			t.Errorf("status %d", got.status)
		}
	}
}

// A caller who hangs up has its own request given up, and nothing signed.
func TestDisconnectCancelsItsOwnRequestOnly(t *testing.T) {
	w := newWorld()
	w.hold, w.entered = make(chan struct{}), make(chan struct{})
	base := serve(t, w, nil)
	ctx, hangUp := context.WithCancel(context.Background())
	gone := make(chan error)
	go func() {
		r, err := http.NewRequestWithContext(ctx, "POST", base+"/v1/attest", strings.NewReader(image(":v1")))
		if err == nil {
			r.Header.Set("Authorization", "builder")
			r.Header.Set("Content-Type", "application/json")
			_, err = http.DefaultClient.Do(r) //nolint:bodyclose // it never answers
		}
		gone <- err
	}()

	<-w.entered
	other := make(chan answer)
	go func() { other <- send(t, "admin", "POST", base+"/v1/attest", image(":v1")) }()
	<-w.entered
	hangUp()
	if err := <-gone; err == nil {
		t.Fatal("answered though it hung up")
	}

	close(w.hold)
	if got := <-other; got.status != 200 {
		t.Errorf("the other request: %d %s", got.status, got.body)
	}
}
