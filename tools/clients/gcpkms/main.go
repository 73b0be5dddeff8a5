// Command gcpkms signs and verifies with a key of Cloud KMS through the package that cosign uses for gcpkms:// keys.
// cosign itself has no flag and no variable for the service's endpoint; its package takes one.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/sigstore/sigstore/pkg/signature/kms/gcp"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// run takes the address of an emulator and a gcpkms:// reference.
func run(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("want ADDRESS gcpkms://KEY")
	}
	ctx := context.Background()
	signer, err := gcp.LoadSignerVerifier(ctx, args[1],
		option.WithEndpoint(args[0]), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
	if err != nil {
		return err
	}

	// The signature must verify, and only for what was signed.
	const message = "a message"
	signature, err := signer.SignMessage(strings.NewReader(message))
	if err != nil {
		return fmt.Errorf("signing: %w", err)
	}
	if err := signer.VerifySignature(strings.NewReader(string(signature)), strings.NewReader(message)); err != nil {
		return fmt.Errorf("verifying: %w", err)
	}
	if err := signer.VerifySignature(strings.NewReader(string(signature)), strings.NewReader("another")); err == nil {
		return fmt.Errorf("a signature of another message verifies")
	}
	fmt.Println("signed and verified")
	return nil
}
