package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

const proxy = "iap.googleapis.com"

// proxyTime is how long Identity-Aware Proxy may take to let a new account in.
const proxyTime = 10 * time.Minute

// echo answers every request with its headers, as JSON.
const echo = "FROM docker.io/library/python:3.13-slim\n" +
	`CMD ["python3", "-c", "import http.server, json, os\nclass Echo(http.server.BaseHTTPRequestHandler):\n` +
	`  def do_GET(self):\n    self.send_response(200)\n    self.end_headers()\n` +
	`    self.wfile.write(json.dumps({k.lower(): v for k, v in self.headers.items()}).encode())\n` +
	`http.server.HTTPServer(('', int(os.environ['PORT'])), Echo).serve_forever()"]` + "\n"

// askProxy has a service behind Identity-Aware Proxy say which headers it gets, of a call by the trial's service account.
func (t *trial) askProxy(ctx context.Context, images map[string]string) error {
	if !t.proxied {
		return nil
	}
	if t.email == "" {
		t.skip("IAP's headers: the trial has no service account that it may sign for")
		return nil
	}

	// Without an organisation, or the rights, there is no proxy to ask.
	p, err := t.deployProxied(ctx, images["echo"])
	var refused *statusError
	if errors.As(err, &refused) && refused.code >= 400 && refused.code < 500 {
		t.skip(fmt.Sprintf("IAP's headers: the project has no organisation, or the account may not set IAP up: %v", refused))
		return ctx.Err()
	}
	if err != nil {
		return err
	}

	token, err := t.assertion(ctx, p.uri)
	if err != nil {
		return fmt.Errorf("signing for the service account: %w", err)
	}
	var headers map[string]string
	code := 0
	err = t.awhile(ctx, proxyTime, func(ctx context.Context) (bool, error) {
		code, headers, err = t.rest.visit(ctx, p.uri+"/", token)
		return code == http.StatusOK, err
	})
	if err != nil {
		return fmt.Errorf("calling the service: %w", err)
	}
	if code != http.StatusOK {
		t.skip(fmt.Sprintf("IAP's headers: IAP did not let the service account in within %s: %d", proxyTime, code))
		return nil
	}

	// Now that the proxy works: who has no token must not pass it.
	if code, _, err = t.rest.visit(ctx, p.uri+"/", ""); err != nil {
		return fmt.Errorf("calling the service: %w", err)
	}
	t.found("iap-stranger", "Does a service behind Identity-Aware Proxy answer somebody without a token?", "false",
		fmt.Sprint(code == http.StatusOK))
	t.found("iap-assertion", "Which algorithm and issuer has the assertion that Identity-Aware Proxy adds, is its audience "+
		"the service, and does it name the caller?", "ES256 https://cloud.google.com/iap true true",
		describeAssertion(headers["x-goog-iap-jwt-assertion"], p.audience, t.email))
	return nil
}

// describeAssertion is what the gate reads of an assertion. Its signature is not verified: the question is what it says.
func describeAssertion(token, audience, email string) string {
	var head struct {
		Algorithm string `json:"alg"`
	}
	var claims struct {
		Issuer   string `json:"iss"`
		Audience string `json:"aud"`
		Email    string `json:"email"`
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "none"
	}
	for i, into := range []any{&head, &claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err != nil || json.Unmarshal(text, into) != nil {
			return "none that can be read"
		}
	}
	return fmt.Sprint(head.Algorithm, " ", claims.Issuer, " ", claims.Audience == audience, " ", claims.Email == email)
}

// A proxied service is one behind Identity-Aware Proxy.
type proxied struct {
	uri, audience string
}

// deployProxied deploys the echo behind the proxy, lets the proxy call it, and the trial's account pass.
func (t *trial) deployProxied(ctx context.Context, image string) (*proxied, error) {
	agent, err := t.proxyAgent(ctx)
	if err != nil {
		return nil, err
	}
	number := strings.TrimPrefix(strings.Split(agent, "@")[0], "service-")
	t.deploys++
	name := fmt.Sprintf("%s-%d", t.run, t.deploys)
	at := "/v2/" + t.location() + "/services/" + name
	t.later("a service", func(ctx context.Context) error { return t.rest.call(ctx, "DELETE", cloudRun, at, nil, nil) })

	// Everybody can reach it, and nobody but the proxy can call it.
	body := map[string]any{
		"ingress": "INGRESS_TRAFFIC_ALL", "iapEnabled": true,
		"template": map[string]any{"containers": []any{map[string]any{"image": image}},
			"scaling": map[string]any{"maxInstanceCount": 1}},
	}
	if err := t.make(ctx, func(ctx context.Context) error {
		var op operation
		if err := t.rest.call(ctx, "POST", cloudRun, "/v2/"+t.location()+"/services?serviceId="+name, body, &op); err != nil {
			return err
		}
		return t.await(ctx, cloudRun, "/v2/", op)
	}); err != nil {
		return nil, fmt.Errorf("deploying behind IAP: %w", err)
	}
	for _, g := range []struct{ host, path, role, member string }{
		{cloudRun, at, "roles/run.invoker", agent},
		{proxy, "/v1/projects/" + number + "/iap_web/cloud_run-" + t.region + "/services/" + name,
			"roles/iap.httpsResourceAccessor", t.email},
	} {
		binding := map[string]any{"role": g.role, "members": []string{"serviceAccount:" + g.member}}
		if err := t.rest.call(ctx, "POST", g.host, g.path+":setIamPolicy",
			map[string]any{"policy": map[string]any{"bindings": []any{binding}}}, nil); err != nil {
			return nil, fmt.Errorf("granting %s: %w", g.role, err)
		}
	}

	var s struct {
		URI string `json:"uri"`
	}
	if err := t.rest.call(ctx, "GET", cloudRun, at, nil, &s); err != nil {
		return nil, fmt.Errorf("reading the service: %w", err)
	}
	return &proxied{s.URI, "/projects/" + number + "/locations/" + t.region + "/services/" + name}, nil
}

// proxyAgent creates the proxy's service agent, and answers its address.
func (t *trial) proxyAgent(ctx context.Context) (string, error) {
	var op struct {
		operation
		Response struct {
			Email string `json:"email"`
		} `json:"response"`
	}
	if err := t.rest.call(ctx, "POST", usage, "/v1beta1/"+t.parent+"/services/"+proxy+":generateServiceIdentity",
		map[string]any{}, &op); err != nil {
		return "", fmt.Errorf("creating IAP's agent: %w", err)
	}
	if err := t.poll(ctx, "IAP's agent", enableTime, func(ctx context.Context) (bool, error) {
		if op.Done {
			return true, nil
		}
		return false, t.rest.call(ctx, "GET", usage, "/v1/"+op.Name, nil, &op)
	}); err != nil {
		return "", err
	}
	if !strings.HasPrefix(op.Response.Email, "service-") {
		return "", errors.New("IAP's agent has an address of another form")
	}
	return op.Response.Email, nil
}

// assertion is a token of the trial's account for a service behind the proxy.
func (t *trial) assertion(ctx context.Context, uri string) (string, error) {
	now := time.Now()
	claims, err := json.Marshal(map[string]any{
		"iss": t.email, "sub": t.email, "aud": uri + "/*", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	})
	if err != nil {
		return "", err
	}
	var answer struct {
		JWT string `json:"signedJwt"`
	}
	err = t.rest.call(ctx, "POST", credentials, "/v1/projects/-/serviceAccounts/"+t.email+":signJwt",
		map[string]any{"payload": string(claims)}, &answer)
	return answer.JWT, err
}
