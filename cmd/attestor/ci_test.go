package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.yaml.in/yaml/v4"
)

// TestCI runs the shell of the files for CI systems against attestor dev, as each system does: testdata/ci.txt.
func TestCI(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("the jobs run on Linux here")
	}
	testscript.Run(t, testscript.Params{
		Files:               []string{"testdata/ci.txt"},
		RequireExplicitExec: true,
		Setup:               func(e *testscript.Env) error { e.Values[devSlot{}] = &devState{}; return nil },
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"dev": startDev, "code": exitCode, "release": makeRelease, "action": runAction, "gitlab": runGitLab, "container": runContainer,
		},
	})
}

// makeRelease makes the files for CI systems of a release whose Linux binary is this program, in ci, and serves the
// release's files at $RELEASE.
func makeRelease(ts *testscript.TestScript, _ bool, _ []string) {
	self, err := exec.LookPath("attestor")
	ts.Check(err)
	program, err := os.ReadFile(self)
	ts.Check(err)
	dist := ts.MkAbs("dist")
	ts.Check(os.MkdirAll(filepath.Join(dist, "image"), 0o750))
	for _, name := range []string{
		"linux-amd64", "linux-arm64", "darwin-amd64", "darwin-arm64", "windows-amd64.exe", "windows-arm64.exe",
	} {
		text := []byte("attestor for " + name)
		if strings.HasPrefix(name, "linux") {
			text = program
		}
		ts.Check(os.WriteFile(filepath.Join(dist, "attestor-"+name), text, 0o600))
	}
	index := `{"manifests": [{"digest": "sha256:` + strings.Repeat("b", 64) + `"}]}`
	ts.Check(os.WriteFile(filepath.Join(dist, "image", "index.json"), []byte(index), 0o600))

	root, err := filepath.Abs("../..")
	ts.Check(err)
	cmd := exec.Command(
		"go",
		"run",
		"-C",
		filepath.Join(root, "tools/release"),
		".",
		"-dist",
		dist,
		"-version",
		"v1.2.3",
		"-commit",
		strings.Repeat("a", 40),
		"-epoch",
		"1",
		"-dockerfile",
		filepath.Join(root, "Dockerfile"),
		"-readme",
		filepath.Join(root, "README.md"),
		"-ci",
		filepath.Join(root, "deploy/ci"),
		"-image",
		"registry.example/attestor",
	)
	if out, err := cmd.CombinedOutput(); err != nil {
		ts.Fatalf("%v\n%s", err, out)
	}
	ts.Check(os.Rename(filepath.Join(dist, "ci"), ts.MkAbs("ci")))

	// Beside the files it gives tokens, as GitHub does: to the job only, for the audience that it names.
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServer(http.Dir(dist)))
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "bearer job" {
			http.Error(w, "forbidden", http.StatusForbidden)
			return
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"value": "token-for-" + r.URL.Query().Get("audience")})
	})
	server := httptest.NewServer(mux)
	ts.Defer(server.Close)
	ts.Setenv("RELEASE", server.URL)
	sum := sha256.Sum256([]byte("attestor for darwin-arm64"))
	ts.Setenv("DARWIN", hex.EncodeToString(sum[:]))
}

// job runs one script of a system, and compares how it ends.
func job(ts *testscript.TestScript, shell, script, want string, env map[string]string) {
	file := ts.MkAbs("job.sh")
	ts.Check(os.WriteFile(file, []byte(script), 0o600))
	cmd := exec.Command(shell, file)
	cmd.Dir = ts.Getenv("WORK")
	cmd.Env = []string{"HOME=" + ts.Getenv("WORK"), "PATH=" + ts.Getenv("PATH"), "ATTESTOR_RELEASE=" + ts.Getenv("RELEASE")}
	for name, value := range env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		ts.Fatalf("%v", err)
	}
	ts.Logf("%s", out.String())
	if got := strconv.Itoa(cmd.ProcessState.ExitCode()); got != want {
		ts.Fatalf("the job ended with %s, want %s", got, want)
	}
	ts.Check(os.WriteFile(ts.MkAbs("log"), out.Bytes(), 0o600))
}

func decodeYAML(ts *testscript.TestScript, name string, v any) {
	text, err := os.ReadFile(ts.MkAbs(name))
	ts.Check(err)
	_, last, found := strings.Cut(string(text), "\n---\n")
	if !found {
		last = string(text)
	}
	ts.Check(yaml.Unmarshal([]byte(last), v))
}

// ordered fails where the runner would take a line of the log for a command, but for those that the action gives: to hide
// a token, and to take no commands until a word that nobody can guess comes. GitHub's runner reads "::name …::value" at the
// beginning of a line, and the older "##[name …]value" anywhere in one.
func ordered(ts *testscript.TestScript, log string) {
	newer, older := regexp.MustCompile(`^\s*::([^: ]+)[^:]*::(.*)$`), regexp.MustCompile(`##\[([^\] ]+)[^\]]*\](.*)`)
	until := ""
	for line := range strings.Lines(log) {
		m := newer.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			m = older.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		}
		switch {
		case m == nil:
		case until != "":
			if m[1] == until {
				until = ""
			}
		case m[1] == "stop-commands" && len(m[2]) == 32:
			until = m[2]
		case m[1] != "add-mask":
			ts.Fatalf("the runner takes this for a command: %s", line)
		}
	}
	if until != "" {
		ts.Fatalf("the runner is told to take no commands, and not to take them again")
	}
}

