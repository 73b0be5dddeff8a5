package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestRegionsThatAreAskedAreNamed: each region is asked once, and the answer names them all; all regions hold every other.
func TestRegionsThatAreAskedAreNamed(t *testing.T) {
	for _, tt := range []struct {
		args  []string
		asked []string
		named string
	}{
		{nil, []string{"-"}, "in all regions"},
		{[]string{"--region", "us-east1"}, []string{"us-east1"}, "in us-east1"},
		{
			[]string{"--region", "us-west1", "--region", "us-east1", "--region", "europe-west1"},
			[]string{"europe-west1", "us-east1", "us-west1"}, "in europe-west1, us-east1, us-west1",
		},
		{[]string{"--region", "us-east1", "--region", "us-east1"}, []string{"us-east1"}, "in us-east1"},
		{[]string{"--region", "us-east1", "--region", "-"}, []string{"-"}, "in all regions"},
	} {
		var f runningFlags
		c := &cobra.Command{}
		f.register(c, "cloud-run-project")
		if err := c.ParseFlags(append(tt.args, "--cloud-run-project", "acme")); err != nil {
			t.Fatal(err)
		}
		if got := f.asked(); !slices.Equal(got, tt.asked) {
			t.Errorf("%v: asked %v, want %v", tt.args, got, tt.asked)
		}

		sources, err := f.sources(c, nil)
		if err != nil || len(sources) != 1 {
			t.Fatalf("%v: %v, %v", tt.args, sources, err)
		}
		for what, text := range map[string]string{"the note": sources[0].note(), "what is expected": sources[0].expected} {
			if !strings.HasSuffix(text, tt.named) || !strings.Contains(text, "acme") {
				t.Errorf("%v: %s is %q, want it to end %q", tt.args, what, text, tt.named)
			}
		}
	}
}
