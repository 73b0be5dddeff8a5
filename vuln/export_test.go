package vuln

import (
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
	scan := prevailing(c.discoveries)
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
