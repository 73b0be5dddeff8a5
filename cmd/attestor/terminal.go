package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// isTerminal reports whether a person reads what is written to w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// waitNotice is how long nothing need be said, and then how often.
const waitNotice = 5 * time.Second

// saysThatItWaits tells a person, after a while, that a scan is waited for and
// that the program is alive. stop ends the line.
func saysThatItWaits(w io.Writer, image string, most time.Duration) (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(waitNotice)
		defer tick.Stop()
		for said := false; ; said = true {
			select {
			case <-end:
				if said {
					fmt.Fprintln(w)
				}
				return
			case <-tick.C:
				if !said {
					fmt.Fprintf(w, "waiting for the scan of %s, at most %v ", image, most)
				}
				fmt.Fprint(w, ".")
			}
		}
	}()
	return func() { close(end); <-ended }
}

// progress draws a bar with rate and time left on a terminal, and nothing
// elsewhere.
func progress(w io.Writer, what string) func(done, of int) {
	if !isTerminal(w) {
		return nil
	}
	var bar *progressbar.ProgressBar
	return func(done, of int) {
		if bar == nil {
			bar = progressbar.NewOptions(
				of,
				progressbar.OptionSetWriter(w),
				progressbar.OptionSetDescription(what),
				progressbar.OptionShowCount(),
				progressbar.OptionShowIts(),
				progressbar.OptionThrottle(100*time.Millisecond),
				progressbar.OptionClearOnFinish(),
				progressbar.OptionSetPredictTime(true),
			)
		}
		_ = bar.Set(done)
	}
}
