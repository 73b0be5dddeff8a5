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
	"github.com/attestor-gate/attestor/audit/report"
)

// reportFlags shape one report.
type reportFlags struct {
	records  recordFlags
	format   string
	file     string
	title    string
	groupBy  string
	previous string
	links    string
}

func reportCommand() *cobra.Command {
	f := &reportFlags{}
	c := &cobra.Command{
		Use: "report --since 30d", Short: "Report on recorded decisions", Args: cobra.NoArgs,
		Example: "  attestor report --since 30d -o html --output-file report.html",
		RunE:    func(c *cobra.Command, _ []string) error { return f.run(c) },
	}
	f.records.register(c)
	f.register(c)
	return c
}

func (f *reportFlags) register(c *cobra.Command) {
	c.Flags().StringVarP(&f.format, "output", "o", "html", "html, json, markdown, csv, sarif, junit or text")
	c.Flags().StringVar(&f.file, "output-file", "", "write to this `FILE` instead of stdout")
	c.Flags().StringVar(&f.title, "title", "", "title of the report")
	c.Flags().StringVar(&f.groupBy, "group-by", "", "group by this label instead of by repository")
	c.Flags().StringVar(&f.previous, "previous", "", "say what changed since this earlier report, a JSON `FILE`")
	c.Flags().StringVar(&f.links, "links", "", "link decisions to the pages of the service at this `URL`")
}

func (f *reportFlags) run(c *cobra.Command) (err error) {
	now := time.Now()
	filter, err := f.records.filter(now)
	if err != nil {
		return err
	}
	r, err := f.records.open(c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	all := report.FromDecisions(r.Decisions(c.Context(), filter))
	if s, ok := r.(store); ok { // with the evidence, ages of findings are known
		all = s.Records(c.Context(), filter)
	}
	return f.write(c, all, now)
}

// write encodes records in the form that was asked for.
func (f *reportFlags) write(c *cobra.Command, all iter.Seq2[attestor.Record, error], now time.Time) error {
	format, err := report.ParseFormat(f.format)
	if err != nil {
		return err
	}
	encode := func(w io.Writer) error { return f.encode(w, format, all, now) }
	if f.file == "" {
		return encode(c.OutOrStdout())
	}
	return writeFile(f.file, encode)
}

func (f *reportFlags) encode(w io.Writer, format report.Format, all iter.Seq2[attestor.Record, error], now time.Time) error {
	if format != report.HTML && format != report.JSON && format != report.Markdown && format != report.Text {
		var ds []attestor.Decision
		for r, err := range all {
			if err != nil {
				return err
			}
			ds = append(ds, r.Decision)
		}
		return report.Write(w, format, ds, report.Options{Version: version, Now: now, List: true})
	}
	previous, err := f.before()
	if err != nil {
		return err
	}
	s, err := report.Summarise(all, report.SummaryOptions{Title: f.title, Now: now, GroupBy: f.groupBy, Previous: previous})
	if err != nil {
		return err
	}
	if format == report.HTML {
		return report.WriteHTML(w, s, report.HTMLOptions{Links: f.links})
	}
	return report.WriteSummary(w, format, s, report.Options{Version: version, Now: now})
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

var _ records = store(audit.None{})
