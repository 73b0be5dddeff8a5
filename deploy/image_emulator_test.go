package deploy_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// emulatorImage builds the emulator's image on the gate's: the same program and user, and a command that it takes.
func emulatorImage(t *testing.T, w workshop, host, ref string) {
	t.Helper()
	to := host + "/gate/emulator:test"
	dockerfile, err := filepath.Abs("emulator/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	w.run(t, "bud", "--isolation", "chroot", "--tls-verify=false", "--format", "oci", "--build-arg", "GATE="+ref, "-t", to, "-f", dockerfile, w.dir)
	w.run(t, "push", "--tls-verify=false", to, "docker://"+to)

	config, err := image(t, to).ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c := config.Config
	if c.User != "65532:65532" || !slices.Equal(c.Entrypoint, []string{"/attestor"}) || len(c.ExposedPorts) != 2 {
		t.Errorf("user %q, entry point %q, ports %v", c.User, c.Entrypoint, c.ExposedPorts)
	}

	// Its arguments are taken: --help after them ends the program before it listens.
	container := w.run(t, "from", "--tls-verify=false", to)
	container = container[strings.LastIndex(container, "\n")+1:]
	args := append([]string{"run", "--isolation", "chroot", container, "--", "/attestor"}, c.Cmd...)
	if out := w.run(t, append(args, "--help")...); !strings.Contains(out, "attestor emulator") {
		t.Errorf("the image's command: %s", out)
	}
}
