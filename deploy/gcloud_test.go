package deploy_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// state is all that a project has, for comparison.
func (p *project) state(t *testing.T) string {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()

	b, err := json.MarshalIndent(p, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A cloud is a project, Google's APIs as the emulator has them, and a directory with the programs that lead to both.
type cloud struct {
	*project
	google, bin string
}

func newCloud(t *testing.T) *cloud {
	t.Helper()
	curl := part(t, "curl", "")
	part(t, "jq", "")

	c := &cloud{project: newProject(), google: "http://" + emulated(t), bin: t.TempDir()}
	s := httptest.NewServer(c.project)
	t.Cleanup(s.Close)

	// gcloud sends its arguments, and what it would read from standard input as a file. Google's hosts lead to the emulator.
	c.program(t, "gcloud", fmt.Sprintf(`args=()
for a in "$@"; do
	if [[ $a == - ]]; then a=$(mktemp -p %[3]q); cat >"$a"; fi
	args+=(--data-urlencode "a=$a")
done
if out=$(%[1]q -sS --fail-with-body "${args[@]}" %[2]q); then
	[[ -z $out ]] || printf '%%s\n' "$out"
else
	printf '%%s\n' "$out" >&2
	exit 1
fi
`, curl, s.URL, t.TempDir()))
	c.program(t, "bq", "exit 0\n")
	c.program(t, "sleep", "exit 0\n") // what is waited for is counted, and takes no time
	c.program(t, "curl", fmt.Sprintf(`args=()
# Arguments are shown to whoever is logged in to the machine.
[[ $* != *Bearer* ]] || { echo "a token among the arguments" >&2; exit 2; }
# Another writer comes first, where a test says so.
if [[ " $* " == *" $(cat %[3]q/before 2>/dev/null || echo never) "* ]]; then
	rm %[3]q/before
	bash %[3]q/other
fi
for a in "$@"; do
	a=${a/https:\/\/containeranalysis.googleapis.com/%[2]s}
	args+=("${a/https:\/\/binaryauthorization.googleapis.com/%[2]s}")
done
exec %[1]q "${args[@]}"
`, curl, strings.ReplaceAll(c.google, "/", `\/`), c.bin))
	return c
}

func (c *cloud) program(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(c.bin, name), []byte("#!/usr/bin/env bash\nset -euo pipefail\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
}

// run runs parts of the script.
func (c *cloud) run(t *testing.T, env []string, parts ...string) error {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", append([]string{"gcloud.sh"}, parts...)...)
	digest := "@sha256:" + strings.Repeat("a", 64)
	cmd.Env = append(os.Environ(), "PATH="+c.bin+":"+os.Getenv("PATH"), "PROJECT=demo", "REGION=us-west1",
		"IMAGE=us-west1-docker.pkg.dev/demo/prod/gate"+digest,
		"PROXY_IMAGE=gcr.io/proxy"+digest, "API_HOST=gate.demo.example", "PAGES_HOST=pages.demo.example", "READERS=group:a@demo.example",
		"ONCALL=group:oncall@demo.example", "CONFIG=cloudrun/gate/attestor.yaml",
		"EVENTS_CONFIG=cloudrun/gate-events/attestor.yaml", "POLICY=policies/starter.yaml")
	cmd.Env = append(cmd.Env, env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// rest calls the emulator.
func (c *cloud) rest(t *testing.T, method, path, body string) map[string]any {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, c.google+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()

	var out map[string]any
	if err := json.NewDecoder(resp.Body).Decode(&out); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s %v %v", method, path, resp.Status, out, err)
	}
	return out
}

const (
	admissionPolicy = "/v1/projects/demo/policy"
	notePolicy      = "/v1/projects/demo/notes/gate"
)

// all is what the script made, in the project and in the emulator.
func (c *cloud) all(t *testing.T) string {
	t.Helper()
	admission, note := c.rest(t, "GET", admissionPolicy, ""), c.rest(t, "POST", notePolicy+":getIamPolicy", "{}")
	delete(admission, "updateTime")
	return fmt.Sprint(c.state(t), admission, note)
}

func scriptParts() []string {
	return []string{
		"apis", "network", "identities", "registry", "signing", "log", "encryption", "admission", "database", "services", "edge", "events", "prune", "table",
	}
}

// TestScriptAgain runs the script, changes by hand what people change, and runs it twice more in other orders: nothing of
// what stands is created again, replaced or taken back.
func TestScriptAgain(t *testing.T) {
	c := newCloud(t)
	if err := c.run(t, nil, scriptParts()...); err != nil {
		t.Fatal(err)
	}
	first := c.rest(t, "GET", admissionPolicy, "")
	rule, _ := first["defaultAdmissionRule"].(map[string]any)
	if rule["evaluationMode"] != "REQUIRE_ATTESTATION" || rule["enforcementMode"] != "DRYRUN_AUDIT_LOG_ONLY" {
		t.Fatalf("the policy of a new project: %v", first)
	}

	// Somebody enforces, exempts an image, gives a cluster a rule, and grants rights.
	rule["enforcementMode"] = "ENFORCED_BLOCK_AND_AUDIT_LOG"
	first["admissionWhitelistPatterns"] = append(first["admissionWhitelistPatterns"].([]any), map[string]any{"namePattern": "gcr.io/acme/debug@*"})
	first["clusterAdmissionRules"] = map[string]any{
		"us-west1.shop": map[string]any{"evaluationMode": "ALWAYS_DENY", "enforcementMode": "ENFORCED_BLOCK_AND_AUDIT_LOG"},
	}
	c.put(t, admissionPolicy, first)
	note := c.rest(t, "POST", notePolicy+":getIamPolicy", "{}")
	note["bindings"] = append(note["bindings"].([]any),
		map[string]any{"role": "roles/containeranalysis.notes.viewer", "members": []any{"group:audit@demo.example"}})
	b, err := json.Marshal(map[string]any{"policy": note})
	if err != nil {
		t.Fatal(err)
	}
	c.rest(t, "POST", notePolicy+":setIamPolicy", string(b))
	c.byHand(func() {
		c.Resources["compute backend-services gate-api"]["security-policy"] = "stricter"
		c.Resources["compute security-policies gate-api"]["json-parsing"] = "STANDARD_WITH_GRAPHQL"
		c.Grants["projects demo"]["roles/viewer group:audit@demo.example"] = true
	})
	before := c.all(t)

	orders := [][]string{scriptParts(), scriptParts()}
	slices.Reverse(orders[1])
	for _, order := range orders {
		if err := c.run(t, nil, order...); err != nil {
			t.Fatalf("%v: %v", order, err)
		}
		if diff := cmp.Diff(before, c.all(t)); diff != "" {
			t.Fatalf("%v changed what was there (-before +after):\n%s", order, diff)
		}
	}

	// Enforcement changes where it is named, and nothing else does.
	if err := c.run(t, []string{"ENFORCEMENT=DRYRUN_AUDIT_LOG_ONLY"}, "admission"); err != nil {
		t.Fatal(err)
	}
	named := c.rest(t, "GET", admissionPolicy, "")
	rule["enforcementMode"] = "DRYRUN_AUDIT_LOG_ONLY"
	for _, m := range []map[string]any{first, named} {
		maps.DeleteFunc(m, func(k string, _ any) bool { return k == "etag" || k == "updateTime" })
	}
	if diff := cmp.Diff(first, named); diff != "" {
		t.Errorf("beside the enforcement (-want +got):\n%s", diff)
	}
}

func (c *cloud) put(t *testing.T, path string, v any) {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	c.rest(t, "PUT", path, string(b))
}

// TestScriptStopped stops the script at some of its steps, and runs it again: it ends where an undisturbed run does.
func TestScriptStopped(t *testing.T) {
	undisturbed := newCloud(t)
	if err := undisturbed.run(t, nil); err != nil {
		t.Fatal(err)
	}
	steps := 0
	undisturbed.byHand(func() { steps = undisturbed.writes })

	c := newCloud(t)
	for _, at := range []int{1, steps / 4, steps / 2, 3 * steps / 4, steps - 1} {
		c.mu.Lock()
		c.failAfter = at
		c.mu.Unlock()
		if err := c.run(t, nil); err == nil && at < steps/2 {
			t.Errorf("the script ended well though it was stopped after %d steps", at)
		}
	}
	c.mu.Lock()
	c.failAfter = -1
	c.mu.Unlock()
	if err := c.run(t, nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(undisturbed.state(t), c.state(t)); diff != "" {
		t.Errorf("undisturbed, and stopped five times (-want +got):\n%s", diff)
	}
}

// TestScriptStoppedAtTheEdge stops the part edge after each of its steps, and runs it again: what is made of several steps,
// such as a service with its backend, ends whole.
func TestScriptStoppedAtTheEdge(t *testing.T) {
	before := []string{"apis", "identities", "services"}
	undisturbed := newCloud(t)
	if err := undisturbed.run(t, nil, before...); err != nil {
		t.Fatal(err)
	}
	first, last := 0, 0
	undisturbed.byHand(func() { first = undisturbed.writes })
	if err := undisturbed.run(t, nil, "edge"); err != nil {
		t.Fatal(err)
	}
	undisturbed.byHand(func() { last = undisturbed.writes })

	c := newCloud(t)
	if err := c.run(t, nil, before...); err != nil {
		t.Fatal(err)
	}
	for at := first + 1; at < last; at++ {
		c.byHand(func() { c.failAfter = max(at, c.writes+1) })
		_ = c.run(t, nil, "edge")
	}
	c.byHand(func() { c.failAfter = -1 })
	if err := c.run(t, nil, "edge"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(undisturbed.state(t), c.state(t)); diff != "" {
		t.Errorf("undisturbed, and stopped at each step (-want +got):\n%s", diff)
	}
}

// TestScriptLeavesForeignRules: a default rule that somebody else made is not overwritten, and enforcing it under the
// script's name fails.
func TestScriptLeavesForeignRules(t *testing.T) {
	c := newCloud(t)
	policy := map[string]any{"defaultAdmissionRule": map[string]any{"evaluationMode": "ALWAYS_DENY", "enforcementMode": "ENFORCED_BLOCK_AND_AUDIT_LOG"}}
	c.put(t, admissionPolicy, policy)
	if err := c.run(t, nil, "admission"); err != nil {
		t.Fatal(err)
	}
	got := c.rest(t, "GET", admissionPolicy, "")
	if diff := cmp.Diff(policy["defaultAdmissionRule"], got["defaultAdmissionRule"]); diff != "" {
		t.Error(diff)
	}
	err := c.run(t, []string{"ENFORCEMENT=DRYRUN_AUDIT_LOG_ONLY"}, "admission")
	if err == nil || !strings.Contains(err.Error(), "projects/demo/attestors/gate") {
		t.Errorf("turning a foreign rule to dry run: %v", err)
	}
	if diff := cmp.Diff(policy["defaultAdmissionRule"], c.rest(t, "GET", admissionPolicy, "")["defaultAdmissionRule"]); diff != "" {
		t.Error(diff)
	}
	if err := c.run(t, []string{"ENFORCEMENT=enforced"}, "admission"); err == nil || !strings.Contains(err.Error(), "ENFORCED_BLOCK_AND_AUDIT_LOG") {
		t.Errorf("a misspelt enforcement: %v", err)
	}
}

// TestScriptMeetsOthers: somebody changes a policy between the script's reading and writing. The script ends without writing
// over it, and run again adds its own.
func TestScriptMeetsOthers(t *testing.T) {
	for _, c := range []struct{ name, part, method, path, other, kept string }{
		{
			"admission", "admission", "PUT", admissionPolicy,
			`{"description": "another", "defaultAdmissionRule": {"evaluationMode": "ALWAYS_ALLOW", ` +
				`"enforcementMode": "ENFORCED_BLOCK_AND_AUDIT_LOG"}}`, "another",
		},
		{
			"note", "signing", "setIamPolicy", notePolicy + ":setIamPolicy",
			`{"policy": {"bindings": [{"role": "roles/containeranalysis.notes.viewer", "members": ["group:audit@demo.example"]}]}}`, "group:audit@demo.example",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl := newCloud(t)
			if err := cl.run(t, nil, "apis", "identities"); err != nil {
				t.Fatal(err)
			}
			method, before := c.method, c.method
			if method == "setIamPolicy" {
				method, before = "POST", "https://containeranalysis.googleapis.com"+notePolicy+":setIamPolicy"
			}
			curl, err := exec.LookPath("curl")
			if err != nil {
				t.Fatal(err)
			}
			write := fmt.Sprintf("%q -sS --fail-with-body -X %s -H 'Content-Type: application/json' -d '%s' %s%s "+
				">/dev/null\n", curl, method, c.other, cl.google, c.path)
			for file, text := range map[string]string{"before": before, "other": write} {
				if err := os.WriteFile(filepath.Join(cl.bin, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}

			err = cl.run(t, nil, c.part)
			if err == nil || !strings.Contains(err.Error(), "409") {
				t.Errorf("the script wrote over another's policy: %v", err)
			}
			state := func() string {
				return fmt.Sprint(cl.rest(t, "GET", admissionPolicy, ""), cl.rest(t, "POST", notePolicy+":getIamPolicy", "{}"))
			}
			if got := state(); !strings.Contains(got, c.kept) {
				t.Errorf("what the other wrote is gone: %s", got)
			}
			if err := cl.run(t, nil, c.part); err != nil {
				t.Fatal(err)
			}
			if got := state(); !strings.Contains(got, c.kept) || !strings.Contains(got, "gate") {
				t.Errorf("run again: %s", got)
			}
		})
	}
}

// TestScriptOtherHosts: other hosts get a certificate of another name beside the old one, which serves until the new one is
// valid.
func TestScriptOtherHosts(t *testing.T) {
	c := newCloud(t)
	if err := c.run(t, nil, "apis", "edge"); err != nil {
		t.Fatal(err)
	}
	proxy, _ := c.flags("compute target-https-proxies gate-edge")
	first := proxy["ssl-certificates"]
	if err := c.run(t, []string{"API_HOST=gate.other.example"}, "edge"); err != nil {
		t.Fatal(err)
	}
	proxy, _ = c.flags("compute target-https-proxies gate-edge")
	second, rest, _ := strings.Cut(proxy["ssl-certificates"], ",")
	if first == "" || rest != first || second == first {
		t.Errorf("certificates %q, and then %q", first, proxy["ssl-certificates"])
	}
	certificate, _ := c.flags("compute ssl-certificates " + second)
	if hosts := certificate["domains"]; hosts != "gate.other.example,pages.demo.example" {
		t.Errorf("the new certificate is for %q", hosts)
	}
}

// TestScriptWithoutSHA256Sum: on macOS another program makes the same certificate's name.
func TestScriptWithoutSHA256Sum(t *testing.T) {
	c := newCloud(t)
	if err := c.run(t, nil, "apis", "edge"); err != nil {
		t.Fatal(err)
	}
	want, _ := c.flags("compute target-https-proxies gate-edge")

	// Every program but this one.
	sum, err := exec.LookPath("sha256sum")
	if err != nil {
		t.Skip("there is no sha256sum here, and so TestScript shows this")
	}
	programs := t.TempDir()
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		entries, _ := os.ReadDir(dir) // a directory of PATH need not be there
		for _, e := range entries {
			if e.Name() != "sha256sum" {
				_ = os.Symlink(filepath.Join(dir, e.Name()), filepath.Join(programs, e.Name())) // the first of a name counts
			}
		}
	}
	c = newCloud(t)
	c.program(t, "shasum", fmt.Sprintf("[[ $* == '-a 256' ]]\nexec %q\n", sum))
	if err := c.run(t, []string{"PATH=" + c.bin + ":" + programs}, "apis", "edge"); err != nil {
		t.Fatal(err)
	}
	if got, _ := c.flags("compute target-https-proxies gate-edge"); got["ssl-certificates"] != want["ssl-certificates"] || got["ssl-certificates"] == "" {
		t.Errorf("the certificate is %q, want %q", got["ssl-certificates"], want["ssl-certificates"])
	}
}
