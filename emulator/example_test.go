package emulator_test

import (
	"context"
	"fmt"

	grafeas "cloud.google.com/go/grafeas/apiv1"
	"google.golang.org/api/option"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestor-gate/attestor/emulator"
)

func Example() {
	ctx := context.Background()

	e, err := emulator.New(emulator.Options{})
	if err != nil {
		panic(err)
	}
	defer e.Close()
	client, err := grafeas.NewClient(ctx, option.WithGRPCConn(e.Conn()))
	if err != nil {
		panic(err)
	}
	remove := e.Inject(emulator.Fault{Method: "ListOccurrences", Code: codes.ResourceExhausted, Count: 1})
	defer remove()
	list := &grafeaspb.ListOccurrencesRequest{Parent: "projects/acme"}
	_, err = client.ListOccurrences(ctx, list).Next()
	fmt.Println(status.Code(err))
	_, err = client.ListOccurrences(ctx, list).Next()
	fmt.Println(err)
	fmt.Println(len(e.Calls("ListOccurrences")), "calls")
	// Output:
	// ResourceExhausted
	// no more items in iterator
	// 2 calls
}
