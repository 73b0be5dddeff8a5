package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// startTimeout bounds everything that a start waits for.
const startTimeout = time.Minute

// process is a service under measurement: the gate, or a peer.
type process struct {
	cmd  *exec.Cmd
	url  string
	said *tail
	done chan struct{}

	listening, ready time.Duration // after exec
}

// tail keeps the last that a process said, for when it fails.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) add(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(append(t.text, line...), '\n')
	if len(t.text) > 8<<10 {
		t.text = t.text[len(t.text)-4<<10:]
	}
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}

// serve starts the gate and returns when it is ready.
func serve(ctx context.Context, binary, config string, env []string) (*process, error) {
	cmd := exec.CommandContext(ctx, binary, "serve", "--config", config) //nolint:gosec // the program that is measured
	p := &process{cmd: cmd, said: &tail{}, done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return nil, err
	}

	start := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}

	// The log says when the port is open. It is read to its end, since a full pipe would stop the process.
	listening := make(chan string, 1)
	go func() {
		defer close(p.done)
		pattern := regexp.MustCompile(`"message":"listening".*"listen":"([^"]+)"`)
		r := bufio.NewReader(stderr)
		for {
			line, err := r.ReadString('\n')
			if m := pattern.FindStringSubmatch(line); m != nil && p.url == "" {
				p.listening, p.url = time.Since(start), "http://"+m[1]
				listening <- m[1]
			} else if !strings.Contains(line, `"message":"decision"`) {
				p.said.add(strings.TrimSuffix(line, "\n"))
			}

			if err != nil {
				return
			}
		}
	}()

	// What a process says before it fails is worth more than that it failed.
	select {
	case <-listening:
	case <-p.done:
		return nil, fmt.Errorf("%s serve ended: %s", binary, p.said)
	case <-time.After(startTimeout):
		p.stop()
		return nil, fmt.Errorf("%s serve does not listen: %s", binary, p.said)
	}

	if err := p.awaitReady(ctx, "/ready"); err != nil {
		p.stop()
		return nil, err
	}
	p.ready = time.Since(start)
	return p, nil
}

// awaitReady asks until the answer is 200.
func (p *process) awaitReady(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()

	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path, nil)
		if err != nil {
			return err
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}

		select {
		case <-ctx.Done():
			return fmt.Errorf("%s%s is not ready: %s", p.url, path, p.said)
		case <-p.done:
			return fmt.Errorf("the process ended: %s", p.said)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// stop ends the process as its operator would, and kills it where that takes
// too long.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(startTimeout, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	<-p.done
	_ = p.cmd.Wait() // how it ended is no measurement
}

// use is what a process has used so far.
type use struct {
	cpu       time.Duration
	rss, peak int64   // bytes
	allocated float64 // bytes, since its start; 0 where the process does not say
	mallocs   float64
	heap      float64
	routines  float64
}

// used reads /proc and, of the gate, its own metrics.
func (p *process) used(ctx context.Context) (use, error) {
	var u use
	dir := "/proc/" + strconv.Itoa(p.cmd.Process.Pid)
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return u, fmt.Errorf("measuring needs Linux: %w", err)
	}

	u.rss, u.peak = kib(status, "VmRSS"), kib(status, "VmHWM")
	stat, err := os.ReadFile(dir + "/stat")
	if err != nil {
		return u, err
	}

	// The second field is the program's name in parentheses, which may hold blanks: fields are counted from its end.
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) < 13 {
		return u, errors.New("measuring: /proc/PID/stat has another format")
	}
	for _, f := range fields[11:13] { // utime, stime, in hundredths of a second
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return u, err
		}
		u.cpu += time.Duration(n) * 10 * time.Millisecond
	}
	return u, p.scrape(ctx, &u)
}

// kib is a line of /proc/PID/status in bytes. The kernel writes kB and means 1024 bytes.
func kib(status []byte, name string) int64 {
	_, after, _ := strings.Cut(string(status), name+":")
	fields := strings.Fields(after)
	if len(fields) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(fields[0], 10, 64) // the kernel's own format
	return n << 10
}

func (p *process) scrape(ctx context.Context, u *use) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/metrics", nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()

	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return err // a peer may have none
	}
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		f, err := strconv.ParseFloat(value, 64)
		if err != nil {
			continue
		}

		switch name {
		case "go_memstats_alloc_bytes_total":
			u.allocated = f
		case "go_memstats_mallocs_total":
			u.mallocs = f
		case "go_memstats_heap_alloc_bytes":
			u.heap = f
		case "go_goroutines":
			u.routines = f
		}
	}
	return nil
}

// ownCPU is what this process has used: the stand-ins, and the load.
func ownCPU() (time.Duration, error) {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0, err
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()), nil
}

// client keeps as many connections as there are requests at once.
func client(atOnce int) *http.Client {
	return &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{MaxIdleConns: atOnce,
		MaxIdleConnsPerHost: atOnce}}
}

// post sends a JSON body and returns status and answer.
func post(ctx context.Context, c *http.Client, url string, body any) (int, []byte, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return 0, nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(b))
	if err != nil {
		return 0, nil, err
	}

	req.Header.Set("Content-Type", "application/json")
	resp, err := c.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// gzipped is how large a file is when compressed.
func gzipped(path string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(b); err != nil {
		return 0, err
	}
	err = z.Close()
	return int64(out.Len()), err
}
