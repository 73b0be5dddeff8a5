package standin

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// A Bucket answers the JSON API of Cloud Storage for one bucket: objects are read with alt=media and written with
// uploadType=media, under the precondition ifGenerationMatch. It is safe for concurrent use.
type Bucket struct {
	name string

	mu      sync.Mutex
	objects map[string]stored // by name; guarded by mu
	last    int64             // generation; guarded by mu
	fail    func(r *http.Request) int
	calls   int
}

type stored struct {
	data       []byte
	generation int64
}

// NewBucket is an empty bucket.
func NewBucket(name string) *Bucket { return &Bucket{name: name, objects: map[string]stored{}} }

// Fail makes the bucket answer a request with the status that f returns, unless that is 0. nil: all work.
func (b *Bucket) Fail(f func(r *http.Request) int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail = f
}

// Objects lists the names of all objects.
func (b *Bucket) Objects() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.objects))
}

// Object is what an object holds; nil if there is none.
func (b *Bucket) Object(name string) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.objects[name].data
}

// Set makes an object hold data, as whoever may write to the bucket can.
func (b *Bucket) Set(name string, data []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last++
	b.objects[name] = stored{data, b.last}
}

// Calls is how many requests were made.
func (b *Bucket) Calls() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.calls
}

// ServeHTTP implements [http.Handler].
func (b *Bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls++
	if b.fail != nil {
		if status := b.fail(r); status != 0 {
			refuse(w, status, "the stand-in fails as the test says")
			return
		}
	}

	// Object names are one segment of the path, encoded.
	read, isRead := strings.CutPrefix(r.URL.EscapedPath(), "/storage/v1/b/"+b.name+"/o/")
	switch query := r.URL.Query(); {
	case r.Method == http.MethodGet && isRead && query.Get("alt") == "media" && !strings.Contains(read, "/"):
		b.read(w, strings.TrimPrefix(r.URL.Path, "/storage/v1/b/"+b.name+"/o/"))
	case r.Method == http.MethodPost && r.URL.Path == "/upload/storage/v1/b/"+b.name+"/o" &&
		query.Get("uploadType") == "media" && query.Get("name") != "":
		b.write(w, r, query.Get("name"), query.Get("ifGenerationMatch"))
	case strings.Contains(r.URL.Path, "/b/") && !strings.Contains(r.URL.Path, "/b/"+b.name+"/"):
		refuse(w, http.StatusNotFound, "The specified bucket does not exist.")
	default:
		refuse(w, http.StatusBadRequest, "the stand-in does not know this request")
	}
}

func (b *Bucket) read(w http.ResponseWriter, name string) {
	o, ok := b.objects[name]
	if !ok {
		refuse(w, http.StatusNotFound, "No such object: "+b.name+"/"+name)
		return
	}
	w.Header().Set("X-Goog-Generation", strconv.FormatInt(o.generation, 10))
	_, _ = w.Write(o.data)
}

func (b *Bucket) write(w http.ResponseWriter, r *http.Request, name, match string) {
	// Generation 0 is that no object exists, as in Cloud Storage.
	if match != "" && match != strconv.FormatInt(b.objects[name].generation, 10) {
		refuse(w, http.StatusPreconditionFailed, "At least one of the pre-conditions you specified did not hold.")
		return
	}
	data, err := io.ReadAll(r.Body)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}

	b.last++
	b.objects[name] = stored{data, b.last}
	_ = json.NewEncoder(w).Encode(map[string]string{
		"kind": "storage#object", "name": name, "bucket": b.name, "generation": strconv.FormatInt(b.last, 10),
	})
}

// refuse answers with an error as the JSON API does.
func refuse(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": status, "message": message}})
}
