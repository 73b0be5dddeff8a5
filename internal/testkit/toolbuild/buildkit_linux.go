package toolbuild

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// BuildKit is a buildkitd that runs, with storage of its own, and its client.
type BuildKit struct {
	dir, client string
	daemon      *exec.Cmd
	ended       chan error
	said        bytes.Buffer // read once the daemon ended
}

// StartBuildKit builds both where they are not yet, and starts the daemon. It
// talks plain HTTP to the registries that are named, and what a Dockerfile runs
// has this machine's network. It wants root, and runc. The caller closes it.
func StartBuildKit(ctx context.Context, registries ...string) (*BuildKit, error) {
	if _, err := exec.LookPath("runc"); err != nil || os.Geteuid() != 0 {
		return nil, errors.New("buildkitd runs as root here, and wants runc: apt-get install runc")
	}
	bin, err := Build(ctx, "buildkit", "github.com/moby/buildkit/cmd/buildkitd")
	if err != nil {
		return nil, err
	}

	client, err := Build(ctx, "buildkit", "github.com/moby/buildkit/cmd/buildctl")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "bk") // a socket's path is short
	if err != nil {
		return nil, err
	}

	// Buffered, so that the end is kept for whoever asks.
	b := &BuildKit{dir: dir, client: client, ended: make(chan error, 1)}
	var config strings.Builder
	for _, host := range registries {
		fmt.Fprintf(&config, "[registry.%q]\n  http = true\n", host)
	}

	file := filepath.Join(dir, "buildkitd.toml")
	if err := os.WriteFile(file, []byte(config.String()), 0o600); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	b.daemon = exec.Command(bin, "--root", filepath.Join(dir, "root"), "--addr", b.address(), "--config",
		file, //nolint:gosec,noctx // our own arguments; it ends in Close
		"--containerd-worker=false", "--oci-worker-snapshotter=native", "--oci-worker-net=host")

	b.daemon.Env, b.daemon.Stdout, b.daemon.Stderr = b.env(), &b.said, &b.said
	b.daemon.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := b.daemon.Start(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}

	go func() { b.ended <- b.daemon.Wait() }()
	if err := b.answers(ctx); err != nil {
		said, _ := b.Close()
		return nil, fmt.Errorf("starting buildkitd: %w\n%s", err, said)
	}
	return b, nil
}

func (b *BuildKit) address() string { return "unix://" + filepath.Join(b.dir, "sock") }

func (b *BuildKit) env() []string {
	return append(os.Environ(), "HOME="+b.dir, "TMPDIR="+b.dir)
}

func (b *BuildKit) answers(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()

	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()

	for {
		//nolint:gosec // our own arguments
		if exec.CommandContext(ctx, b.client, "--addr", b.address(), "debug", "workers").Run() == nil {
			return nil
		}
		select {
		case err := <-b.ended:
			// Put back for Close, which waits for it.
			b.ended <- err
			return errors.Join(errors.New("it ended"), err)
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// Build builds the Dockerfile in dir, with what is there, and pushes it as
// image. The arguments are buildctl's.
func (b *BuildKit) Build(ctx context.Context, dir, image string, args ...string) error {
	args = append([]string{
		"--addr", b.address(), "build", "--progress=plain", "--frontend", "dockerfile.v0", "--local", "context=.",
		"--local", "dockerfile=.",
		"--output", "type=image,name=" + image + ",push=true,registry.insecure=true",
	}, args...)
	cmd := exec.CommandContext(ctx, b.client, args...) //nolint:gosec // our own arguments
	cmd.Dir, cmd.Env = dir, b.env()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("buildctl %q: %w\n%s", args, err, out)
	}
	return nil
}

// Close ends the daemon, removes what it stored, and returns what it said.
func (b *BuildKit) Close() (said string, err error) {
	_ = b.daemon.Process.Signal(syscall.SIGTERM) // it may have ended by itself
	if err := <-b.ended; err != nil {            // status 1 is how it reports the signal
		b.said.WriteString(err.Error())
	}
	return b.said.String(), os.RemoveAll(b.dir)
}
