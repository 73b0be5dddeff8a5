package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor/emulator"
)

// gcloudStandIn is a program that takes the place of gcloud: this test program, in a mode.
func gcloudStandIn(t *testing.T, mode string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "gcloud")
	script := "#!/bin/sh\nTRIAL_GCLOUD='" + mode + "' exec '" + self + "' '-test.run=^TestActAsGcloud$' -- \"$@\"\n"
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	return path
}

// TestActAsGcloud is no test: it is the stand-in. It asks the endpoints that gcloud would.
func TestActAsGcloud(t *testing.T) {
	mode := os.Getenv("TRIAL_GCLOUD")
	if mode == "" {
		t.Skip("only run in the place of gcloud")
	}
	args := os.Args[len(os.Args)-1:]
	for i, a := range os.Args {
		if a == "--" {
			args = os.Args[i+1:]
			break
		}
	}
	if err := actAsGcloud(mode, args, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "ERROR:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func actAsGcloud(mode string, args []string, out io.Writer) error {
	get := func(api, path string, into any) error {
		resp, err := http.Get(os.Getenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_"+api) + path) //nolint:noctx // a program of its own
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		return json.NewDecoder(resp.Body).Decode(into)
	}
	flag := func(name string) string {
		for _, a := range args {
			if v, ok := strings.CutPrefix(a, "--"+name+"="); ok {
				return v
			}
		}
		return ""
	}
	switch {
	case os.Getenv("CLOUDSDK_AUTH_DISABLE_CREDENTIALS") != "true" || os.Getenv("CLOUDSDK_CORE_PROJECT") != project:
		return fmt.Errorf("another environment: %v", os.Environ())
	case mode == "broken":
		return fmt.Errorf("not today, in %s", project)
	case mode == "no JSON":
		_, err := fmt.Fprintln(out, "Listed 0 items.")
		return err
	case strings.HasPrefix(strings.Join(args, " "), "container binauthz attestations list "):
		var attestor struct {
			Note struct {
				Reference string `json:"noteReference"`
			} `json:"userOwnedGrafeasNote"`
		}
		if err := get("BINARYAUTHORIZATION", "v1/"+flag("attestor"), &attestor); err != nil {
			return err
		}
		filter := fmt.Sprintf("resourceUrl = %q", flag("artifact-url"))
		if mode == "lists everything" {
			filter = ""
		}
		var all struct {
			Occurrences []map[string]any `json:"occurrences"`
		}
		if err := get("CONTAINERANALYSIS", "v1/"+attestor.Note.Reference+"/occurrences?pageSize=1000&filter="+url.QueryEscape(filter), &all); err != nil {
			return err
		}
		if all.Occurrences == nil || mode == "lists nothing" {
			all.Occurrences = []map[string]any{}
		}
		for _, o := range all.Occurrences { // as gcloud writes bytes
			for _, s := range o["attestation"].(map[string]any)["signatures"].([]any) {
				m := s.(map[string]any)
				m["signature"] = strings.NewReplacer("+", "-", "/", "_").Replace(m["signature"].(string))
			}
		}
		if mode == "another payload" && len(all.Occurrences) > 0 {
			all.Occurrences[0]["attestation"].(map[string]any)["serializedPayload"] = "e30="
		}
		return json.NewEncoder(out).Encode(all.Occurrences)
	case strings.HasPrefix(strings.Join(args, " "), "kms keys versions get-public-key "):
		version := args[4]
		if mode == "another key" {
			_, err := fmt.Fprint(out, "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEE86KSoLgvBF4W+mn2S1QLBg7belQ\n"+
				"opMu/ZIH0XYdGOq5r+XeVzT+6ivcn8aBJmgl2a3xLCk3PrG21mGw0yx1aQ==\n-----END PUBLIC KEY-----\n")
			return err
		}
		var public struct {
			PEM string `json:"pem"`
		}
		if err := get("CLOUDKMS", "v1/"+version+"/publicKey", &public); err != nil {
			return err
		}
		_, err := fmt.Fprint(out, public.PEM)
		return err
	}
	return fmt.Errorf("an unknown command: %q", args)
}

// TestGcloud: gcloud finds and verifies what was attested, and what it does otherwise is said.
func TestGcloud(t *testing.T) {
	for mode, want := range map[string][2]string{
		"right":            {"1 0", "true"},
		"another key":      {"1 0", "false"},
		"another payload":  {"1 0", "false"},
		"lists nothing":    {"0 0", "false"},
		"lists everything": {"", "false"}, // more than one, whatever was attested before
		"broken":           {},
		"no JSON":          {},
		"absent":           {},
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			_, address := serve(t, emulator.Behaviour{})
			tool := gcloudStandIn(t, mode)
			if mode == "absent" {
				tool += "-none"
			}
			r, text, err := try(t.Context(), t, address, "-gcloud", tool)
			got := map[string]string{}
			for _, f := range r.Facts {
				if strings.HasPrefix(f.ID, "gcloud-") {
					got[f.ID] = f.Found
				}
			}
			if strings.Contains(text, project) {
				t.Errorf("the report has names:\n%s", text)
			}

			switch mode {
			case "broken", "no JSON":
				if err == nil || !strings.Contains(err.Error(), "gcloud") || r.Complete || len(r.Left) > 0 || len(got) > 0 {
					t.Errorf("%v, complete %v, left %v, %v", err, r.Complete, r.Left, got)
				}
			case "absent":
				if err != nil || len(got) > 0 || !strings.Contains(strings.Join(r.NotAsked, "\n"), "there is no gcloud on PATH") {
					t.Errorf("%v, %v, %v", err, got, r.NotAsked)
				}
			default:
				listed := got["gcloud-list"] == want[0] || want[0] == "" && got["gcloud-list"] != "1 0"
				if err != nil || got["gcloud-verify"] != want[1] || !listed {
					t.Errorf("%v, %v, want %v", err, got, want)
				}
			}
		})
	}
}

// TestRealGcloud: the program itself, if it is on PATH.
func TestRealGcloud(t *testing.T) {
	if os.Getenv("GATE_TEST_ALL") != "1" {
		t.Skip("gcloud takes seconds for a command: GATE_TEST_ALL=1 runs it")
	}
	if _, err := exec.LookPath("gcloud"); err != nil {
		t.Skip("gcloud is not on PATH")
	}
	_, address := serve(t, emulator.Behaviour{})
	r, _, err := try(t.Context(), t, address, "-gcloud", "gcloud")
	if err != nil || !r.Complete {
		t.Fatalf("complete %v: %v", r.Complete, err)
	}
	found := 0
	for _, f := range r.Facts {
		if strings.HasPrefix(f.ID, "gcloud-") {
			if found++; !f.Agrees {
				t.Errorf("%s: %s, assumed %s", f.ID, f.Found, f.Assumed)
			}
		}
	}
	if found != 2 {
		t.Errorf("%d facts of gcloud", found)
	}
}
