package verify_test

import (
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/verify"
)

// The table of users in the documentation is what the code does, row by row.
func TestUsersDocumentation(t *testing.T) {
	rows := 0
	for _, cells := range tableRows(t, "../docs/users.md") {
		reason := strings.Trim(cells[len(cells)-1], "` ")
		if len(cells) != 3 || !strings.HasPrefix(reason, "USER_") {
			continue
		}

		for _, v := range regexp.MustCompile("`[^`]*`").FindAllString(cells[0], -1) {
			configured := strings.Trim(v, "`")
			if s, err := strconv.Unquote(configured); err == nil {
				configured = s
			}

			u, p := verify.ParseUser(configured)
			got := "USER_ROOT" // which the policy says of a plain uid 0

			switch {
			case p != nil:
				got = string(p.Code)
			case configured == "":
				got = "USER_NOT_SET"
			}

			if got != reason || p == nil && value(u.UID) != 0 {
				t.Errorf("%q: %s, documented as %s", configured, got, reason)
			}

			rows++
		}
	}

	if rows < 30 {
		t.Errorf("only %d documented values were found", rows)
	}
}

// Every reason that the documentation names exists.
func TestDocumentedReasonsExist(t *testing.T) {
	for _, name := range []string{"../docs/users.md", "../docs/bases.md"} {
		found := regexp.MustCompile(`\b[A-Z]+_[A-Z_0-9]+\b|\bSCHEMA1\b|\bARTIFACT\b`).FindAllString(read(t, name), -1)
		if len(found) < 5 {
			t.Errorf("%s names %d reasons", name, len(found))
		}
		for _, code := range found {
			if !slices.ContainsFunc(attestor.Codes(), func(c attestor.CodeInfo) bool { return string(c.Code) == code }) {
				t.Errorf("%s names %s, which is not a code", name, code)
			}
		}
	}
}

func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}

	return string(b)
}

// tableRows are the cells of every row of a document's tables.
func tableRows(t *testing.T, name string) [][]string {
	t.Helper()
	var rows [][]string

	for line := range strings.SplitSeq(read(t, name), "\n") {
		if inner, ok := strings.CutPrefix(line, "| "); ok {
			cells := strings.Split(strings.TrimSuffix(inner, " |"), " | ")
			rows = append(rows, cells)
		}
	}
	return rows
}
