package policy

import "context"

// ComparedForTest is how many pairs of patterns were compared when a set was loaded.
func ComparedForTest(s *Set) int { return s.compared }

// ParsedForTest is how many files a watcher has parsed.
func ParsedForTest(w *Watcher) int {
	w.looking.Lock()
	defer w.looking.Unlock()
	return w.loader.parsed
}

// Glance looks at the times of files, as Run does between two whole looks.
func (w *Watcher) Glance(ctx context.Context) (changed bool) {
	changed, _ = w.reload(ctx, false)
	return changed
}
