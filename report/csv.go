package report

import (
	"encoding/csv"
	"io"

	"github.com/attestor-gate/attestor/internal/plain"
)

// writeCSV writes a row for each decision. Postures have no rows: programs that
// count images count rows.
func writeCSV(w io.Writer, d Document, _ Options) error {
	out := csv.NewWriter(w)
	if err := out.Write(d.Records.Head); err != nil {
		return err
	}

	// Spreadsheets evaluate cells that begin like formulas, also quoted ones, and
	// names of images come from whoever pushed them: [plain.Cell] disarms each.
	for row := range d.Records.Rows {
		for i, v := range row {
			row[i] = plain.Cell(v)
		}
		if err := out.Write(row); err != nil {
			return err
		}
	}

	// A full disk shows only here. Without this error a report that lacks its last
	// rows would look complete.
	out.Flush()

	return out.Error()
}
