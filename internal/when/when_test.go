package when_test

import (
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/attestor-gate/attestor/internal/when"
)

func TestParseDuration(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "90s": 90 * time.Second, "1.5h": 90 * time.Minute, "2d": 48 * time.Hour, "1d12h": 36 * time.Hour,
		"1h30m": 90 * time.Minute, "250ms": 250 * time.Millisecond, "1s500ms": 1500 * time.Millisecond, "0.5d": 12 * time.Hour,
		"1d0.5h": 24*time.Hour + 30*time.Minute, "2h45m30.5s": 2*time.Hour + 45*time.Minute + 30500*time.Millisecond,
		"106751d": 106751 * when.Day, "007d": 7 * when.Day, "1m0s": time.Minute, "0.000000001s": 1, "0.0000000001s": 0,
	} {
		if got, err := when.ParseDuration(in); err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", "1", "-1d", "+1d", "1.5", "d", "1 d", "1D", "1w", "1y", "1us", "1ns", "12h1d", "1h1h", "1.5h30m", ".5h", "1.h", "1..5h", "1,5h",
		"1e3s", "0x1s", "1_000s", "106752d", "99999999999999999999d", "١d", "1d\n", " 1d", "P1D", "2026-11-01", "now", strings.Repeat("0", 100) + "1s",
	} {
		if got, err := when.ParseDuration(in); err == nil {
			t.Errorf("ParseDuration(%q) = %v, want an error", in, got)
		} else if got != 0 || len(err.Error()) > 250 {
			t.Errorf("ParseDuration(%q) = %v, %v: want 0 and a short message", in, got, err)
		}
	}
}

func TestFormatDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0", -time.Second: "0", time.Microsecond: "0", 36 * time.Hour: "1d12h", 90 * time.Second: "1m30s",
		14 * when.Day: "14d", 1500 * time.Millisecond: "1s500ms",
	} {
		if got := when.FormatDuration(d); got != want {
			t.Errorf("FormatDuration(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestParseInstant(t *testing.T) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Time{
		"30d": now.AddDate(0, 0, -30), "1d12h": now.Add(-36 * time.Hour), "1.5h": now.Add(-90 * time.Minute), "0": now,
		"2026-11-01": time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC), "2026-11-01T08:00:00Z": time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC),
		"2026-11-01T08:00:00.25+02:00": time.Date(2026, 11, 1, 6, 0, 0, 250e6, time.UTC),
	} {
		if got, err := when.ParseInstant(in, now); err != nil || !got.Equal(want) {
			t.Errorf("ParseInstant(%q) = %v, %v, want %v", in, got, err, want)
		}
	}

	for _, in := range []string{"", "yesterday", "-1d", "2026-13-01", "2026-02-30", "2026-11-1", "2026-11-01T08:00:00", "2026-11-01 08:00:00Z", "20261101"} {
		if got, err := when.ParseInstant(in, now); err == nil {
			t.Errorf("ParseInstant(%q) = %v, want an error", in, got)
		}
	}
}

func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"0", "1d12h", "1.5h", "250ms", "106751d23h47m16s854ms", "1h1h", "9999999999999999999d",
		"1.5d", "1d1.5m", "1h1.5ms", "1.5h1m", "5", "1ms1s"} {
		f.Add(s)
	}

	pattern := regexp.MustCompile(when.DurationPattern)
	f.Fuzz(func(t *testing.T, s string) {
		d, err := when.ParseDuration(s)

		// The pattern knows neither a duration's range nor how long its text may be.
		matches := s != "" && pattern.MatchString(s)
		if ranged := len(s) <= 64 && (err == nil || !strings.Contains(err.Error(), "too long")); ranged && matches != (err == nil) {
			t.Fatalf("ParseDuration(%q) = %v, but the pattern matches: %v", s, err, matches)
		}
		if err != nil {
			return
		}

		if d < 0 {
			t.Fatalf("ParseDuration(%q) = %v", s, d)
		}

		// What is written is read as the same duration, to the millisecond.
		again, err := when.ParseDuration(when.FormatDuration(d))
		if err != nil || again != d.Truncate(time.Millisecond) {
			t.Fatalf("%q is %v, written %q, read %v, %v", s, d, when.FormatDuration(d), again, err)
		}
	})
}

func TestTheLongestDurationIsRead(t *testing.T) {
	longest := when.FormatDuration(math.MaxInt64)
	if d, err := when.ParseDuration(longest); err != nil || d != time.Duration(math.MaxInt64).Truncate(time.Millisecond) {
		t.Errorf("ParseDuration(%q) = %v, %v", longest, d, err)
	}
}
