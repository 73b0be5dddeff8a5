package deploy_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTektonTakesTheTask: Tekton's own code takes the released task, and refuses it with a fault.
func TestTektonTakesTheTask(t *testing.T) {
	if os.Getenv("GATE_TEST_ALL") != "1" {
		t.Skip("Tekton's code takes minutes to build: GATE_TEST_ALL=1 runs it")
	}
	tool := filepath.Join(t.TempDir(), "tekton")
	build := exec.CommandContext(t.Context(), "go", "build", "-C", "../tools/tekton", "-o", tool, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	dir := releasedCI(t, "v1.2.3", ciBinaries(), "-image", "registry.example/acme/attestor")
	task := string(read(t, filepath.Join(dir, "tekton/attest.yaml")))
	for _, tt := range []struct{ name, from, to, says string }{
		{"as it is", "", "", ""},
		{"a parameter that is not declared", "$(params.image)", "$(params.imgae)", "non-existent variable"},
		{"a type that Tekton does not have", "type: string", "type: strng", "spec.params.server.type"},
		{"a default of another type", "default: 10m", "default: [10m]", "does not match"},
		{"a name that is no label", "- name: attest\n", "- name: Attest_1\n", "spec.steps[0].name"},
		{"a field that Tekton does not know", "  steps:", "  stepz:", "unknown field"},
		{"a fault behind what is read", "", "", "more than 1048576 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(task, tt.from, tt.to, 1)
			if tt.name == "a fault behind what is read" {
				text += "\n" + strings.Repeat("#\n", 1<<19) + "stepz: {}\n"
			}
			if tt.from != "" && text == task {
				t.Fatalf("the task has no %q", tt.from)
			}
			cmd := exec.CommandContext(t.Context(), tool)
			cmd.Stdin = strings.NewReader(text)
			out, err := cmd.CombinedOutput()
			if (err == nil) != (tt.says == "") || !strings.Contains(string(out), tt.says) {
				t.Errorf("%v, want %q in\n%s", err, tt.says, out)
			}
		})
	}
}
