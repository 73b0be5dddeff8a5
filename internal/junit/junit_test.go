package junit_test

import (
	"encoding/xml"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/internal/junit"
)

func TestWriteCounts(t *testing.T) {
	t.Parallel()
	d := &junit.Detail{Message: `a "quoted" <tag> & more`}
	var b strings.Builder
	err := junit.Write(&b, []junit.Suite{
		{Name: "one", Failures: 7, Cases: []junit.Case{{Name: "a", Failure: d}, {Name: "b", Error: d}, {Name: "c"}}},
		{Name: "two", Cases: []junit.Case{{Name: "d", Skipped: d}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got junit.Suites
	if err := xml.Unmarshal([]byte(b.String()), &got); err != nil {
		t.Fatalf("%v in %s", err, b.String())
	}
	if got.Tests != 4 || got.Failures != 1 || got.Errors != 1 || got.Skipped != 1 || got.Suites[0].Failures != 1 {
		t.Errorf("counts are wrong in %s", b.String())
	}
	if m := got.Suites[0].Cases[0].Failure.Message; m != d.Message {
		t.Errorf("message came back as %q", m)
	}
}
