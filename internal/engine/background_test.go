package engine

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A service that stops waits for a step that its work is in, and not for ever.
func TestAServiceWaitsForItsWork(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		step  time.Duration // after the work was told to end
		ended bool
		after time.Duration
	}{
		"work that ends at once": {0, true, 0},
		"a step of ten seconds":  {10 * time.Second, true, 10 * time.Second},
		"work that hangs":        {time.Hour, false, leaveAfter},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				c := newBackground(t.Context())
				for range 3 {
					c.do(func(ctx context.Context) {
						<-ctx.Done()
						time.Sleep(tt.step)
					})
				}
				began := time.Now()
				ended := c.end()
				if took := time.Since(began); ended != tt.ended || took != tt.after {
					t.Errorf("all ended: %t after %s, want %t after %s", ended, took, tt.ended, tt.after)
				}
				time.Sleep(tt.step) // what hung ends with the test
			})
		})
	}
}

// Nothing of a service runs that it does not wait for.
func TestAllWorkIsWaitedFor(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") || name == "background.go" {
			continue
		}
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if g, ok := n.(*ast.GoStmt); ok {
				t.Errorf("%s: a goroutine that nobody waits for: begin it by background.do", files.Position(g.Pos()))
			}
			return true
		})
	}
}
