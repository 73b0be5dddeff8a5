package engine_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/samples"
	"github.com/attestor-gate/attestor/internal/testkit/kubeapi"
	"github.com/attestor-gate/attestor/internal/testkit/slow"
)

// authority signs certificates for both ends of a webhook's connection.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, dir: t.TempDir()}
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}

	a.issue("ca", a.cert)
	return a
}

// issue writes NAME.crt and NAME.key, and returns the first.
func (a *authority) issue(name string, template *x509.Certificate) string {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}

	if a.key == nil { // the authority itself
		a.key = key
	}

	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	if err != nil {
		a.t.Fatal(err)
	}

	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}

	for file, block := range map[string]*pem.Block{name + ".crt": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(filepath.Join(a.dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return a.file(name + ".crt")
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

func leaf(serial int64, use x509.ExtKeyUsage, names ...string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "leaf"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{use}, DNSNames: names,
	}
}

// document is a Kubernetes object.
type document = map[string]any

// kubeAdmission is the API server's AdmissionConfiguration, by which it shows a
// certificate to the gate, as the manifest's comment and docs/api.md advise.
func kubeAdmission(t *testing.T, a *authority, port string) string {
	t.Helper()
	write := func(name string, what document) string {
		b, err := json.Marshal(what)
		if err == nil {
			err = os.WriteFile(a.file(name), b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}

		return a.file(name)
	}

	user := document{"client-certificate": a.file("apiserver.crt"), "client-key": a.file("apiserver.key")}
	kubeconfig := write("webhook.kubeconfig", document{"apiVersion": "v1", "kind": "Config", "users": []document{
		{"name": "gate.gate.svc", "user": user}, {"name": "gate.gate.svc:" + port, "user": user},
	}})

	return write("admission.json", document{"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration", "plugins": []document{
		{"name": "ValidatingAdmissionWebhook", "configuration": document{
			"apiVersion": "apiserver.config.k8s.io/v1", "kind": "WebhookAdmissionConfiguration", "kubeConfigFile": kubeconfig,
		}},
	}})
}

// webhookManifest is deploy/kubernetes/webhook's, with what a user fills in, at
// another port, and failing closed as it is advised to in the end.
func webhookManifest(t *testing.T, a *authority, port int) document {
	t.Helper()
	b, err := os.ReadFile("../../deploy/kubernetes/webhook/validatingwebhookconfiguration.yaml")
	if err != nil {
		t.Fatal(err)
	}

	var out document
	if err := yaml.Load(b, &out); err != nil {
		t.Fatal(err)
	}

	ca, err := os.ReadFile(a.file("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}

	hook := out["webhooks"].([]any)[0].(document)
	hook["failurePolicy"] = "Fail"
	client := hook["clientConfig"].(document)
	client["caBundle"] = base64.StdEncoding.EncodeToString(ca)
	client["service"].(document)["port"] = port
	return out
}

func podOf(name string, images ...string) document {
	var containers []document
	for i, image := range images {
		containers = append(containers, document{"name": fmt.Sprintf("c%d", i), "image": image})
	}
	return document{"apiVersion": "v1", "kind": "Pod", "metadata": document{"name": name}, "spec": document{"containers": containers}}
}

// TestKubernetesAdmitsWhatIsAttested joins a real API server, by our manifest
// and mutual TLS, to the real service's admission listener.
func TestKubernetesAdmitsWhatIsAttested(t *testing.T) {
	t.Parallel()
	slow.Skip(t)
	bin, err := kubeapi.Build(t.Context(), "../../tools/kube")
	if err != nil {
		t.Fatal(err)
	}

	a := newAuthority(t)
	a.issue("gate", leaf(2, x509.ExtKeyUsageServerAuth, "gate.gate.svc"))
	a.issue("apiserver", leaf(3, x509.ExtKeyUsageClientAuth))
	ln, err := net.Listen("tcp", "127.0.0.1:0") // the port is free again when the service asks for it
	if err != nil {
		t.Fatal(err)
	}

	_, port, _ := net.SplitHostPort(ln.Addr().String())
	ln.Close()
	w := newWorld(t, worldOptions{policy: anywherePolicy, config: func(c *config.Config) {
		c.Admission = &config.Admission{Listen: "127.0.0.1:" + port, Mode: "attested", Cert: a.file("gate.crt"),
			Key: a.file("gate.key"), ClientCA: a.file("ca.crt")}
	}})

	base := baseImage(t)
	good := w.push("app/good", "v1", imageOn(t, base, "65532", entry{"app", "1"}))
	bad := w.push("app/bad", "v1", imageOn(t, base, "0", entry{"app", "2"}))
	w.scan(good, samples.Clean)
	w.scan(bad, samples.Clean)
	if r := w.post(good, false); r.status != http.StatusOK {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if r := w.post(bad, false); r.status != http.StatusUnprocessableEntity {
		t.Fatalf("%d %s", r.status, r.body)
	}

	c, err := bin.Start(t.Context(), t.TempDir(), "--admission-control-config-file="+kubeAdmission(t, a, port))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	k := kubeClient{t, c}
	k.want(201, "POST", "/api/v1/namespaces", document{"apiVersion": "v1", "kind": "Namespace", "metadata": document{"name": "gate"}})
	k.want(201, "POST", "/api/v1/namespaces", document{"apiVersion": "v1", "kind": "Namespace",
		"metadata": document{"name": "prod", "labels": document{"attestor.dev/admission": "enforce"}}})

	// The gate runs beside the cluster: its service leads here.
	number, _ := strconv.Atoi(port)
	k.want(201, "POST", "/api/v1/namespaces/gate/services", document{"apiVersion": "v1", "kind": "Service", "metadata": document{"name": "gate"},
		"spec": document{"type": "ExternalName", "externalName": "localhost", "ports": []document{{"port": number}}}})

	k.want(201, "POST", "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", webhookManifest(t, a, number))
	const pods = "/api/v1/namespaces/prod/pods"
	k.until(403, "POST", pods+"?dryRun=All", podOf("probe", bad)) // it becomes active through an informer

	k.want(201, "POST", pods, podOf("good", good))
	for _, tt := range []struct {
		name string
		body document
		path string
		says string
	}{
		{"an image that was refused", podOf("bad", bad), pods, "no valid attestation"},
		{"one of two", podOf("two", good, bad), pods, "no valid attestation"},
		{"a tag", podOf("tag", w.registry.Addr()+"/app/good:v1"), pods, "by tag"},
		{"a dry run", podOf("dry", bad), pods + "?dryRun=All", "no valid attestation"},
		{"a workload", document{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": document{"name": "bad"}, "spec": document{
			"selector": document{"matchLabels": document{"app": "a"}},
			"template": document{"metadata": document{"labels": document{"app": "a"}}, "spec": podOf("", bad)["spec"]},
		}}, "/apis/apps/v1/namespaces/prod/deployments", "no valid attestation"},
	} {
		if said := k.want(403, "POST", tt.path, tt.body); !strings.Contains(said,
			`admission webhook \"images.attestor.dev\" denied the request`) || !strings.Contains(said, tt.says) {
			t.Errorf("%s: %s", tt.name, said)
		}
	}

	debug := func(image string) document {
		return document{"spec": document{"ephemeralContainers": []document{{"name": "debug", "image": image}}}}
	}

	k.want(403, "PATCH", pods+"/good/ephemeralcontainers", debug(bad))
	k.want(200, "PATCH", pods+"/good/ephemeralcontainers", debug(good))
	k.want(200, "PATCH", pods+"/good", document{"metadata": document{"labels": document{"a": "b"}}})
	k.want(201, "POST", "/api/v1/namespaces/default/pods", podOf("elsewhere", bad)) // the manifest's selector leaves it out

	w.stop()
	if said := k.want(500, "POST", pods, podOf("later", good)); !strings.Contains(said, "failed calling webhook") {
		t.Errorf("with the gate gone: %s", said)
	}

	k.want(200, "DELETE", pods+"/good", nil) // what goes need not wait
}

// kubeClient is an administrator.
type kubeClient struct {
	t *testing.T
	c *kubeapi.Cluster
}

func (k kubeClient) want(status int, method, path string, body any) string {
	k.t.Helper()
	got, answer, err := k.c.Do(k.t.Context(), method, path, body)
	if err != nil || got != status {
		k.t.Fatalf("%s %s: %d, want %d: %s, %v", method, path, got, status, answer, err)
	}

	return string(answer)
}

func (k kubeClient) until(status int, method, path string, body any) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), time.Minute)
	defer cancel()

	for {
		got, answer, err := k.c.Do(ctx, method, path, body)
		if err == nil && got == status {
			return
		}
		if ctx.Err() != nil {
			k.t.Fatalf("%s %s: %d, want %d: %s, %v", method, path, got, status, answer, err)
		}
	}
}
