package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"google.golang.org/api/option"
	htransport "google.golang.org/api/transport/http"
)

// maxAnswer bounds what is read of an answer.
const maxAnswer = 4 << 20

// callTime bounds one call.
const callTime = time.Minute

// A rest calls those of Google's services that this program has no other client for.
type rest struct {
	http    *http.Client
	standIn string // the base address of a stand-in, or nothing
}

// newREST has the credentials of the environment, or none for a stand-in.
func newREST(ctx context.Context, standIn string) (rest, error) {
	if standIn != "" {
		return rest{&http.Client{}, strings.TrimSuffix(standIn, "/")}, nil
	}
	c, _, err := htransport.NewClient(ctx, option.WithScopes("https://www.googleapis.com/auth/cloud-platform",
		"https://www.googleapis.com/auth/userinfo.email"))
	if err != nil {
		return rest{}, fmt.Errorf("credentials: %w", err)
	}
	return rest{http: c}, nil
}

// A statusError is an answer other than 200.
type statusError struct {
	code    int
	status  string
	reason  string // of the first detail that has one, such as IAM_PERMISSION_DENIED
	message string // has names
}

func (e *statusError) Error() string { return fmt.Sprintf("%d %s", e.code, e.status) }

// isNotFound is whether a service says that something is not there.
func isNotFound(err error) bool {
	var s *statusError
	return errors.As(err, &s) && s.code == http.StatusNotFound
}

// isForbidden is whether a service says that the account may not.
func isForbidden(err error) bool {
	var s *statusError
	return errors.As(err, &s) && s.code == http.StatusForbidden
}

// isDisabled is whether a service refuses since its API is not enabled, or not yet everywhere.
func isDisabled(err error) bool {
	var s *statusError
	return errors.As(err, &s) && s.code == http.StatusForbidden && s.reason == disabled
}

// disabled is the reason of an error of an API that is not enabled.
const disabled = "SERVICE_DISABLED"

// call sends in as JSON to a host's path, where in is not nil, and reads the answer into out.
func (r rest) call(ctx context.Context, method, host, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()

	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return fmt.Errorf("encoding: %w", err)
		}
		body = bytes.NewReader(b)
	}
	base := "https://" + host
	if r.standIn != "" {
		base = r.standIn + "/" + host
	}
	req, err := http.NewRequestWithContext(ctx, method, base+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := r.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()

	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fmt.Errorf("reading an answer: %w", err)
	}
	if len(text) > maxAnswer {
		return fmt.Errorf("an answer of more than %d bytes", maxAnswer)
	}
	if resp.StatusCode != http.StatusOK {
		var e struct {
			Error struct {
				Status  string `json:"status"`
				Message string `json:"message"`
				Details []struct {
					Reason string `json:"reason"`
				} `json:"details"`
			} `json:"error"`
		}
		_ = json.Unmarshal(text, &e) // some answers are no JSON: the number says enough
		out := &statusError{code: resp.StatusCode, status: e.Error.Status, message: e.Error.Message}
		for _, d := range e.Error.Details {
			if out.reason == "" {
				out.reason = d.Reason
			}
		}
		return out
	}
	if out == nil || len(text) == 0 {
		return nil
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("an answer: %w", err)
	}
	return nil
}

// visit reads a page as a caller of its own, without the credentials of the trial, and follows no redirect: to sign in is
// no answer. What a page of another status says is of no interest.
func (r rest) visit(ctx context.Context, url, token string) (code int, headers map[string]string, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()

	if r.standIn != "" {
		url = r.standIn + "/" + strings.TrimPrefix(url, "https://")
	}
	req, err := http.NewRequestWithContext(ctx, "GET", url, nil)
	if err != nil {
		return 0, nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	visitor := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := visitor.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()

	if resp.StatusCode != http.StatusOK {
		return resp.StatusCode, nil, nil
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return 0, nil, fmt.Errorf("reading an answer: %w", err)
	}
	_ = json.Unmarshal(text, &headers) // a page that is no JSON has no headers to tell
	return resp.StatusCode, headers, nil
}

// An operation is work that goes on after the answer.
type operation struct {
	Name  string `json:"name"`
	Done  bool   `json:"done"`
	Error *struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	} `json:"error"`
}

// poll asks until done says so, at most for as long as limit.
func (t *trial) poll(
	ctx context.Context, what string, limit time.Duration, done func(context.Context) (bool, error),
) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()

	for {
		ok, err := done(ctx)
		if ok || err != nil {
			return err
		}

		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w", what, ctx.Err())
		case <-time.After(t.pause):
		}
	}
}

// awhile asks until done says so, at least once, and ends without an error when wait is over.
func (t *trial) awhile(ctx context.Context, wait time.Duration, done func(context.Context) (bool, error)) error {
	for start := time.Now(); ; {
		ok, err := done(ctx)
		if ok || err != nil || time.Since(start) >= wait {
			return err
		}

		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(t.pause):
		}
	}
}
