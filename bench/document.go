package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor/server/watch"
)

// document is what was measured, as Markdown.
func (b *harness) document() string {
	var w strings.Builder
	fmt.Fprintf(&w, "%s\n", b.machine())
	for _, name := range []string{"attestor", "peer"} {
		b.sequenceTable(&w, name)
	}

	for _, name := range []string{"attestor", "peer"} {
		b.loadTable(&w, name)
	}
	b.processTable(&w)
	b.readersTable(&w)
	b.sweepTable(&w)
	b.growthTable(&w)
	b.soakTable(&w)
	if len(b.broken) > 0 {
		fmt.Fprintf(&w, "\n**Conditions that do not hold:**\n\n")
		for _, s := range b.broken {
			fmt.Fprintf(&w, "- %s\n", s)
		}
	}
	return w.String()
}

func (b *harness) machine() string {
	cpu := runtime.GOARCH
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		if _, after, ok := strings.Cut(string(info), "model name"); ok {
			line, _, _ := strings.Cut(after, "\n")
			cpu = strings.TrimLeft(line, "\t :")
		}
	}

	load := ""
	if avg, err := os.ReadFile("/proc/loadavg"); err == nil {
		load = ", load average at the end " + strings.Join(strings.Fields(string(avg))[:1], "")
	}

	// The commit is that of the working tree, or of the module that was built.
	commit := "unknown commit"
	if out, err := exec.Command("git", "rev-parse", "--short=12", "HEAD").Output(); err == nil {
		commit = "commit " + strings.TrimSpace(string(out))
	} else if info, ok := debug.ReadBuildInfo(); ok {
		commit = info.Main.Version
	}

	command := "make bench"
	if b.quick {
		command += " BENCH=-quick"
	}
	return fmt.Sprintf("`%s` on %s, %s, %d CPUs (shared by gate, stand-ins and load), %s, %s%s.", command,
		time.Now().UTC().Format("2006-01-02 15:04 UTC"), cpu, runtime.NumCPU(), runtime.Version(), commit, load)
}

