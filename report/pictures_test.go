package report_test

import (
	"bytes"
	"context"
	"image/png"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// pictures are those of docs/pages.md and README, by the page that they show.
func pictures() map[string]string {
	return map[string]string{
		"overview": "/", "report": "/report", "decision": "/refused", "decisions": "/search", "image": "/image", "simulate": "/simulate-done",
	}
}

const pictureWidth, pictureHeight = 1280, 900

// The pictures of the docs are of pages that there are. GATE_PICTURES=1 takes them again.
func TestPicturesOfTheDocs(t *testing.T) {
	s := newSite(t)
	again := os.Getenv("GATE_PICTURES") == "1"
	var ctx context.Context
	if again {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(browser(t, false), time.Minute)
		defer cancel()
	}
	srv := httptest.NewServer(s)
	defer srv.Close()

	for name, page := range pictures() {
		path := filepath.Join("..", "docs", "images", name+".png")
		if s[page] == nil {
			t.Errorf("%s shows %s, which is no page", path, page)
			continue
		}
		if again {
			err := chromedp.Do(ctx, chromedp.EmulateViewport(pictureWidth, pictureHeight), chromedp.Navigate(srv.URL+page))
			if err != nil {
				t.Fatal(err)
			}
			taken, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, taken, 0o600); err != nil {
				t.Fatal(err)
			}
		}

		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		c, err := png.DecodeConfig(bytes.NewReader(b))
		if err != nil || c.Width != pictureWidth || c.Height != pictureHeight {
			t.Errorf("%s: %d by %d, %v; take it again with GATE_PICTURES=1", path, c.Width, c.Height, err)
		}
	}
}
