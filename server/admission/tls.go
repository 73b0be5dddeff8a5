package admission

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// TLS is for a listener that only the API server can use: certFile and keyFile are the
// gate's own, clientCAFile holds the authority that signs the API server's
// certificate. Files that change are read again at the next connection, since
// certificates are renewed in place. Files that do not load leave the earlier ones in
// force.
func TLS(certFile, keyFile, clientCAFile string) (*tls.Config, error) {
	r := &renewal{cert: certFile, key: keyFile, ca: clientCAFile}
	r.seen = r.changed()
	conf, err := r.load()
	if err != nil {
		return nil, err
	}

	r.conf = conf
	outer := conf.Clone()
	outer.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return r.current(), nil }
	return outer, nil
}

// renewal is the configuration that was read from the files, and the times of the
// files.
type renewal struct {
	cert, key, ca string

	mu   sync.Mutex
	conf *tls.Config  // guarded by mu
	seen [3]time.Time // guarded by mu
}

func (r *renewal) current() *tls.Config {
	r.mu.Lock()
	defer r.mu.Unlock()

	if now := r.changed(); now != r.seen {
		// Files that do not load together are half written; the next connection
		// reads them again.
		if conf, err := r.load(); err == nil {
			r.conf, r.seen = conf, now
		}
	}
	return r.conf
}

// changed is when each file was written; the zero time for one that cannot be read.
func (r *renewal) changed() (at [3]time.Time) {
	for i, file := range []string{r.cert, r.key, r.ca} {
		if info, err := os.Stat(file); err == nil {
			at[i] = info.ModTime()
		}
	}
	return at
}

func (r *renewal) load() (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(r.cert, r.key)
	if err != nil {
		return nil, fmt.Errorf("loading the admission listener's certificate: %w", err)
	}
	pem, err := os.ReadFile(r.ca)
	if err != nil {
		return nil, fmt.Errorf("loading the API server's authority: %w", err)
	}

	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("loading the API server's authority: the file holds no certificate")
	}
	return &tls.Config{
		Certificates: []tls.Certificate{cert},
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"h2", "http/1.1"},

		// The authority is the only proof that the caller is the API server: a caller
		// without a certificate of its gets no connection.
		ClientAuth: tls.RequireAndVerifyClientCert,
		ClientCAs:  pool,

		// A resumed session would outlive the authority under which it was begun.
		SessionTicketsDisabled: true,
	}, nil
}
