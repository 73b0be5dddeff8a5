package throttle_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/attestor-gate/attestor/internal/throttle"
)

// answers is a server that gives one answer after another, and the last one
// for ever. It notes when it was asked.
type answers struct {
	list  []answer
	asked []time.Time
}

type answer struct {
	status int
	header string // Retry-After; "" for none
}

func (a *answers) RoundTrip(r *http.Request) (*http.Response, error) {
	give := a.list[min(len(a.asked), len(a.list)-1)]
	a.asked = append(a.asked, time.Now())

	resp := &http.Response{StatusCode: give.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("slow down")), Request: r}
	if give.header != "" {
		resp.Header.Set("Retry-After", give.header)
	}

	return resp, nil
}

// ask makes one request with a deadline; 0 for none.
func ask(t *testing.T, a *answers, tries int, deadline time.Duration, body io.Reader) (int, error) {
	t.Helper()
	ctx := t.Context()
	if deadline > 0 {
		limited, cancel := context.WithTimeout(ctx, deadline)
		defer cancel()
		ctx = limited
	}

	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://registry.example:5000/v2/", body)
	if err != nil {
		t.Fatal(err)
	}

	resp, err := throttle.Transport{Next: a, Tries: tries}.RoundTrip(r)
	if err != nil {
		return 0, err
	}

	return resp.StatusCode, resp.Body.Close()
}

// Of RFC 9110's two forms of Retry-After, and of what is neither.
func TestHowLongIsWaited(t *testing.T) {
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name   string
		status int
		header string
		after  time.Duration // what the error says
		least  time.Duration // until the second request
		plain  bool          // the answer is passed on
	}{
		{"seconds", 429, "20", 20 * time.Second, 20 * time.Second, false},
		{"503 with seconds", 503, "20", 20 * time.Second, 20 * time.Second, false},
		{"a date", 429, "Sat, 01 Jan 2000 00:01:00 GMT", time.Minute, time.Minute, false}, // 2000-01-01 in a bubble
		{"a date in RFC 850's form", 429, "Saturday, 01-Jan-00 00:01:00 GMT", time.Minute, time.Minute, false},
		{"a date in asctime's form", 503, "Sat Jan  1 00:01:00 2000", time.Minute, time.Minute, false},
		{"spaces around it", 429, " 20 ", 20 * time.Second, 20 * time.Second, false},
		{"nothing", 429, "", 0, time.Second, false},
		{"zero", 429, "0", 0, time.Second, false},
		{"503 with zero", 503, "0", 0, time.Second, false},
		{"many zeros", 429, "000000000000000000000000", 0, time.Second, false},
		{"a date that has passed", 429, "Fri, 31 Dec 1999 00:00:00 GMT", 0, time.Second, false},
		{"503 with a date that has passed", 503, "Fri, 31 Dec 1999 00:00:00 GMT", 0, time.Second, false},
		{"negative", 429, "-5", 0, time.Second, false},
		{"a fraction", 429, "1.5", 0, time.Second, false},
		{"a word", 429, "soon", 0, time.Second, false},
		{"a year", 429, "31536000", day, 2 * time.Minute, false},
		{"more than an integer holds", 429, strings.Repeat("9", 40), day, 2 * time.Minute, false},
		{"a date far away", 429, "Fri, 31 Dec 9999 23:59:59 GMT", day, 2 * time.Minute, false},

		{"503 without it", 503, "", 0, 0, true},
		{"503 with a negative one", 503, "-5", 0, 0, true},
		{"503 with a word", 503, "soon", 0, 0, true},
		{"200 with it", 200, "20", 0, 0, true},
		{"404 with it", 404, "20", 0, 0, true},
		{"301 with it", 301, "20", 0, 0, true},
		{"502 with it", 502, "20", 0, 0, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := &answers{list: []answer{{tt.status, tt.header}}}
				status, err := ask(t, a, 1, 0, nil)
				if tt.plain {
					if err != nil || status != tt.status {
						t.Fatalf("got %d, %v; want the answer itself", status, err)
					}
					return
				}

				e, ok := errors.AsType[*throttle.Error](err)
				if !ok || e.Status != tt.status || e.After != tt.after || e.Host != "registry.example:5000" {
					t.Fatalf("got %+v (%v), want to wait %v", e, err, tt.after)
				}

				a = &answers{list: []answer{{tt.status, tt.header}, {200, ""}}}
				if status, err = ask(t, a, 2, 0, nil); err != nil || status != 200 {
					t.Fatalf("got %d, %v; want the second answer", status, err)
				}
				if waited := a.asked[1].Sub(a.asked[0]); waited < tt.least || waited > tt.least+tt.least/10+time.Millisecond {
					t.Errorf("waited %v, want %v and a tenth at most", waited, tt.least)
				}
			})
		})
	}
}

