package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/attestor-gate/attestor/internal/samples"
	"github.com/attestor-gate/attestor/internal/testkit/slow"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

// mostManifest is the largest manifest that is read.
const mostManifest = 4 << 20

// TestMemoryOfLargeManifests: a thousand requests at once about images whose manifests have nearly the 4 MiB that are read
// take less than 512 MB, as the kernel counts the memory of the program as it is shipped. Nobody is told anything wrong: who
// is sent away, or told that nothing could be decided, asks again, and everybody is answered rightly in the end.
func TestMemoryOfLargeManifests(t *testing.T) {
	slow.Skip(t)
	const allowed, requests, images = 512_000_000, 1000, 48
	path := filepath.Join(t.TempDir(), "attestor")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}

	outside := newOutside(t)
	type asked struct{ ref, want string }
	var all []asked
	for i := range images {
		user, want := "65532:65532", "pass"
		if i%4 == 3 {
			user, want = "0", "deny"
		}
		all = append(all, asked{largeManifest(t, outside, i, user, mostManifest-1000), want})
	}
	beyond := largeManifest(t, outside, images, "65532:65532", mostManifest+1)

	address, pid := serveConfigured(t, path, outside, standin.Options{
		Policy: largePolicy, More: "limits: {callerRate: 1000000, queue: 1000, deadline: 10m, settle: 10m}",
	}, "GOMEMLIMIT=400MiB")
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: requests}}
	defer client.CloseIdleConnections()
	ask := func(ref string) (status int, verdict string) {
		body := strings.NewReader(fmt.Sprintf(`{"image":%q}`, ref))
		resp, err := client.Post(address+"/v1/attest", "application/json", body) //nolint:noctx // of this test
		if err != nil {
			t.Error(err)
			return 0, ""
		}
		defer resp.Body.Close()
		var d struct{ Verdict string }
		if err := json.NewDecoder(resp.Body).Decode(&d); err != nil {
			t.Error(err)
		}
		return resp.StatusCode, d.Verdict
	}

	var mu sync.Mutex
	told := map[string]int{} // answers, by status and verdict; guarded by mu
	var wg sync.WaitGroup
	for i := range requests {
		a := all[i%len(all)]
		wg.Go(func() {
			for {
				status, verdict := ask(a.ref)
				mu.Lock()
				told[fmt.Sprint(status, " ", verdict)]++
				mu.Unlock()
				switch {
				case verdict == a.want, status == 0:
					return
				case verdict == "pass", verdict == "deny":
					t.Errorf("%s is told %d %s, want %s", a.ref, status, verdict, a.want)
					return
				}
				time.Sleep(time.Second) // it was sent away, or nothing was decided
			}
		})
	}
	wg.Wait()

	peak := memoryOf(t, pid, "VmHWM:")
	t.Logf("%d MB at most, answers: %v", peak/1_000_000, told)
	if peak > allowed {
		t.Errorf("the process had %d MB, at most %d MB are allowed", peak/1_000_000, allowed/1_000_000)
	}
	if status, verdict := ask(beyond); verdict != "deny" || status != http.StatusUnprocessableEntity {
		t.Errorf("a manifest of more bytes than are read: %d %s", status, verdict)
	}
}

// largeManifest pushes an image whose manifest has a size, and returns its reference by digest. Every fourth has thousands of
// annotations, the others have one long one.
func largeManifest(t *testing.T, outside *standin.World, i int, user string, size int) string {
	t.Helper()
	all, err := samples.All()
	if err != nil {
		t.Fatal(err)
	}
	first := slices.IndexFunc(all, func(s samples.Sample) bool { return s.Image != nil })
	image, err := mutate.Config(all[first].Image, v1.Config{User: user, Labels: map[string]string{"n": fmt.Sprint(i)}})
	if err != nil {
		t.Fatal(err)
	}

	annotations := map[string]string{"example.filler": ""}
	sized := func() v1.Image { return mutate.Annotations(image, annotations).(v1.Image) } //nolint:forcetypeassert // it was one
	length := func() int {
		b, err := sized().RawManifest()
		if err != nil {
			t.Fatal(err)
		}
		return len(b)
	}
	if i%4 == 1 {
		for n := range 40_000 {
			annotations[fmt.Sprintf("example.a%05d", n)] = strings.Repeat("v", 70)
		}
	}
	annotations["example.filler"] = string(bytes.Repeat([]byte("f"), size-length()))
	if n := length(); n != size {
		t.Fatalf("the manifest has %d bytes, want %d", n, size)
	}
	ref, err := outside.Push(t.Context(), fmt.Sprintf("large/n%d", i), "v1", sized(), nil, samples.Clean)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}
