package report

import (
	"encoding/csv"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit/internal/words"
	"github.com/attestor-gate/attestor/internal/plain"
)

// csvHeader: one line for each decision. Columns are added at the end only.
var csvHeader = []string{
	"id", "time", "verdict", "dry_run", "break_glass", "repository", "digest", "reference", "requested", "policy", "policy_digest",
	"platforms", "base", "base_current", "user", "critical", "high", "medium", "low", "minimal", "unspecified", "fixable",
	"reason_codes", "first_message", "first_fix", "attestors",
}

func writeCSV(w io.Writer, ds []attestor.Decision) error {
	out := csv.NewWriter(w)
	if err := out.Write(csvHeader); err != nil {
		return err
	}
	for _, d := range ds {
		if err := out.Write(csvRow(d)); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

func csvRow(d attestor.Decision) []string {
	var policy, policyDigest, message, fix string
	if d.Policy != nil {
		policy, policyDigest = d.Policy.Name, string(d.Policy.Digest)
	}
	var codes, attestors []string
	for i, f := range words.Findings(d, attestor.Refuses) {
		codes = words.AppendNew(codes, string(f.Code))
		if i == 0 {
			message, fix = f.Message, f.Fix
		}
	}
	for _, a := range d.Attestations {
		attestors = words.AppendNew(attestors, a.Attestor)
	}
	var platforms, bases, users []string
	counts, fixable, current := map[attestor.Severity]int{}, 0, len(d.Platforms) > 0
	for _, p := range d.Platforms {
		platforms = words.AppendNew(platforms, p.Platform)
		bases = words.AppendNew(bases, p.Base.Name)
		users = words.AppendNew(users, p.User.Configured)
		current = current && p.Base.Current
		fixable += p.Scan.Fixable
		for level, n := range p.Scan.Counts {
			counts[level] += n
		}
	}
	row := []string{
		d.ID, d.Time.UTC().Format(time.RFC3339), string(words.Outcome(d)), strconv.FormatBool(d.DryRun), strconv.FormatBool(d.BreakGlass != nil),
		words.Repository(d), string(d.Image.Digest), d.Image.Reference, d.Image.Requested, policy, policyDigest,
		strings.Join(platforms, " "), strings.Join(bases, " "), strconv.FormatBool(current), strings.Join(users, " "),
	}
	for _, level := range attestor.Severities() {
		row = append(row, strconv.Itoa(counts[level]))
	}
	row = append(row, strconv.Itoa(fixable), strings.Join(codes, " "), message, fix, strings.Join(attestors, " "))
	for i, v := range row {
		row[i] = plain.Cell(v)
	}
	return row
}
