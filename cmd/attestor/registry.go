package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/engine"
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

// printImage begins an answer in text: the image by digest, and the tag that was resolved to it.
func printImage(w io.Writer, ref attestor.Reference, img attestor.Image) {
	fmt.Fprintln(w, img)
	if _, ok := ref.Pinned(); !ok {
		fmt.Fprintln(w, "asked for", ref)
	}
}