// Nobody waits for a try that could not be made, or tries without end.
func TestWaitingIsBounded(t *testing.T) {
	for _, tt := range []struct {
		name     string
		list     []answer
		tries    int
		deadline time.Duration
		requests int
		took     time.Duration // at most
	}{
		{"by the number of tries", []answer{{429, "1"}}, 4, 0, 4, 4 * time.Second},
		{"by the deadline, at once", []answer{{429, "30"}}, 4, 20 * time.Second, 1, 0},
		{"by the deadline, where the wait ends with it", []answer{{429, "20"}}, 4, 20 * time.Second, 1, 0},
		{"by what is left of the deadline", []answer{{429, "8"}, {429, "8"}, {200, ""}}, 4, 15 * time.Second, 2, 9 * time.Second},
		{"by the deadline, where no time is named", []answer{{429, ""}}, 100, 10 * time.Second, 4, 10 * time.Second},
		{"where 503 follows 429", []answer{{429, "1"}, {503, "1"}}, 3, 0, 3, 4 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, begun := &answers{list: tt.list}, time.Now()
				_, err := ask(t, a, tt.tries, tt.deadline, nil)
				e, ok := errors.AsType[*throttle.Error](err)
				if !ok || len(a.asked) != tt.requests {
					t.Fatalf("%d requests, %v; want %d", len(a.asked), err, tt.requests)
				}
				if last := tt.list[min(tt.requests, len(tt.list))-1]; e.Status != last.status {
					t.Errorf("the error is of %d, want the last answer's %d", e.Status, last.status)
				}
				if took := time.Since(begun); took > tt.took {
					t.Errorf("it took %v, want %v at most", took, tt.took)
				}
			})
		})
	}
}

// Whoever gives up while waiting is not kept.
func TestWaitingEndsWithTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := throttle.Do(ctx, 5, func() (int, error) { return 0, &throttle.Error{Status: 429, After: time.Minute} })
			done <- err
		}()

		synctest.Wait()
		begun := time.Now()
		cancel()
		if err := <-done; err == nil || time.Since(begun) != 0 {
			t.Errorf("after %v: %v", time.Since(begun), err)
		}
	})
}

// A body cannot be sent twice, and other errors are nobody's wish to wait.
func TestWhatIsNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &answers{list: []answer{{429, "1"}, {200, ""}}}
		if _, err := ask(t, a, 5, 0, strings.NewReader("once")); err == nil || len(a.asked) != 1 {
			t.Errorf("with a body: %d requests, %v", len(a.asked), err)
		}

		calls, broken := 0, errors.New("connection refused")
		if _, err := throttle.Do(t.Context(), 5, func() (int, error) { calls++; return 0, broken }); !errors.Is(err, broken) || calls != 1 {
			t.Errorf("another error: %d calls, %v", calls, err)
		}
	})
}

// Many who were refused together do not come back together.
func TestJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		moments := map[time.Duration]bool{}
		for range 20 {
			a := &answers{list: []answer{{429, "10"}, {200, ""}}}
			if _, err := ask(t, a, 2, 0, nil); err != nil {
				t.Fatal(err)
			}
			moments[a.asked[1].Sub(a.asked[0])] = true
		}
		if len(moments) < 10 {
			t.Errorf("20 requests came back at %d different times", len(moments))
		}
	})
}
