// Package toolbuild builds other people's programs from source, once for each
// machine: from the modules under tools/, which keep what they need out of this
// module, and into the user's cache. It is for tests that use the real thing.
package toolbuild

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Build returns the program of a package, which the module tools/NAME names as
// a tool. Where it is not in the cache, building takes minutes.
func Build(ctx context.Context, module, pkg string) (string, error) {
	dir, err := moduleDir(module)
	if err != nil {
		return "", err
	}
	version, err := goCommand(ctx, dir, "list", "-f", "{{.Module.Version}}", pkg)
	if err != nil {
		return "", err
	}

	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}

	// The version is part of the path: another one is built beside it.
	bin := filepath.Join(cache, "gate-test", module+"-"+strings.TrimPrefix(version, "v"), filepath.Base(pkg))
	if _, err := os.Stat(bin); err == nil {
		return bin, nil
	}

	if err := os.MkdirAll(filepath.Dir(bin), 0o750); err != nil {
		return "", err
	}

	// Under a name of its own: another process may build the same.
	part := fmt.Sprintf("%s.%d", bin, os.Getpid())
	defer func() { _ = os.Remove(part) }() // it is gone where it became whole

	if _, err := goCommand(ctx, dir, "build", "-trimpath", "-ldflags=-s -w", "-o", part, pkg); err != nil {
		return "", err
	}
	return bin, os.Rename(part, bin)
}

// moduleDir finds tools/NAME above the working directory.
func moduleDir(module string) (string, error) {
	dir, err := os.Getwd()

	// Tests run in the directory of their package.
	for err == nil {
		at := filepath.Join(dir, "tools", module)
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			return at, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("there is no module tools/%s above this directory", module)
		}
		dir = filepath.Dir(dir)
	}
	return "", err
}

// goCommand is nice to whoever else uses the machine, where it can be.
func goCommand(ctx context.Context, dir string, args ...string) (string, error) {
	args = append([]string{"go"}, args...)

	// Building takes all processors otherwise.
	if nice, err := exec.LookPath("nice"); err == nil {
		args = append([]string{nice, "-n", "10"}, args...)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // our own arguments
	cmd.Dir = dir

	// The caller's flags are about its own module: -mod, -race.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	out, err := cmd.Output()
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return "", fmt.Errorf("%s in %s: %w\n%s", strings.Join(args, " "), dir, err, e.Stderr)
	}
	return strings.TrimSpace(string(out)), err
}
