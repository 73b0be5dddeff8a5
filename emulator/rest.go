package emulator

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/vanguard"
	"connectrpc.com/vanguard/vanguardgrpc"
	analysispb "google.golang.org/genproto/googleapis/devtools/containeranalysis/v1"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// newREST is the handler of one port: gRPC as it is, REST by transcoding from
// the google.api.http annotations of the registered services.
func (e *Emulator) newREST() (http.Handler, error) {
	transcoder, err := vanguardgrpc.NewTranscoder(
		e.grpc,
		// alt=json, prettyPrint and the like.
		vanguard.WithDefaultServiceOptions(
			vanguard.WithRESTUnmarshalOptions(vanguard.RESTUnmarshalOptions{DiscardUnknownQueryParams: true}),
		),
		// The default codec drops unknown fields of a body and prints unset ones.
		vanguard.WithCodec(func(r vanguard.TypeResolver) vanguard.Codec {
			return jsonCodec{&vanguard.JSONCodec{
				MarshalOptions:   protojson.MarshalOptions{Resolver: r},
				UnmarshalOptions: protojson.UnmarshalOptions{Resolver: r},
			}}
		}),
	)
	if err != nil {
		return nil, err
	}

	mux := http.NewServeMux()
	e.registerStubs(mux)
	e.registerProjects(mux)
	mux.Handle("/", googleREST(newQueryFields(e.grpc), transcoder))
	rest := compressed(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxMessage)

		// Before the mux, which would redirect a path that has a URL in it.
		if strings.HasSuffix(r.URL.Path, exportSBOM) {
			e.serveExportSBOM(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
			e.grpc.ServeHTTP(w, r)
			return
		}
		rest.ServeHTTP(w, r)
	}), nil
}

// jsonCodec prints the one message whose zero enum gcloud reads, the row of a
// summary that is the total, and knows kinds that the Go types do not have.
type jsonCodec struct{ *vanguard.JSONCodec }

func (c jsonCodec) MarshalAppend(b []byte, m proto.Message) ([]byte, error) {
	if _, ok := m.(*analysispb.VulnerabilityOccurrencesSummary); ok {
		return protojson.MarshalOptions{
			EmitDefaultValues: true,
			Resolver:          c.MarshalOptions.Resolver,
		}.MarshalAppend(
			b,
			m,
		)
	}

	text, err := c.JSONCodec.MarshalAppend(nil, m)
	if err != nil {
		return nil, err
	}
	if text, err = writeForeign(text, m); err != nil {
		return nil, err
	}
	return append(b, text...), nil
}

// MarshalAppendField is [jsonCodec.MarshalAppend] of a field.
func (c jsonCodec) MarshalAppendField(b []byte, m proto.Message, fd protoreflect.FieldDescriptor) ([]byte, error) {
	if fd.Message() != nil && fd.Cardinality() != protoreflect.Repeated {
		return c.MarshalAppend(b, m.ProtoReflect().Get(fd).Message().Interface())
	}
	return c.JSONCodec.MarshalAppendField(b, m, fd)
}

// Unmarshal reads kinds of occurrences and notes that the Go types do not have, too.
func (c jsonCodec) Unmarshal(b []byte, m proto.Message) error {
	switch m := m.(type) {
	case *grafeaspb.Occurrence:
		return readKinded(b, m, c.UnmarshalOptions)
	case *grafeaspb.Note:
		return readKinded(b, m, c.UnmarshalOptions)
	case *grafeaspb.BatchCreateOccurrencesRequest:
		return readBatch(b, m, c.UnmarshalOptions)
	}
	return c.JSONCodec.Unmarshal(b, m)
}

// UnmarshalField is [jsonCodec.Unmarshal] of a field.
func (c jsonCodec) UnmarshalField(b []byte, m proto.Message, fd protoreflect.FieldDescriptor) error {
	if fd.Message() != nil && fd.Cardinality() != protoreflect.Repeated {
		return c.Unmarshal(b, m.ProtoReflect().Mutable(fd).Message().Interface())
	}
	return c.JSONCodec.UnmarshalField(b, m, fd)
}

// Handler serves gRPC and REST on one port. gRPC needs HTTP/2 without TLS,
// which the http.Server has to allow: see [http.Server.Protocols], or use
// [Emulator.Serve], which does.
func (e *Emulator) Handler() http.Handler { return e.rest }

// Serve answers gRPC and REST on a listener until ctx ends, and closes the
// listener. It is not to be called after Close.
func (e *Emulator) Serve(ctx context.Context, l net.Listener) error {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	srv := &http.Server{
		Handler: e.rest, Protocols: protocols,
		ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
	}

	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}

	// A call that hangs by injection would outlive any patience.
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()

	err := srv.Shutdown(drain)
	if errors.Is(err, context.DeadlineExceeded) {
		err = srv.Close()
	}
	if e := <-done; !errors.Is(e, http.ErrServerClosed) {
		err = errors.Join(err, e)
	}
	return err
}
