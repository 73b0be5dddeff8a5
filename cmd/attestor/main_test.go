package main

import (
	"bufio"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/attestor-gate/attestor/internal/testkit/leaks"
	"github.com/attestor-gate/attestor/internal/testkit/locked"
)

func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){"attestor": main})
}

// leakChecked fails tests that all pass and leave a goroutine behind.
type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int { return leaks.Code(l.m.Run()) }

// TestScript runs the specification of the command line and the API: each
// script starts the real program and talks to it as a user would.
func TestScript(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Condition:           havePart,
		Setup: func(e *testscript.Env) error {
			e.Values[devSlot{}] = &devState{}
			e.Values[postgresSlot{}] = &postgresState{}
			reports, err := filepath.Abs("../../vuln/testdata/reports")
			e.Setenv("REPORTS", reports)
			e.Setenv("ONCALL", filepath.Join(reports, "../../../docs/on-call.md"))
			e.Setenv("POLICIES", filepath.Join(reports, "../../../deploy/policies"))
			return err
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"dev":         startDev,
			"http":        doHTTP,
			"field":       jsonField,
			"halt":        stopDev,
			"code":        exitCode,
			"big":         bigFile,
			"findings":    storeFindings,
			"same":        same,
			"inflight":    awaitInflight,
			"template":    expand,
			"printed":     runPrinted,
			"becomes":     becomes,
			"throttle":    throttleRegistry,
			"push":        pushImage,
			"freeaddress": freeAddress,
			"documented":  askAsDocumented,
			"oncall":      onCall,
			"ondemand":    serveOnDemand,
			"emulate":     startEmulator,
			"served":      startService,
			"signbadly":   signBadly,
			"postgresql":  postgresql,
			"tamper":      tamper,
			"base64": func(ts *testscript.TestScript, _ bool, args []string) {
				ts.Setenv(args[0], base64.StdEncoding.EncodeToString([]byte(args[1])))
			},
		},
	})
}

// devProcess is an `attestor dev` that a script started.
type devProcess struct {
	cmd    *exec.Cmd
	stderr *locked.Buffer
	done   chan error
}

// startDev runs `attestor dev` with the script's further flags on free ports,
// waits until it says that it is ready, and sets $SERVICE, $REGISTRY, $GOOGLE.
func startDev(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("unsupported: ! dev")
	}

	self, err := exec.LookPath("attestor")
	ts.Check(err)
	ts.Value(devSlot{}).(*devState).ports.release()
	p := &devProcess{stderr: &locked.Buffer{}, done: make(chan error, 1)}
	p.cmd = exec.Command(self, append([]string{"dev", "--listen", "127.0.0.1:0", "--registry-listen", "127.0.0.1:0",
		"--google-listen", "127.0.0.1:0"}, args...)...)
	p.cmd.Dir = ts.Getenv("WORK")
	p.cmd.Env = append(os.Environ(), "TMPDIR="+ts.Getenv("TMPDIR")) // a killed one leaves its directory behind
	out, err := p.cmd.StdoutPipe()
	ts.Check(err)
	errs, err := p.cmd.StderrPipe()
	ts.Check(err)
	ts.Check(p.cmd.Start())
	printed := &locked.Buffer{}
	drained := make(chan struct{})
	go func() { defer close(drained); _, _ = io.Copy(printed, out) }()
	ready, ended := make(chan bool, 1), make(chan struct{})
	go func() {
		defer close(ended)
		scanner := bufio.NewScanner(errs)
		for scanner.Scan() {
			if scanner.Text() == "attestor: ready" {
				ready <- true
			}
			fmt.Fprintln(p.stderr, scanner.Text())
		}

		<-drained
		p.done <- p.cmd.Wait()
		close(ready)
	}()

	ts.Defer(func() {
		_ = p.cmd.Process.Kill()
		<-ended // it writes to the script's directory until then
	})
	select {
	case ok := <-ready:
		if !ok {
			ts.Fatalf("attestor dev ended: %s", p.stderr)
		}
	case <-time.After(2 * time.Minute):
		ts.Fatalf("attestor dev is not ready: %s", p.stderr)
	}

	// What was printed before "ready" may still be in the pipe.
	for range 1000 {
		if strings.Contains(printed.String(), "\npolicy ") &&
			(slices.Contains(args, "--no-samples") || strings.Contains(printed.String(), " verify --emulator ")) {
			break
		}
		time.Sleep(time.Millisecond)
	}

	for name, re := range map[string]string{"SERVICE": `(?m)^service +(\S+)`, "REGISTRY": `(?m)^registry +(\S+)`,
		"GOOGLE": `(?m)^Google +(\S+)`, "POLICY": `(?m)^policy +(\S+)`} {
		if m := regexp.MustCompile(re).FindStringSubmatch(printed.String()); m != nil {
			ts.Setenv(name, m[1])
		}
	}

	ts.Check(os.WriteFile(ts.MkAbs("printed"), []byte(printed.String()), 0o644))
	ts.Value(devSlot{}).(*devState).p = p
}

