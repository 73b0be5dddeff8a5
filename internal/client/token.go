package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/compute/metadata"
	"google.golang.org/api/iamcredentials/v1"
	"google.golang.org/api/option"

	"github.com/attestor-gate/attestor/internal/loopback"
)

// An Identity says which ID token the client shows to a service. At most one of
// File and Variable is set; the zero value finds one as the surroundings allow.
type Identity struct {
	File     string // holds the token
	Variable string // of the environment; holds the token
	Account  string // a service account whose token IAM Credentials gives; "": the one that this runs as
	Audience string // of the token; "": the service's URL
}

// Source returns how to find an ID token for server; nil where none is needed:
// a service on loopback without identity knows its caller.
func (f Identity) Source(server string, getenv func(string) string) (func(context.Context) (string, error), error) {
	u, err := url.Parse(server)
	if err != nil {
		return nil, notURL(server)
	}
	explicit := f.File != "" || f.Variable != "" || f.Account != ""
	if !explicit && loopback.Host(u.Hostname()) {
		return nil, nil //nolint:nilnil // none is needed
	}
	if f.File != "" && f.Variable != "" {
		return nil, errors.New("--token-file and --token-env exclude each other")
	}

	// Without an audience that was given, the token is for the service's own origin.
	finder := tokenFinder{identity: f, audience: cmp.Or(f.Audience, u.Scheme+"://"+u.Host), getenv: getenv}
	return finder.cached(), nil
}

// tokenFinder finds an ID token the way the surroundings allow.
type tokenFinder struct {
	identity Identity
	audience string
	getenv   func(string) string
	iam      []option.ClientOption // of IAM Credentials, for tests
}

const tokenTimeout = 20 * time.Second

// cached keeps a token for less than Google's hour.
func (t tokenFinder) cached() func(context.Context) (string, error) {
	var mu sync.Mutex
	var token string
	var until time.Time

	return func(ctx context.Context) (string, error) {
		mu.Lock()
		defer mu.Unlock()
		if token != "" && time.Now().Before(until) {
			return token, nil
		}

		// While one finds a token, other requests wait for it: each way asks somebody else.
		ctx, cancel := context.WithTimeout(ctx, tokenTimeout)
		defer cancel()
		found, err := t.find(ctx)
		if err != nil {
			return "", err
		}
		token, until = found, time.Now().Add(30*time.Minute)
		return token, nil
	}
}

// find asks IAM Credentials before the metadata server and gcloud, both of
// which fail inside Cloud Build, and asks for the email, without which the
// gate would not know a Google caller.
func (t tokenFinder) find(ctx context.Context) (string, error) {
	switch {
	case t.identity.File != "":
		b, err := os.ReadFile(t.identity.File)
		if err != nil {
			return "", fmt.Errorf("reading the ID token: %w", err)
		}
		return given(string(b), t.identity.File)
	case t.identity.Variable != "":
		return given(t.getenv(t.identity.Variable), "the variable "+t.identity.Variable)
	}

	// Every way's error is kept: only together do they say what is missing.
	var errs []error
	try := func(what string, f func(context.Context) (string, error)) (string, bool) {
		token, err := f(ctx)
		if err == nil && token != "" {
			return token, true
		}
		errs = append(errs, fmt.Errorf("%s: %w", what, err))
		return "", false
	}

	account := t.identity.Account
	onGoogle := metadata.OnGCEWithContext(ctx)
	if account == "" && onGoogle {
		if email, err := metadata.EmailWithContext(ctx, ""); err == nil {
			account = email
		}
	}
	if account != "" {
		if token, ok := try("IAM Credentials for "+account, func(ctx context.Context) (string,
			error) {
			return t.generate(ctx, account)
		}); ok {
			return token, nil
		}
	}
	if onGoogle && t.identity.Account == "" {
		if token, ok := try("metadata server", t.fromMetadata); ok {
			return token, nil
		}
	}

	// A named account is asked for in one way alone: gcloud's would be somebody else's token.
	if t.identity.Account == "" {
		if token, ok := try("gcloud", t.fromGcloud); ok {
			return token, nil
		}
	}
	err := errors.Join(errs...)

	return "", fmt.Errorf("finding an ID token for %s: %w\n          %s",
		t.audience, err, tokenFix(t.identity.Account, err))
}

// tokenFix says what to do about an ID token that could not be had. Google's library names no error for credentials
// that are not there.
func tokenFix(account string, err error) string {
	switch {
	case account != "" && strings.Contains(err.Error(), "could not find default credentials"):
		return "log in as somebody who may create its ID tokens: gcloud auth application-default login"
	case account != "":
		return "whoever is logged in needs roles/iam.serviceAccountOpenIdTokenCreator on " + account
	}
	return "give --service-account, --token-file or --token-env; " +
		"the account needs roles/iam.serviceAccountOpenIdTokenCreator on itself"
}

func given(s, where string) (string, error) {
	if s = strings.TrimSpace(s); s == "" {
		return "", fmt.Errorf("reading the ID token: %s is empty", where)
	}
	return s, nil
}

// generate uses whatever credentials there are, those of Workload Identity
// Federation for GitHub and GitLab among them.
func (t tokenFinder) generate(ctx context.Context, account string) (string, error) {
	service, err := iamcredentials.NewService(ctx, t.iam...)
	if err != nil {
		return "", err
	}
	resp, err := service.Projects.ServiceAccounts.GenerateIdToken("projects/-/serviceAccounts/"+account,
		&iamcredentials.GenerateIdTokenRequest{Audience: t.audience, IncludeEmail: true}).Context(ctx).Do()
	if err != nil {
		return "", err
	}
	return resp.Token, nil
}

func (t tokenFinder) fromMetadata(ctx context.Context) (string, error) {
	client := metadata.NewClient(&http.Client{Timeout: 5 * time.Second})
	token, err := client.GetWithContext(
		ctx,
		"instance/service-accounts/default/identity?format=full&audience="+url.QueryEscape(t.audience),
	)
	return strings.TrimSpace(token), err
}

// fromGcloud is for people: their own accounts' tokens have gcloud's audience,
// which a gate accepts only where it is configured to.
func (t tokenFinder) fromGcloud(ctx context.Context) (string, error) {
	for _, args := range [][]string{
		{"auth", "print-identity-token", "--audiences=" + t.audience},
		{"auth", "print-identity-token"},
	} {
		//nolint:gosec // no shell; the audience is the server that the user named
		out, err := exec.CommandContext(ctx, "gcloud", args...).Output()
		if err == nil {
			return strings.TrimSpace(string(out)), nil
		}
		if errors.Is(err, exec.ErrNotFound) {
			return "", errors.New("not installed")
		}
	}
	return "", errors.New("gcloud auth print-identity-token failed; gcloud auth login")
}
