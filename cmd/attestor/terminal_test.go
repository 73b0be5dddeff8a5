package main

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"
)

func TestSaysThatItWaits(t *testing.T) {
	for _, tt := range []struct {
		takes time.Duration
		want  string
	}{
		{0, ""},
		{waitNotice - 1, ""},
		{3*waitNotice + 1, "waiting for the scan of r/a:1, at most 10m0s ...\n"},
	} {
		synctest.Test(t, func(t *testing.T) {
			var b bytes.Buffer
			stop := saysThatItWaits(&b, "r/a:1", 10*time.Minute)
			time.Sleep(tt.takes)
			stop()
			if b.String() != tt.want {
				t.Errorf("after %v it said %q, want %q", tt.takes, b.String(), tt.want)
			}
		})
	}
}