// devState is where a script's commands find the process it started.
type devState struct {
	p     *devProcess
	ports heldPorts
}

type devSlot struct{}

// stopDev sends SIGTERM, or the signal that it is given, and waits.
func stopDev(ts *testscript.TestScript, _ bool, args []string) {
	p := ts.Value(devSlot{}).(*devState).p
	if p == nil {
		ts.Fatalf("no dev is running")
	}

	sig := syscall.SIGTERM
	if len(args) > 0 && args[0] == "KILL" {
		sig = syscall.SIGKILL
	}

	ts.Check(p.cmd.Process.Signal(sig))
	select {
	case err := <-p.done:
		if sig == syscall.SIGTERM && err != nil {
			ts.Fatalf("attestor dev ended with %v: %s", err, p.stderr)
		}
	case <-time.After(time.Minute):
		ts.Fatalf("attestor dev did not stop: %s", p.stderr)
	}

	// From here on nobody is there, whatever else the machine starts.
	ts.Value(devSlot{}).(*devState).ports.hold(ts)
}

// doHTTP is `http METHOD URL [BODY] [HEADER: VALUE]…`; the script's stdout is
// the status, the headers that matter, and the body.
func doHTTP(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: http METHOD URL [BODY] [HEADER: VALUE]…")
	}

	var body io.Reader
	if len(args) > 2 && args[2] != "" {
		text := args[2]
		if name, ok := strings.CutPrefix(text, "@"); ok {
			text = ts.ReadFile(name)
		}
		body = strings.NewReader(text)
	}

	req, err := http.NewRequest(args[0], args[1], body)
	ts.Check(err)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}

	for _, h := range args[min(3, len(args)):] {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}

	resp, err := (&http.Client{Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(req)
	if neg {
		if err == nil {
			ts.Fatalf("the request succeeded: %s", resp.Status)
		}
		return
	}

	ts.Check(err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	ts.Check(err)
	fmt.Fprintf(ts.Stdout(), "HTTP %d\n", resp.StatusCode)

	for _, name := range []string{"Content-Type", "Retry-After", "X-Frame-Options"} {
		if v := resp.Header.Get(name); v != "" {
			fmt.Fprintf(ts.Stdout(), "%s: %s\n", name, v)
		}
	}

	fmt.Fprintf(ts.Stdout(), "\n%s\n", b)
	ts.Check(os.WriteFile(ts.MkAbs("body"), b, 0o644))
}

// jsonField is `field FILE PATH VAR`: it sets $VAR to a value in a JSON file,
// PATH being names and indexes joined by dots.
func jsonField(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: field FILE PATH VAR")
	}

	var v any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &v))

	for part := range strings.SplitSeq(args[1], ".") {
		switch x := v.(type) {
		case map[string]any:
			v = x[part]
		case []any:
			var i int
			if _, err := fmt.Sscan(part, &i); err != nil || i >= len(x) {
				ts.Fatalf("no %s in %s", args[1], args[0])
			}
			v = x[i]
		default:
			ts.Fatalf("no %s in %s", args[1], args[0])
		}
	}

	ts.Setenv(args[2], fmt.Sprint(v))
}

