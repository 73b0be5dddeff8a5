package engine_test

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/postgres"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

// awayTable reads the table of docs/operations.md: by question, the answers while each part is away.
func awayTable(t *testing.T) (parts []string, want map[string][]string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "| question | ")
	if !found {
		t.Fatal("docs/operations.md has no table of what is answered while a part is away")
	}

	want = map[string][]string{}
	for n, line := range strings.Split("| question | "+rest, "\n") {
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if !strings.HasPrefix(line, "|") {
			break
		}
		switch n {
		case 0:
			parts = cells[1:]
		case 1:
		default:
			want[cells[0]] = cells[1:]
		}
	}
	return parts, want
}

// TestWhatIsAnsweredWhileAPartIsAway takes each part away that the gate asks, and compares every answer with the table that
// operators read. None of them is a pass that is not recorded, signed and attested.
func TestWhatIsAnsweredWhileAPartIsAway(t *testing.T) {
	t.Parallel()
	parts, want := awayTable(t)
	s := newStoreWorld(t, storeFault{name: "gone", postgres: postgres.New, hurt: (*storeWorld).stopPostgres})

	// An open circuit answers 503 in the place of what is away, from the fifth question on.
	s.config.Dependencies.Outages = 1 << 20
	s.restart()

	google := func(service string) func() (func() error, error) {
		return func() (func() error, error) {
			s.google.Inject(standin.Fault{Effect: standin.Fail, Status: http.StatusServiceUnavailable, Match: func(r *http.Request) bool {
				return strings.HasPrefix(r.URL.Path, "/"+service)
			}})
			return func() error { s.google.ClearFaults(); return nil }, nil
		}
	}
	away := map[string]func() (func() error, error){
		"database":           s.stopPostgres,
		"Cloud KMS":          google("google.cloud.kms."),
		"Container Analysis": google("grafeas."),
		"registry": func() (func() error, error) {
			s.registry.Down()
			return s.registry.Up, nil
		},
	}

	told := map[string][]string{}
	for n, part := range parts {
		take := away[part]
		if take == nil {
			t.Fatalf("the table has a part that the test does not know: %s", part)
		}
		known, good, root := s.fresh("65532:65532"), s.fresh("65532:65532"), s.fresh("")
		tried, vital, doomed := s.fresh("65532:65532"), s.fresh(""), s.fresh("65532:65532")
		s.right(t, known, attestor.Pass)
		s.right(t, doomed, attestor.Pass)
		recorded := s.post(known, false).decision.ID
		revoke := func() answer {
			query := url.Values{"image": {doomed}, "reason": {"found to be wrong"}}
			return s.do(http.MethodDelete, "/v1/attestations?"+query.Encode(), "")
		}

		back, err := take()
		s.ok(err)
		query := url.Values{"image": {known}}
		var mu sync.Mutex
		var all sync.WaitGroup
		for question, ask := range map[string]func() answer{
			"attest a new image that is good":      func() answer { return s.post(good, false) },
			"attest a new image that runs as root": func() answer { return s.post(root, false) },
			"attest an attested image again":       func() answer { return s.post(known, false) },
			"try a new image that is good":         func() answer { return s.post(tried, true) },
			"override the refusal of a new image": func() answer {
				return s.do(http.MethodPost, "/v1/attest", fmt.Sprintf(`{"image":%q,"breakGlass":{"reason":"INC-1: checkout is down"}}`, vital))
			},
			"revoke an attested image":    revoke,
			"judge admitted images again": func() answer { return s.do(http.MethodPost, "/v1/rejudge", "{}") },
			"read a decision":             func() answer { return s.do(http.MethodGet, "/v1/decisions/"+recorded, "") },
			"read the report":             func() answer { return s.do(http.MethodGet, "/report", "") },
			"metrics":                     func() answer { return s.do(http.MethodGet, "/metrics", "") },
			"list decisions":              func() answer { return s.do(http.MethodGet, "/v1/decisions", "") },
			"show policies":               func() answer { return s.do(http.MethodGet, "/v1/policies", "") },
			"list attestations":           func() answer { return s.do(http.MethodGet, "/v1/attestations?"+query.Encode(), "") },
			"liveness":                    func() answer { return s.do(http.MethodGet, "/health", "") },
		} {
			all.Go(func() { // side by side, since what is away is tried for some time
				a := ask()
				mu.Lock()
				defer mu.Unlock()
				if told[question] == nil {
					told[question] = make([]string, len(parts))
				}
				told[question][n] = fmt.Sprint(a.status)
				if len(want[question]) != len(parts) || want[question][n] != fmt.Sprint(a.status) {
					t.Errorf("%s without %s: %d, want %v: %s", question, part, a.status, want[question], a.body)
				}
			})
		}
		all.Wait()
		if standing := len(s.standing(vital)); told["override the refusal of a new image"][n] != "200" && standing > 0 {
			t.Errorf("without %s: an override that was refused has %d attestations", part, standing)
		}
		s.ok(back())
		s.right(t, good, attestor.Pass)
		s.right(t, root, attestor.Deny)
		if a := revoke(); a.status != http.StatusOK || len(s.standing(doomed)) > 0 {
			t.Errorf("after %s: revoking is %d %s, and %d attestations stand", part, a.status, a.body, len(s.standing(doomed)))
		}
	}

	if len(told) != len(want) {
		t.Errorf("the table has %d questions, the test asks %d", len(want), len(told))
	}
}
