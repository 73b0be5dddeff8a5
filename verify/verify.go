package verify

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/eol"
	"github.com/attestor-gate/attestor/internal/throttle"
	"github.com/attestor-gate/attestor/verify/sbom"
	"github.com/attestor-gate/attestor/verify/vex"
)

// Config is what an Inspector is made of.
type Config struct {
	Registries Registries // required: with no hosts, nothing is fetched

	FetchTimeout time.Duration // for one manifest or config; 0: 10 s
	BaseTimeout  time.Duration // for one look-up of one approved base; 0: 15 s

	Signatures SignatureChecker // nil: a base that needs a signature is an error
	Provenance ProvenanceSource // nil: provenance that is asked for is an error
	SBOMs      *sbom.Source     // nil: an SBOM that is asked for is an error
	VEX        *vex.Source      // nil: VEX documents that are asked for are an error
	Uploads    UploadTimes      // nil: an upload time that is asked for is an error
	History    TagHistory       // nil: what tags pointed to is forgotten on restart

	Ends *eol.Table // until when distributions are served; nil: the built-in table

	Now    func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: discards
}

// SignatureChecker verifies who signed the digest of an approved base.
type SignatureChecker interface {
	// Check returns the signer of img, for people. An [attestor.Error] with code
	// BASE_UNSIGNED says that no signature satisfies the rule; any other error says
	// nothing about the signatures.
	Check(ctx context.Context, img attestor.Image, rule attestor.SignedBy) (signer string, err error)
}

// ProvenanceSource finds verified statements about how images were built.
type ProvenanceSource interface {
	// Provenance returns the statements that verified for any of images, and the
	// problems of reading others.
	Provenance(
		ctx context.Context, images []attestor.Image, needs attestor.ProvenanceNeeds,
	) ([]attestor.Provenance, []attestor.Problem)
}

// UploadTimes knows when an image was uploaded, from the registry's own record
// and not from the image.
type UploadTimes interface {
	// Uploaded fails with an [attestor.Error] where the registry keeps no such
	// record.
	Uploaded(ctx context.Context, img attestor.Image) (time.Time, error)
}

// TagHistory keeps what the tags of approved bases were seen to name.
// The suite internal/testkit/contract.TagHistory says what it promises.
type TagHistory interface {
	// RecordTag records that a tag named p.Digest at p.From; the other times of
	// p are not read. Several instances may report in any order.
	RecordTag(ctx context.Context, p attestor.TagPoint) error
	// TagHistory returns a tag's points, oldest first: they do not overlap, and
	// at most the last is open. There are the newest [attestor.MaxTagPoints] at
	// most.
	TagHistory(ctx context.Context, repository, tag string) ([]attestor.TagPoint, error)
}

// Inspector establishes facts about images. It is safe for concurrent use.
type Inspector struct {
	c      Config
	limits limits
	fetch  *fetcher
	parsed parsed
	layers *layerReader
	bases  *catalogue
}

var _ attestor.Inspector = (*Inspector)(nil)

// New returns an Inspector. It contacts nobody.
func New(c Config) (*Inspector, error) {
	return newInspector(c, limits{FetchTimeout: c.FetchTimeout, BaseTimeout: c.BaseTimeout})
}

func newInspector(c Config, limits limits) (*Inspector, error) {
	if len(c.Registries.Hosts) == 0 {
		return nil, errors.New("making an inspector: no registry is configured, so that every image would be refused")
	}
	if c.Now == nil {
		c.Now = time.Now
	}

	if c.Ends == nil {
		c.Ends = eol.Builtin()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	limits = limits.withDefaults()
	hosts, err := newHosts(c.Registries)
	if err != nil {
		return nil, err
	}

	fetch, err := newFetcher(c.Registries, hosts, limits, c.Logger)
	if err != nil {
		return nil, err
	}
	i := &Inspector{c: c, limits: limits, fetch: fetch, parsed: newParsed(), layers: newLayerReader(fetch, limits)}
	i.bases = newCatalogue(i)
	return i, nil
}

// Transport is for other packages that read from the same registries, such as
// verify/signed. It has the same guard, limits and connections. Where a registry
// asks for a later retry, it waits, within the request's deadline.
func (i *Inspector) Transport() http.RoundTripper {
	return throttle.Transport{Next: i.fetch.guard, Tries: registryTries}
}

// NewTransport returns a transport that asks only the registries of r, by the rules
// that an Inspector follows, for answers of at most bytes: lists are larger than
// manifests. [Refused] distinguishes its own errors from those of a registry.
func NewTransport(r Registries, bytes int64) (http.RoundTripper, error) {
	if len(r.Hosts) == 0 {
		return nil, errors.New("making a transport: no registry is given, so that every request would be refused")
	}
	h, err := newHosts(r)
	if err != nil {
		return nil, err
	}

	g, _ := newGuard(r, h, limits{ManifestBytes: bytes}.withDefaults())
	return g, nil
}

// NameOptions returns the options for parsing references that are read by
// [Inspector.Transport]: with name.Insecure for a registry that is configured for
// plain HTTP.
func (i *Inspector) NameOptions(registry string) []name.Option {
	if scheme, _ := i.fetch.hosts.scheme(registry); scheme == "http" {
		return []name.Option{name.StrictValidation, name.Insecure}
	}
	return []name.Option{name.StrictValidation}
}

// CacheLookups counts look-ups of manifests and configs in the memory: hits and
// misses.
func (i *Inspector) CacheLookups() (hits, misses uint64) {
	return i.fetch.hits.Load(), i.fetch.misses.Load()
}

// CloseIdleConnections ends connections that are kept for reuse.
func (i *Inspector) CloseIdleConnections() { i.fetch.closeIdle() }
