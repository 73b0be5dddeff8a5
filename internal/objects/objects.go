// Package objects reads and writes objects of a Cloud Storage bucket by the JSON API: the two calls that a copy of the
// record's log makes, without Google's client library for all others.
package objects

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/api/option"
	transport "google.golang.org/api/transport/http"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/loopback"
)

const (
	// scheme begins the name of a place in Cloud Storage.
	scheme = "gs://"
	// EnvEmulator names an emulator of Cloud Storage, HOST:PORT or a URL, as for Google's own clients.
	EnvEmulator = "STORAGE_EMULATOR_HOST"

	endpoint = "https://storage.googleapis.com"
	scope    = "https://www.googleapis.com/auth/devstorage.read_write"

	// maxObject bounds what is read of an object: a tile of 256 entries has at most 1 MiB.
	maxObject = 2 << 20
	// callFor bounds one call.
	callFor = 10 * time.Second
)

// What a call finds of an object.
var (
	// ErrNone means that there is no such object.
	ErrNone = errors.New("there is no such object")
	// ErrChanged means that the object is not of the generation that was expected.
	ErrChanged = errors.New("the object was written by somebody else meanwhile")
)

// A Bucket is a Cloud Storage bucket, or a folder of one. It is safe for concurrent use.
type Bucket struct {
	bucket, prefix string
	endpoint       string
	emulated       bool

	mu     sync.Mutex
	client *http.Client // once credentials were found; guarded by mu
}

// New names a bucket by gs://BUCKET[/FOLDER]. It contacts nobody. STORAGE_EMULATOR_HOST, asked of getenv, names an
// emulator on this machine, to which no credentials go.
func New(location string, getenv func(string) string) (*Bucket, error) {
	rest, ok := strings.CutPrefix(location, scheme)
	bucket, prefix, _ := strings.Cut(rest, "/")
	if !ok || bucket == "" || strings.Trim(bucket, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" ||
		strings.Contains(prefix, "//") {
		return nil, fmt.Errorf("%q is not a location in Cloud Storage: write gs://BUCKET or gs://BUCKET/FOLDER",
			location)
	}

	b := &Bucket{bucket: bucket, prefix: strings.Trim(prefix, "/"), endpoint: endpoint}
	if host := getenv(EnvEmulator); host != "" {
		_, address, found := strings.Cut(host, "://")
		if !found {
			address = host
		}

		// Whoever answers there could hide a fork of the log.
		u, err := url.Parse("http://" + address)
		if err != nil || !loopback.Authority(u.Host) {
			return nil, fmt.Errorf("%s is %q: want HOST:PORT on this machine", EnvEmulator, host)
		}
		if getenv("K_SERVICE") != "" {
			return nil, fmt.Errorf("cloud storage cannot be emulated on Cloud Run: unset %s", EnvEmulator)
		}
		b.endpoint, b.emulated = "http://"+u.Host, true
	}
	return b, nil
}

// http returns the client, with the credentials of this process.
func (b *Bucket) http(ctx context.Context) (*http.Client, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.client != nil {
		return b.client, nil
	}

	opts := []option.ClientOption{option.WithScopes(scope), option.WithTelemetryDisabled()}
	if b.emulated {
		opts = []option.ClientOption{option.WithoutAuthentication(), option.WithTelemetryDisabled()}
	}
	c, _, err := transport.NewClient(context.WithoutCancel(ctx), opts...)
	if err != nil {
		return nil, fmt.Errorf("connecting to Cloud Storage: %w", err)
	}
	client := *c

	// An object is where it was asked for, and credentials go nowhere else.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	b.client = &client
	return b.client, nil
}

// object is the path of an object, whose name is one segment.
func (b *Bucket) object(name string) string {
	if b.prefix != "" {
		name = b.prefix + "/" + name
	}
	return name
}

// Get reads an object and its generation, which counts its versions. The error is [ErrNone] if there is none.
func (b *Bucket) Get(ctx context.Context, name string) (data []byte, generation int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, callFor)
	defer cancel()

	at := b.endpoint + "/storage/v1/b/" + b.bucket + "/o/" + url.PathEscape(b.object(name)) + "?alt=media"
	resp, err := b.do(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close() //nolint:errcheck // read only

	if resp.StatusCode != http.StatusOK {
		return nil, 0, b.problem("reading", name, resp)
	}
	data, err = io.ReadAll(io.LimitReader(resp.Body, maxObject+1))
	switch {
	case err != nil:
		return nil, 0, fmt.Errorf("reading %s: %w", b.name(name), err)
	case len(data) > maxObject:
		return nil, 0, fmt.Errorf("%s has more than %d bytes", b.name(name), maxObject)
	}

	generation, err = strconv.ParseInt(resp.Header.Get("X-Goog-Generation"), 10, 64)
	if err != nil || generation <= 0 {
		return nil, 0, fmt.Errorf("reading %s: the answer does not say which generation it is of", b.name(name))
	}
	return data, generation, nil
}

// Put writes an object if its generation is the given one; 0: if there is none yet. The error is [ErrChanged] if it is
// not.
func (b *Bucket) Put(ctx context.Context, name string, data []byte, generation int64) error {
	ctx, cancel := context.WithTimeout(ctx, callFor)
	defer cancel()

	// JSON API, Objects: insert: "ifGenerationMatch … Setting to 0 makes the operation succeed only if there are no
	// live versions of the object."
	query := url.Values{
		"uploadType": {"media"}, "name": {b.object(name)}, "ifGenerationMatch": {strconv.FormatInt(generation, 10)},
	}
	at := b.endpoint + "/upload/storage/v1/b/" + b.bucket + "/o?" + query.Encode()
	resp, err := b.do(ctx, http.MethodPost, at, data)
	if err != nil {
		return err
	}
	defer resp.Body.Close() //nolint:errcheck // its status is the answer

	if resp.StatusCode != http.StatusOK {
		return b.problem("writing", name, resp)
	}
	return nil
}

func (b *Bucket) do(ctx context.Context, method, at string, body []byte) (*http.Response, error) {
	client, err := b.http(ctx)
	if err != nil {
		return nil, err
	}

	r, err := http.NewRequestWithContext(ctx, method, at, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/octet-stream")
	}

	resp, err := client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("asking Cloud Storage: %w", err)
	}

	return resp, nil
}

