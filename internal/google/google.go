// Package google connects to the Google services that a gate asks, Container
// Analysis, Cloud KMS and Binary Authorization, or to an emulator of them.
package google

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"

	binaryauthorization "cloud.google.com/go/binaryauthorization/apiv1"
	containeranalysis "cloud.google.com/go/containeranalysis/apiv1"
	grafeas "cloud.google.com/go/grafeas/apiv1"
	kms "cloud.google.com/go/kms/apiv1"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/loopback"
)

// The services, as the configuration, logs and metrics name them.
const (
	ServiceAnalysis = "Container Analysis"
	ServiceKMS      = "Cloud KMS"
	ServiceBinauthz = "Binary Authorization"
	ServiceRegistry = "Artifact Registry"
	ServicePubSub   = "Pub/Sub"
)

// The variables that name an emulator, HOST:PORT. The Pub/Sub client reads its
// own; no decision depends on it, so that it may be set alone.
const (
	EnvAnalysis = "CONTAINERANALYSIS_EMULATOR_HOST"
	EnvKMS      = "CLOUD_KMS_EMULATOR_HOST"
	EnvBinauthz = "BINARYAUTHORIZATION_EMULATOR_HOST"
	EnvPubSub   = "PUBSUB_EMULATOR_HOST"
)

// Emulators says where Google's services are emulated, each HOST:PORT. Analysis,
// KMS and Binauthz are all set or all empty; the zero value means Google itself.
type Emulators struct{ Analysis, KMS, Binauthz, PubSub string }

// EmulatedAt is one emulator of all but Pub/Sub, as `attestor emulator` is.
func EmulatedAt(host string) Emulators {
	return Emulators{Analysis: host, KMS: host, Binauthz: host}
}

// FindEmulators reads the variables, and refuses every combination by which a
// production gate could take an emulator for Google: only some of the services,
// Cloud Run, and, unless allowRemote is set, another machine.
func FindEmulators(getenv func(string) string, allowRemote bool) (Emulators, error) {
	e := Emulators{
		Analysis: getenv(EnvAnalysis),
		KMS:      getenv(EnvKMS),
		Binauthz: getenv(EnvBinauthz),
		PubSub:   getenv(EnvPubSub),
	}

	set := 0
	for _, variable := range []struct{ name, host string }{
		{EnvAnalysis, e.Analysis}, {EnvKMS, e.KMS}, {EnvBinauthz, e.Binauthz}, {EnvPubSub, e.PubSub},
	} {
		if variable.host == "" {
			continue
		}
		if variable.name != EnvPubSub {
			set++
		}
		host, _, err := net.SplitHostPort(variable.host)
		if err != nil {
			return Emulators{}, fmt.Errorf("%s is %q: want HOST:PORT, without a scheme", variable.name, variable.host)
		}

		// Whoever answers there decides what is signed with, and as what.
		if !allowRemote && !loopback.Host(host) {
			return Emulators{}, fmt.Errorf("%s is %q, which is not this machine: an emulator is no security boundary; "+
				"--allow-remote-emulator permits it", variable.name, variable.host)
		}
	}

	switch {
	case set == 0 && e.PubSub == "":
		return Emulators{}, nil
	case set > 0 && set < 3:
		return Emulators{}, fmt.Errorf(
			"only some of %s, %s and %s are set: a gate that asks one real and one emulated service proves nothing",
			EnvAnalysis, EnvKMS, EnvBinauthz)
	case getenv("K_SERVICE") != "":
		//nolint:staticcheck // it begins with a name
		return Emulators{}, errors.New(
			"Google's services cannot be emulated on Cloud Run: unset the *_EMULATOR_HOST variables",
		)
	}
	return e, nil
}

// FindEmulatorsAt is [FindEmulators] for a host that a flag named, which then
// stands for every variable; "" leaves it to the variables.
func FindEmulatorsAt(host string, getenv func(string) string, allowRemote bool) (Emulators, error) {
	if host == "" {
		return FindEmulators(getenv, allowRemote)
	}

	return FindEmulators(func(name string) string {
		if name == "K_SERVICE" {
			return getenv(name)
		}
		return host
	}, allowRemote)
}

// A Guard makes the interceptor of a service's calls, by the service's name. A
// nil Guard makes none.
type Guard func(service string) grpc.UnaryClientInterceptor