// exitCode is `code N PROGRAM ARG…`: like exec, and the exit code is N; with
// ! it is anything else.
func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: code N PROGRAM [ARG]…")
	}

	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		got = e.ExitCode()
	} else {
		ts.Check(err)
	}
	if want := args[0]; (strconv.Itoa(got) == want) == neg {
		ts.Fatalf("exit code %d, want %s (negated: %v)\n%s\n%s", got, want, neg, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
}

// bigFile writes big.json, a request just over the limit of 1 MiB.
func bigFile(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(os.WriteFile(ts.MkAbs("big.json"), []byte(`{"image": "`+strings.Repeat("a", 1<<20)+`"}`), 0o644))
}

func same(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 || args[0] == "" || (args[0] == args[1]) == neg {
		ts.Fatalf("%q (negated: %v)", args, neg)
	}
}

// awaitInflight is `inflight N`: it waits until the service works on N requests.
func awaitInflight(ts *testscript.TestScript, _ bool, args []string) {
	becomes(ts, false, []string{ts.Getenv("SERVICE") + "/metrics", `(?m)^attestor_http_in_flight ` + args[0] + `$`})
}

// tamper is `tamper FILE STATEMENT`: it changes a record in SQLite as whoever may write to the database can.
func tamper(ts *testscript.TestScript, _ bool, args []string) {
	db, err := sql.Open("sqlite", ts.MkAbs(args[0]))
	ts.Check(err)
	defer db.Close()

	res, err := db.Exec(args[1])
	ts.Check(err)
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		ts.Fatalf("%s changed %d rows: %v", args[1], n, err)
	}
}

// becomes is `becomes URL PATTERN [METHOD]`: it asks until the answer matches.
func becomes(ts *testscript.TestScript, _ bool, args []string) {
	want := regexp.MustCompile(args[1])
	var b []byte

	for range 6000 {
		req, err := http.NewRequest(append(args, http.MethodGet)[2], args[0], nil)
		ts.Check(err)
		resp, err := http.DefaultClient.Do(req)
		ts.Check(err)
		b, err = io.ReadAll(resp.Body)
		resp.Body.Close()
		ts.Check(err)
		if want.Match(b) {
			return
		}

		time.Sleep(10 * time.Millisecond)
	}

	ts.Fatalf("%s never matched %s: %s", args[0], args[1], b)
}

// expand is `template FILE`: it replaces $NAME in a file of the script.
func expand(ts *testscript.TestScript, _ bool, args []string) {
	text := os.Expand(ts.ReadFile(args[0]), ts.Getenv)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text), 0o644))
}

// runPrinted runs the commands that `attestor dev` printed, as printed.
func runPrinted(ts *testscript.TestScript, _ bool, _ []string) {
	_, try, found := strings.Cut(ts.ReadFile("printed"), "\ntry\n")
	commands := strings.Split(strings.TrimSpace(try), "\n")
	if !found || len(commands) < 4 {
		ts.Fatalf("dev printed no commands: %s", ts.ReadFile("printed"))
	}

	for _, command := range commands {
		cmd := exec.Command("sh", "-c", strings.TrimSpace(command))
		out, err := cmd.CombinedOutput()
		if e, ok := errors.AsType[*exec.ExitError](err); err != nil && (!ok || e.ExitCode() != 1) {
			ts.Fatalf("%s: %v\n%s", command, err, out)
		}

		fmt.Fprintf(ts.Stdout(), "$ %s\n%s\n", strings.TrimSpace(command), out)
	}
}
