package main

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// serveOnDemand is `ondemand FILE`: On-Demand Scanning, whose every scan has
// FILE's answer, at $ONDEMANDSCANNING_EMULATOR_HOST.
func serveOnDemand(ts *testscript.TestScript, _ bool, args []string) {
	answer := ts.ReadFile(args[0])
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "/vulnerabilities") {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(answer))
	}))
	ts.Defer(s.Close)
	ts.Setenv("ONDEMANDSCANNING_EMULATOR_HOST", strings.TrimPrefix(s.URL, "http://"))
}

// startEmulator is `emulate NAME ARG…`: `attestor emulator` with these flags on
// a free port; $NAME is its address. It ends with the script.
func startEmulator(ts *testscript.TestScript, _ bool, args []string) {
	self, err := exec.LookPath("attestor")
	ts.Check(err)
	cmd := exec.Command(self, append([]string{"emulator", "--listen", "127.0.0.1:0"}, args[1:]...)...)
	cmd.Dir = ts.Getenv("WORK")
	stderr, err := cmd.StderrPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ts.Defer(func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() })
	stuck := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() })
	defer stuck.Stop()
	said := ""
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		said += lines.Text() + "\n"
		if lines.Text() == "attestor: ready" {
			ts.Setenv(args[0], regexp.MustCompile(`127\.0\.0\.1:\d+`).FindString(said))
			if !strings.Contains(said, "no security boundary") {
				ts.Fatalf("the emulator does not say what it is not: %s", said)
			}
			return
		}
	}
	ts.Fatalf("attestor emulator is not ready: %s", said)
}
