package vuln

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/googleapis/gax-go/v2"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/ondemandscanning/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/eol"
	"github.com/attestor-gate/attestor/internal/limit"
	"github.com/attestor-gate/attestor/internal/resource"
)

const onDemandAdmin = "roles/ondemandscanning.admin"

// OnDemandConfig is what an [OnDemand] needs.
type OnDemandConfig struct {
	Service *ondemandscanning.Service // required
	Name    string                    // projects/P/locations/L/scans/ID
	Ends    *eol.Table                // of distributions; nil: the built-in table
	Now     func() time.Time          // nil: time.Now
	Limit   limit.Call                // of one question, its retries included; 0: [limit.Default]
}

// OnDemand reads one scan, by its name. The caller of On-Demand Scanning supplies the
// list of packages, so that a scan counts only where the policy trusts the scan's
// project and every occurrence of it names the digest that is judged. A scan without
// findings names no digest, and so never counts; nor does the scan of a local image,
// which has none.
type OnDemand struct {
	c    OnDemandConfig
	name resource.Name
}

// NewOnDemand checks c.
func NewOnDemand(c OnDemandConfig) (*OnDemand, error) {
	if c.Service == nil {
		return nil, errors.New("configuring on-demand scanning: a service is required")
	}
	if c.Ends == nil {
		c.Ends = eol.Builtin()
	}
	if c.Now == nil {
		c.Now = time.Now
	}

	name, ok := resource.ParseName("scans", c.Name)
	if !ok || name.Location == "" {
		return nil, &attestor.Error{
			Kind: attestor.Invalid, Msg: fmt.Sprintf("%q is not the name of a scan", clip(c.Name)),
			Fix: "name it as projects/PROJECT/locations/LOCATION/scans/ID," +
				" as gcloud prints it with --format='value(response.scan)'",
		}
	}

	return &OnDemand{c: c, name: name}, nil
}

// onDemandScanning describes the scanner. It has no note of its own: its scans count by their names.
func onDemandScanning() attestor.ScannerInfo {
	const command = "gcloud artifacts docker images scan --remote" //nolint:misspell // a command
	return attestor.ScannerInfo{
		Name: "On-Demand Scanning", Enable: "scan the image (" + command + " IMAGE)",
		Refresh: "scan the image again: " + command,
	}
}

// Scan is what the named scan says of r.Image. It does not wait: only scans
// that have finished can be listed.
func (d *OnDemand) Scan(ctx context.Context, r attestor.ScanRequest) attestor.Scan {
	scan := d.lookUp(ctx, r)
	scan.Scanner = new(onDemandScanning())
	return scan
}

// Scans implements [attestor.Scanner], by one look-up for each request.
func (d *OnDemand) Scans(ctx context.Context, requests []attestor.ScanRequest) []attestor.Scan {
	scans := make([]attestor.Scan, len(requests))
	for i, r := range requests {
		scans[i] = d.Scan(ctx, r)
	}
	return scans
}

func (d *OnDemand) lookUp(ctx context.Context, r attestor.ScanRequest) attestor.Scan {
	// Anyone with the right to scan in a project can write what its scans say.
	trusted := func(p string) bool { return strings.TrimPrefix(p, "projects/") == d.name.Project }
	switch {
	case r.Image.IsZero():
		return unavailable(
			attestor.Reason{Code: attestor.CodeScanUnavailable, Message: "no image to look up the scan of"},
		)
	case !slices.ContainsFunc(r.Needs.Projects, trusted):
		return d.rejected(fmt.Sprintf("it is in project %s, which the policy does not trust", d.name.Project),
			fmt.Sprintf("add %s to vulnerabilities.scan.projects of the policy", d.name.Project))
	}

	c := onDemandScan{judged: r.Image.Digest(), trusted: r.Needs.Trusted}
	_, err := walk(maxPages, func(token string) (string, error) { return d.page(ctx, token, &c) })
	switch {
	case errors.Is(err, errNoScan):
		scan := d.rejected(
			"it does not exist, or has expired",
			"scans are kept for a short time only: scan the image again",
		)
		scan.State, scan.Problem.Code = attestor.ScanNotFound, attestor.CodeScanNotFound
		return scan
	case err != nil:
		return unavailable(reasonOf(err))
	// A scan that is also of something else was not made of this image.
	case c.other != "":
		scan := "gcloud artifacts docker images scan --remote " + r.Image.String() //nolint:misspell // a command
		return d.rejected("it is of "+clip(c.other), "scan the image by its digest: "+scan)
	case c.seen == 0:
		return d.rejected(
			"it has no findings, and so nothing in it names the image",
			"rely on the automatic scan of the pushed image instead",
		)
	}

	return attestor.Scan{
		State:    attestor.ScanComplete,
		Note:     d.c.Name,
		Resource: c.resource,
		Finished: c.finished,
		Findings: merge(take([]*gathered{&c.findings})),
		Secrets:  mergeSecrets(c.secrets),
		System:   c.systems.choose(d.c.Ends, d.c.Now()),
		Unread:   c.unread.list(),
	}
}

