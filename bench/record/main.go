// Record fills a record with decisions as a gate makes them, and prints how long what
// people look for in it takes: every filter alone and every pair, the overview, the
// report. It keeps the record in the folder that a flag names, so that one filling serves many
// measurements.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"time"

	"github.com/attestor-gate/attestor/audit"
)

// gcPercent is by how much the heap grows between two collections: what is filled in is garbage a moment later.
const gcPercent = 400

type options struct {
	decisions int
	sqlite    string
	postgres  string
	fill      bool
	tables    bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "record:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) (err error) {
	var o options
	f := flag.NewFlagSet("record", flag.ContinueOnError)
	f.IntVar(&o.decisions, "decisions", 100_000, "fill the record up to this many decisions, over 90 days and 5,000 "+
		"repositories")
	f.StringVar(&o.sqlite, "sqlite", "", "the record's SQLite `FILE`; it is kept")
	f.StringVar(&o.postgres, "postgres", "", "the record's PostgreSQL connection string; it is kept")
	f.BoolVar(&o.fill, "fill", false, "fill the record, and ask nothing of it")
	f.BoolVar(&o.tables, "tables", false, "print what each table and index takes; of an SQLite file it reads every page")
	if err := f.Parse(args); err != nil {
		return err
	}
	if (o.sqlite == "") == (o.postgres == "") {
		return errors.New("name either --sqlite or --postgres")
	}

	again := func() (*audit.Store, error) {
		return audit.Open(ctx, audit.Config{SQLite: o.sqlite, PostgreSQL: o.postgres, Now: time.Now,
			Timeout: 10 * time.Minute})
	}
	s, err := again()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()

	previous := debug.SetGCPercent(gcPercent)
	end := time.Now().UTC().Truncate(24 * time.Hour)
	start, cpu := time.Now(), ownCPU() // for what is printed
	n, err := fill(ctx, s, o.decisions, end)
	if err != nil {
		return err
	}
	debug.SetGCPercent(previous) // reports tell how much memory they take
	fmt.Fprintf(stdout, "%d decisions recorded and indexed in %v, with %v of CPU of this process\n",
		n, time.Since(start).Round(time.Millisecond), (ownCPU() - cpu).Round(time.Millisecond))
	size, err := o.size(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "the record takes %d MB, %d bytes for each of %d decisions\n\n",
		size>>20, size/int64(o.decisions), o.decisions)
	if o.tables {
		if err := o.printTables(ctx, stdout); err != nil {
			return err
		}
	}
	if o.fill {
		return nil
	}

	return measure(ctx, s, again, end, stdout)
}
