package objects_test

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/internal/objects"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

// at answers for the variables of an emulator.
func at(host string) func(string) string {
	return func(name string) string { return map[string]string{objects.EnvEmulator: host}[name] }
}

// opened is a folder of a bucket that is stood in for.
func opened(t *testing.T, location string) (*objects.Bucket, *standin.Bucket) {
	t.Helper()
	bucket := standin.NewBucket("gate-log")
	srv := httptest.NewServer(bucket)
	t.Cleanup(srv.Close)
	b, err := objects.New(location, at(srv.Listener.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	return b, bucket
}

// An object is written once by each generation, and read as it was written.
func TestObjects(t *testing.T) {
	t.Parallel()
	b, bucket := opened(t, "gs://gate-log/copies/")
	ctx, name := t.Context(), "gate.example/decisions/tile/0/x001/234.p/5"

	if _, _, err := b.Get(ctx, name); !errors.Is(err, objects.ErrNone) {
		t.Errorf("an object that was not written: %v", err)
	}
	if err := b.Put(ctx, name, []byte("one\x00"), 0); err != nil {
		t.Fatal(err)
	}
	data, generation, err := b.Get(ctx, name)
	if err != nil || string(data) != "one\x00" || generation <= 0 {
		t.Fatalf("%q, %d, %v", data, generation, err)
	}
	if got := bucket.Object("copies/" + name); string(got) != "one\x00" {
		t.Errorf("the bucket has %q, in %q", got, bucket.Objects())
	}

	for _, wrong := range []int64{0, generation + 1} {
		if err := b.Put(ctx, name, []byte("other"), wrong); !errors.Is(err, objects.ErrChanged) {
			t.Errorf("written over generation %d as %d: %v", generation, wrong, err)
		}
	}
	if err := b.Put(ctx, name, []byte("two"), generation); err != nil {
		t.Fatal(err)
	}
	if data, next, err := b.Get(ctx, name); err != nil || string(data) != "two" || next == generation {
		t.Errorf("%q, %d, %v", data, next, err)
	}
}

// Whatever is no answer about an object is an error, and never "there is none".
func TestNoAnswerIsNoAbsence(t *testing.T) {
	t.Parallel()
	b, bucket := opened(t, "gs://gate-log")
	elsewhere, _ := opened(t, "gs://another")
	if _, _, err := elsewhere.Get(t.Context(), "checkpoint"); err == nil || errors.Is(err, objects.ErrNone) {
		t.Errorf("a bucket that does not exist: %v", err)
	}

	for _, status := range []int{301, 307, 401, 403, 429, 500, 503} {
		bucket.Fail(func(*http.Request) int { return status })
		if _, _, err := b.Get(t.Context(), "checkpoint"); err == nil || errors.Is(err, objects.ErrNone) {
			t.Errorf("read with status %d: %v", status, err)
		}
		if err := b.Put(t.Context(), "checkpoint", nil, 0); err == nil || errors.Is(err, objects.ErrChanged) {
			t.Errorf("written with status %d: %v", status, err)
		}
	}

	for name, answer := range map[string]http.HandlerFunc{
		"no generation": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("x")) },
		"too long": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Goog-Generation", "1")
			_, _ = w.Write(bytes.Repeat([]byte("x"), 3<<20))
		},
		"cut off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Goog-Generation", "1")
			w.Header().Set("Content-Length", "10")
			_, _ = w.Write([]byte("x"))
		},
	} {
		srv := httptest.NewServer(answer)
		t.Cleanup(srv.Close)
		b, err := objects.New("gs://gate-log", at(srv.URL))
		if err != nil {
			t.Fatal(err)
		}
		if data, _, err := b.Get(t.Context(), "checkpoint"); err == nil {
			t.Errorf("%s: read as %.20q", name, data)
		}
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	for _, location := range []string{"", "gate-log", "gs://", "gs:///x", "s3://gate-log", "gs://Gate", "gs://a b", "gs://gate-log/a//b"} {
		if _, err := objects.New(location, at("")); err == nil || !strings.Contains(err.Error(), "gs://BUCKET") {
			t.Errorf("%q: %v", location, err)
		}
	}
	for _, host := range []string{"storage.example:443", "http://10.0.0.1:1", "127.0.0.1.example"} {
		if _, err := objects.New("gs://gate-log", at(host)); err == nil {
			t.Errorf("the emulator %q is taken", host)
		}
	}
	onCloudRun := func(name string) string {
		return map[string]string{objects.EnvEmulator: "127.0.0.1:1", "K_SERVICE": "gate"}[name]
	}
	if _, err := objects.New("gs://gate-log", onCloudRun); err == nil {
		t.Error("an emulator is taken on Cloud Run")
	}
}