// rejected is the answer about a scan that does not count.
func (d *OnDemand) rejected(why, fix string) attestor.Scan {
	return attestor.Scan{State: attestor.ScanFailed, Problem: &attestor.Reason{
		Code:    attestor.CodeScanNotTrusted,
		Subject: d.c.Name,
		Message: fmt.Sprintf("the scan %s does not count: %s", d.c.Name, why),
		Fix:     fix,
	}}
}

// onDemandScan is what the occurrences of one scan add up to.
type onDemandScan struct {
	judged   attestor.Digest
	trusted  []string
	seen     int
	other    string // something else that an occurrence is of
	resource string
	finished *time.Time
	findings gathered
	secrets  []attestor.Secret
	systems  systems
	unread   unread
}

// add reads one occurrence. kind names one whose content this version cannot read, else it is "".
func (c *onDemandScan) add(o *grafeaspb.Occurrence, kind string) error {
	// Only findings show that a scan is of the image: a kind that nobody here reads proves nothing.
	if kind == "" {
		c.seen++
	}
	if _, digest, ok := strings.Cut(o.GetResourceUri(), "@"); !ok || digest != string(c.judged) {
		if c.other == "" {
			c.other = fmt.Sprintf("%q", o.GetResourceUri())
		}
		return nil
	}

	// Of several URIs of one digest the first in order is shown, so that answers do
	// not depend on the order of the list.
	if c.resource == "" || o.GetResourceUri() < c.resource {
		c.resource = o.GetResourceUri()
	}

	if at := latest(o.GetCreateTime(), o.GetUpdateTime()); !at.IsZero() &&
		(c.finished == nil || at.After(*c.finished)) {
		c.finished = &at
	}

	c.findings.add(o, c.trusted)
	c.secrets = appendSecrets(c.secrets, o)
	if err := c.systems.add(o); err != nil {
		return err
	}
	if kind != "" {
		c.unread.name(kind, 1)
	}
	if c.findings.n+len(c.secrets) > maxFindings {
		return tooMuch(fmt.Sprintf("more than %d findings and secrets", maxFindings))
	}
	return nil
}

var errNoScan = errors.New("no such scan")

func (d *OnDemand) page(ctx context.Context, token string, c *onDemandScan) (next string, err error) {
	op := operation{
		service: "On-Demand Scanning", api: "ondemandscanning.googleapis.com",
		what: "list the findings of a scan", project: d.name.Project, role: onDemandAdmin,
	}
	var page *ondemandscanning.ListVulnerabilitiesResponseV1
	err = op.call(ctx, d.c.Limit, func(ctx context.Context, opts ...gax.CallOption) error {
		return gax.Invoke(ctx, func(ctx context.Context, _ gax.CallSettings) error {
			var err error
			list := d.c.Service.Projects.Locations.Scans.Vulnerabilities.List(d.c.Name)
			page, err = list.PageSize(pageSize).PageToken(token).Context(ctx).Do()
			return asStatus(err)
		}, opts...)
	})
	if status.Code(err) == codes.NotFound {
		return "", errNoScan
	}

	if err != nil {
		return "", err
	}

	for _, o := range page.Occurrences {
		converted, kind, err := convert(o)
		if err != nil {
			return "", err
		}
		if err := c.add(converted, kind); err != nil {
			return "", err
		}
	}
	return page.NextPageToken, nil
}