func (b *harness) sequenceTable(w *strings.Builder, name string) {
	if len(b.sequences[name]) == 0 {
		return
	}
	fmt.Fprintf(w, "\n### %s: one decision after the other, %v added to every upstream call\n\n", name, b.latency)
	fmt.Fprintln(w, "| | p50 | p90 | p99 ms | p50 | p90 | p99 round trips | target p50 | calls in a row | calls | "+
		"calls allowed | calls before | KB on the wire |")
	fmt.Fprintln(w, "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
	for _, s := range b.sequences[name] {
		fmt.Fprintf(w, "| %s |", s.what)
		for _, p := range []float64{.5, .9, .99} {
			fmt.Fprintf(w, " %.1f |", ms(percentile(s.times, p)))
		}
		for _, p := range []float64{.5, .9, .99} {
			fmt.Fprintf(w, " %.2f |", float64(percentile(s.times, p))/float64(b.latency))
		}
		fmt.Fprintf(w, " %s | %d | %.1f | %s | %.1f |\n", b.judged(float64(percentile(s.times, .5))/float64(b.latency),
			s.target), percentile(s.rows, .5), s.calls, s.budget, s.bytes/1000)
	}

	fmt.Fprintln(w, "\nCalls of one decision, on average:")
	fmt.Fprintln(w)
	for _, s := range b.sequences[name] {
		fmt.Fprintf(w, "- %s: %s\n", s.what, s.breakdown)
	}

	// Only the gate is compared with bare clients: a peer makes other calls.
	if name == "attestor" {
		b.bareTable(w)
		fmt.Fprintf(w, "\nThe first decision of a process (by digest; connections, keys, attestor and bases are "+
			"looked up): %.1f ms, %.1f round trips.\n", ms(b.first), float64(b.first)/float64(b.latency))
	}
}

// bareTable compares decisions with the calls that they make.
func (b *harness) bareTable(w *strings.Builder) {
	fmt.Fprintf(w, "\nBare clients that make the same calls in the same order, and judge, verify and record nothing:\n\n")
	fmt.Fprintln(w, "| | gate, p50 ms | bare clients, p50 ms | round trips of these | more, ms | target |")
	fmt.Fprintln(w, "| --- | ---: | ---: | ---: | ---: | ---: |")
	for _, s := range b.sequences["attestor"] {
		if s.bare == nil {
			continue
		}
		gate, bare := percentile(s.times, .5), percentile(s.bare, .5)
		fmt.Fprintf(w, "| %s | %.1f | %.1f | %.2f | %.1f | ≤ %.0f %s |\n", s.what, ms(gate), ms(bare),
			float64(bare)/float64(b.latency), ms(gate-bare), ms(s.more), met(gate-bare <= s.more))
	}
}

// String is the two cells of a table.
func (c budget) String() string {
	if c == (budget{}) {
		return "– | –"
	}
	return fmt.Sprintf("%d | %d", c.most, c.before)
}

// judged is a target and by how much it is missed.
func (b *harness) judged(got, target float64) string {
	switch {
	case target == 0:
		return ""
	case got <= target:
		return fmt.Sprintf("≤ %.1f met", target)
	}
	return fmt.Sprintf("≤ %.1f **missed by %.1f**", target, got-target)
}

func (b *harness) loadTable(w *strings.Builder, name string) {
	if len(b.loads[name]) == 0 {
		return
	}

	fmt.Fprintf(w, "\n### %s: many at once, no latency added\n\n", name)
	fmt.Fprintln(w, "| | at once | decisions | a second | p50 | p90 | p99 ms | CPU ms each | CPU ms of stand-ins "+
		"and load each | KB allocated each | allocations each | failed |")
	fmt.Fprintln(w, "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
	for i, l := range b.loads[name] {
		fmt.Fprintf(w, "| %s | %d | %d | %.0f%s | %.1f | %.1f | %.1f | %.2f | %.2f | %s | %s | %d |\n", l.what,
			l.atOnce, l.decisions, l.rate, b.ratio(name, i),
			ms(percentile(l.times, .5)), ms(percentile(l.times, .9)), ms(percentile(l.times, .99)), ms(l.cpu),
			ms(l.around), known(l.allocated/1000), known(l.mallocs), l.failed)
	}

	fmt.Fprintf(w, "\nMost memory held (peak resident) in all of the above: %.1f MB.\n", float64(b.peak[name])/1e6)
	if name == "attestor" {
		b.targets(w)
	}
}

// mostCPU, mostMallocs and mostSpread are what fresh decisions may cost, 64 at once: a tenth more than 3.1 ms and 2,000
// allocations.
const mostCPU, mostMallocs, mostSpread = 3.1 * 1.1, 2000 * 1.1, 2.0

// targets compares fresh images, 64 at once, with what they may cost.
func (b *harness) targets(w *strings.Builder) {
	for _, l := range b.loads["attestor"] {
		if l.atOnce != 64 || l.what != freshImages {
			continue
		}
		spread := float64(percentile(l.times, .99)) / float64(percentile(l.times, .5))
		fmt.Fprintf(w, "\nAt 64 at once p99 is %.2f times p50 (target ≤ %.0f: %s). A decision takes %.2f ms of CPU "+
			"(target ≤ %.2f: %s) and %.0f allocations (target ≤ %.0f: %s), with log, outbox and sums on.\n", spread,
			mostSpread, met(spread <= mostSpread), ms(l.cpu), mostCPU, met(ms(l.cpu) <= mostCPU), l.mallocs,
			mostMallocs, met(l.mallocs <= mostMallocs))
	}
}

// ratio is how many times the peer's rate this is.
func (b *harness) ratio(name string, i int) string {
	if peer := b.loads["peer"]; name == "attestor" && i < len(peer) && peer[i].rate > 0 {
		return fmt.Sprintf(" (%.1f × peer)", b.loads[name][i].rate/peer[i].rate)
	}
	return ""
}

func known(v float64) string {
	if v == 0 {
		return "–"
	}
	return fmt.Sprintf("%.0f", v)
}

func (b *harness) processTable(w *strings.Builder) {
	if len(b.starts) == 0 {
		return
	}
	var listening, ready []time.Duration
	for _, p := range b.starts {
		listening, ready = append(listening, p.listening), append(ready, p.ready)
	}

	fmt.Fprintf(w, "\n### The process\n\n| | median | worst | target |\n| --- | ---: | ---: | ---: |\n")
	fmt.Fprintf(w, "| exec to listening, ms (%d starts) | %.0f | %.0f | ≤ 200 |\n", len(listening),
		ms(percentile(listening, .5)), ms(slices.Max(listening)))
	fmt.Fprintf(w, "| exec to ready, ms | %.0f | %.0f | |\n", ms(percentile(ready, .5)), ms(slices.Max(ready)))
	fmt.Fprintf(w, "| resident when idle, MB | %.1f | | ≤ 65 |\n", float64(b.idle.rss)/1e6)
	fmt.Fprintf(w, "| binary, stripped, MB | %.1f | | ≤ 75 |\n", float64(b.binarySize)/1e6)
	fmt.Fprintf(w, "| binary compressed, as the image's one layer over its base, MB | %.1f | | |\n",
		float64(b.layerSize)/1e6)
}

func (b *harness) sweepTable(w *strings.Builder) {
	for _, s := range b.sweeps {
		fmt.Fprintf(w, "\n### Sweep\n\n`attestor audit` of %d images, %d at once, %v added to every call: %.1f s, "+
			"%.0f images a second, %d calls (%.2f an image), %.2f ms of CPU an image, "+
			"%.1f MB resident at most.\n",
			s.images, sweepAtOnce, b.latency,
			s.took.Seconds(), float64(s.images)/s.took.Seconds(), s.calls, float64(s.calls)/float64(s.images),
			ms(s.cpu), float64(s.peak)/1e6)
		fmt.Fprintf(w, "Bare clients making the same calls, each image's side by side after its manifest: %.1f s. "+
			"The sweep reaches %.0f %% of that (target 85).\n", s.bare.Seconds(), 100*s.share())
		fmt.Fprintf(w, "\nSpread over %d instances, each with %d messages of at most %d images at once and a record of "+
			"its own: %.1f s, %.0f images a second, %.2f ms of CPU an image, %.1f MB resident at most in one of them.\n",
			spreadOver, spreadPushes, watch.MaxSwept, s.spread.took.Seconds(), float64(s.images)/s.spread.took.Seconds(),
			ms(s.spread.cpu), float64(s.spread.peak)/1e6)
	}
}

func (b *harness) soakTable(w *strings.Builder) {
	if len(b.soaked) == 0 {
		return
	}
	fmt.Fprintf(w, "\n### Memory over %d decisions, 64 at once\n\n| decisions | resident MB | heap MB | goroutines "+
		"|\n| ---: | ---: | ---: | ---: |\n", b.soaked[len(b.soaked)-1].decisions)
	for _, s := range b.soaked {
		fmt.Fprintf(w, "| %d | %.1f | %.1f | %.0f |\n", s.decisions, float64(s.rss)/1e6, s.heap/1e6, s.routines)
	}
}
