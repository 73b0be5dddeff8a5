package main

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/google"
)

func serveCommand() *cobra.Command {
	var path string
	var checkOnly, remoteEmulator bool
	c := &cobra.Command{
		Use:     "serve --config FILE",
		Short:   "Run the HTTP service",
		Long:    "Runs the service. --check validates the configuration, the policies and the attestors, and ends.",
		Example: "  attestor serve --config attestor.yaml --check\n  attestor serve --config attestor.yaml",
		Args:    noArguments,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			conf, err := engine.LoadConfig(path, os.Getenv)
			if err != nil {
				return err
			}

			// Whoever checks a configuration wants every file that is missing, and not one after the other.
			if missing := conf.FilesMissing(); checkOnly && len(missing) > 0 {
				return errors.Join(missing...)
			}

			// A service that took an emulator for Google would sign with keys that are worth nothing: only some of the
			// variables, Cloud Run, and another machine are refused.
			em, err := google.FindEmulators(os.Getenv, remoteEmulator)
			if err != nil {
				return err
			}

			log := engine.ServiceLogger(conf, c.ErrOrStderr())
			e, err := engine.New(c.Context(), engine.Options{
				Config: conf, Emulators: em, Logger: log, Version: version,
			})
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, e.Close()) }()

			if checkOnly {
				if err := e.Check(c.Context()); err != nil {
					return err
				}
				if conf.Log.KeptNowhere() {
					fmt.Fprintf(c.ErrOrStderr(), "attestor: %s\n", engine.LogKeptNowhere)
				}
				_, err := fmt.Fprintln(c.OutOrStdout(), "configuration, policies and attestors are good")
				return err
			}

			if conf.Log.KeptNowhere() {
				log.WarnContext(c.Context(), engine.LogKeptNowhere) //nolint:sloglint // a constant of another package
			}

			// The port is opened only now, when the engine is complete: a request is never answered by half of it.
			ln, err := net.Listen("tcp", conf.Listen)
			if err != nil {
				return err
			}
			return e.Serve(c.Context(), ln)
		},
	}

	c.Flags().StringVar(&path, "config", "", "the configuration `FILE`")
	c.Flags().BoolVar(&checkOnly, "check", false, "validate configuration, policies and attestors, and end")
	c.Flags().BoolVar(&remoteEmulator, "allow-remote-emulator", false, "accept *_EMULATOR_HOST on another machine")
	_ = c.MarkFlagRequired("config")
	return c
}
