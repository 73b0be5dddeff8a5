package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/api/iterator"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/status"
)

// enableTime is how long a service may go on refusing after it was enabled.
const enableTime = 5 * time.Minute

const (
	usage       = "serviceusage.googleapis.com"
	iam         = "iam.googleapis.com"
	credentials = "iamcredentials.googleapis.com"
	logging     = "logging.googleapis.com"
)

// enable enables the services that the trial asks, and waits until they answer. They stay enabled.
func (t *trial) enable(ctx context.Context) error {
	ids := []string{
		"containeranalysis.googleapis.com", "binaryauthorization.googleapis.com", "cloudkms.googleapis.com", iam, credentials,
	}
	if t.region != "" {
		ids = append(ids, registry, cloudBuild, "containerscanning.googleapis.com", pubsub, cloudRun, logging)
	}
	if t.proxied {
		ids = append(ids, proxy)
	}

	var op operation
	if err := t.rest.call(ctx, "POST", usage, "/v1/"+t.parent+"/services:batchEnable",
		map[string]any{"serviceIds": ids}, &op); err != nil {
		return err
	}
	if err := t.await(ctx, usage, "/v1/", op); err != nil {
		return err
	}

	// An API may answer as if it were disabled for a while after it was enabled.
	for what, ask := range t.answers() {
		if err := t.poll(ctx, what, enableTime, func(ctx context.Context) (bool, error) {
			err := ask(ctx)
			if isDisabled(err) || reason(err) == disabled {
				return false, nil
			}
			return err == nil, err
		}); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	return nil
}

// answers are a question to each service, which it answers once it is enabled everywhere.
func (t *trial) answers() map[string]func(context.Context) error {
	get := func(host, path string) func(context.Context) error {
		return func(ctx context.Context) error { return t.rest.call(ctx, "GET", host, path, nil, nil) }
	}
	out := map[string]func(context.Context) error{
		"containeranalysis": func(ctx context.Context) error {
			_, err := t.grafeas.ListNotes(ctx, &grafeaspb.ListNotesRequest{Parent: t.parent, PageSize: 1}).Next()
			return unlessDone(err)
		},
		"binaryauthorization": func(ctx context.Context) error {
			_, err := t.binauthz.ListAttestors(ctx,
				&binaryauthorizationpb.ListAttestorsRequest{Parent: t.parent, PageSize: 1}).Next()
			return unlessDone(err)
		},
		"cloudkms": func(ctx context.Context) error {
			_, err := t.keys.ListKeyRings(ctx,
				&kmspb.ListKeyRingsRequest{Parent: t.parent + "/locations/global", PageSize: 1}).Next()
			return unlessDone(err)
		},
		"iam": get(iam, "/v1/"+t.parent+"/serviceAccounts"),
	}
	if t.region != "" {
		out["artifactregistry"] = get(registry, "/v1/"+t.location()+"/repositories")
		out["cloudbuild"] = get(cloudBuild, "/v1/"+t.location()+"/builds")
		out["run"] = get(cloudRun, "/v2/"+t.location()+"/services")
	}
	return out
}

// unlessDone is no error for an empty list.
func unlessDone(err error) error {
	if errors.Is(err, iterator.Done) {
		return nil
	}
	return err
}

// reason is that of an error's details.
func reason(err error) string {
	for _, d := range status.Convert(err).Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok {
			return info.GetReason()
		}
	}
	return ""
}
