package engine

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// However often metrics are read, the database is asked once in a while; a failure is kept as long as an answer, and the
// question is bounded.
func TestRecentAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, down := 0, errors.New("the database is down")
		var fail error
		r := recent[int]{ask: func(ctx context.Context) (int, error) {
			if _, bounded := ctx.Deadline(); !bounded {
				t.Error("the question has no deadline")
			}
			asked++
			return asked, fail
		}}
		for range 3 {
			if n, err := r.get(); n != 1 || err != nil {
				t.Errorf("%d, %v, want the first answer", n, err)
			}
		}

		fail = down
		time.Sleep(recentFor)
		for range 3 {
			if n, err := r.get(); n != 2 || !errors.Is(err, down) {
				t.Errorf("%d, %v, want the failure of the second question", n, err)
			}
		}

		fail = nil
		time.Sleep(recentFor)
		if n, err := r.get(); n != 3 || err != nil {
			t.Errorf("%d, %v, want the third answer", n, err)
		}
	})
}