// convert goes by way of JSON, which is the same for both APIs. Fields that this version does not know are dropped, as
// they are from Container Analysis. unread names a kind whose content this version cannot read, else it is "".
func convert(o *ondemandscanning.Occurrence) (out *grafeaspb.Occurrence, unread string, err error) {
	b, err := json.Marshal(o)
	if err != nil {
		return nil, "", fmt.Errorf("reading an occurrence: %w", err)
	}
	if b, err = keepUnknownValues(b); err != nil {
		return nil, "", fmt.Errorf("reading an occurrence: %w", err)
	}

	out = &grafeaspb.Occurrence{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(b, out); err != nil {
		return nil, "", fmt.Errorf("reading an occurrence: %w", err)
	}

	// The call lists vulnerabilities. Kinds of today that report none are an answer that makes no sense; one of a later
	// version is named, and refuses nothing.
	_, known := grafeaspb.NoteKind_value[cmp.Or(o.Kind, "NOTE_KIND_UNSPECIFIED")]
	switch {
	case out.GetVulnerability() != nil, out.GetSecret() != nil, out.GetKind() == grafeaspb.NoteKind_VULNERABILITY:
		return out, "", nil
	case known:
		return nil, "", fmt.Errorf("reading an occurrence: one of kind %q among the findings", clip(o.Kind))
	}
	return out, clip(o.Kind), nil
}

// unknownValue stands for a word of a later version among the values of an enumeration.
const unknownValue = math.MaxInt32

// keepUnknownValues replaces severities and statuses that this version does not know by a number. Decoding would drop
// them, and a severity that is worse than all others would read as none.
func keepUnknownValues(b []byte) ([]byte, error) {
	var o map[string]any
	if err := json.Unmarshal(b, &o); err != nil {
		return nil, err
	}

	number := func(m map[string]any, field string, known map[string]int32) {
		if word, ok := m[field].(string); ok {
			if _, ok := known[word]; !ok {
				m[field] = unknownValue
			}
		}
	}
	each := func(v any, f func(map[string]any)) {
		list, _ := v.([]any)
		for _, e := range list {
			if m, ok := e.(map[string]any); ok {
				f(m)
			}
		}
	}

	if v, ok := o["vulnerability"].(map[string]any); ok {
		number(v, "effectiveSeverity", grafeaspb.Severity_value)
		number(v, "severity", grafeaspb.Severity_value)
		each(v["packageIssue"], func(m map[string]any) { number(m, "effectiveSeverity", grafeaspb.Severity_value) })
	}
	if s, ok := o["secret"].(map[string]any); ok {
		number(s, "kind", grafeaspb.SecretKind_value)
		each(s["statuses"], func(m map[string]any) { number(m, "status", grafeaspb.SecretStatus_Status_value) })
	}
	return json.Marshal(o)
}

// asStatus gives an HTTP error the code that gRPC has for it, so that
// operation.explain serves both.
func asStatus(err error) error {
	e, ok := errors.AsType[*googleapi.Error](err)
	switch {
	case err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return err
	case !ok:
		return status.Error(codes.Unavailable, err.Error()) // no answer, or an unreadable one
	}

	code := codes.Unknown
	switch e.Code {
	case http.StatusBadRequest:
		code = codes.InvalidArgument
	case http.StatusUnauthorized:
		code = codes.Unauthenticated
	case http.StatusForbidden:
		code = codes.PermissionDenied
	case http.StatusNotFound:
		code = codes.NotFound
	case http.StatusTooManyRequests:
		code = codes.ResourceExhausted
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable:
		code = codes.Unavailable
	case http.StatusGatewayTimeout:
		code = codes.DeadlineExceeded
	}
	return status.Error(code, e.Message)
}
