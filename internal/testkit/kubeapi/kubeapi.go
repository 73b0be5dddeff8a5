// Package kubeapi runs a real kube-apiserver and its etcd on this machine, on
// loopback and free ports, built once from tools/kube. It is for tests that
// must see what a cluster sends, and what it makes of the answer.
package kubeapi

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The versions in tools/kube/go.mod.
const (
	Version     = "1.36.3"
	etcdVersion = "3.6.8"
)

const (
	token        = "s3cret" // of the administrator of a cluster that lives for one test
	startTimeout = 2 * time.Minute
	stopTimeout  = 10 * time.Second
)

// Binaries are the programs.
type Binaries struct{ apiserver, etcd string }

// Build returns the programs, and builds them from the module at dir where this
// machine has not yet: that takes minutes.
func Build(ctx context.Context, dir string) (Binaries, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return Binaries{}, err
	}
	b := Binaries{
		apiserver: filepath.Join(cache, "gate-test", "kube-apiserver-"+Version, "kube-apiserver"),
		etcd:      filepath.Join(cache, "gate-test", "etcd-"+etcdVersion, "etcd"),
	}

	err = errors.Join(
		build(ctx, dir, b.etcd, "go.etcd.io/etcd/server/v3", "-s -w"),
		build(ctx, dir, b.apiserver, "k8s.io/kubernetes/cmd/kube-apiserver",
			"-s -w -X k8s.io/component-base/version.gitVersion=v"+Version))
	return b, err
}

func build(ctx context.Context, dir, file, pkg, ldflags string) error {
	// Built once for each machine.
	if _, err := os.Stat(file); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return err
	}

	// Under a name of its own: another process may build the same.
	part := fmt.Sprintf("%s.%d", file, os.Getpid())
	//nolint:gosec // our own packages
	cmd := exec.CommandContext(ctx, "go", "build", "-ldflags", ldflags, "-o", part, pkg)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", pkg, err, out)
	}
	return os.Rename(part, file) // whole, or not there
}

// A Cluster is a running API server. Nothing runs in it: there are no nodes.
type Cluster struct {
	url  string
	http *http.Client
	stop []func()
}

// attempts are how often a cluster is started on other ports.
const attempts = 5

// Start runs a cluster whose files are in dir, with further flags of its API
// server, and returns when it is ready. Close ends it.
func (b Binaries) Start(ctx context.Context, dir string, flags ...string) (*Cluster, error) {
	// The programs take numbers of ports. Another process can take one that was free before they do.
	for attempt := 1; ; attempt++ {
		own := filepath.Join(dir, strconv.Itoa(attempt))
		if err := os.Mkdir(own, 0o700); err != nil {
			return nil, err
		}
		c, err := b.start(ctx, own, flags)
		if err == nil || attempt == attempts || !strings.Contains(err.Error(), "address already in use") {
			return c, err
		}
	}
}

func (b Binaries) start(ctx context.Context, dir string, flags []string) (c *Cluster, err error) {
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	if err := writeSecrets(dir); err != nil {
		return nil, err
	}

	// What the server presents is made by itself, at its start; the port is ours.
	trust := &tls.Config{InsecureSkipVerify: true} //nolint:gosec // see above
	c = &Cluster{url: fmt.Sprintf("https://127.0.0.1:%d", ports[2]),
		http: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: trust}}}
	defer func() {
		if err != nil {
			c.Close()
		}
	}()

	// One member, which is its own cluster.
	client, peer := fmt.Sprintf("http://127.0.0.1:%d", ports[0]), fmt.Sprintf("http://127.0.0.1:%d", ports[1])
	stored := filepath.Join(dir, "etcd.log")
	storeEnded, err := c.run(b.etcd, stored, "--data-dir="+filepath.Join(dir, "etcd"),
		"--listen-client-urls="+client, "--advertise-client-urls="+client,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=default="+peer,
		"--unsafe-no-fsync")
	if err != nil {
		return nil, err
	}

	// Nodes, service accounts and endpoints are left out: no workload runs.
	log, key := filepath.Join(dir, "kube.log"), filepath.Join(dir, "sa.key")
	ended, err := c.run(b.apiserver, log, append([]string{
		"--etcd-servers=" + client, "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1",
		fmt.Sprintf("--secure-port=%d", ports[2]),
		"--cert-dir=" + filepath.Join(dir, "certs"), "--token-auth-file=" + filepath.Join(dir, "tokens.csv"),
		"--authorization-mode=RBAC",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-key-file=" + key,
		"--service-account-signing-key-file=" + key,
		"--service-cluster-ip-range=10.0.0.0/24", "--endpoint-reconciler-type=none",
		"--disable-admission-plugins=ServiceAccount",
	}, flags...)...)
	if err != nil {
		return nil, err
	}
	return c, c.ready(ctx, storeEnded, stored, ended, log)
}

func freePorts(n int) ([]int, error) {
	var ports []int
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }() // not before all are chosen
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

func writeSecrets(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}

	return errors.Join(
		os.WriteFile(filepath.Join(dir, "sa.key"), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}),
			0o600),
		os.WriteFile(filepath.Join(dir, "tokens.csv"), []byte(token+",admin,1,\"system:masters\"\n"), 0o600))
}

// run starts a program that ends with the cluster, or with us.
func (c *Cluster) run(program, log string, args ...string) (ended <-chan struct{}, err error) {
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, args...) //nolint:gosec // what Build made
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = f, f, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, f.Close())
	}

	// Waited for at once, so that an early end is seen.
	done := make(chan struct{})
	go func() { defer close(done); _ = cmd.Wait() }()
	c.stop = append(c.stop, func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-done:
		case <-time.After(stopTimeout):
			_ = cmd.Process.Kill()
			<-done
		}
		f.Close()
	})
	return done, nil
}

// ready waits for the server, or for the early end of its store or its own.
func (c *Cluster) ready(ctx context.Context, storeEnded <-chan struct{}, stored string, ended <-chan struct{}, log string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()

	for {
		if status, _, err := c.Do(ctx, http.MethodGet, "/readyz", nil); err == nil && status == http.StatusOK {
			return nil
		}
		reason := log
		select {
		case <-storeEnded:
			reason = stored
		case <-ended:
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
			continue
		}

		// The end of its log has the reason.
		said, _ := os.ReadFile(reason)
		return fmt.Errorf("kube-apiserver is not ready: %s", said[max(0, len(said)-2000):])
	}
}

// Do asks the API server as its administrator. A body is sent as JSON; PATCH is
// a strategic merge.
func (c *Cluster) Do(ctx context.Context, method, path string, body any) (status int, answer []byte, err error) {
	var payload io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		payload = bytes.NewReader(b)
	}

	req, err := http.NewRequestWithContext(ctx, method, c.url+path, payload)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	if method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/strategic-merge-patch+json")
	}

	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err = io.ReadAll(resp.Body)
	return resp.StatusCode, answer, err
}

// Close ends the cluster.
func (c *Cluster) Close() {
	// The API server before its database.
	for i := len(c.stop) - 1; i >= 0; i-- {
		c.stop[i]()
	}
	c.http.CloseIdleConnections()
}
