package witness_test

import (
	"crypto/ed25519"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/attestor-gate/attestor/internal/testkit/slow"
	"github.com/attestor-gate/attestor/internal/testkit/toolbuild"
)

// TestLitewitness asks a witness that other people wrote: litewitness of torchwood, built from source.
func TestLitewitness(t *testing.T) {
	slow.Skip(t)
	l := newLog(t, 0)
	address, key := startLitewitness(t, l.vkey)
	cosignsAsItGrows(t, l, client(t, address, key))
}

// startLitewitness runs a litewitness that knows a log, and returns its address and its public key.
func startLitewitness(t *testing.T, vkey string) (address, key string) {
	t.Helper()
	bin, err := toolbuild.Build(t.Context(), "witness", "filippo.io/torchwood/cmd/litewitness")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "lw") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })

	// Its key is in an agent of ssh. It has the log from its database: the tree of no entries, and the log's key.
	private := ed25519.NewKeyFromSeed([]byte(strings.Repeat("w", ed25519.SeedSize)))
	socket := filepath.Join(dir, "agent")
	fingerprint := serveAgent(t, socket, private)
	db := filepath.Join(dir, "witness.db")
	tells(t, db, vkey)

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = ln.Addr().String()
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}

	cmd := exec.CommandContext(t.Context(), bin, "-db", db, "-name", "witness.example/lite", "-ssh-agent", socket, //nolint:gosec // our own arguments
		"-key", fingerprint, "-listen", address)
	said, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
	return "http://" + address, announced(t, said, address)
}

// announced reads the key that litewitness prints, and returns once it listens.
func announced(t *testing.T, said interface{ Read([]byte) (int, error) }, address string) string {
	t.Helper()
	vkey := regexp.MustCompile(`vkey=(\S+)`)
	var all []byte
	for buffer := make([]byte, 4096); ; {
		n, err := said.Read(buffer)
		all = append(all, buffer[:n]...)
		if m := vkey.FindSubmatch(all); m != nil && strings.Contains(string(all), "listening") {
			for {
				conn, err := net.Dial("tcp", address)
				if err == nil {
					_ = conn.Close()
					break
				}
				if t.Context().Err() != nil {
					t.Fatal(err)
				}
			}
			go func() { // what it prints must not fill the pipe
				for {
					if _, err := said.Read(buffer); err != nil {
						return
					}
				}
			}()
			return strings.Trim(string(m[1]), `"`)
		}
		if err != nil {
			t.Fatalf("litewitness: %v\n%s", err, all)
		}
	}
}

// serveAgent serves the protocol of ssh-agent, with one key, and returns that key's fingerprint.
func serveAgent(t *testing.T, socket string, private ed25519.PrivateKey) string {
	t.Helper()
	keys := agent.NewKeyring()
	if err := keys.Add(agent.AddedKey{PrivateKey: private}); err != nil {
		t.Fatal(err)
	}
	public, err := ssh.NewPublicKey(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(keys, conn) }() // it ends with the connection
		}
	}()
	return ssh.FingerprintSHA256(public)
}

// tells writes a log into litewitness's database, as its witnessctl does.
func tells(t *testing.T, path, vkey string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }() // what was written is checked below
	for _, statement := range []string{
		`CREATE TABLE log (origin TEXT PRIMARY KEY, tree_size INTEGER NOT NULL, tree_hash TEXT NOT NULL)`,
		`CREATE TABLE key (origin TEXT NOT NULL, key TEXT NOT NULL, FOREIGN KEY(origin) REFERENCES log(origin))`,
		`INSERT INTO log VALUES ('` + origin + `', 0, '47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=')`,
		fmt.Sprintf(`INSERT INTO key VALUES ('%s', '%s')`, origin, vkey),
	} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
}
