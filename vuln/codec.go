package vuln

import (
	"errors"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto" // registers the codec that capture wraps
	"google.golang.org/grpc/mem"
)

// capture is the ordinary codec that also keeps the page that it decoded last. The
// official client keeps a page's occurrences and token and drops the rest, among it
// the list of locations that could not be reached. One capture serves one call;
// retries overwrite the page.
type capture struct {
	page *grafeaspb.ListOccurrencesResponse
}

func (c *capture) last() *grafeaspb.ListOccurrencesResponse { return c.page }

func (c *capture) Marshal(v any) (mem.BufferSlice, error) {
	inner := encoding.GetCodecV2(proto.Name)
	if inner == nil {
		return nil, errors.New("encoding a request: no codec for protocol buffers")
	}
	return inner.Marshal(v)
}

func (c *capture) Unmarshal(data mem.BufferSlice, v any) error {
	inner := encoding.GetCodecV2(proto.Name)
	if inner == nil {
		return errors.New("decoding an answer: no codec for protocol buffers")
	}
	if err := inner.Unmarshal(data, v); err != nil {
		return err
	}
	c.page, _ = v.(*grafeaspb.ListOccurrencesResponse)
	return nil
}

func (c *capture) Name() string { return proto.Name }
