package vuln

import (
	"time"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
)

// ScanOf is what occurrences say, asked of nobody.
func ScanOf(r attestor.ScanRequest, scanProjects map[string]string, occurrences []*grafeaspb.Occurrence) (attestor.Scan, error) {
	s := &Scanner{c: Config{ScanProjects: scanProjects}}
	q, err := s.question(r)
	if err != nil {
		return attestor.Scan{}, err
	}
	var c collected
	for _, o := range occurrences {
		if err := c.add(q, o); err != nil {
			return attestor.Scan{}, err
		}
	}
	scan := prevailing(c.discoveries).scan
	scan.Findings, scan.Secrets, scan.Unread = merge(take(c.findings)), mergeSecrets(c.secrets), c.unread.list()
	return scan, nil
}

// Polls is how many polls are under way.
func (s *Scanner) Polls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.polls)
}

// Explain is what is said of a failed call.
func Explain(err error, project string) *attestor.Error {
	return analysis("list occurrences", project, occurrencesViewer).explain(err, "10s")
}

// SetJitter replaces the random part of the pauses between reads.
func (s *Scanner) SetJitter(f func() float64) { s.jitter = f }

// Walk reads pages as a list is read.
func Walk(most int, turn func(token string) (string, error)) (int, error) { return walk(most, turn) }

// CoverageOf is what a report of package types covers, why not all, and the types that are left. It does not say when
// it was made.
func CoverageOf(types []string, lack string, database *time.Time) (c Coverage, why string, left []string, err error) {
	r, err := report{types: types, osLack: lack, database: database}.finish()
	if err != nil {
		return "", "", nil, err
	}
	c, why = r.coverage()
	return c, why, r.types, nil
}
