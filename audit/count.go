package audit

import "context"

// CountUpTo counts the decisions that f selects, so many at most: exact is false where there are more. It looks at no
// more of them than one page does, and n is -1 where that is not enough to know.
func (s *Store) CountUpTo(ctx context.Context, f Filter, most int) (n int, exact bool, err error) {
	const doing = "counting decisions"
	if s.none {
		return 0, false, unsupported()
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()

	l, err := s.list(ctx, f, false)
	if err != nil {
		return 0, false, s.fail(doing, err)
	}
	l.counting = true

	// One more than are counted: if it exists, there are more.
	found, err := l.next(ctx, position{}, most+1)
	switch {
	case err != nil:
		return 0, false, s.fail(doing, err)
	case len(found.heads) > most:
		return most, false, nil
	case found.more:
		return -1, false, nil
	}
	return len(found.heads), true, nil
}
