package provenance_test

import (
	"context"
	"net"
	"strconv"
	"testing"
	"time"

	grafeas "cloud.google.com/go/grafeas/apiv1"
	"google.golang.org/api/option"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/attestor-gate/attestor/internal/limit"
	"github.com/attestor-gate/attestor/verify/provenance"
)

// server is a Grafeas that answers what it was given, in pages, whatever the
// filter says, and can fail at any page: worse than the real one.
type server struct {
	grafeaspb.UnimplementedGrafeasServer
	list []*grafeaspb.Occurrence
	page int
	more bool // there is always another page
	fail func(ctx context.Context, page int) error
	asks []*grafeaspb.ListOccurrencesRequest
}

func (s *server) ListOccurrences(ctx context.Context, r *grafeaspb.ListOccurrencesRequest) (*grafeaspb.ListOccurrencesResponse, error) {
	s.asks = append(s.asks, proto.CloneOf(r))
	at, _ := strconv.Atoi(r.GetPageToken())
	if s.fail != nil {
		if err := s.fail(ctx, at); err != nil {
			return nil, err
		}
	}

	resp := &grafeaspb.ListOccurrencesResponse{}
	size := s.page
	if size == 0 {
		size = len(s.list) + 1
	}

	for i := at * size; i < (at+1)*size && i < len(s.list); i++ {
		resp.Occurrences = append(resp.Occurrences, s.list[i])
	}

	if s.more {
		resp.Occurrences, resp.NextPageToken = s.list, "1"
	}
	if (at+1)*size < len(s.list) {
		resp.NextPageToken = strconv.Itoa(at + 1)
	}

	return resp, nil
}

// serve starts it and connects the official client.
func serve(t *testing.T, s *server) *grafeas.Client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	g := grpc.NewServer()
	grafeaspb.RegisterGrafeasServer(g, s)
	go func() { _ = g.Serve(l) }()
	t.Cleanup(g.Stop)
	client, err := grafeas.NewClient(context.Background(), option.WithEndpoint(l.Addr().String()), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))

	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func newSource(t *testing.T, list ...*grafeaspb.Occurrence) *provenance.Source {
	t.Helper()
	return sourceOf(t, &server{list: list}, provenance.Config{})
}

func sourceOf(t *testing.T, srv *server, c provenance.Config) *provenance.Source {
	t.Helper()
	c.Grafeas = serve(t, srv)
	if c.Limit == 0 {
		c.Limit = limit.Call(time.Minute) // no test is about the default
	}
	s, err := provenance.New(c)
	if err != nil {
		t.Fatal(err)
	}

	return s
}
