package main

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"
)

// tokenFlags say which identity the client shows to a service.
type tokenFlags struct {
	file string
}

func (f *tokenFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&f.file, "token-file", "", "read the ID token for the service from this `FILE`")
}

// source returns how to find an ID token for server; nil where none is needed:
// a service on loopback knows its caller.
func (f *tokenFlags) source(server string, _ func(string) string) (func(context.Context) (string, error), error) {
	if f.file != "" {
		return func(context.Context) (string, error) {
			b, err := os.ReadFile(f.file)
			if err != nil {
				return "", fmt.Errorf("reading the ID token: %w", err)
			}
			return strings.TrimSpace(string(b)), nil
		}, nil
	}
	if u, err := url.Parse(server); err == nil && isLoopback(u.Hostname()) {
		return nil, nil
	}
	return nil, fmt.Errorf("no identity for %s: give --token-file", server)
}
