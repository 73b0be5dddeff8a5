package main

import (
	"bytes"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/testkit/standin"
)

const (
	oldRevokedImage = "us-docker.pkg.dev/acme/prod/api@sha256:" + "00000000000000000000000000000000000000000000000000000000000000a1"
	oldPolicyDigest = "sha256:00000000000000000000000000000000000000000000000000000000000000b2"
)

// oldRows are a pass and its revocation as versions before migration 4 recorded them: the revocation as a denial that no
// policy made. They are spelt out, so that a change of the types of today shows.
func oldRows(at time.Time) map[string]string {
	body := func(id string, at time.Time, verdict, policy, checks, caller string) string {
		digest := oldRevokedImage[strings.Index(oldRevokedImage, "sha256:"):]
		return fmt.Sprintf(`{"id":"%s","time":"%s","durationMs":3,"emulated":false,"image":{"requested":"%[3]s","reference":"%[3]s","digest":"%[4]s",`+
			`"mediaType":""},"verdict":"%[5]s","dryRun":false,"indexAttested":false,"breakGlass":null,"policy":%[6]s,"platforms":[],"checks":[%[7]s],`+
			`"attestations":[{"attestor":"projects/acme/attestors/gate","note":"projects/acme/notes/gate","occurrence":"projects/acme/occurrences/17",`+
			`"digest":"%[4]s","publicKeyId":"key","created":true}],"caller":{"subject":"%[8]s","issuer":"local"}}`,
			id, at.Format(time.RFC3339), oldRevokedImage, digest, verdict, policy, checks, caller)
	}
	return map[string]string{
		"old-pass": body("old-pass", at, "pass", `{"name":"production","digest":"`+oldPolicyDigest+`","mode":"enforce"}`,
			`{"name":"user","status":"pass","reasons":[]}`, "build@acme.example"),
		"old-revocation": body("old-revocation", at.Add(time.Minute), "deny", "null",
			`{"name":"attest","status":"deny","reasons":[{"code":"REVOKED","severity":"refuses","message":"leaked credentials, ticket 4711"}]}`,
			"security@acme.example"),
	}
}

