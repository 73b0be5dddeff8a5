package report

import (
	"encoding/csv"
	"io"

	"github.com/attestor-gate/attestor/internal/plain"
)

// writeCSV writes a row for each decision. What else was judged has no row:
// programs count on one for each image.
func writeCSV(w io.Writer, d Document, _ Options) error {
	out := csv.NewWriter(w)
	if err := out.Write(d.Records.Head); err != nil {
		return err
	}

	for row := range d.Records.Rows {
		for i, v := range row {
			row[i] = plain.Cell(v)
		}
		if err := out.Write(row); err != nil {
			return err
		}
	}

	out.Flush()

	return out.Error()
}
