package main

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/filter"
	"github.com/attestor-gate/attestor/posture"
	"github.com/attestor-gate/attestor/report"
)

// reportFlags shape one report.
type reportFlags struct {
	records  recordFlags
	format   string
	file     outputFile
	title    string
	groupBy  string
	previous string
	links    string
	colour   bool // see settle
}

func reportCommand() *cobra.Command {
	f := &reportFlags{}
	c := &cobra.Command{
		Use: "report --since 30d", Short: "Report on recorded decisions", Args: noArguments,
		Example: "  attestor report --since 30d -o html --output-file report.html",
		RunE:    func(c *cobra.Command, _ []string) error { return f.run(c) },
	}

	f.records.register(c)
	f.register(c)

	return c
}

func (f *reportFlags) register(c *cobra.Command) {
	reportFlag(c, &f.format, report.OfRecord, report.HTML)
	c.Flags().Lookup("output").Usage += "; without it, text on a terminal"
	c.Flags().Var(&f.file, "output-file", "write to this `FILE` instead of stdout")
	c.Flags().StringVar(&f.title, "title", "", "title of the report")
	c.Flags().StringVar(&f.groupBy, "group-by", "", "group by this label instead of by repository")
	c.Flags().StringVar(&f.previous, "previous", "", "say what changed since this earlier report, a JSON `FILE`")
	c.Flags().StringVar(&f.links, "links", "", "link decisions to the pages of the service at this `URL`")
}

// settle chooses text where a person reads what is written: HTML is for a browser, by a file or by another program.
func (f *reportFlags) settle(c *cobra.Command) {
	if f.file != "" || !isTerminal(c.OutOrStdout()) {
		return
	}
	f.colour = reportOptions(c.OutOrStdout()).Colour
	if !c.Flags().Changed("output") {
		f.format = string(report.Text)
	}
}

func (f *reportFlags) options() report.Options {
	return report.Options{Version: version, Links: f.links, Colour: f.colour}
}

// noDecisions says that an empty answer is whole.
const noDecisions = "no recorded decision matches; a later --since or fewer filters find more, if there are any"

func (f *reportFlags) run(c *cobra.Command) (err error) {
	f.settle(c)
	now := time.Now()
	of, err := f.records.filter(c, now)
	if err != nil {
		return err
	}

	r, err := f.records.open(c)
	if err != nil {
		return err
	}

	defer func() { err = errors.Join(err, r.Close()) }()

	// Lines are written as they are read; a summary of a record at hand is made from its sums.
	encoding, err := report.Find(f.format, report.OfRecord)
	if err != nil {
		return err
	}
	if encoding.Format == report.CSV || encoding.Format == report.NDJSON {
		return f.stream(c, encoding, r.Decisions(c.Context(), of))
	}
	if s, ok := r.(localRecords); ok && !encoding.Lists {
		return f.sumUp(c, encoding, s.Store, of, now)
	}
	return f.write(c, report.FromDecisions(r.Decisions(c.Context(), of)), now)
}

// maxRows bounds the images that are in memory for forms that people read: they show
// fewer. JSON has all of them, and an earlier report is compared with all.
func maxRows(encoding report.Encoding, previous *report.Summary) int {
	if encoding.Format == report.JSON || previous != nil {
		return 0
	}
	return 2000
}

// sumUp writes the summary of a record at hand, by what the record keeps for it.
func (f *reportFlags) sumUp(
	c *cobra.Command, encoding report.Encoding, s *audit.Store, of filter.Filter, now time.Time,
) error {
	previous, err := f.before()
	if err != nil {
		return err
	}
	summary, err := engine.Summarise(c.Context(), s, of, report.SummaryOptions{
		Title: f.title, Now: now, GroupBy: f.groupBy, Previous: previous,
		MaxRows: maxRows(encoding, previous),
	})
	if err != nil {
		return err
	}

	if summary.Decisions == 0 {
		fmt.Fprintln(c.ErrOrStderr(), noDecisions)
	}
	return f.put(c, func(w io.Writer) error {
		return encoding.Write(w, report.Record(summary), f.options())
	})
}

// stream writes decisions as they are read, so that their number is not limited by
// memory.
func (f *reportFlags) stream(
	c *cobra.Command, encoding report.Encoding, decisions iter.Seq2[attestor.Decision, error],
) error {
	n := 0
	d, failed := report.RecordStream(func(yield func(attestor.Decision, error) bool) {
		for x, err := range decisions {
			n++
			if !yield(x, err) {
				return
			}
		}
	})

	err := f.put(c, func(w io.Writer) error {
		return errors.Join(encoding.Write(w, d, f.options()), failed())
	})
	if err == nil && n == 0 {
		fmt.Fprintln(c.ErrOrStderr(), noDecisions)
	}

	return err
}

// write encodes records in the form that was asked for.
func (f *reportFlags) write(c *cobra.Command, all iter.Seq2[attestor.Record, error], now time.Time) error {
	out, err := f.collector(now)
	if err != nil {
		return err
	}

	n := 0
	for r, err := range all {
		if err != nil {
			return err
		}
		out.add(r)
		n++
	}

	// A period without decisions is an answer. Forms such as CSV cannot say it themselves.
	if n == 0 {
		fmt.Fprintln(c.ErrOrStderr(), noDecisions)
	}

	return f.put(c, out.write)
}

// put writes to stdout or to the file that was asked for.
func (f *reportFlags) put(c *cobra.Command, write func(io.Writer) error) error {
	if f.file == "" {
		return write(c.OutOrStdout())
	}
	return writeFile(string(f.file), 0o644, write)
}

// collector takes records, newest first. It keeps a line for each image, and
// whole decisions only for formats that list them.
type collector struct {
	encoding report.Encoding
	options  report.Options
	summary  *report.Builder // nil where the format lists decisions
	all      []attestor.Decision
	posture  *attestor.PostureReport // of a sweep over Cloud Run; nil: none
}

func (f *reportFlags) collector(now time.Time) (*collector, error) {
	encoding, err := report.Find(f.format, report.OfRecord)
	if err != nil {
		return nil, err
	}

	previous, err := f.before()
	if err != nil {
		return nil, err
	}

	// The summary takes records one by one, and lists keep their decisions.
	out := &collector{encoding: encoding, options: f.options()}
	if !encoding.Lists {
		out.summary = report.NewBuilder(report.SummaryOptions{Title: f.title, Now: now, GroupBy: f.groupBy,
			Previous: previous})
	}

	return out, nil
}

func (o *collector) add(r attestor.Record) {
	if o.summary != nil {
		o.summary.Add(r)
		return
	}
	o.all = append(o.all, r.Decision)
}

func (o *collector) write(w io.Writer) error {
	d := report.RecordList(o.all, o.posture, posture.Meanings())
	if o.summary != nil {
		s := o.summary.Summary()
		if o.posture != nil {
			s.Posture = report.Section(*o.posture, posture.Meanings())
		}
		d = report.Record(s)
	}

	return o.encoding.Write(w, d, o.options)
}

// before is the earlier report, or nil.
func (f *reportFlags) before() (*report.Summary, error) {
	if f.previous == "" {
		return nil, nil //nolint:nilnil // none was named
	}

	file, err := os.Open(f.previous)
	if err != nil {
		return nil, fmt.Errorf("reading the earlier report: %w", err)
	}

	defer file.Close()
	s, err := report.ReadSummary(file)
	return &s, err
}
