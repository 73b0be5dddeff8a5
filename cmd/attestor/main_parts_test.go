package main

import (
	"bufio"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/attestor-gate/attestor/internal/testkit/locked"
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

// startService is `served NAME ARG…`: `attestor serve` with these flags; $NAME
// is its URL. It gets SIGTERM at the script's end.
func startService(ts *testscript.TestScript, _ bool, args []string) {
	self, err := exec.LookPath("attestor")
	ts.Check(err)
	cmd := exec.Command(self, append([]string{"serve"}, args[1:]...)...)
	cmd.Dir = ts.Getenv("WORK")

	for _, name := range []string{"CONTAINERANALYSIS_EMULATOR_HOST", "CLOUD_KMS_EMULATOR_HOST", "BINARYAUTHORIZATION_EMULATOR_HOST"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}

	stderr, err := cmd.StderrPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	stuck := time.AfterFunc(2*time.Minute, func() { _ = cmd.Process.Kill() })
	drained := make(chan struct{})
	ts.Defer(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-drained
		stuck.Stop()
		if err := cmd.Wait(); err != nil {
			ts.Logf("attestor serve ended with %v", err)
		}
	})

	listening, said := make(chan string, 1), &locked.Buffer{}
	go func() {
		defer close(drained)
		defer close(listening)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			fmt.Fprintln(said, lines.Text())
			if m := regexp.MustCompile(`"message":"listening".*"listen":"([^"]+)"`).FindStringSubmatch(lines.Text()); m != nil {
				listening <- m[1]
			}
		}
	}()

	address, ok := <-listening
	if !ok {
		ts.Fatalf("attestor serve ended")
	}

	ts.Check(os.WriteFile(ts.MkAbs("served.log"), []byte(said.String()), 0o600)) // until it listened
	ts.Setenv(args[0], "http://"+address)
}
