package posture_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/posture"
)

const pinned = "@sha256:4fdb4c4a4b7d7e6ed1a1f2e0f1a37d1ce1b4ef0a2b8dd7e1e2b5f37cb1d1a0c3"

const goodDockerfile = `FROM golang:1.26` + pinned + ` AS build
COPY . .
RUN go build -o /app ./cmd/app

FROM gcr.io/distroless/static-debian13:nonroot` + pinned + `
COPY --from=build /app /app
USER 65532:65532
ENTRYPOINT ["/app"]
`

const goodIgnore = ".git\n**/.env*\n**/*.pem\n**/*.key\n**/*.p12\n**/id_rsa*\n"

func built(t *testing.T, profile, dockerfile, ignore string) attestor.PostureReport {
	t.Helper()
	j, err := posture.New(posture.Config{Profile: builtin(t, profile), Now: now, Bases: []attestor.ApprovedBase{
		{Name: "static", Repository: "gcr.io/distroless/static-debian13", Tags: []string{"nonroot"}}}})
	if err != nil {
		t.Fatal(err)
	}
	in := posture.Input{Definitions: []posture.Source{{Name: "app/Dockerfile", Text: []byte(dockerfile)}}}
	if ignore != "" {
		in.Definitions = append(in.Definitions, posture.Source{Name: "app/.dockerignore", Text: []byte(ignore)})
	}
	r, err := j.Judge(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// brokenDockerfile breaks one rule at a time in goodDockerfile.
var brokenDockerfile = []struct {
	name, rule string
	edits      []string
	found      string
}{
	{"no user", "USER_NOT_SET", []string{"USER 65532:65532\n", "", ":nonroot", ":latest"}, "no USER"},
	{"root by name", "USER_ROOT", []string{"USER 65532:65532", "USER root"}, `USER is "root"`},
	{"root by number", "USER_ROOT", []string{"USER 65532:65532", "USER 0:1"}, `USER is "0"`},
	{"root, disguised", "USER_ROOT", []string{"USER 65532:65532", "USER 000"}, `USER is "000"`},
	{"root by a variable", "USER_ROOT", []string{"USER 65532:65532", "ARG U=0\nUSER $U"}, `USER is "0"`},
	{"root at last", "USER_ROOT", []string{"ENTRYPOINT", "USER root\nENTRYPOINT"}, `USER is "root"`},
	{"a name", "USER_NOT_NUMERIC", []string{"USER 65532:65532", "USER app"}, `USER is "app"`},
	{"the root group", "GROUP_ROOT", []string{"USER 65532:65532", "USER 65532:0"}, `group "0"`},
	{"a base by tag", "BASE_BY_DIGEST", []string{"nonroot" + pinned, "nonroot"}, "static-debian13"},
	{"a builder by tag", "BASE_BY_DIGEST", []string{"1.26" + pinned, "1.26"}, "golang"},
	{"files of an image by tag", "BASE_BY_DIGEST", []string{"ENTRYPOINT", "COPY --from=busybox:1 /bin/sh /sh\nENTRYPOINT"}, "busybox"},
	{"another base", "BASE_NOT_APPROVED", []string{"static-debian13:nonroot", "static-debian12:nonroot"}, "static-debian12"},
	{"another tag", "BASE_NOT_APPROVED", []string{"static-debian13:nonroot", "static-debian13:latest"}, "static-debian13:latest"},
	{"a whole system", "BASE_SLIM", []string{"gcr.io/distroless/static-debian13:nonroot", "python:3.13"}, "whole system"},
	{"a secret argument", "SECRET_FOUND", []string{"RUN go", "ARG NPM_TOKEN\nRUN go"}, "ARG NPM_TOKEN"},
	{"a secret argument before the stages", "SECRET_FOUND", []string{"FROM golang", "ARG API_KEY=hunter2\nFROM golang"}, "ARG API_KEY"},
	{"a secret variable", "SECRET_FOUND", []string{"ENTRYPOINT", "ENV DB_PASSWORD=hunter2\nENTRYPOINT"}, "ENV DB_PASSWORD"},
	{"a secret variable of a builder", "SECRET_FOUND", []string{"RUN go", "ENV DB_PASSWORD hunter2\nRUN go"}, "ENV DB_PASSWORD"},
	{"a secret by its form", "SECRET_FOUND", []string{"RUN go", "RUN git clone https://user:hunter22@git.example/x && go"}, "password in a URL"},
	{"a header", "SECRET_FOUND", []string{"RUN go", "RUN curl -H 'Authorization: Bearer hunter2hunter2' https://x.example/ && go"}, "a command "},
	{"a password of a client", "SECRET_FOUND", []string{"RUN go", "RUN mysql -uroot -phunter2 < a.sql && go"}, "passes a password to mysql"},
	{"an assignment", "SECRET_FOUND", []string{"RUN go", "RUN NPM_TOKEN=hunter2 go"}, "sets NPM_TOKEN"},
	{"a here-document", "SECRET_FOUND", []string{"RUN go", "RUN <<EOF\nexport DB_PASSWORD=hunter2\nEOF\nRUN go"}, "sets DB_PASSWORD"},
	{"a copied key", "SECRET_FOUND", []string{"RUN go", "COPY deploy/server.key /k\nRUN go"}, `"deploy/server.key"`},
	{"a copied file of variables", "SECRET_FOUND", []string{"RUN go", "COPY .env .\nRUN go"}, `".env"`},
	{"an address", "DOWNLOAD_VERIFIED", []string{"RUN go", "ADD https://x.example/a.tgz /\nRUN go"}, "without --checksum"},
	{"a download that is run", "DOWNLOAD_VERIFIED", []string{"RUN go", "RUN curl -sSL https://x.example/i.sh | sudo bash && go"}, "run as it comes"},
	{"a download from anybody", "DOWNLOAD_VERIFIED", []string{"RUN go", "RUN curl -k https://x.example/i -o i && go"}, "is not checked"},
	{"a cache left", "PACKAGES_CLEANED", []string{"ENTRYPOINT", "RUN apt-get update && apt-get install -y curl\nENTRYPOINT"}, "apt leaves"},
	{"a cache removed too late", "PACKAGES_CLEANED", []string{"ENTRYPOINT",
		"RUN apt-get install -y curl\nRUN rm -rf /var/lib/apt/lists/*\nENTRYPOINT"}, "apt leaves"},
	{"a shell", "ENTRYPOINT_EXEC", []string{`ENTRYPOINT ["/app"]`, "ENTRYPOINT /app"}, "shell form"},
	{"a shell by CMD", "ENTRYPOINT_EXEC", []string{`ENTRYPOINT ["/app"]`, "CMD /app"}, "CMD is in the shell form"},
	{"a deprecated instruction", "DOCKERFILE_LINT", []string{"ENTRYPOINT", "MAINTAINER me\nENTRYPOINT"}, "MaintainerDeprecated"},
}

// TestDockerfile: a good one passes strictly, and each rule is broken by itself.
func TestDockerfile(t *testing.T) {
	if r := built(t, "strict", goodDockerfile, goodIgnore); r.Verdict != attestor.Pass || r.Services != 0 {
		t.Errorf("the good one: %s, %q", r.Verdict, statuses(r))
	}
	for _, tt := range brokenDockerfile {
		t.Run(tt.name, func(t *testing.T) {
			r := built(t, "strict", replace(t, goodDockerfile, tt.edits...), goodIgnore)
			f := finding(t, r, tt.rule)
			if f.Status != attestor.StatusDeny || !strings.Contains(f.Message, tt.found) ||
				!strings.Contains(f.Fix, "in the Dockerfile: ") || f.Kind != "dockerfile" {
				t.Errorf("%s: %s, fix %q", f.Status, f.Message, f.Fix)
			}
			if strings.Contains(f.Message+f.Fix, "hunter2") {
				t.Error("the secret is in the finding")
			}
		})
	}
}

// TestDockerfileControls: what is right although it looks like something wrong.
func TestDockerfileControls(t *testing.T) {
	for _, tt := range []struct {
		name, rule string
		edits      []string
		want       attestor.Status
	}{
		{"the user of a stage beneath", "USER_ROOT", []string{"USER 65532:65532\n", "", "COPY --from=build /app /app",
			"USER 7\nFROM base AS last\nCOPY --from=build /app /app", "nonroot" + pinned,
			"nonroot" + pinned + " AS base"}, attestor.StatusPass},
		{"root in a builder", "USER_ROOT", []string{"COPY . .", "USER root\nCOPY . ."}, attestor.StatusPass},
		{"a base that says so", "USER_NOT_SET", []string{"USER 65532:65532\n", ""}, attestor.StatusPass},
		{"a user that is not known", "USER_ROOT", []string{"USER 65532:65532", "ARG U\nUSER $U"}, attestor.StatusError},
		{"a base that is not known", "BASE_BY_DIGEST", []string{
			"FROM gcr.io/distroless/static-debian13:nonroot" + pinned, "ARG B\nFROM $B"}, attestor.StatusError},
		{"a base in a variable", "BASE_BY_DIGEST", []string{"FROM golang:1.26" + pinned, "ARG B=golang:1.26" + pinned + "\nFROM $B"}, attestor.StatusPass},
		{"scratch", "BASE_BY_DIGEST", []string{"gcr.io/distroless/static-debian13:nonroot" + pinned, "scratch"}, attestor.StatusPass},
		{"a digest alone", "BASE_NOT_APPROVED", []string{"static-debian13:nonroot", "static-debian13"}, attestor.StatusError},
		{"a secret mount", "SECRET_FOUND", []string{"RUN go", "RUN --mount=type=secret,id=npm,env=NPM_TOKEN go"}, attestor.StatusPass},
		{"a file of a secret", "SECRET_FOUND", []string{"ENTRYPOINT", "ENV DB_PASSWORD_FILE=/run/secrets/db\nENTRYPOINT"}, attestor.StatusPass},
		{"a public key", "SECRET_FOUND", []string{"RUN go", "COPY keys/public.pem /k\nRUN go"}, attestor.StatusPass},
		{"a checksum", "DOWNLOAD_VERIFIED", []string{"RUN go",
			"ADD --checksum=sha256:4fdb4c4a4b7d7e6ed1a1f2e0f1a37d1ce1b4ef0a2b8dd7e1e2b5f37cb1d1a0c3 " +
				"https://x.example/a.tgz /\nRUN go"}, attestor.StatusPass},
		{"a commit", "DOWNLOAD_VERIFIED",
			[]string{"RUN go", "ADD https://git.example/a.git#0123456789abcdef0123456789abcdef01234567 /\nRUN go"},
			attestor.StatusPass},
		{"caches of a builder", "PACKAGES_CLEANED", []string{"RUN go", "RUN apt-get install -y curl\nRUN go"}, attestor.StatusPass},
		{"a cache mount", "PACKAGES_CLEANED", []string{"ENTRYPOINT", "RUN --mount=type=cache,target=/var/cache/apt " +
			"--mount=type=cache,target=/var/lib/apt apt-get install -y curl\nENTRYPOINT"}, attestor.StatusPass},
		{"cleaned in the same command", "PACKAGES_CLEANED", []string{"ENTRYPOINT",
			"RUN apt-get install -y curl && rm -rf /var/lib/apt/lists/*\nENTRYPOINT"}, attestor.StatusPass},
		{"arguments of an entrypoint", "ENTRYPOINT_EXEC", []string{`ENTRYPOINT ["/app"]`, "ENTRYPOINT [\"/app\"]\nCMD -v"}, attestor.StatusPass},
		{"another frontend", posture.InputComplete, []string{"FROM golang", "# syntax=example/frontend:1\nFROM golang"}, attestor.StatusError},
	} {
		r := built(t, "strict", replace(t, goodDockerfile, tt.edits...), goodIgnore)
		if f := finding(t, r, tt.rule); f.Status != tt.want {
			t.Errorf("%s: %s is %s: %s", tt.name, tt.rule, f.Status, f.Message)
		}
	}
}

// TestDockerignore: each kind of file is asked for where the whole context is copied, and only there.
func TestDockerignore(t *testing.T) {
	for line := range strings.Lines(goodIgnore) {
		if f := finding(t, built(t, "strict", goodDockerfile, strings.Replace(goodIgnore, line, "", 1)), "CONTEXT_IGNORED"); f.Status != attestor.StatusDeny {
			t.Errorf("without %q: %s", line, f.Status)
		}
	}
	if f := finding(t, built(t, "strict", goodDockerfile, goodIgnore+"!config/.env.production\n"), "CONTEXT_IGNORED"); f.Status != attestor.StatusDeny {
		t.Errorf("with an exception: %s", f.Status)
	}
	if f := finding(t, built(t, "strict", goodDockerfile, ""), "CONTEXT_IGNORED"); f.Status != attestor.StatusError || f.Fix == "" {
		t.Errorf("without a file: %s, %q", f.Status, f.Fix)
	}
	if f := finding(t, built(t, "strict", replace(t, goodDockerfile, "COPY . .", "COPY go.mod main.go ./"), ""),
		"CONTEXT_IGNORED"); f.Status != attestor.StatusPass {
		t.Errorf("named files: %s", f.Status)
	}
	for name, in := range map[string][]posture.Source{
		"alone":           {{Name: ".dockerignore", Text: []byte(goodIgnore)}},
		"no Dockerfile":   {{Name: "Dockerfile", Text: []byte("apiVersion: v1\n")}},
		"a broken ignore": {{Name: "Dockerfile", Text: []byte(goodDockerfile)}, {Name: ".dockerignore", Text: []byte("[\n")}},
		"a long ignore":   {{Name: "Dockerfile", Text: []byte(goodDockerfile)}, {Name: ".dockerignore", Text: []byte(strings.Repeat("#\n", 1<<20))}},
		"a long one":      {{Name: "Dockerfile", Text: []byte(goodDockerfile + strings.Repeat("#\n", 1<<20))}},
	} {
		if _, err := judge(t, builtin(t, "strict"), nil, posture.Input{Definitions: in}); !isInvalid(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSecretsAreFoundInOneOrder: what is reported of a Dockerfile is the same each time.
func TestSecretsAreFoundInOneOrder(t *testing.T) {
	const text = "FROM scratch\nUSER 65532\nHEALTHCHECK CMD [\"/app\", \"--db-password=hunter2\"]\n" +
		"CMD [\"--db-password=hunter2\"]\nENTRYPOINT [\"/app\", \"--api-token=hunter2\"]\n"
	first := finding(t, built(t, "strict", text, goodIgnore), "SECRET_FOUND").Message
	for range 30 {
		if again := finding(t, built(t, "strict", text, goodIgnore), "SECRET_FOUND").Message; again != first {
			t.Fatalf("%q, and then %q", first, again)
		}
	}
}

// TestDockerfileLevels keeps the third table of docs/posture.md equal to the profiles.
func TestDockerfileLevels(t *testing.T) {
	b, err := os.ReadFile("../docs/posture.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\| [^|]* \\| (deny|warn|off) \\| (deny|warn|off) "+
		"\\| (deny|warn|off) \\|$").FindAllStringSubmatch(string(b), -1) {
		rows[row[1]] = row[2:]
	}
	tested := map[string]bool{"CONTEXT_IGNORED": true}
	for _, tt := range brokenDockerfile {
		tested[tt.rule] = true
		for column, profile := range posture.Profiles() {
			if f := finding(t, built(t, profile, replace(t, goodDockerfile, tt.edits...), goodIgnore),
				tt.rule); rows[tt.rule] == nil || string(f.Status) != rows[tt.rule][column] {
				t.Errorf("%s: %s is %s, documented as %v", profile, tt.rule, f.Status, rows[tt.rule])
			}
		}
	}
	for _, r := range posture.Rules() {
		if r.Build && (!tested[r.ID] || rows[r.ID] == nil) {
			t.Errorf("%s is not tested, or not documented", r.ID)
		}
	}
}
