package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/loopback"
	"github.com/attestor-gate/attestor/verify"
)

// pinTimeout bounds the look-up of one tag.
const pinTimeout = time.Minute

// newInspector reads from one registry, without a configuration.
func newInspector(host string, plainHTTP bool, log *slog.Logger) (*verify.Inspector, error) {
	c := config.Registries{Allowed: []string{host}}
	if plainHTTP {
		c.PlainHTTP = c.Allowed
	}
	return verify.New(verify.Config{Registries: engine.Registries(c), Now: time.Now, Logger: log})
}

// pin asks the registry for the digest of a tag, once; a digest needs nobody. Nothing else of the image is read.
func pin(ctx context.Context, ref attestor.Reference, plainHTTP bool, log *slog.Logger) (attestor.Image, error) {
	if img, ok := ref.Pinned(); ok {
		return img, nil
	}

	host, _, _ := strings.Cut(ref.Repository(), "/")
	i, err := newInspector(host, plainHTTP, log)
	if err != nil {
		return attestor.Image{}, err
	}
	defer i.CloseIdleConnections()

	ctx, cancel := context.WithTimeout(ctx, pinTimeout)
	defer cancel()
	return i.Pin(ctx, ref)
}

// tagLister says how the tags of repositories are listed: only from the registries that
// somebody named, by the rules that the gate follows, since a registry says itself
// where its tokens and its further pages are.
func tagLister(repositories []string, c config.Registries) (audit.RegistryOptions, error) {
	insecure := func(host string) bool { return c.Plain(host) || loopback.HostPort(host) }
	named := config.Registries{Companions: c.Companions}
	for _, repository := range repositories {
		host, _, _ := strings.Cut(repository, "/")
		repo, err := name.NewRepository(repository, name.StrictValidation)
		if err != nil {
			continue // the list says so
		}
		if slices.Contains(named.Allowed, repo.RegistryStr()) {
			continue // many repositories have one host
		}
		if named.Allowed = append(named.Allowed, repo.RegistryStr()); insecure(host) {
			named.PlainHTTP = append(named.PlainHTTP, host)
		}
	}

	o := audit.RegistryOptions{Remote: engine.RemoteOptions(version), Insecure: insecure, Refused: verify.Refused}
	if len(named.Allowed) == 0 {
		return o, nil // nobody is asked
	}
	var err error
	o.Transport, err = verify.NewTransport(engine.Registries(named), audit.MaxTagPage)
	return o, err
}

// printImage begins an answer in text: the image by digest, and the tag that was resolved to it.
func printImage(w io.Writer, ref attestor.Reference, img attestor.Image) {
	fmt.Fprintln(w, img)
	if _, ok := ref.Pinned(); !ok {
		fmt.Fprintln(w, "asked for", ref)
	}
}