// problem is the error of an answer that is not 200.
func (b *Bucket) problem(doing, name string, resp *http.Response) error {
	var said struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	_ = json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&said) // what it says is a help only

	var about error
	switch resp.StatusCode {
	case http.StatusNotFound:
		about = ErrNone

		// Without the right to list, Google answers 403 about an object that does not exist, and 404 about a bucket
		// that does not exist. A bucket that is gone is not an empty one.
		if strings.Contains(said.Error.Message, "bucket does not exist") {
			about = errors.New("there is no such bucket")
		}
	case http.StatusPreconditionFailed:
		about = ErrChanged
	default:
		about = fmt.Errorf("%s: %.200q", resp.Status, said.Error.Message)
	}
	return fmt.Errorf("%s %s: %w", doing, b.name(name), about)
}

// name is an object's place, for messages.
func (b *Bucket) name(object string) string { return scheme + b.bucket + "/" + b.object(object) }

// Read reads one object by its place, gs://BUCKET/NAME. The error is of kind Invalid if that is no such place.
func Read(ctx context.Context, place string, getenv func(string) string) ([]byte, error) {
	bucket, name, ok := strings.Cut(strings.TrimPrefix(place, scheme), "/")
	if !ok || name == "" {
		return nil, &attestor.Error{
			Kind: attestor.Invalid, Msg: fmt.Sprintf("%q is not an object in Cloud Storage: write gs://BUCKET/NAME",
				place),
		}
	}

	b, err := New(scheme+bucket, getenv)
	if err != nil {
		return nil, err
	}

	data, _, err := b.Get(ctx, name)
	return data, err
}

// Is reports whether a text names a place in Cloud Storage.
func Is(place string) bool { return strings.HasPrefix(place, scheme) }
