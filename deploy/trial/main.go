// Command trial asks a real, throw-away Google Cloud project what the gate assumes about Google: it makes a note, a key
// and an attestor, asks one fact after the other, and writes what it found as JSON. `attestor emulator --behave-like
// FILE` reads that document, and a stranger can send it in an issue: it has no names. What it made it deletes, also
// when it is interrupted. docs/trial.md says what it cannot show.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	// A closed terminal, and a pipe that nobody reads any more, must not end it before everything is deleted either.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGPIPE)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "trial:", err)
		os.Exit(1)
	}
}

// run asks everything and writes the report, also of a trial that was interrupted.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) (err error) {
	fl := flag.NewFlagSet("trial", flag.ContinueOnError)
	fl.SetOutput(stderr)
	project := fl.String("project", "", "the throw-away project")
	emulator := fl.String("emulator", "", "HOST:PORT of an emulator to ask instead, without credentials")
	out := fl.String("out", "", "write the report to this file; standard output by default")
	lag := fl.Duration("lag", time.Minute, "how long to wait for a new occurrence in a list")
	patience := fl.Duration("patience", 5*time.Minute, "how long to wait for what need not come: a statement of a build, a "+
		"message, an entry of the audit log")
	region := fl.String("region", "", "also build images in this region, have them scanned and deploy them: this "+
		"costs a dollar and takes half an hour")
	proxied := fl.Bool("iap", false, "with a region, also deploy a service behind Identity-Aware Proxy, which needs an "+
		"organisation")
	standIn := fl.String("stand-in", "", "base URL of a stand-in of the services that images need, without credentials")
	tool := fl.String("gcloud", "gcloud", "the gcloud that verifies what was attested, by name or path; \"\": none is asked")
	sweep := fl.Bool("sweep", false, "delete what earlier trials left, and end")
	if err := fl.Parse(args); err != nil {
		return err
	}
	if *project == "" || fl.NArg() > 0 {
		return errors.New("want -project PROJECT and no other arguments")
	}
	if *proxied && *region == "" {
		return errors.New("-iap needs -region")
	}

	c, err := dial(ctx, *emulator)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	t := newTrial(*project, *emulator, *lag, c, stderr)
	t.region, t.tool, t.patience, t.proxied = *region, *tool, *patience, *proxied

	// An emulator by itself has none of the services that are asked over REST.
	if *emulator == "" || *standIn != "" {
		if t.rest, err = newREST(ctx, *standIn); err != nil {
			return err
		}
	}
	if *emulator != "" || *standIn != "" {
		t.pause = time.Millisecond
	}
	if *sweep {
		return t.sweep(ctx)
	}

	// The report is written whatever ended the trial, after everything was deleted.
	t.report.NotAsked = t.notAsked()
	asked := safely(stderr, func() error { return t.ask(ctx) })
	t.report.Left = t.tearDown(ctx)
	if err := write(t.report, *out, stdout); err != nil {
		return err
	}
	if len(t.report.Left) > 0 {
		return errors.Join(asked,
			fmt.Errorf("not everything was deleted: see left in the report, and run again with -sweep"))
	}
	return asked
}

func write(r report, path string, stdout io.Writer) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the report: %w", err)
	}
	b = append(b, '\n')
	if path == "" {
		_, err = stdout.Write(b)
		return err
	}
	return os.WriteFile(path, b, 0o600)
}