// writeOldRecord writes oldRows to an SQLite file of migration 3.
func writeOldRecord(t *testing.T, path string, at time.Time) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, os.DirFS("../../audit/migrations"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := provider.UpTo(t.Context(), 3); err != nil {
		t.Fatal(err)
	}

	repository, digest, _ := strings.Cut(oldRevokedImage, "@")
	for id, body := range oldRows(at) {
		verdict, policy, when := "pass", "production", at
		if id == "old-revocation" {
			verdict, policy, when = "deny", "", at.Add(time.Minute)
		}
		_, err := db.ExecContext(t.Context(), `INSERT INTO decisions (id, at, state, requested, repository, digest, verdict, policy, policy_digest,
				break_glass, body, evidence) VALUES ($1, $2, 'finished', $3, $4, $5, $6, $7, '', FALSE, $8, '{}')`,
			id, when.UnixMicro(), oldRevokedImage, repository, digest, verdict, policy, body)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.ExecContext(t.Context(), `INSERT INTO decision_digests (digest, at, `+
			`decision) VALUES ($1, $2, $3)`, digest, when.UnixMicro(), id); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOldRevocationsAreTold: a revocation of an earlier version's record is told as one by every command that reads the
// record, the first after the upgrade too, and by the pages; the pass stays the image's last verdict.
func TestOldRevocationsAreTold(t *testing.T) {
	at := time.Now().UTC().Add(-3 * time.Hour).Truncate(time.Second)
	old := func(t *testing.T) (conf config.Config, path string) {
		t.Helper()
		path, err := newOutside(t).WriteConfig(t.TempDir(), standin.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if conf, err = engine.LoadConfig(path, os.Getenv); err != nil {
			t.Fatal(err)
		}
		writeOldRecord(t, conf.Store.SQLite, at)
		return conf, path
	}

	const who, why, which = "security@acme.example", "leaked credentials, ticket 4711", "projects/acme/occurrences/17"
	iso := at.Add(time.Minute).Format(time.RFC3339)
	denial := regexp.MustCompile(`(?i)no policy|NO_POLICY|"code": ?"REVOKED"|"verdict": ?"deny"|,deny,|\brefused\b`)
	for _, tt := range []struct {
		name string
		args []string
		want []string
	}{
		{"list", []string{"decisions", "list"}, []string{"old-pass", "passed, revoked", who, why, iso, "old-revocation"}},
		{"list as CSV", []string{"decisions", "list", "-o", "csv"}, []string{",pass,", iso + ",person,", "old-revocation," + who, why, which}},
		{"list as NDJSON", []string{"decisions", "list", "-o", "ndjson"}, []string{
			`"verdict":"pass"`, `"revoked":{"id":"old-revocation"`, `"kind":"person"`, who, why, which,
		}},
		{"list as JSON", []string{"decisions", "list", "-o", "json"}, []string{`"verdict": "pass"`, `"kind": "person"`, who, why, which}},
		{"export", []string{"decisions", "export"}, []string{`"verdict":"pass"`, `"revoked":{"id":"old-revocation"`, who, why, which}},
		{"explain the pass", []string{"explain", "old-pass"}, []string{"Passed, and revoked since: ", who, why, which}},
		{"explain the image", []string{"explain", oldRevokedImage}, []string{"Passed, and revoked since: ", who, why, which}},
		{"explain the revocation", []string{"explain", "old-revocation"}, []string{"Revoked: ", who, why, which, "old-pass"}},
		{"report", []string{"report", "-o", "text"}, []string{"1 pass (100 %)", "the attestations of 1 decision were revoked since"}},
		{"report as JSON", []string{"report", "-o", "json"}, []string{`"passed": 1`, `"refused": 0`, `"revoked": 1`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, path := old(t)
			var stdout, stderr bytes.Buffer
			if code := run(slices.Concat(tt.args, []string{"--config", path}), strings.NewReader(""), &stdout, &stderr); code != 0 {
				t.Fatalf("exit code %d: %s%s", code, &stdout, &stderr)
			}
			for _, want := range tt.want {
				if !strings.Contains(stdout.String(), want) {
					t.Errorf("lacks %q:\n%s", want, &stdout)
				}
			}
			if strings.Contains(tt.name, "report") {
				return // it says that nothing was refused
			}
			if found := denial.FindString(stdout.String()); found != "" {
				t.Errorf("tells of a denial, %q:\n%s", found, &stdout)
			}
		})
	}

	t.Run("explain the revocation as JSON", func(t *testing.T) {
		_, path := old(t)
		var stdout, stderr bytes.Buffer
		code := run([]string{"explain", "old-revocation", "-o", "json", "--config", path}, strings.NewReader(""), &stdout, &stderr)
		if code != 2 || stdout.Len() > 0 || !strings.Contains(stderr.String(), "a revocation is explained as text only") {
			t.Errorf("exit code %d: %s%s", code, &stdout, &stderr)
		}
	})

	t.Run("pages", func(t *testing.T) {
		conf, path := old(t)
		if code := run([]string{"decisions", "list", "--config", path}, strings.NewReader(""), io.Discard, io.Discard); code != 0 {
			t.Fatalf("exit code %d", code) // what a service reads beside its first answers is read
		}
		service := served(t, newOutside(t), conf)
		for path, want := range map[string][]string{
			"/decisions":                  {"old-pass", `href="/revocations/old-revocation">revoked`},
			"/decisions/old-pass":         {"Revoked since", who, why, which, `href="/revocations/old-revocation"`},
			"/decisions/old-revocation":   {">Revoked<", who, why, which, `href="/decisions/old-pass"`},
			"/revocations/old-revocation": {">Revoked<", who, why, which, `href="/decisions/old-pass"`},
			"/images/" + oldRevokedImage:  {"Its attestations were revoked on", "/revocations/old-revocation"},
		} {
			page := fetched(t, service+path)
			for _, part := range want {
				if !strings.Contains(page, part) {
					t.Errorf("%s lacks %q:\n%s", path, part, page)
				}
			}
			if found := regexp.MustCompile(`<td [^>]*class="deny"|</span> Refused|No policy governs`).FindString(page); found != "" {
				t.Errorf("%s tells of a denial, %q", path, found)
			}
		}
	})
}

func fetched(t *testing.T, url string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s, %v", url, resp.Status, err)
	}
	return string(b)
}
