package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// A bareClient makes the calls of the gate and nothing else: what it takes is
// what the machine and the stand-ins take.
type bareClient struct {
	http   *http.Client
	conn   *grpc.ClientConn
	google grafeaspb.GrafeasClient
	kms    kmspb.KeyManagementServiceClient
	base   string
}

func (b *harness) newBareClient(repository string, conns int) (*bareClient, error) {
	conn, err := grpc.NewClient(b.world.Google.Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	return &bareClient{
		http: client(conns), conn: conn, google: grafeaspb.NewGrafeasClient(conn),
		kms:  kmspb.NewKeyManagementServiceClient(conn),
		base: "http://" + b.world.Registry.Addr() + "/v2/" + repository,
	}, nil
}

func (r *bareClient) close() {
	r.http.CloseIdleConnections()
	_ = r.conn.Close() // only one that is closed already fails to
}

func (r *bareClient) get(ctx context.Context, path string) (body []byte, digest string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.base+path, nil)
	if err != nil {
		return nil, "", err
	}
	resp, err := r.http.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()

	if resp.StatusCode != http.StatusOK {
		return nil, "", fmt.Errorf("GET %s: %s", path, resp.Status)
	}
	body, err = io.ReadAll(resp.Body)
	return body, resp.Header.Get("Docker-Content-Digest"), err
}

func (r *bareClient) call(ctx context.Context, m proto.Message) (err error) {
	switch m := m.(type) {
	case *grafeaspb.ListOccurrencesRequest:
		_, err = r.google.ListOccurrences(ctx, m)
	case *grafeaspb.ListNoteOccurrencesRequest:
		_, err = r.google.ListNoteOccurrences(ctx, m)
	case *kmspb.AsymmetricSignRequest:
		_, err = r.kms.AsymmetricSign(ctx, m)
	case *grafeaspb.CreateOccurrenceRequest:
		if _, err = r.google.CreateOccurrence(ctx, m); status.Code(err) == codes.AlreadyExists {
			err = nil // the gate's own, which took its time all the same
		}
	case *grafeaspb.BatchCreateOccurrencesRequest:
		if _, err = r.google.BatchCreateOccurrences(ctx, m); status.Code(err) == codes.AlreadyExists {
			err = nil
		}
	default:
		err = fmt.Errorf("a call was made that the bare client does not know: %T", m)
	}
	return err
}

// bareDecisions makes the calls of decisions again, in the order in which they must be made, as each says: what needs no
// more than the digest at once, then what an index lists, configs, signatures, the occurrences of children, the
// occurrence of what was asked about.
func (b *harness) bareDecisions(ctx context.Context, digests []string, heard [][]proto.Message) ([]time.Duration,
	error) {
	r, err := b.newBareClient(repository, 8)
	if err != nil {
		return nil, err
	}
	defer r.close()

	var times []time.Duration
	for i, digest := range digests {
		start := time.Now()
		if err := r.decision(ctx, digest, heard[i]); err != nil {
			return nil, fmt.Errorf("bare calls about %s: %w", digest, err)
		}
		times = append(times, time.Since(start))
	}
	return times, nil
}

// A decisionCalls are the calls of Google's services that one decision makes, by when they can be made.
type decisionCalls struct{ first, listed, signs, batches, creates []proto.Message }

// sorted tells the calls of a decision about a digest apart.
func sorted(digest string, heard []proto.Message) (c decisionCalls) {
	for _, m := range heard {
		switch m.(type) {
		case *kmspb.AsymmetricSignRequest:
			c.signs = append(c.signs, m)
		case *grafeaspb.BatchCreateOccurrencesRequest:
			c.batches = append(c.batches, m)
		case *grafeaspb.CreateOccurrenceRequest:
			c.creates = append(c.creates, m)
		default:
			// A list that names an index's children can only be asked for once they are known.
			named := digestPattern.FindAllString(fmt.Sprint(m), -1)
			if slices.ContainsFunc(named, func(d string) bool { return d != digest }) {
				c.listed = append(c.listed, m)
			} else {
				c.first = append(c.first, m)
			}
		}
	}
	return c
}

func (r *bareClient) decision(ctx context.Context, digest string, heard []proto.Message) error {
	c := sorted(digest, heard)
	if len(c.first) == 0 {
		return errors.New("want a list at least")
	}

	// Of an image that is known nothing is read, and nothing signed.
	if len(c.signs) == 0 {
		return r.calls(ctx, c.first)
	}

	var manifest bareManifest
	err := side(func() error { return r.calls(ctx, c.first) },
		func() error { return r.document(ctx, "/manifests/"+digest, &manifest) })
	if err != nil {
		return err
	}

	configs := []string{manifest.Config.Digest}
	if len(manifest.Manifests) > 0 {
		if configs, err = r.children(ctx, manifest, c.listed); err != nil {
			return err
		}
	}
	reads := make([]func() error, 0, len(configs))
	for _, config := range configs {
		reads = append(reads, func() error { _, _, err := r.get(ctx, "/blobs/"+config); return err })
	}

	// An occurrence holds its signature, and that of an index follows those of its children.
	if err := errors.Join(side(reads...), r.calls(ctx, c.signs)); err != nil {
		return err
	}
	return errors.Join(r.calls(ctx, c.batches), r.calls(ctx, c.creates))
}

// bareManifest is what a bare client reads of a manifest or an index.
type bareManifest struct {
	Config    struct{ Digest string }
	Manifests []struct{ Digest string }
}

// children reads what an index lists, beside lists about it, and returns the digests of configs.
func (r *bareClient) children(ctx context.Context, index bareManifest, lists []proto.Message) ([]string, error) {
	found := make([]bareManifest, len(index.Manifests))
	steps := []func() error{func() error { return r.calls(ctx, lists) }}
	for i, m := range index.Manifests {
		steps = append(steps, func() error { return r.document(ctx, "/manifests/"+m.Digest, &found[i]) })
	}
	err := side(steps...)
	var out []string
	for _, m := range found {
		out = append(out, m.Config.Digest)
	}
	return out, err
}

func (r *bareClient) document(ctx context.Context, path string, v any) error {
	body, _, err := r.get(ctx, path)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, v)
}

// calls makes calls side by side.
func (r *bareClient) calls(ctx context.Context, messages []proto.Message) error {
	steps := make([]func() error, 0, len(messages))
	for _, m := range messages {
		steps = append(steps, func() error { return r.call(ctx, m) })
	}
	return side(steps...)
}

// side does some things side by side.
func side(steps ...func() error) error {
	errs := make([]error, len(steps))
	var wg sync.WaitGroup
	for i, f := range steps {
		wg.Go(func() { errs[i] = f() })
	}
	wg.Wait()
	return errors.Join(errs...)
}
