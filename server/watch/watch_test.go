package watch_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
	"github.com/attestor-gate/attestor/server/watch"
)

func FuzzClassify(f *testing.F) {
	const digest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	for _, s := range []string{
		`{"action":"INSERT","digest":"registry.example/a/b@` + digest + `","tag":"registry.example/a/b:v1"}`,
		`{"action":"INSERT","digest":"registry.example/a/b:v1"}`,
		`{"name":"projects/p/occurrences/1","kind":"VULNERABILITY"}`,
		`{"name":"projects/p/../occurrences/1","kind":"DISCOVERY"}`,
		`{"status":"SUCCESS","results":{"images":[{"name":"registry.example/a/b:v1","digest":"` + digest + `"}]}}`,
		`[`, ``, `null`,
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}

	f.Fuzz(func(t *testing.T, data []byte, build bool) {
		attributes := `{}`
		if build {
			attributes = `{"buildId":"b","status":"SUCCESS"}`
		}

		body := fmt.Sprintf(`{"message":{"messageId":"1","data":%q,"attributes":%s}}`, base64.StdEncoding.EncodeToString(data), attributes)
		_, images, occurrence, ignored, invalid, poison := watch.ClassifyForTest([]byte(body))
		if invalid != nil {
			t.Fatalf("the envelope is refused: %v", invalid)
		}

		if poison == nil && !ignored && len(images) == 0 && occurrence == "" {
			t.Fatalf("%q is neither poison nor ignored nor about anything", data)
		}

		for _, i := range images {
			if _, pinned := i.Pinned(); !pinned && poison == nil {
				t.Fatalf("%q names %s, which is by tag", data, i)
			}
		}
	})
}

// Who asks while a judgement runs gets the result of one that started after that.
func TestSharedJudgementStartsAfterTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := watch.NewShared()
		var runs atomic.Int64
		world := "before"
		var mu sync.Mutex
		judge := func(context.Context) (attestor.Decision, error) {
			runs.Add(1)
			mu.Lock()
			seen := world
			mu.Unlock()
			time.Sleep(time.Second) // of the bubble's time
			return attestor.Decision{ID: seen}, nil
		}

		first := make(chan string, 1)
		go func() {
			d, _ := shared.Judge(context.Background(), "k", judge)
			first <- d.ID
		}()

		synctest.Wait()
		mu.Lock()
		world = "after"
		mu.Unlock()
		rest := make(chan string, 100)

		for range 100 {
			go func() {
				d, _ := shared.Judge(context.Background(), "k", judge)
				rest <- d.ID
			}()
		}

		if got := <-first; got != "before" {
			t.Errorf("the first saw %q", got)
		}

		for range 100 {
			if got := <-rest; got != "after" {
				t.Errorf("one who came after the change saw %q", got)
			}
		}

		if runs.Load() != 2 {
			t.Errorf("%d runs, want 2", runs.Load())
		}
	})
}

func TestSharedJudgementSurvivesPanicAndTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := watch.NewShared()
		_, err := shared.Judge(context.Background(), "k", func(context.Context) (attestor.Decision, error) { panic("boom") })
		if err == nil {
			t.Error("a panic is no error")
		}

		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_, err = shared.Judge(ctx, "k", func(ctx context.Context) (attestor.Decision, error) {
			time.Sleep(time.Minute)
			return attestor.Decision{}, ctx.Err()
		})

		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want the deadline", err)
		}

		d, err := shared.Judge(context.Background(), "k", func(context.Context) (attestor.Decision, error) { return attestor.Decision{ID: "d"}, nil })
		if err != nil || d.ID != "d" {
			t.Errorf("afterwards: %v, %v", d.ID, err)
		}
	})
}

func TestConfigIsRefused(t *testing.T) {
	admit := func(context.Context, attestor.Request) (attestor.Decision, error) { return attestor.Decision{}, nil }
	policies := &policy.Set{}

	for name, c := range map[string]watch.Config{
		"zero":                      {},
		"nothing to admit with":     {Policies: policies, Now: time.Now},
		"nothing to revoke with":    {Admit: admit, Policies: policies, Now: time.Now, Enforce: true},
		"a negative cap":            {Admit: admit, Policies: policies, Now: time.Now, Cap: -1},
		"a subscription of nobody":  {Admit: admit, Policies: policies, Now: time.Now, Subscription: "projects/p/subscriptions/s"},
		"a grace that is in future": {Admit: admit, Policies: policies, Now: time.Now, Grace: -time.Hour},
	} {
		if _, err := watch.New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// A bug that one admitted image meets is that image's failure: the process, and the run, go on.
func TestAPanicIsOneImagesFailure(t *testing.T) {
	img, err := attestor.ParseImage("r.example/app@sha256:" + strings.Repeat("a", 64))
	if err != nil {
		t.Fatal(err)
	}
	err = watch.RejudgeForTest(t.Context(), attestor.Admission{Image: img, Decision: "admitted-1"})
	if err == nil || !strings.Contains(err.Error(), "panic while judging admitted-1 again") {
		t.Errorf("%v, want the panic as an error", err)
	}
}
