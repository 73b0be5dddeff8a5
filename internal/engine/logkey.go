package engine

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"time"

	kms "cloud.google.com/go/kms/apiv1"

	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/google"
	"github.com/attestor-gate/attestor/internal/keyfile"
	"github.com/attestor-gate/attestor/internal/limit"
	"github.com/attestor-gate/attestor/internal/translog"
)

const (
	// kmsScheme marks a key in Cloud KMS, as in policies.
	kmsScheme = "gcpkms://"
	// logWait is how long an answer waits for its proof where the key is a file, which
	// signs at once.
	logWait = 50 * time.Millisecond
)

// A kmsUse calls f with a client of Cloud KMS.
type kmsUse func(ctx context.Context, f func(*kms.KeyManagementClient) error) error

// logKey is how the record's log is signed; nil where no key is configured.
func logKey(c config.Config, use kmsUse) *audit.LogKey {
	l := c.Log
	if l == nil || l.Key == "" {
		return nil
	}

	out := &audit.LogKey{Origin: l.Origin, Wait: time.Duration(l.Wait)}
	version, inKMS := strings.CutPrefix(l.Key, kmsScheme)

	// A key in Cloud KMS is bounded by the time that settling has; a file answers at once.
	if inKMS {
		question := limit.Within(c.Limits.Settle, c.Dependencies.Timeouts.KMS)
		out.Key = func(ctx context.Context) (translog.Key, error) {
			return kmsLogKey(ctx, l.Origin, version, use, question)
		}
		return out
	}

	out.Key = func(context.Context) (translog.Key, error) { return fileLogKey(l.Origin, l.Key) }
	if out.Wait == 0 {
		out.Wait = logWait
	}
	return out
}

// kmsLogKey is a key of the log in Cloud KMS.
func kmsLogKey(
	ctx context.Context, origin, version string, use kmsUse, question limit.Call,
) (translog.Key, error) {
	key := translog.Key{Origin: origin}
	key.Sign = func(ctx context.Context, msg []byte) (sig []byte, err error) {
		ctx, cancel := question.Start(ctx)
		defer cancel()
		err = use(ctx, func(client *kms.KeyManagementClient) (err error) {
			sig, err = google.Ed25519Key{Client: client, Version: version}.Sign(ctx, msg)
			return err
		})
		return sig, err
	}

	ctx, cancel := question.Start(ctx)
	defer cancel()
	err := use(ctx, func(client *kms.KeyManagementClient) (err error) {
		key.Public, err = google.Ed25519Key{Client: client, Version: version}.Public(ctx)
		return err
	})
	return key, err
}

// fileLogKey reads a key of the log from a PEM file with one PKCS#8 block.
func fileLogKey(origin, path string) (translog.Key, error) {
	wrong := func(fault string) (translog.Key, error) {
		return translog.Key{}, fmt.Errorf("log.key: %s %s: make one with: openssl genpkey -algorithm ed25519 -out %s",
			path, fault, path)
	}
	signer, err := keyfile.Read(path)
	if fault, ok := errors.AsType[keyfile.Fault](err); ok {
		return wrong(string(fault))
	}
	if err != nil {
		return translog.Key{}, fmt.Errorf("log.key: %w", err)
	}

	// Checkpoints are signed with Ed25519 alone: a key of another kind is refused at start.
	private, ok := signer.(ed25519.PrivateKey)
	if !ok {
		return wrong(fmt.Sprintf("holds a %T, and no Ed25519 key", signer))
	}
	public, ok := private.Public().(ed25519.PublicKey)
	if !ok {
		return wrong("holds a key without its public part")
	}
	return translog.Key{
		Origin: origin, Public: public,
		Sign: func(_ context.Context, msg []byte) ([]byte, error) { return ed25519.Sign(private, msg), nil },
	}, nil
}

// LogVerifier returns the public key of the log that a configuration names, as text.
func LogVerifier(ctx context.Context, c config.Config, getenv func(string) string) (string, error) {
	l := logKey(c, dialKMS(getenv))
	if l == nil {
		return "", errors.New("the configuration has no log.key: the log is not signed")
	}
	key, err := l.Key(ctx)
	if err != nil {
		return "", err
	}
	return key.Verifier()
}

// dialKMS connects to Cloud KMS, or the emulator that the environment names, for each
// use. It is for commands, which make one or two calls.
func dialKMS(getenv func(string) string) kmsUse {
	// A client for each use, which is closed again.
	return func(ctx context.Context, f func(*kms.KeyManagementClient) error) error {
		emulators, err := google.FindEmulators(getenv, false)
		if err != nil {
			return err
		}
		client, err := kms.NewKeyManagementClient(ctx, google.Guard(nil).Options(google.ServiceKMS, emulators.KMS)...)
		if err != nil {
			return fmt.Errorf("connecting to Cloud KMS: %w", err)
		}
		return errors.Join(f(client), client.Close())
	}
}