// runAction is action CODE NAME=INPUT…: every step of the composite action, with the inputs as its expressions give them. %0A
// is a new line.
func runAction(ts *testscript.TestScript, _ bool, args []string) {
	var action struct {
		Inputs map[string]struct {
			Default string `yaml:"default"`
		} `yaml:"inputs"`
		Runs struct {
			Steps []struct {
				Env   map[string]string `yaml:"env"`
				Run   string            `yaml:"run"`
				Shell string            `yaml:"shell"`
			} `yaml:"steps"`
		} `yaml:"runs"`
	}
	decodeYAML(ts, "ci/action.yml", &action)
	values := map[string]string{"github.action_path": ts.MkAbs("ci")}
	for name, input := range action.Inputs {
		values["inputs."+name] = input.Default
	}
	env := map[string]string{"GITHUB_SHA": strings.Repeat("c", 40), "GITHUB_RUN_ID": "7", "RUNNER_TEMP": ts.MkAbs("temp")}
	ts.Check(os.MkdirAll(ts.MkAbs("temp"), 0o750))
	for _, name := range []string{"GITHUB_PATH", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"} {
		env[name] = ts.MkAbs(strings.ToLower(name))
		ts.Check(os.WriteFile(env[name], nil, 0o600))
	}
	for _, a := range args[1:] {
		name, value, _ := strings.Cut(strings.ReplaceAll(a, "%0A", "\n"), "=")
		if strings.ToUpper(name) == name {
			env[name] = value
		} else {
			values["inputs."+name] = value
		}
	}

	path := ts.Getenv("PATH")
	for i, step := range action.Runs.Steps {
		want := "0"
		if i == len(action.Runs.Steps)-1 {
			want = args[0]
		}
		for name, value := range step.Env {
			env[name] = regexp.MustCompile(`\$\{\{ (\S+) \}\}`).ReplaceAllStringFunc(value, func(e string) string {
				return values[strings.Trim(e, "${} ")]
			})
		}
		added, err := os.ReadFile(env["GITHUB_PATH"])
		ts.Check(err)
		env["PATH"] = strings.TrimSpace(string(added)) + ":" + path
		job(ts, step.Shell, step.Run, want, env)
		log, err := os.ReadFile(ts.MkAbs("log"))
		ts.Check(err)
		ordered(ts, string(log))
	}
}

// runGitLab is gitlab CODE NAME=INPUT…: the script of the component's job, by a POSIX shell, as an image without bash has.
func runGitLab(ts *testscript.TestScript, _ bool, args []string) {
	var jobs struct {
		Attest struct {
			Variables map[string]string `yaml:"variables"`
			Script    []string          `yaml:"script"`
		} `yaml:"attest"`
	}
	decodeYAML(ts, "ci/templates/attest.yml", &jobs)
	values := map[string]string{"wait": "10s"}
	env := map[string]string{"CI_COMMIT_SHA": strings.Repeat("c", 40), "CI_JOB_ID": "7", "GATE_TOKEN": "a-token"}
	for _, a := range args[1:] {
		name, value, _ := strings.Cut(strings.ReplaceAll(a, "%0A", "\n"), "=")
		values[name] = value
	}
	for name, value := range jobs.Attest.Variables {
		env[name] = values[strings.TrimSuffix(strings.TrimPrefix(value, "$[[ inputs."), " ]]")]
	}
	job(ts, "sh", strings.Join(jobs.Attest.Script, "\n"), args[0], env)

	var links map[string][]struct {
		Link struct {
			URL string `json:"url"`
		} `json:"external_link"`
	}
	text, err := os.ReadFile(ts.MkAbs("attestor.links.json"))
	if err != nil {
		return // the job ended before it had an answer
	}
	ts.Check(json.Unmarshal(text, &links))
	ts.Setenv("LINK", links["attestor"][0].Link.URL)
}

// runContainer is container CODE FILE NAME=VALUE…: the command of a file's only container, with its parameters and, for
// what the file says literally, replacements; variables that end in _EMULATOR_HOST are its environment.
func runContainer(ts *testscript.TestScript, _ bool, args []string) {
	type container struct {
		Command []string `yaml:"command"`
		Args    []string `yaml:"args"`
	}
	var file struct {
		Spec struct {
			Steps []container `yaml:"steps"`
		} `yaml:"spec"`
		Verify []struct {
			Container container `yaml:"container"`
		} `yaml:"verify"`
	}
	decodeYAML(ts, args[1], &file)
	all := file.Spec.Steps
	for _, v := range file.Verify {
		all = append(all, v.Container)
	}
	if len(all) != 1 || len(all[0].Command) != 1 || all[0].Command[0] != "/attestor" {
		ts.Fatalf("%s has %+v", args[1], all)
	}

	env := map[string]string{}
	for _, r := range args[2:] {
		if name, value, _ := strings.Cut(r, "="); strings.HasSuffix(name, "_EMULATOR_HOST") {
			env[name] = value
		}
	}
	line := "attestor"
	for _, a := range all[0].Args {
		for _, r := range args[2:] {
			from, to, _ := strings.Cut(r, "=")
			a = strings.ReplaceAll(a, from, to)
		}
		line += " '" + a + "'"
	}
	job(ts, "sh", "exec "+line, args[0], env)
}
