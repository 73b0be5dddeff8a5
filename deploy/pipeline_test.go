package deploy_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// A pipeline runs the steps scan, import and attest of one of the files, on this machine: with attestor dev in Google's
// and the gate's place, and a program that prints a report in the scanner's.
type pipeline struct {
	dir, bin           string
	service, reg, goog string
	digest             string
	image              string
}

// newPipeline starts attestor dev under a policy that trusts the note of imports, and pushes an image that Google's
// scanner could not judge.
func newPipeline(t *testing.T) *pipeline {
	t.Helper()
	p := &pipeline{dir: t.TempDir()}
	p.bin = filepath.Join(p.dir, "bin", "attestor")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", p.bin, "../cmd/attestor").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	policy := `apiVersion: attestor/v1
kind: GatePolicy
metadata: {name: wolfi}
spec:
  mode: enforce
  images: ["**"]
  base: {required: false}
  user: {nonRoot: true}
  vulnerabilities:
    maximumFixableSeverity: MEDIUM
    maximumUnfixableSeverity: MEDIUM
    scan: {trusted: [projects/dev/notes/scanner], continuous: optional, maxAge: 7d, packageTypes: all, onUnsupported: deny}
  attestors: [projects/dev/attestors/gate]
`
	p.write(t, "policy.yaml", policy)
	p.start(t)

	img, err := random.Image(100, 1)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config.OS, config.Architecture, config.Config = "linux", "amd64", v1.Config{User: "65532:65532"}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	tag, err := name.NewTag(p.reg + "/app/wolfi:v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, img); err != nil {
		t.Fatal(err)
	}
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	p.digest, p.image = digest.String(), p.reg+"/app/wolfi@"+digest.String()
	p.write(t, "image", p.image+"\n")

	// In the scanner's place: it prints a report, if it is asked for the digest.
	stub := "#!/bin/sh\nfor last; do :; done\ntest \"$last\" = " + p.image + " && cat scanned.json\n"
	if err := os.WriteFile(filepath.Join(p.dir, "bin", "trivy"), []byte(stub), 0o700); err != nil { //nolint:gosec // it is run
		t.Fatal(err)
	}
	return p
}

func (p *pipeline) write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, file), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// start runs attestor dev on ports of the system's choice, and reads from its output which they are.
func (p *pipeline) start(t *testing.T) {
	t.Helper()
	cmd := exec.Command(p.bin, "dev", "--no-samples", "--policy", "policy.yaml", "--listen", "127.0.0.1:0",
		"--registry-listen", "127.0.0.1:0", "--google-listen", "127.0.0.1:0")
	cmd.Dir = p.dir
	cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir()) // a killed one leaves its directory behind
	stdout, err := os.Create(filepath.Join(p.dir, "dev.out"))
	if err != nil {
		t.Fatal(err)
	}
	defer stdout.Close()
	cmd.Stdout = stdout
	ready, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}

	answers := make(chan bool, 1)
	go func() {
		for sc := bufio.NewScanner(ready); sc.Scan(); {
			if sc.Text() == "attestor: ready" {
				answers <- true
			}
		}
		close(answers)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		for range answers { // until standard error ends
		}
		_ = cmd.Wait()
	})
	if !<-answers {
		t.Fatal("attestor dev ended before it was ready")
	}

	// What it listens on was printed before it was ready.
	text, err := os.ReadFile(stdout.Name())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 2 {
			continue
		}
		switch f[0] {
		case "service":
			p.service = strings.TrimPrefix(f[1], "http://")
		case "registry":
			p.reg = f[1]
		case "Google":
			p.goog = f[1]
		}
	}
	if p.service == "" || p.reg == "" || p.goog == "" {
		t.Fatalf("attestor dev does not say where it listens")
	}
}

// report is what Trivy prints of an image of Wolfi with one package.
func (p *pipeline) report(t *testing.T, digest, class, severity string) string {
	t.Helper()
	type object = map[string]any
	result := object{
		"Target": "wolfi", "Class": class, "Type": map[string]string{"os-pkgs": "wolfi", "lang-pkgs": "gobinary"}[class],
		"Packages": []object{{"Name": "busybox", "Version": "1.37.0-r0"}},
	}
	if severity != "" {
		result["Vulnerabilities"] = []object{{
			"VulnerabilityID": "CVE-2026-1", "PkgName": "busybox", "InstalledVersion": "1.37.0-r0", "Severity": severity,
		}}
	}
	b, err := json.Marshal(object{
		"SchemaVersion": 2, "Trivy": object{"Version": "0.74.0"}, "CreatedAt": time.Now().UTC().Format(time.RFC3339),
		"ArtifactName": p.reg + "/app/wolfi@" + digest, "ArtifactType": "container_image",
		"Metadata": object{
			"OS": object{"Family": "wolfi", "Name": "20230201"}, "RepoDigests": []string{p.reg + "/app/wolfi@" + digest},
			"ImageConfig": object{"architecture": "amd64", "os": "linux"},
		},
		"Results": []object{result},
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// run runs steps in order, until one fails; it answers which, and what was printed.
func (p *pipeline) run(t *testing.T, steps []string, commands map[string]string) (failed, output string) {
	t.Helper()
	for _, id := range steps {
		cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", commands[id])
		cmd.Dir = p.dir
		cmd.Env = append(os.Environ(), "PATH="+filepath.Join(p.dir, "bin")+":"+os.Getenv("PATH"),
			"CONTAINERANALYSIS_EMULATOR_HOST="+p.goog, "CLOUD_KMS_EMULATOR_HOST="+p.goog, "BINARYAUTHORIZATION_EMULATOR_HOST="+p.goog)
		out, err := cmd.CombinedOutput()
		output += string(out)
		if err != nil {
			return id, output
		}
	}
	return "", output
}

// commands are the steps scan, import and attest of Cloud Build's file, with its substitutions, as a shell runs them.
func (p *pipeline) commands(t *testing.T) map[string]string {
	t.Helper()
	var b build
	strictly(t, "cloudbuild/scan-import.yaml", &b)
	values := map[string]string{
		"_SCAN": b.Substitutions["_SCAN"], "_NOTE": "projects/dev/notes/scanner", "PROJECT_ID": "dev", "_GATE": "http://" + p.service,
		"BUILD_ID": "b1", "COMMIT_SHA": "c1",
	}
	return b.commands(p.dir, values)
}

// TestScanImport: an image that Google's scanner cannot judge passes once a whole report of it is imported, and by no
// other way.
func TestScanImport(t *testing.T) {
	p := newPipeline(t)
	commands := p.commands(t)

	// What Google's scanner says of it.
	p.write(t, "unsupported.json", fmt.Sprintf(`{"name":"projects/dev/occurrences/google","kind":"DISCOVERY",
		"noteName":"projects/goog-analysis/notes/PACKAGE_VULNERABILITY","resourceUri":"https://%s",
		"discovery":{"analysisStatus":"FINISHED_UNSUPPORTED"}}`, p.image))
	post := exec.CommandContext(t.Context(), "curl", "-fsS", "-H", "Content-Type: application/json", "-d",
		"@"+filepath.Join(p.dir, "unsupported.json"), "http://"+p.goog+"/v1/projects/dev/occurrences")
	if out, err := post.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	other := "sha256:" + strings.Repeat("1", 64)
	all := []string{"scan", "import", "attest"}
	for _, tt := range []struct {
		name, report string
		steps        []string
		failed       string
		says         string
	}{
		{"without the import", p.report(t, p.digest, "os-pkgs", ""), []string{"scan", "attest"}, "attest", "SCAN_UNSUPPORTED"},
		{"a report of another image", p.report(t, other, "os-pkgs", ""), all, "import", other},
		{"no report", "", all, "import", ""},
		{"packages of languages only", p.report(t, p.digest, "lang-pkgs", ""), all, "attest", "SCAN_"},
		{"a critical finding", p.report(t, p.digest, "os-pkgs", "CRITICAL"), all, "attest", "CVE-2026-1"},
		{"a whole report without findings", p.report(t, p.digest, "os-pkgs", ""), all, "", ""},
		{"a finding within the policy", p.report(t, p.digest, "os-pkgs", "LOW"), all, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p.write(t, "scanned.json", tt.report)
			failed, out := p.run(t, tt.steps, commands)
			if failed != tt.failed || !strings.Contains(out, tt.says) {
				t.Errorf("failed at %q, want %q with %s\n%s", failed, tt.failed, tt.says, out)
			}
		})
	}

	p.sameOnGitHub(t)
}

// sameOnGitHub: the other file runs the same programs with the same arguments.
func (p *pipeline) sameOnGitHub(t *testing.T) {
	t.Helper()
	var w struct {
		Name        string            `yaml:"name"`
		On          map[string]any    `yaml:"on"`
		Permissions map[string]string `yaml:"permissions"`
		Env         map[string]string `yaml:"env"`
		Jobs        map[string]struct {
			RunsOn  string `yaml:"runs-on"`
			Timeout int    `yaml:"timeout-minutes"`
			Steps   []struct {
				ID   string            `yaml:"id"`
				Uses string            `yaml:"uses"`
				With map[string]string `yaml:"with"`
				Run  string            `yaml:"run"`
			} `yaml:"steps"`
		} `yaml:"jobs"`
	}
	strictly(t, "github/scan-import.yml", &w)

	var ids []string
	for _, s := range w.Jobs["image"].Steps {
		if s.ID == "" {
			continue
		}
		ids = append(ids, s.ID)
		bash(t, "github/scan-import.yml: "+s.ID, s.Run)
		if s.ID != "import" && s.ID != "attest" {
			continue
		}
		_, args, ok := strings.Cut(s.Run, `"$GATE_IMAGE" \`)
		if !ok {
			t.Fatalf("%s does not run the gate's image: %s", s.ID, s.Run)
		}
		for from, to := range map[string]string{
			"$NOTE": "projects/dev/notes/scanner", "$PROJECT": "dev", "$GATE\"": "http://" + p.service + "\"",
			"/workspace/": p.dir + "/", "$GITHUB_SHA": "c1",
		} {
			args = strings.ReplaceAll(args, from, to)
		}
		if failed, out := p.run(t, []string{s.ID}, map[string]string{s.ID: "attestor " + strings.TrimSpace(args)}); failed != "" {
			t.Errorf("GitHub's %s fails: %s", s.ID, out)
		}
	}
	if got := strings.Join(ids, " "); got != "push scan import attest" {
		t.Errorf("steps %s", got)
	}
	if w.Permissions["id-token"] != "write" || w.Permissions["contents"] != "read" || len(w.Permissions) != 2 {
		t.Errorf("permissions %v", w.Permissions)
	}
}