// Options are what a client of a service is made with: the guard and, unless
// emulator is "", the emulator at HOST:PORT.
func (g Guard) Options(service, emulator string) []option.ClientOption {
	// The clients' own spans would go to OpenTelemetry's global provider, which
	// nobody reads: package dependency has a span for each call.
	options := []option.ClientOption{option.WithTelemetryDisabled()}

	// No credentials of Google's ever go to an emulator.
	if emulator != "" {
		options = append(options,
			option.WithEndpoint(emulator),
			option.WithoutAuthentication(),
			option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
		)
	}

	if g != nil {
		options = append(options, option.WithGRPCDialOption(grpc.WithChainUnaryInterceptor(g(service))))
	}
	return options
}

// Clients are Google's own clients. They share nothing but the credentials.
type Clients struct {
	Analysis *containeranalysis.Client
	Grafeas  *grafeas.Client // of Analysis, which closes it
	KMS      *kms.KeyManagementClient
	Binauthz *binaryauthorization.BinauthzManagementClient
	Emulated bool
}

// Dial makes the clients and contacts nobody: each connects at its first call.
// guard is around every call. An emulator is named in a warning.
// further holds what the clients are made with beside that.
func Dial(
	ctx context.Context, e Emulators, log *slog.Logger, guard Guard, further ...option.ClientOption,
) (_ *Clients, err error) {
	options := func(service, emulator string) []option.ClientOption {
		return append(guard.Options(service, emulator), further...)
	}

	if e.Analysis != "" {
		log.WarnContext(
			ctx,
			"google services are emulated: attestations that are made here admit nothing",
			slog.String("container_analysis", e.Analysis),
			slog.String("kms", e.KMS),
			slog.String("binary_authorization", e.Binauthz),
		)
	}

	c := &Clients{Emulated: e.Analysis != ""}
	defer func() {
		if err != nil {
			_ = c.Close() // err says what is wrong
		}
	}()

	if c.Analysis, err = containeranalysis.NewClient(ctx, options(ServiceAnalysis, e.Analysis)...); err != nil {
		return nil, Connecting(ServiceAnalysis, err)
	}
	c.Grafeas = c.Analysis.GetGrafeasClient()

	if c.KMS, err = kms.NewKeyManagementClient(ctx, options(ServiceKMS, e.KMS)...); err != nil {
		return nil, Connecting(ServiceKMS, err)
	}
	if c.Binauthz, err = binaryauthorization.NewBinauthzManagementClient(ctx,
		options(ServiceBinauthz, e.Binauthz)...); err != nil {
		return nil, Connecting(ServiceBinauthz, err)
	}
	return c, nil
}

// Connecting explains why a client could not be made. Google's library has no error value for missing credentials.
func Connecting(service string, err error) error {
	if strings.Contains(err.Error(), "could not find default credentials") {
		return &attestor.Error{
			Kind: attestor.Invalid, Msg: "there are no Google credentials, which " + service + " asks for",
			Fix: "log in: gcloud auth application-default login; or use attestor dev, which needs none", Err: err,
		}
	}
	return fmt.Errorf("connecting to %s: %w", service, err)
}

// DialAnyhow is [Dial] for questions that may need no service of Google's at all: where there are no credentials, every
// call fails and says so, instead of the start.
func DialAnyhow(ctx context.Context, e Emulators, log *slog.Logger, guard Guard) (*Clients, error) {
	if c, err := Dial(ctx, e, log, guard); err == nil {
		return c, nil
	}

	refuse := func(context.Context, string, any, any, *grpc.ClientConn, grpc.UnaryInvoker, ...grpc.CallOption) error {
		return status.Error(codes.Unauthenticated,
			"there are no Google credentials: gcloud auth application-default login makes them")
	}
	return Dial(ctx, e, log, guard,
		option.WithoutAuthentication(), option.WithGRPCDialOption(grpc.WithChainUnaryInterceptor(refuse)))
}

// Close ends every connection.
func (c *Clients) Close() error {
	var errs []error
	if c.Analysis != nil {
		errs = append(errs, c.Analysis.Close())
	}
	if c.KMS != nil {
		errs = append(errs, c.KMS.Close())
	}
	if c.Binauthz != nil {
		errs = append(errs, c.Binauthz.Close())
	}
	return errors.Join(errs...)
}
