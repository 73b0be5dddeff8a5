package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
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

// bareDecisions makes the calls of decisions about single images again, in the
// order in which they must be made: manifest and everything that is listed,
// config, signature, occurrence.
func (b *harness) bareDecisions(ctx context.Context, digests []string, heard [][]proto.Message) ([]time.Duration,
	error) {
	r, err := b.newBareClient(repository, 1)
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

func (r *bareClient) decision(ctx context.Context, digest string, heard []proto.Message) error {
	// Lists are asked for beside the manifest; the signature and the occurrence follow one another.
	var lists, rest []proto.Message
	for _, m := range heard {
		switch m.(type) {
		case *grafeaspb.ListOccurrencesRequest, *grafeaspb.ListNoteOccurrencesRequest:
			lists = append(lists, m)
		default:
			rest = append(rest, m)
		}
	}

	if len(lists) != 2 || len(rest) != 2 {
		return fmt.Errorf("want two lists, a signature and an occurrence, have %d and %d", len(lists), len(rest))
	}
	errs := make([]error, len(lists))
	var wg sync.WaitGroup
	for i, m := range lists {
		wg.Go(func() { errs[i] = r.call(ctx, m) })
	}

	// The manifest is asked for beside the lists, as the gate does: all three need no more than the digest.
	body, _, err := r.get(ctx, "/manifests/"+digest)
	wg.Wait()
	if err := errors.Join(append(errs, err)...); err != nil {
		return err
	}

	var manifest struct{ Config struct{ Digest string } }
	if err := json.Unmarshal(body, &manifest); err != nil {
		return err
	}
	if _, _, err := r.get(ctx, "/blobs/"+manifest.Config.Digest); err != nil {
		return err
	}

	// The occurrence holds the signature, and cannot be sent before it.
	return errors.Join(r.call(ctx, rest[0]), r.call(ctx, rest[1]))
}
