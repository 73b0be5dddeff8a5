package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/oauth2/google"
)

// toolTime bounds one command of gcloud.
const toolTime = 2 * time.Minute

// askGcloud has gcloud find the attestation of an image, and verifies it by the key that gcloud reads: another program
// than the gate's, by the way that the documents tell people to look.
func (t *trial) askGcloud(ctx context.Context, w *world) error {
	if t.tool == "" {
		return nil
	}
	tool, err := exec.LookPath(t.tool)
	if err != nil {
		t.skip("gcloud's list of attestations, and its copy of the key: there is no gcloud on PATH")
		return nil
	}

	// A configuration of its own: the person's is neither read nor changed.
	dir, err := os.MkdirTemp("", "attestor-trial-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // it holds a token of an hour
	g := gcloud{tool: tool}
	if g.env, err = t.toolEnv(ctx, dir); err != nil {
		return err
	}

	image := t.image("first of gcloud")
	o, err := t.attestation(ctx, w, image, "")
	if err != nil {
		return err
	}
	if _, err := t.create(ctx, o); err != nil {
		return fmt.Errorf("creating an attestation: %w", err)
	}
	if err := t.visible(ctx, w, image); err != nil {
		return err
	}

	own, err := g.attestations(ctx, w, image)
	if err != nil {
		return err
	}
	other, err := g.attestations(ctx, w, t.image("second of gcloud"))
	if err != nil {
		return err
	}
	t.found("gcloud-list", "How many attestations does gcloud list for an image, and for one that has none?", "1 0",
		fmt.Sprint(len(own), " ", len(other)))

	key, err := g.run(ctx, "kms", "keys", "versions", "get-public-key", w.version, "--output-file=-")
	if err != nil {
		return err
	}
	t.found("gcloud-verify", "Is what gcloud lists signed for the image by the key that gcloud reads?", "true",
		fmt.Sprint(len(own) == 1 && own[0].verifies(key, image)))
	return nil
}

// A gcloud is the program, with the environment in which it asks the same services as the trial.
type gcloud struct {
	tool string
	env  []string
}

// toolEnv has gcloud ask the emulator where there is one, and otherwise Google with the trial's credentials: gcloud has
// others of its own.
func (t *trial) toolEnv(ctx context.Context, dir string) ([]string, error) {
	env := append(os.Environ(), "CLOUDSDK_CONFIG="+dir, "CLOUDSDK_CORE_PROJECT="+t.project(),
		"CLOUDSDK_CORE_DISABLE_PROMPTS=1", "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING=true",
		"CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK=true", "CLOUDSDK_CORE_SURVEY_DISABLE_PROMPTS=true")
	if t.address != "" {
		env = append(env, "CLOUDSDK_AUTH_DISABLE_CREDENTIALS=true", "CLOUDSDK_CORE_CHECK_GCE_METADATA=false")
		for _, api := range []string{"CONTAINERANALYSIS", "BINARYAUTHORIZATION", "CLOUDKMS"} {
			env = append(env, "CLOUDSDK_API_ENDPOINT_OVERRIDES_"+api+"=http://"+t.address+"/")
		}
		return env, nil
	}

	c, err := google.FindDefaultCredentials(ctx, "https://www.googleapis.com/auth/cloud-platform")
	if err != nil {
		return nil, fmt.Errorf("credentials for gcloud: %w", err)
	}
	token, err := c.TokenSource.Token()
	if err != nil {
		return nil, fmt.Errorf("a token for gcloud: %w", err)
	}
	file := filepath.Join(dir, "token")
	if err := os.WriteFile(file, []byte(token.AccessToken), 0o600); err != nil {
		return nil, err
	}
	return append(env, "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE="+file), nil
}

// run is the output of one command.
func (g gcloud) run(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, toolTime)
	defer cancel()

	cmd := exec.CommandContext(ctx, g.tool, args...) //nolint:gosec // the program that the person named, or gcloud on PATH
	cmd.Env, cmd.WaitDelay = g.env, time.Second
	out, errs := &bounded{limit: maxAnswer}, &bounded{limit: 4096}
	cmd.Stdout, cmd.Stderr = out, errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("gcloud %s: %w: %s", strings.Join(args[:3], " "), err, errs.b.String())
	}
	return out.b.Bytes(), nil
}

// bounded keeps what fits, and fails at more.
type bounded struct {
	b     bytes.Buffer
	limit int
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.b.Len()+len(p) > b.limit {
		return 0, io.ErrShortBuffer
	}
	return b.b.Write(p)
}

// A listed attestation is what gcloud prints of one.
type listed struct {
	ResourceURI string `json:"resourceUri"`
	Attestation struct {
		Payload    octets `json:"serializedPayload"`
		Signatures []struct {
			Signature octets `json:"signature"`
		} `json:"signatures"`
	} `json:"attestation"`
}

// octets are base64, as the API writes it or as gcloud does, with the letters for URLs.
type octets []byte

func (o *octets) UnmarshalText(text []byte) error {
	b, err := base64.StdEncoding.DecodeString(strings.NewReplacer("-", "+", "_", "/").Replace(string(text)))
	*o = b
	return err
}

func (g gcloud) attestations(ctx context.Context, w *world, image string) ([]listed, error) {
	out, err := g.run(ctx, "container", "binauthz", "attestations", "list", "--attestor="+w.attestor,
		"--artifact-url="+image, "--format=json")
	if err != nil {
		return nil, err
	}
	var all []listed
	if err := json.Unmarshal(out, &all); err != nil {
		return nil, errors.New("gcloud's list is not JSON")
	}
	return all, nil
}

// verifies reports whether the payload is about the image, and the signature by the key.
func (l listed) verifies(key []byte, image string) bool {
	block, _ := pem.Decode(key)
	if block == nil || len(l.Attestation.Signatures) != 1 {
		return false
	}
	public, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return false
	}

	// The key signs the SHA-256 of the payload.
	k, ok := public.(*ecdsa.PublicKey)
	sum := sha256.Sum256(l.Attestation.Payload)
	return ok && strings.HasSuffix(l.ResourceURI, image) &&
		bytes.Contains(l.Attestation.Payload, []byte(image[strings.LastIndexByte(image, '@')+1:])) &&
		ecdsa.VerifyASN1(k, sum[:], l.Attestation.Signatures[0].Signature)
}
