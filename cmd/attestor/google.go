package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	binaryauthorization "cloud.google.com/go/binaryauthorization/apiv1"
	containeranalysis "cloud.google.com/go/containeranalysis/apiv1"
	grafeas "cloud.google.com/go/grafeas/apiv1"
	kms "cloud.google.com/go/kms/apiv1"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// google holds the official clients; they share nothing with each other but
// the credentials.
type google struct {
	analysis *containeranalysis.Client
	grafeas  *grafeas.Client // of analysis; closed with it
	kms      *kms.KeyManagementClient
	binauthz *binaryauthorization.BinauthzManagementClient
	emulated bool
}

// The variables that point the clients at an emulator, as
// PUBSUB_EMULATOR_HOST does for Pub/Sub.
const (
	envAnalysis = "CONTAINERANALYSIS_EMULATOR_HOST"
	envKMS      = "CLOUD_KMS_EMULATOR_HOST"
	envBinauthz = "BINARYAUTHORIZATION_EMULATOR_HOST"
	envPubSub   = "PUBSUB_EMULATOR_HOST" // of its own: no decision depends on it
)

// The services, as the configuration, logs and metrics name them.
const (
	serviceAnalysis = "Container Analysis"
	serviceKMS      = "Cloud KMS"
	serviceBinauthz = "Binary Authorization"
	serviceRegistry = "Artifact Registry"
	servicePubSub   = "Pub/Sub"
)

// emulators reads where Google's services are emulated: nowhere, or all three.
type emulators struct{ analysis, kms, binauthz, pubsub string }

// findEmulators refuses what could let a production gate believe an emulator.
func findEmulators(getenv func(string) string, allowRemote bool) (emulators, error) {
	e := emulators{analysis: getenv(envAnalysis), kms: getenv(envKMS), binauthz: getenv(envBinauthz), pubsub: getenv(envPubSub)}
	set := 0
	for name, host := range map[string]string{envAnalysis: e.analysis, envKMS: e.kms, envBinauthz: e.binauthz, envPubSub: e.pubsub} {
		if host == "" {
			continue
		}
		if name != envPubSub {
			set++
		}
		h, _, err := net.SplitHostPort(host)
		if err != nil {
			return emulators{}, fmt.Errorf("%s is %q: want HOST:PORT, without a scheme", name, host)
		}
		if ip := net.ParseIP(h); !allowRemote && h != "localhost" && (ip == nil || !ip.IsLoopback()) {
			return emulators{}, fmt.Errorf("%s is %q, which is not this machine: an emulator is no security boundary; --allow-remote-emulator permits it", name, host)
		}
	}
	switch {
	case set == 0 && e.pubsub == "":
		return emulators{}, nil
	case set > 0 && set < 3:
		return emulators{}, fmt.Errorf("only some of %s, %s and %s are set: a gate that asks one real and one emulated service proves nothing", envAnalysis, envKMS, envBinauthz)
	case getenv("K_SERVICE") != "":
		return emulators{}, errors.New("Google's services cannot be emulated on Cloud Run: unset the *_EMULATOR_HOST variables") //nolint:staticcheck // a name
	}
	return e, nil
}

// dialGoogle connects, lazily: nothing is contacted before the first call.
// guard, where there is one, is around every call of a service, by its name.
func dialGoogle(ctx context.Context, e emulators, log *slog.Logger, guard googleGuard) (*google, error) {
	if e.analysis != "" {
		log.WarnContext(ctx, "google services are emulated: what is signed here opens no door",
			slog.String("container_analysis", e.analysis), slog.String("kms", e.kms), slog.String("binary_authorization", e.binauthz))
	}
	g := &google{emulated: e.analysis != ""}
	var err error
	if g.analysis, err = containeranalysis.NewClient(ctx, guard.around(serviceAnalysis, e.analysis)...); err != nil {
		return nil, fmt.Errorf("connecting to Container Analysis: %w", err)
	}
	g.grafeas = g.analysis.GetGrafeasClient()
	if g.kms, err = kms.NewKeyManagementClient(ctx, guard.around(serviceKMS, e.kms)...); err != nil {
		return nil, fmt.Errorf("connecting to Cloud KMS: %w", err)
	}
	if g.binauthz, err = binaryauthorization.NewBinauthzManagementClient(ctx, guard.around(serviceBinauthz, e.binauthz)...); err != nil {
		return nil, fmt.Errorf("connecting to Binary Authorization: %w", err)
	}
	return g, nil
}

// A googleGuard gives the interceptor for a service; nil: none.
type googleGuard func(service string) grpc.UnaryClientInterceptor

func (g googleGuard) around(service, emulator string) []option.ClientOption {
	// The clients' own spans would go to OpenTelemetry's global provider, which
	// nobody reads: package dependency has a span for each call.
	options := append(emulatorOptions(emulator), option.WithTelemetryDisabled())
	if g != nil {
		options = append(options, option.WithGRPCDialOption(grpc.WithChainUnaryInterceptor(g(service))))
	}
	return options
}

func emulatorOptions(host string) []option.ClientOption {
	if host == "" {
		return nil
	}
	return []option.ClientOption{
		option.WithEndpoint(host),
		option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
	}
}

func (g *google) close() error {
	var errs []error
	if g.analysis != nil {
		errs = append(errs, g.analysis.Close())
	}
	if g.kms != nil {
		errs = append(errs, g.kms.Close())
	}
	if g.binauthz != nil {
		errs = append(errs, g.binauthz.Close())
	}
	return errors.Join(errs...)
}
