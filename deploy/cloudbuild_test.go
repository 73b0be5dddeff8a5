package deploy_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// commands are the steps of a build as a shell runs them, with a directory in the place of /workspace, and what Cloud Build
// substitutes.
func (b *build) commands(dir string, values map[string]string) map[string]string {
	fill := func(text string) string {
		text = strings.ReplaceAll(text, "/workspace/", dir+"/")
		return substitution.ReplaceAllStringFunc(text, func(m string) string {
			if m == "$$" {
				return "$"
			}
			if v, ok := values[strings.Trim(m, "${}")]; ok {
				return v
			}
			return m
		})
	}

	out := map[string]string{}
	for _, s := range b.Steps {
		if s.Entrypoint != "" {
			out[s.ID] = fill(s.Args[len(s.Args)-1])
			continue
		}
		words := []string{"attestor"}
		for _, a := range s.Args {
			words = append(words, "'"+fill(a)+"'")
		}
		out[s.ID] = strings.Join(words, " ")
	}
	return out
}

// step runs a step with its own shell and options, among programs that stand in for others.
func step(t *testing.T, bin string, b *build, id, command string) (string, error) {
	t.Helper()
	i := slices.IndexFunc(b.Steps, func(s buildStep) bool { return s.ID == id })
	s := b.Steps[i]
	cmd := exec.CommandContext(t.Context(), s.Entrypoint, append(slices.Clone(s.Args[:len(s.Args)-1]), command)...)
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// standsIn makes a program of a shell's lines.
func standsIn(t *testing.T, bin, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(bin, name), []byte("#!/usr/bin/env bash\nset -euo pipefail\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
}

func buildFiles() []string {
	return []string{"cloudbuild/attest-container.yaml", "cloudbuild/attest-curl.yaml", "cloudbuild/scan-import.yaml"}
}

// TestBuildsJudgeTheDigestOfThePush runs the step push of each file: the next steps get the digest that the registry gave for
// this push of this repository, or the build fails.
func TestBuildsJudgeTheDigestOfThePush(t *testing.T) {
	const image = "us-east1-docker.pkg.dev/acme-images/prod/api"
	own, another := image+"@sha256:"+strings.Repeat("a", 64), image+"@sha256:"+strings.Repeat("b", 64)
	mirror := "gcr.io/mirror/api@sha256:" + strings.Repeat("c", 64)
	for _, file := range buildFiles() {
		var b build
		strictly(t, file, &b)
		for _, tt := range []struct {
			name, digests, refuses, want string
		}{
			{"one repository", own, "never", own},
			{"a mirror beside it", mirror + "\n" + own, "never", own},
			{"only a mirror", mirror, "never", ""},
			{"a mirror that has the whole name in its path", "mirror.example/" + own, "never", ""},
			{"such a mirror beside it", "mirror.example/" + another + "\n" + own, "never", own},
			{"a repository whose name goes on", strings.Replace(own, "/api@", "/api-evil@", 1), "never", ""},
			{"two digests", own + "\n" + another, "never", ""},
			{"no digest", "", "never", ""},
			{"the registry refuses the push", own, "push", ""},
			{"docker does not know the image", own, "inspect", ""},
		} {
			t.Run(file+": "+tt.name, func(t *testing.T) {
				dir, bin := t.TempDir(), t.TempDir()
				if err := os.WriteFile(filepath.Join(dir, "digests"), []byte(tt.digests+"\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				standsIn(t, bin, "docker", fmt.Sprintf(`[[ $1 != %[1]s ]] || exit 1
case $1 in
push) [[ $# == 2 ]] && echo "$2" >%[2]q/pushed ;;
inspect) [[ ${*: -1} == "$(cat %[2]q/pushed)" && $* == *RepoDigests* ]] && cat %[2]q/digests ;;
*) exit 1 ;;
esac
`, tt.refuses, dir))

				out, err := step(t, bin, &b, "push", b.commands(dir, map[string]string{"_IMAGE": image, "BUILD_ID": "b1"})["push"])
				if (err == nil) != (tt.want != "") {
					t.Fatalf("%v\n%s", err, out)
				}
				if tt.want == "" {
					return
				}
				got, err := os.ReadFile(filepath.Join(dir, "image"))
				if err != nil || string(got) != tt.want+"\n" {
					t.Errorf("the next steps get %q, %v", got, err)
				}
				pushed, err := os.ReadFile(filepath.Join(dir, "pushed"))
				if err != nil || string(pushed) != image+":b1\n" {
					t.Errorf("pushed %q, %v", pushed, err)
				}
			})
		}
	}
}

// TestBuildsAskAlike: the step attest of both files with the gate's image is the one that TestScanImport runs.
func TestBuildsAskAlike(t *testing.T) {
	var container, scanned build
	strictly(t, "cloudbuild/attest-container.yaml", &container)
	strictly(t, "cloudbuild/scan-import.yaml", &scanned)
	a, b := container.Steps[len(container.Steps)-1], scanned.Steps[len(scanned.Steps)-1]
	if a.Name != b.Name || a.Entrypoint != "" || b.Entrypoint != "" || !slices.Equal(a.Args, b.Args) {
		t.Errorf("%+v, and %+v", a, b)
	}
}

// A gateByCurl stands for Google's metadata server, the service that makes ID tokens, and the gate.
type gateByCurl struct {
	t        *testing.T
	mu       sync.Mutex
	statuses []int  // of the gate's answers, the last for all that follow
	noToken  bool   // the account may not make ID tokens
	image    string // that it must be asked about
	asked    int
}

func (g *gateByCurl) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var in struct {
		Audience     string            `json:"audience"`
		IncludeEmail bool              `json:"includeEmail"`
		Image        string            `json:"image"`
		Wait         string            `json:"wait"`
		Labels       map[string]string `json:"labels"`
	}
	if r.Method == http.MethodPost {
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || r.Header.Get("Content-Type") != "application/json" {
			g.t.Errorf("%s: %v, %s", r.URL, err, r.Header.Get("Content-Type"))
		}
	}

	const metadata = "/metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/"
	const account = "gate-builder@acme.iam.gserviceaccount.com"
	switch r.URL.Path {
	case metadata + "email", metadata + "token":
		if r.Header.Get("Metadata-Flavor") != "Google" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		if strings.HasSuffix(r.URL.Path, "/email") {
			fmt.Fprint(w, account)
			return
		}
		fmt.Fprint(w, `{"access_token": "access", "expires_in": 3599}`)
	case "/iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/" + account + ":generateIdToken":
		if g.noToken || r.Header.Get("Authorization") != "Bearer access" {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		if in.Audience != "https://gate.acme.example" || !in.IncludeEmail {
			g.t.Errorf("a token for %q, with the address: %v", in.Audience, in.IncludeEmail)
		}
		fmt.Fprint(w, `{"token": "identity"}`)
	case "/gate.acme.example/v1/attest":
		// Without the first header Cloud Run refuses, without the second the gate.
		if r.Header.Get("X-Serverless-Authorization") != "Bearer identity" || r.Header.Get("Authorization") != "Bearer identity" {
			g.t.Errorf("headers %v", r.Header)
		}
		if in.Image != g.image || in.Wait != "40s" || in.Labels["build"] != "b1" {
			g.t.Errorf("asked for %+v", in)
		}
		status := g.statuses[min(g.asked, len(g.statuses)-1)]
		g.asked++
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"outcome": "answer %d"}`, g.asked)
	default:
		g.t.Errorf("nobody is at %s", r.URL)
		http.NotFound(w, r)
	}
}

// TestAttestByCurl runs the step attest of attest-curl.yaml: only 200 is a pass, a scan that has not finished is asked for
// again, and no other answer is.
func TestAttestByCurl(t *testing.T) {
	curl := part(t, "curl", "")
	part(t, "python3", "")
	var b build
	strictly(t, "cloudbuild/attest-curl.yaml", &b)
	const image = "us-east1-docker.pkg.dev/acme-images/prod/api@sha256:aa"
	for _, tt := range []struct {
		name     string
		statuses []int
		noToken  bool
		away     bool
		passes   bool
		asked    int
	}{
		{name: "passed", statuses: []int{200}, passes: true, asked: 1},
		{name: "refused, though it would pass later", statuses: []int{422, 200}, asked: 1},
		{name: "a scan that finishes", statuses: []int{503, 503, 200}, passes: true, asked: 3},
		{name: "a scan that never finishes", statuses: []int{503}, asked: 20},
		{name: "a scan that finishes with findings", statuses: []int{503, 422}, asked: 2},
		{name: "another success", statuses: []int{202}, asked: 1},
		{name: "a sign-in page", statuses: []int{302}, asked: 1},
		{name: "no right to a token", statuses: []int{200}, noToken: true},
		{name: "no gate", statuses: []int{200}, away: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, bin := t.TempDir(), t.TempDir()
			g := &gateByCurl{t: t, statuses: tt.statuses, noToken: tt.noToken, image: image}
			s := httptest.NewServer(g)
			t.Cleanup(s.Close)
			lost := ""
			if tt.away {
				lost = `[[ $* != */v1/attest* ]] || exit 7` + "\n"
			}
			standsIn(t, bin, "sleep", "exit 0\n") // it is counted by the requests, and takes no time
			standsIn(t, bin, "curl", fmt.Sprintf("%[3]sargs=()\nfor a in \"$@\"; do\n\tif [[ $a =~ ^https?:// ]]; then a=%[1]s/${a#*://}; fi\n"+
				"\targs+=(\"$a\")\ndone\nexec %[2]q \"${args[@]}\"\n", s.URL, curl, lost))
			if err := os.WriteFile(filepath.Join(dir, "image"), []byte(image+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}

			command := b.commands(dir, map[string]string{"_GATE": "https://gate.acme.example", "BUILD_ID": "b1"})["attest"]
			out, err := step(t, bin, &b, "attest", command)
			if (err == nil) != tt.passes || g.asked != tt.asked {
				t.Errorf("%v, asked %d times, want %d\n%s", err, g.asked, tt.asked, out)
			}
			if tt.asked > 0 && !strings.Contains(out, fmt.Sprintf("answer %d", tt.asked)) {
				t.Errorf("the log lacks the gate's answer:\n%s", out)
			}
		})
	}
}
